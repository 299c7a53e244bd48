"""Creates the target's collections, and compares the result with the plan."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from pydantic import ConfigDict, TypeAdapter

from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.planning import fidelity, rbac
from pipeline.preflight import examination, target_checks
from pipeline.target import create, dry_run, job_marks, temporary_changes
from pipeline.target.create import CreatedTargets
from transforms.errors import PreflightError
from transforms.finding import Finding
from transforms.ledger.ledger import Ledger
from transforms.ledger.temporary_changes import own_marks
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


@dataclass(frozen=True)
class _CreationRecord:
    """The collections as the target describes them, by their names in the source."""

    described: dict[str, Description]
    # A schema contains bytes that are not text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_RECORD = TypeAdapter(_CreationRecord)
_NAME = "made.json"


def create_targets(
    config: JobConfig, plan: Plan, ledger: Ledger, *, begins: bool, has_rows: bool = False
) -> Plan:
    """Creates what is missing and returns the plan with the collections as the target has them.

    With `has_rows`, the target may have rows although the job is new.

    Raises:
        PreflightError: the target cannot store something. What this call created is dropped again;
            the plan of a new job (`begins`) is removed.
    """
    # What an earlier run created is not dropped: it may contain rows that this run copied.
    first = ledger.read(_NAME) is None
    try:
        created, findings = _create(config, plan, ledger, first=first, has_rows=has_rows)
    except PreflightError:
        if begins:
            ledger.remove("plan.json")
        raise
    ledger.replace(_NAME, _RECORD.dump_json(_CreationRecord(created.described), indent=1))
    temporary_changes.set_write_properties(config.target_endpoint, plan, ledger, new=created.new)
    return replace(with_created(plan, created.described), findings=(*plan.findings, *findings))


def _create(
    config: JobConfig, plan: Plan, ledger: Ledger, *, first: bool, has_rows: bool
) -> tuple[CreatedTargets, tuple[Finding, ...]]:
    """Creates what is missing; returns it, and the differences that do not stop the job."""
    if first:
        _check_dry_run(config, plan)
    created = create.create_all(config, plan, replaces=first, own_marks=own_marks(ledger))
    # Marked before they are counted: from then on no other job writes.
    unmarked = mark_targets(config, plan, ledger)
    created.own_marks = own_marks(ledger)
    unflushed = create.unflushed_rows(config, plan, created) if first and not has_rows else {}
    findings = (*unmarked, *_findings(config, plan, created, unflushed))
    finding_lines.show(findings)
    if any(finding.stops for finding in findings):
        examination.raise_if_stopped(findings, create.drop_created(config, created))
    return created, findings


def mark_targets(config: JobConfig, plan: Plan, ledger: Ledger) -> tuple[Finding, ...]:
    """Marks the target collections as in use by this job; returns notes.

    Raises:
        PreflightError: another unfinished job writes to one. Nothing is dropped: that job may have
            just created it.
    """
    findings = job_marks.mark_targets(config, plan, ledger)
    if any(finding.stops for finding in findings):
        finding_lines.show(findings)
        examination.raise_if_stopped(findings, "no row was written.")
    return tuple(finding for finding in findings if finding.severity == "info")


def _check_dry_run(config: JobConfig, plan: Plan) -> None:
    """Checks that the target creates what the plan wants, before anything is dropped for it.

    Raises:
        PreflightError: it does not.
    """
    differences = _differences(plan, dry_run.try_creation(config, plan))
    findings = _unknown(plan, differences, config.env.accept)
    if any(finding.stops for finding in findings):
        finding_lines.show(findings)
        examination.raise_if_stopped(findings, "nothing was dropped, no row was written.")


def with_recorded(plan: Plan, ledger: Ledger) -> Plan:
    """Returns the plan with the collections as an earlier run created them."""
    record = ledger.value(_RECORD, _NAME)
    return plan if record is None else with_created(plan, record.described)


def with_created(plan: Plan, described: Mapping[str, Description]) -> Plan:
    """Returns the plan with the collections as the target created them.

    Indexes and aliases stay as planned: they are created later.
    """
    collections = (
        _with_created(collection, described[collection.name])
        if collection.name in described
        else collection
        for collection in plan.collections
    )
    return replace(plan, collections=tuple(collections))


def _with_created(plan: CollectionPlan, created: Description) -> CollectionPlan:
    later = {name: getattr(plan.wanted, name) for name in fidelity.LATER}
    return replace(plan, wanted=replace(created, **later))


def _findings(
    config: JobConfig, plan: Plan, created: CreatedTargets, unflushed: Mapping[str, int]
) -> tuple[Finding, ...]:
    """Returns what preflight could not know; `unflushed` are existing rows of the target."""
    of_database = (
        fidelity.lost_database_property(database, pair, named=config.qualifies)
        for database, lost in created.databases.items()
        for pair in lost
    )
    existing = (target_checks.not_empty(name, rows) for name, rows in unflushed.items())
    found = (*existing, *of_database, *_differences(plan, created))
    new = _unknown(plan, found, config.env.accept)
    # Access is granted last: what exists by then is not dropped again for another reason.
    return (*new, *(() if any(finding.stops for finding in new) else grant_access(config, plan)))


def _differences(plan: Plan, created: CreatedTargets) -> Iterator[Finding]:
    """Yields how the created collections differ from the plan."""
    for collection in plan.collections:
        if collection.name in created.described:
            yield from fidelity.creation_findings(collection, created.described[collection.name])
            for feature, why in created.refused[collection.name].items():
                yield fidelity.lost_feature(
                    collection.name, collection.target, feature, f"{why.rstrip('.')}."
                )


def _unknown(
    plan: Plan, findings: Iterable[Finding], accept: tuple[str, ...]
) -> tuple[Finding, ...]:
    """Returns the findings that preflight did not have; those that `accept` names are marked."""
    known = {finding.code for finding in plan.findings}
    marked = (examination.mark_accepted(finding, accept) for finding in findings)
    return tuple(finding for finding in marked if finding.code not in known)


def grant_access(config: JobConfig, plan: Plan) -> tuple[Finding, ...]:
    """Copies users' access if the job says so; returns what the target refused.

    If that stops the job, what was added is removed again.
    """
    if not config.sink.rbac:
        return ()

    def marked(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        return tuple(examination.mark_accepted(finding, config.env.accept) for finding in findings)

    def keeps(findings: tuple[Finding, ...]) -> bool:
        return not any(finding.stops for finding in marked(findings))

    return marked(rbac.add_missing_access(config, plan, keeps))
