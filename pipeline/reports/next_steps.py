"""Sentences of a report: the verdict, the next steps, and the findings of the copy."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from pipeline.console.formatting import duration, listed, number, plural, timestamp_ms
from pipeline.reports.report_values import CollectionReport, Outcome, Retry, sides, worst
from transforms.finding import Finding
from transforms.ledger.ledger import Sign
from transforms.ledger.rejected_rows import NOT_SENT
from transforms.milvus.endpoint import FILES
from transforms.plan import Plan

NAMED = 3
"""Collections that a sentence names before it only counts them."""

_WORDS: dict[Outcome, str] = {
    "proven": "Proven: every row that was read is in the target with the same content",
    "sampled": (
        "Sampled: the target has as many rows as were read, and the compared ranges have the same "
        "content"
    ),
    "counted": "Counted: the target has as many rows as were read; not all content was compared",
    "copied": "Copied: the target acknowledged every row that was read; not all rows were verified",
    "created": "Created: the target has everything but the rows, which this job does not copy",
}


_ROWS_LEFT = ("unreadable-rows", "vanished-rows")
"""Codes of findings about rows that were not read."""

_WEAKER: tuple[Outcome, ...] = ("sampled", "counted", "copied")
"""Outcomes that a comparison of all content may improve."""


def verdict(collections: Sequence[CollectionReport], missing: Sequence[Finding] = ()) -> str:
    """Returns the outcome in one sentence; `missing` are the findings that prevent exit code 0."""
    outcome = worst([collection.outcome for collection in collections])
    failed = [collection for collection in collections if collection.outcome == "failed"]
    many = plural(len(collections), "collection")
    if failed:
        verbs = "is incomplete, differs" if len(failed) == 1 else "are incomplete, differ"
        share = f"{number(len(failed))} of {many}"
        return f"Failed: {share} {verbs}, or could not be compared: {_names(failed)}."
    sums = [many, plural(sum(collection.keys for collection in collections), "row")]
    if (
        0
        < (proven := sum(collection.outcome == "proven" for collection in collections))
        < len(collections)
    ):
        sums.append(f"{number(proven)} of them proven")
    rejected = _rejected(collections)
    limits = f", except for {plural(rejected, 'rejected row')}" if rejected else ""
    if features := [finding for finding in missing if finding.code not in _ROWS_LEFT]:
        are_missing = plural(len(features), "index or alias is", "indexes or aliases are")
        limits += f", but {are_missing} missing"
    if unread := sum(collection.hidden + collection.vanished for collection in collections):
        limits += f", but {plural(unread, 'row')} of the source could not be read"
    if snapshots := [collection.snapshot for collection in collections if collection.snapshot]:
        sums.append(f"as of {timestamp_ms(min(snapshots))}")
    return f"{_WORDS[outcome]}{limits} ({', '.join(sums)})."


def steps(
    collections: Sequence[CollectionReport],
    plan: Plan,
    missing: Sequence[Finding] = (),
    *,
    read_until: str = "",
    signs: Mapping[str, Collection[Sign]] = MappingProxyType({}),
) -> Iterator[str]:
    """Yields what to do next, the most urgent step first.

    Args:
        missing: the findings about what the target does not have.
        read_until: when the source was read, if that was before this run; else "".
        signs: the signs of the keys that differ, by collection.
    """
    yield from _fix_failed(collections, signs)
    if rejected := [collection for collection in collections if collection.rejected]:
        yield (
            f"The target rejected {plural(_rejected(rejected), 'row')} of {_names(rejected)}. "
            "The rows and the reasons are in rejected.parquet in the job's folder. Fix the "
            f"reasons, then run `kitelift replay` to resend the rows.{_not_sent(rejected)}"
        )
    if changed := [collection for collection in collections if collection.source_changed]:
        yield (
            f"{_names(changed)} changed {'since' if read_until else 'during'} the copy, so later "
            "writes may be missing in the target. If they matter, stop the writes, then run "
            "`kitelift sync` to copy them."
        )
    outcome = worst([collection.outcome for collection in collections])
    unread = any(collection.hidden or collection.vanished for collection in collections)
    yield from _vanished(collections)
    if undecided := [collection for collection in collections if collection.undecided]:
        keys = undecided_keys(sum(collection.undecided for collection in undecided))
        yield f"{_names(undecided)}: {keys} in the source. {_ONE_ROW_PER_KEY}"
    if features := [finding for finding in missing if finding.code not in _ROWS_LEFT]:
        yield _create_missing(features)
    elif not unread and any(map(_improvable, collections)):
        yield from _verify(plan)
    if not changed and not rejected and not missing:
        yield from _use_result(outcome, plan, read_until)


def _improvable(report: CollectionReport) -> bool:
    """Returns whether a comparison of all content may improve the outcome."""
    return report.outcome in _WEAKER and not _moved(report) and not report.undecided


def _rejected(collections: Sequence[CollectionReport]) -> int:
    return sum(collection.rejected for collection in collections)


def _not_sent(collections: Sequence[CollectionReport]) -> str:
    """Says what to do about rows that Kitelift refused itself; "" if there cannot be any."""
    if not any(collection.reshaped for collection in collections):
        return ""
    return (
        f" Fix rows with the reason `{NOT_SENT.strip()}` in the source, then run `kitelift sync`."
    )


def _fix_failed(
    collections: Sequence[CollectionReport], signs: Mapping[str, Collection[Sign]]
) -> Iterator[str]:
    """Yields what to do about collections that failed."""
    incomplete = [collection for collection in collections if _incomplete(collection)]
    if unproven := [collection for collection in incomplete if _acknowledged(collection)]:
        yield (
            f"All rows of {_names(unproven)} are in the target, but not proven: the errors above "
            "say why. Fix that, then rerun the same command: it copies no row again. If the "
            "target has no room to load more: release other collections there, add memory to its "
            "query nodes, or enable mmap."
        )
    if incomplete := [collection for collection in incomplete if collection not in unproven]:
        yield (
            "Fix the errors listed above, then rerun the same command: it copies only the "
            f"missing part of {_names(incomplete)}."
        )
    if unknown := [collection for collection in collections if _unknown(collection)]:
        yield (
            f"Run `kitelift verify`: it retries the failed comparisons of {_names(unknown)}, and "
            "copies nothing."
        )
    unequal = [collection for collection in collections if _unequal(collection)]
    extra = [collection for collection in unequal if {*signs.get(collection.name, ())} == {"+"}]
    if extra:
        yield (
            f"{_names(extra)}: some rows exist only in the target; the source does not have their "
            "keys. To delete these rows, stop all writes to both sides, then run `kitelift sync "
            "--delete`."
        )
    if others := [collection for collection in unequal if collection not in extra]:
        extra_too = any("+" in signs.get(other.name, ()) for other in others)
        rest = (
            " Rows that exist only in the target remain, unless you run `kitelift sync --delete`."
        )
        yield (
            f"Do not use {_names(others)} in the target yet. Stop all writes to both sides, then "
            "run `kitelift sync`: it makes the target equal to the source, range by range."
            + (rest if extra_too else "")
        )


def _vanished(collections: Sequence[CollectionReport]) -> Iterator[str]:
    """Yields what to do about rows of a snapshot that could no longer be read."""
    if vanished := [collection for collection in collections if collection.vanished]:
        yield (
            f"Rows of {_names(vanished)} were deleted, replaced or expired between the snapshot "
            "and the read. Run `kitelift sync`: it compares the target with the current source "
            "and copies the changes. If those rows do not matter, rerun the same command with "
            "--accept=vanished-rows."
        )


def _create_missing(missing: Sequence[Finding]) -> str:
    """Says how to get the indexes and aliases that the target did not create, or to skip them."""
    few = len(missing) <= NAMED
    codes = (
        ",".join(finding.code for finding in missing) if few else "CODE, for each of these codes"
    )
    return (
        "The target lacks indexes or aliases; the findings say why. Fix that, or create them "
        "manually. Then rerun the same command: it copies no row twice, and verifies what it can "
        f"read. To proceed without them, rerun it with --accept={codes}"
    )


def _verify(plan: Plan) -> Iterator[str]:
    """Yields how to prove what was copied."""
    if not plan.settings.get("sink.Milvus.create_index", True):
        yield (
            "Create the indexes in the target. This job creates none (`create_index = false`), and "
            "without them the collection cannot be loaded and compared."
        )
    yield (
        'Run `kitelift verify` with `env.verify = "full"`: it compares the content of every '
        "row and copies nothing."
    )


def _find_later_writes(read_until: str) -> str:
    """Says what a comparison with the receipts of a copy cannot find."""
    return (
        f"The target equals the source as of {read_until}. This run did not read the source. To "
        "find and copy later writes, run `kitelift sync`."
    )


def _use_result(outcome: Outcome, plan: Plan, read_until: str) -> Iterator[str]:
    """Yields how to continue after a job without problems."""
    if outcome == "created":
        yield (
            "To copy the rows later, run a job with another `env.job.name` and without `rows = "
            "false`. It uses the empty collections in the target."
        )
    elif outcome == "proven":
        yield _find_later_writes(read_until) if read_until else _use(plan)


def _use(plan: Plan) -> str:
    """Says how to use the target."""
    if plan.target_url.startswith(FILES):
        folder = plan.target_url.removeprefix(FILES)
        return f"Copy {folder} to where the next job reads it: source {{ Parquet {{ path = … }} }}."
    _, target = sides(plan)
    names = [collection.target for collection in plan.collections]
    what = f"collection{'s' if len(names) > 1 else ''} {listed(names, most=NAMED)}"
    where = target.url if target.several else f"database {target.database} of {target.url}"
    return f"Applications can now use {what} in {where}."


def findings(report: CollectionReport, *, hidden: int = 0) -> Iterator[Finding]:
    """Yields the findings of the copy of one collection.

    `hidden` is how many rows no query of the source returns, without those that preflight reported.
    """
    yield from _not_read(report, hidden)
    yield from _counted_otherwise(report)
    if report.rejected:
        yield Finding(
            code="rejected-rows",
            where=report.name,
            what=f"the target rejected {plural(report.rejected, 'row')}.",
            remedy="Fix the reasons in rejected.parquet, then run `kitelift replay`."
            + _not_sent([report]),
            severity="warning",
        )
    if report.mended or report.deleted:
        yield Finding("mended", report.name, f"{sync_words(report)}.", severity="info")
    if report.doubled:
        yield Finding(
            code="may-be-doubled",
            where=report.name,
            what=f"the target may store up to {plural(report.doubled, 'row')} twice: the "
            "connection broke after a write was sent, and the target generates the keys.",
            severity="warning",
        )


def _not_read(report: CollectionReport, hidden: int) -> Iterator[Finding]:
    """Yields the rows that are not in the target because they could not be read."""
    if hidden > 0:
        yield Finding(
            code="unreadable-rows",
            where=report.name,
            what=f"the source counts {plural(hidden, 'row')} that no query returns; they are not "
            "in the target.",
            acceptable=True,
        )
    if report.vanished:
        yield Finding(
            code="vanished-rows",
            where=report.name,
            what=f"{plural(report.vanished, 'row')} of the snapshot were deleted, replaced or "
            "expired (TTL) before they were read.",
            remedy="Run `kitelift sync`, or accept it with --accept=vanished-rows.",
            acceptable=True,
        )


def _counted_otherwise(report: CollectionReport) -> Iterator[Finding]:
    """Yields why the number of rows that were read differs from the source's count."""
    if report.repeats:
        yield Finding(
            code="repeated-keys",
            where=report.name,
            what=f"{duplicate_words(report)}; one row per key was copied, the one that the source "
            "returns.",
            severity="warning",
        )
    if report.undecided:
        yield Finding(
            code="undecided-keys",
            where=report.name,
            what=f"{undecided_keys(report.undecided)} in the source, which returns now one of "
            "them and now another. The target keeps the row that it has.",
            remedy=_ONE_ROW_PER_KEY,
            severity="warning",
        )
    if report.source_changed:
        yield Finding(
            "source-changed", report.name, f"{report.source_changed}.", severity="warning"
        )


