"""Makes the target's collections, and holds what it made of them against what was wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import ConfigDict, TypeAdapter

from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.planning import fidelity, rbac
from pipeline.preflight import examination, target_checks
from pipeline.target import create, dry_run, temporary_changes
from pipeline.target.create import CreatedTargets
from transforms.errors import PreflightError
from transforms.ledger.ledger import Ledger
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Finding, Plan


@dataclass(frozen=True)
class _CreationRecord:
    """The collections as the target describes them, by their names in the source."""

    described: dict[str, Description]
    # A schema's bytes are no text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_MADE = TypeAdapter(_CreationRecord)
_NAME = "made.json"


def make(
    config: JobConfig, plan: Plan, ledger: Ledger, *, begins: bool, has_rows: bool = False
) -> Plan:
    """Makes what is missing and returns the plan with the collections as the target has them.

    With `has_rows`, the target may hold rows although the job begins.

    Raises:
        PreflightError: the target cannot hold something. What was made just now is gone again,
            and so is the plan of a job that begins.
    """
    # What an earlier run has made is not dropped: it may hold what that run has copied.
    first = ledger.read(_NAME) is None
    try:
        made, found = _make(config, plan, first=first, has_rows=has_rows)
    except PreflightError:
        if begins:
            ledger.remove("plan.json")
        raise
    ledger.replace(_NAME, _MADE.dump_json(_CreationRecord(made.described), indent=1))
    temporary_changes.open_targets(config, plan, ledger, new=made.new)
    return replace(as_made(plan, made.described), findings=(*plan.findings, *found))


def _make(
    config: JobConfig, plan: Plan, *, first: bool, has_rows: bool
) -> tuple[CreatedTargets, tuple[Finding, ...]]:
    """Makes what is missing; returns it, and what does not stop the job although it differs."""
    if first:
        _rehearse(config, plan)
    made = create.make_targets(config, plan, replaces=first)
    hidden = create.hidden_rows(config, plan, made) if first and not has_rows else {}
    found = _findings(config, plan, made, hidden)
    finding_lines.show(found)
    if any(finding.stops for finding in found):
        examination.raise_if_stopped(found, create.undo(config, made))
    return made, found


def _rehearse(config: JobConfig, plan: Plan) -> None:
    """Makes sure that the target makes what is wanted, before anything is dropped for it.

    Raises:
        PreflightError: it does not.
    """
    found = _unknown(config, plan, _differing(plan, dry_run.rehearse(config, plan)))
    if any(finding.stops for finding in found):
        finding_lines.show(found)
        examination.raise_if_stopped(found, "nothing was dropped, no row was written.")


def recall(plan: Plan, ledger: Ledger) -> Plan:
    """Returns the plan with the collections as an earlier run has made them."""
    made = ledger.value(_MADE, _NAME)
    return plan if made is None else as_made(plan, made.described)


def as_made(plan: Plan, made: Mapping[str, Description]) -> Plan:
    """Returns the plan with what the target made; indexes and aliases are still to come."""
    collections = (
        _as_made(collection, made[collection.name]) if collection.name in made else collection
        for collection in plan.collections
    )
    return replace(plan, collections=tuple(collections))


def _as_made(plan: CollectionPlan, made: Description) -> CollectionPlan:
    later = {name: getattr(plan.wanted, name) for name in fidelity.LATER}
    return replace(plan, wanted=replace(made, **later))


def _findings(
    config: JobConfig, plan: Plan, made: CreatedTargets, hidden: Mapping[str, int]
) -> tuple[Finding, ...]:
    """Returns what preflight could not know; `hidden` are rows of others in the target."""
    of_database = (
        fidelity.lost_database_property(config.sink.database, each) for each in made.lost
    )
    others = (target_checks.not_empty(name, rows) for name, rows in hidden.items())
    new = _unknown(config, plan, (*others, *of_database, *_differing(plan, made)))
    # Access is never taken away again, so it is given last.
    return (*new, *(() if any(finding.stops for finding in new) else give_access(config, plan)))


def _differing(plan: Plan, made: CreatedTargets) -> Iterator[Finding]:
    """Yields in what the collections that were made are not those that were wanted."""
    for collection in plan.collections:
        if collection.name in made.described:
            yield from fidelity.creation_findings(collection, made.described[collection.name])
            for feature, why in made.refused[collection.name].items():
                yield fidelity.lost_feature(
                    collection.name, collection.target, feature, f"{why.rstrip('.')}."
                )


def _unknown(config: JobConfig, plan: Plan, found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Returns the findings that preflight did not have, as far as they are accepted marked so."""
    known = {finding.code for finding in plan.findings}
    marked = (examination.mark_accepted(finding, config.env.accept) for finding in found)
    return tuple(finding for finding in marked if finding.code not in known)


def give_access(config: JobConfig, plan: Plan) -> tuple[Finding, ...]:
    """Adds users' rights where the job asks for it; returns what the target did not take."""
    names = tuple(collection.name for collection in plan.collections)
    left = rbac.add_missing_access(config, names) if config.sink.rbac else ()
    return tuple(examination.mark_accepted(finding, config.env.accept) for finding in left)
