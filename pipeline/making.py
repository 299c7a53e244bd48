"""Makes the target's collections, and holds what it made of them against what was wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pydantic import ConfigDict, TypeAdapter

from pipeline import fidelity, preflight, prepare, present
from pipeline.job import JobConfig
from transforms.errors import PreflightError
from transforms.ledger import Ledger
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Finding, Plan


@dataclass(frozen=True)
class _Made:
    """The collections as the target describes them, by their names in the source."""

    described: dict[str, Description]
    # A schema's bytes are no text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_MADE = TypeAdapter(_Made)
_NAME = "made.json"


def make(config: JobConfig, plan: Plan, ledger: Ledger, *, begins: bool) -> Plan:
    """Makes what is missing and returns the plan with the collections as the target has them.

    Raises:
        PreflightError: the target cannot hold something. What was made just now is gone again,
            and so is the plan of a job that begins.
    """
    # What an earlier run has made is not dropped: it may hold what that run has copied.
    made = prepare.make_targets(config, plan, drop=ledger.read(_NAME) is None)
    found = _findings(config, plan, made)
    present.findings(found)
    if stopping := [finding for finding in found if finding.stops]:
        prepare.unmake_targets(config, made)
        prepare.release_sources(config, plan)
        if begins:
            ledger.remove("plan.json")
        noun = "finding stops" if len(stopping) == 1 else "findings stop"
        raise PreflightError(
            [f"{len(stopping)} {noun} the job; no row was written, what was made is dropped."]
        )
    ledger.replace(_NAME, _MADE.dump_json(_Made(made.described), indent=1))
    return replace(as_made(plan, made.described), findings=(*plan.findings, *found))


def recall(plan: Plan, ledger: Ledger) -> Plan:
    """Returns the plan with the collections as an earlier run has made them."""
    data = ledger.read(_NAME)
    return plan if data is None else as_made(plan, _MADE.validate_json(data).described)


def as_made(plan: Plan, made: Mapping[str, Description]) -> Plan:
    """Returns the plan with what the target made; indexes and aliases are still to come."""
    collections = (
        _as_made(each, made[each.name]) if each.name in made else each for each in plan.collections
    )
    return replace(plan, collections=tuple(collections))


def _as_made(plan: CollectionPlan, made: Description) -> CollectionPlan:
    later = plan.wanted
    return replace(plan, wanted=replace(made, indexes=later.indexes, aliases=later.aliases))


def _findings(config: JobConfig, plan: Plan, made: prepare.Made) -> tuple[Finding, ...]:
    """Returns what preflight could not know."""
    known = {finding.code for finding in plan.findings}
    found = (
        preflight.accepted(finding, config.env.accept)
        for each in plan.collections
        for finding in fidelity.findings(each, made.described[each.name])
    )
    return tuple(finding for finding in found if finding.code not in known)