_ONE_ROW_PER_KEY = (
    "Delete these keys in the source and insert each with one row, then run `kitelift sync`."
)


def undecided_keys(count: int) -> str:
    """Returns how many keys have several rows, of which none is certainly the right one."""
    return plural(count, "key has several rows", "keys have several rows")


def source_not_counted(name: str) -> Finding:
    """Returns the finding that a comparison with an earlier copy did not look at the source."""
    return Finding(
        code="source-not-counted",
        where=name,
        what="it is not loaded in the source, so later inserts and deletes there are not detected.",
        severity="info",
    )


def unread_lines(report: CollectionReport) -> Iterator[str]:
    """Yields which rows the source counted and Kitelift did not read."""
    if report.hidden:
        yield f"{plural(report.hidden, 'row')} that the source counts and no query returns"
    if report.vanished:
        vanished = plural(report.vanished, "row")
        yield f"{vanished} of the snapshot were deleted, replaced or expired before they were read"


def duplicate_words(report: CollectionReport) -> str:
    """Returns the rows of a source with duplicate keys as a sum.

    >>> duplicate_words(CollectionReport("a", "a", "proven", 12, 10, 2, 10, 10, 10, 0, 0.0, 0))
    '12 = 10 keys + 2 duplicates'
    """
    rows = report.keys + report.repeats
    parts = f"{plural(report.keys, 'key')} + {plural(report.repeats, 'duplicate')}"
    return f"{number(rows)} = {parts}"


