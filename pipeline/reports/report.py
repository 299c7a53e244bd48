"""The report of a job: what was requested, what happened, and what to do next.

Everything is computed from what `ledger_facts.gather` has read. So the same ledger gives the same
report at any time and on any host.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise

from pydantic import TypeAdapter

from pipeline.console.formatting import number, per_second, plural, timestamp
from pipeline.planning import change_lines, fidelity
from pipeline.preflight import examination
from pipeline.reports import next_steps
from pipeline.reports.ledger_facts import (
    CollectionEvidence,
    Evidence,
    RangeEvidence,
    RangeState,
    utc,
)
from pipeline.reports.report_values import (
    FORMAT,
    CollectionReport,
    Failure,
    KeyDifference,
    Outcome,
    RangeSums,
    Report,
    Retry,
    sides,
    worst,
)
from transforms.finding import Finding
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Sign
from transforms.milvus.retry_statistics import Reason, Retried
from transforms.plan import CollectionPlan, Plan, VerifyMethod

LISTED = 1_000
"""Number of failures and differing keys that a report lists; it counts all of them."""

SILENCE_S = 300.0
"""A gap between receipts that is longer is a pause between two runs and no copying time."""

_REPORT = TypeAdapter(Report)


def compose(plan: Plan, evidence: Evidence, *, accept: tuple[str, ...] = ()) -> Report:
    """Returns the report; `accept` are the codes of findings that are accepted now."""
    collections = tuple(
        _collection(collection, evidence, copied=plan.copies) for collection in plan.collections
    )
    failures = [failure for collection in evidence.collections for failure in _failures(collection)]
    differences = list(key_differences(evidence))
    findings = (*plan.findings, *_new_findings(plan, evidence, collections, accept))
    stopping = [finding for finding in findings if finding.stops]
    until, signs = _read_until(evidence), _signs(differences)
    steps = next_steps.steps(collections, plan, stopping, read_until=until, signs=signs)
    source, target = sides(plan)
    return Report(
        format=FORMAT,
        job=plan.job_id,
        plan=plan.plan_id,
        run=evidence.run_id,
        verify=evidence.verify,
        outcome=worst([collection.outcome for collection in collections]),
        verdict=next_steps.verdict(collections, stopping),
        next=tuple(steps),
        source=source,
        target=target,
        started=utc(plan.made_at),
        ended=utc(max([plan.made_at, *_times(evidence)])),
        ranges=_sum([collection.ranges for collection in collections]),
        settings=plan.settings,
        findings=findings,
        collections=collections,
        failures=tuple(failures[:LISTED]),
        failures_total=len(failures),
        differences=tuple(differences[:LISTED]),
        differences_total=len(differences),
        retries=tuple(retries(evidence.retries)),
        again=evidence.again,
    )


def _signs(differences: Iterable[KeyDifference]) -> dict[str, set[Sign]]:
    """Returns the signs of the keys that differ, by collection."""
    signs: dict[str, set[Sign]] = defaultdict(set)
    for difference in differences:
        signs[difference.collection].add(difference.sign)
    return signs


def _read_until(evidence: Evidence) -> str:
    """Returns when an earlier run read the source; "" if this run read it."""
    return timestamp(utc(evidence.read_at)) if evidence.again and evidence.read_at else ""


def to_json(report: Report) -> bytes:
    """Returns a report as the bytes of report.json."""
    return _REPORT.dump_json(report, indent=2) + b"\n"


def key_differences(evidence: Evidence) -> Iterator[KeyDifference]:
    """Yields each key that the verdicts name, by collection."""
    for collection in evidence.collections:
        for verdict in collection.verdicts:
            for difference in verdict.differences:
                yield KeyDifference(
                    collection.name, difference.sign, difference.key, difference.fields
                )


def retries(by_side: Mapping[worker_limits.Side, Mapping[Reason, Retried]]) -> Iterator[Retry]:
    """Yields the retried calls by side, the most frequent reason first."""
    for side, by_reason in by_side.items():
        for reason, retried in sorted(by_reason.items(), key=lambda pair: -pair[1].calls):
            yield Retry(side, reason, retried.calls, round(retried.seconds, 1))


def _collection(plan: CollectionPlan, whole: Evidence, *, copied: bool) -> CollectionReport:
    evidence = whole[plan.name]
    receipts = list(evidence.receipts)
    written = sum(receipt.rows for receipt in receipts)
    rejected = sum(receipt.rejected for receipt in receipts)
    seconds = _seconds(evidence.began, [receipt.at for receipt in receipts])
    problems = tuple(_problems(plan, evidence, written, copied=copied))
    changed = _source_changed(plan, evidence, again=whole.again)
    moved = not plan.snapshot.pinned and (_moved(plan, evidence) if whole.again else bool(changed))
    vanished, hidden = _vanished(plan, evidence), evidence.hidden
    unread = moved or hidden + vanished > 0
    done = evidence.finished if evidence.finished and not evidence.finished.failed else None
    return CollectionReport(
        name=plan.name,
        target=plan.target,
        outcome="failed" if problems else _outcome(plan, evidence, whole.verify, unread),
        rows_source=plan.rows,
        snapshot=plan.snapshot.time,
        keys=written + rejected,
        repeats=evidence.duplicates,
        hidden=hidden,
        vanished=vanished,
        rows_read=written + rejected,
        rows_written=written if copied else evidence.rows_synced,
        rows_target=done.rows_target if done else None,
        bytes=sum(receipt.bytes for receipt in receipts),
        seconds=round(seconds, 3),
        rows_per_second=per_second(written, seconds),
        finishing_seconds=round(done.seconds, 3) if done else None,
        rejected=rejected,
        mended=evidence.rows_synced,
        deleted=sum(verdict.deleted for verdict in evidence.verdicts),
        doubled=evidence.doubled,
        undecided=evidence.undecided,
        ranges=_range_sums(evidence),
        source_changed=changed,
        problems=problems,
        carried=fidelity.feature_fates(plan, done.found if done else {}),
        reshaped=change_lines.describe_changes(plan),
    )


def _new_findings(
    plan: Plan,
    evidence: Evidence,
    collections: Sequence[CollectionReport],
    accept: tuple[str, ...],
) -> Iterator[Finding]:
    """Yields the findings of the copy itself that preflight could not know."""
    known = {finding.code for finding in plan.findings}
    for planned, collection in zip(plan.collections, collections, strict=True):
        if finished := evidence[planned.name].finished:
            for finding in fidelity.final_findings(planned, finished.found, finished.refused):
                if finding.code not in known:
                    yield examination.mark_accepted(finding, accept)
            if evidence.again and finished.rows_source is None and not finished.uncounted:
                yield next_steps.source_not_counted(planned.name)
        unexpected = collection.hidden - planned.unreadable
        for finding in next_steps.findings(collection, hidden=unexpected):
            yield examination.mark_accepted(finding, accept)


def _range_sums(evidence: CollectionEvidence) -> RangeSums:
    states = evidence.states
    return RangeSums(
        total=states.total(),
        proven=states["proven"],
        counted=states["counted"],
        copied=states["copied"],
        unequal=states["unequal"],
        failed=states["failed"],
        open=states["open"],
    )


def _outcome(
    plan: CollectionPlan, evidence: CollectionEvidence, verify: VerifyMethod, unread: bool
) -> Outcome:
    """Returns the outcome of a collection without problems.

    It is never `proven` if the source has, or had, rows that were not read.
    """
    states = evidence.states
    if not plan.has_rows:
        return "created"
    if not states or unread:
        return "copied"
    if states["proven"] == states.total():
        return "sampled" if verify == "sample" else "proven"
    if states["proven"] and verify == "sample":
        return "sampled"
    return "copied" if states["copied"] else "counted"


def _problems(
    plan: CollectionPlan, evidence: CollectionEvidence, written: int, *, copied: bool
) -> Iterator[str]:
    """Yields why a collection failed.

    Without `copied`, the receipts say what the source has, and only a comparison what the target
    has.
    """
    if evidence.ranges is None:
        reason = evidence.finished.failed if evidence.finished else "the run ended earlier"
        yield f"it was not split into key ranges, so no row was copied: {reason}"
        return
    states = evidence.states
    yield from _range_problems(evidence.ranges, states)
    if not copied and states["copied"]:
        yield f"{number(states['copied'])} of {plural(states.total(), 'range')} were not compared"
    if evidence.finished is None:
        if not states["failed"] and not states["open"]:
            yield "it was not completed: indexes, aliases and load state may be missing"
        return
    if evidence.finished.failed:
        yield f"it could not be completed: {evidence.finished.failed}"
    if evidence.finished.uncounted:
        yield f"it could not be compared: {evidence.finished.uncounted}"
    count = evidence.finished.rows_target
    others = math.inf if plan.append else 0  # Rows that the target had before.
    if count is not None and not written <= count <= written + evidence.doubled + others:
        yield f"the target has {plural(count, 'row')}, but {number(written)} were written"
    if lost := _unread(plan, evidence):
        yield f"the source counts {plural(lost, 'row')} that were not read"


def _range_problems(ranges: Sequence[RangeEvidence], states: Counter[RangeState]) -> Iterator[str]:
    """Yields how many ranges failed, and how many of their rows no query returns."""
    if hiding := [key_range.failure_hidden for key_range in ranges if key_range.failure_hidden]:
        hidden, where = plural(sum(hiding), "row"), plural(len(hiding), "range")
        yield f"the source counts {hidden} in {where} that no query returns"
    for state, words in _BAD_STATES.items():
        if states[state]:
            yield f"{number(states[state])} of {plural(states.total(), 'range')} {words}"


_BAD_STATES: dict[RangeState, str] = {
    "failed": "failed",
    "open": "not fully acknowledged",
    "unequal": "not equal in the target",
}


def _unread(plan: CollectionPlan, evidence: CollectionEvidence) -> int:
    """Returns how many rows are missing without explanation: no change, no duplicate keys."""
    ranges = evidence.ranges or ()
    changed = evidence.rows_after not in (None, plan.rows)
    if changed or (ranges and all(key_range.counted is not None for key_range in ranges)):
        return 0
    return max(0, plan.rows - _accounted(ranges))


def _accounted(ranges: Sequence[RangeEvidence]) -> int:
    """Returns how many rows of the source are accounted for: read, duplicate, or hidden."""
    return sum(
        key_range.rows + key_range.rejected + key_range.duplicates + key_range.hidden
        for key_range in ranges
    )


def _vanished(plan: CollectionPlan, evidence: CollectionEvidence) -> int:
    """Returns how many rows of the snapshot no longer existed when they were read.

    Compaction removes rows that were deleted or replaced after the snapshot, and a TTL removes
    expired rows, whatever timestamp a query has.
    """
    ranges = evidence.ranges or ()
    complete = bool(ranges) and all(key_range.counted is not None for key_range in ranges)
    if not plan.snapshot.pinned or not complete or any(key_range.missing for key_range in ranges):
        return 0
    return max(0, plan.rows - _accounted(ranges))


def _while_read(evidence: CollectionEvidence) -> int | None:
    """Returns how many rows the source had while it was read; None if a range was not read."""
    ranges = evidence.ranges or ()
    complete = bool(ranges) and all(key_range.counted is not None for key_range in ranges)
    return _accounted(ranges) if complete else None


def _moved(plan: CollectionPlan, evidence: CollectionEvidence) -> bool:
    """Whether the receipts show writes to the source while it was read.

    Comparing the target with the receipts again does not find the rows that were missed.
    """
    late = any(receipt.late for receipt in evidence.receipts)
    return late or _while_read(evidence) not in (None, plan.rows)


def _source_changed(plan: CollectionPlan, evidence: CollectionEvidence, *, again: bool) -> str:
    before = plan.rows
    after = before if evidence.rows_after is None else evidence.rows_after
    counted = _while_read(evidence)
    between = after if counted is None else counted
    words = "source changed during the copy"
    if plan.snapshot.pinned:
        if after == before:
            return ""
        since = "since the snapshot"
        return f"source changed {since}: {number(before)} then, {number(after)} now"
    if again and before != after and not _moved(plan, evidence):
        return f"source changed since the copy: {number(before)} then, {number(after)} now"
    if after != before:
        return f"{words}: {number(before)} before, {number(after)} after"
    if late := sum(receipt.late for receipt in evidence.receipts):
        return f"{words}: {plural(late, 'key')} inserted while it was read"
    if between != before:
        when = "before" if evidence.rows_after is None else "before and after"
        return f"{words}: {number(before)} {when}, {number(between)} while it was read"
    return ""


def _failures(evidence: CollectionEvidence) -> Iterator[Failure]:
    for key_range in evidence.ranges or ():
        if key_range.failure:
            yield Failure(evidence.name, str(key_range.planned), key_range.failure)
        elif key_range.missing:
            intervals = plural(len(key_range.missing), "interval")
            reason = f"not acknowledged: {intervals}, the first is {key_range.missing[0]}"
            yield Failure(evidence.name, str(key_range.planned), reason)
    for verdict in evidence.verdicts:
        if verdict.failed:
            yield Failure(evidence.name, str(verdict.planned), verdict.failed)


def _seconds(began: float | None, acknowledged: Sequence[float]) -> float:
    """Returns the seconds of copying: the time between receipts, without pauses between runs."""
    if not acknowledged:
        return 0.0
    times = sorted([*acknowledged, began if began is not None else min(acknowledged)])
    gaps = (later - earlier for earlier, later in pairwise(times))
    return sum(gap for gap in gaps if gap <= SILENCE_S)


def _times(evidence: Evidence) -> Iterator[float]:
    for collection in evidence.collections:
        yield from (receipt.at for receipt in collection.receipts)
        yield from (verdict.at for verdict in collection.verdicts)
        if collection.finished:
            yield collection.finished.at


def _sum(sums: Sequence[RangeSums]) -> RangeSums:
    parts = [asdict(ranges) for ranges in sums]
    return RangeSums(**{name: sum(part[name] for part in parts) for name in asdict(RangeSums())})