def sync_words(report: CollectionReport) -> str:
    """Returns what a sync changed in the target."""
    written, deleted = plural(report.mended, "row"), plural(report.deleted, "row")
    return f"sync wrote {written} to the target and deleted {deleted} there"


def retry_lines(retries: Iterable[Retry]) -> Iterator[str]:
    """Yields for each side how many calls were retried, why, and how long they waited.

    >>> for line in retry_lines([Retry("target", "not ready", 3, 1.5)]):
    ...     print(line)
    target: 3 calls retried (3 not ready), total wait 1.5 s
    """
    for side, group in groupby(retries, key=lambda retry: retry.side):
        of_side = list(group)
        reasons = ", ".join(f"{number(retry.calls)} {retry.reason}" for retry in of_side)
        calls = plural(sum(retry.calls for retry in of_side), "call")
        wait = duration(sum(retry.seconds for retry in of_side))
        yield f"{side}: {calls} retried ({reasons}), total wait {wait}"


def _incomplete(report: CollectionReport) -> bool:
    # A collection is finished only after all of it was copied.
    return report.outcome == "failed" and report.finishing_seconds is None


def _acknowledged(report: CollectionReport) -> bool:
    """Returns whether the target acknowledged all rows, though the collection is not complete."""
    ranges = report.ranges
    return 0 < ranges.total == ranges.copied + ranges.counted + ranges.proven


def _unknown(report: CollectionReport) -> bool:
    # If the target was not counted, no range was compared.
    uncompared = report.rows_target is None and report.ranges.copied == report.ranges.total
    failed = report.outcome == "failed" and not _incomplete(report)
    return failed and (uncompared or report.ranges.failed > 0)


def _unequal(report: CollectionReport) -> bool:
    return report.outcome == "failed" and not _incomplete(report) and not _unknown(report)


def _moved(report: CollectionReport) -> bool:
    """Whether rows that were inserted during the copy may be missing: only a sync finds them."""
    return bool(report.source_changed) and report.outcome == "copied" and report.snapshot is None


def _names(collections: Sequence[CollectionReport]) -> str:
    return listed([collection.name for collection in collections], most=NAMED)
