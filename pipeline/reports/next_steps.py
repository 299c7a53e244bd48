"""The outcome of a job in words: what it means, and what to do next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType

from pipeline.console.formatting import duration, instant, listed, number, plural
from pipeline.reports.outcome import CollectionReport, Outcome, Retry, sides, worst
from transforms.ledger.ledger import Sign
from transforms.milvus.endpoint import FILES
from transforms.plan import Finding, Plan

NAMED = 3
"""Collections that a sentence names before it only counts them."""

_WORDS: dict[Outcome, str] = {
    "proven": "Proven: every row that was read is in the target with the same content",
    "sampled": (
        "Sampled: every row that was read is in the target by count, and what was compared has the "
        "same content"
    ),
    "counted": "Counted: the target holds as many rows as were read; not all content was compared",
    "copied": "Copied: the target acknowledged every row that was read; not all was verified",
}


_ROWS_LEFT = ("unreadable-rows", "vanished-rows")
"""Codes of findings about rows that were not read."""


_WEAKER: tuple[Outcome, ...] = ("sampled", "counted", "copied")
"""Outcomes that a comparison of all content may improve."""


def verdict(collections: Sequence[CollectionReport], missing: Sequence[Finding] = ()) -> str:
    """Says the outcome of a job in a sentence; `missing` are the findings that keep it from 0."""
    outcome = worst([collection.outcome for collection in collections])
    failed = [collection for collection in collections if collection.outcome == "failed"]
    many = plural(len(collections), "collection")
    if failed:
        they = "it" if len(failed) == 1 else "they"
        share = f"{number(len(failed))} of {many}"
        return f"Failed: {share} did not arrive as {they} should: {_names(failed)}."
    sums = [many, plural(sum(collection.keys for collection in collections), "row")]
    if (
        0
        < (proven := sum(collection.outcome == "proven" for collection in collections))
        < len(collections)
    ):
        sums.append(f"{number(proven)} of them proven")
    rejected = sum(collection.rejected for collection in collections)
    but = f", but for {plural(rejected, 'rejected row')}" if rejected else ""
    if features := [each for each in missing if each.code not in _ROWS_LEFT]:
        but += (
            f", but {plural(len(features), 'index or alias is', 'indexes or aliases are')} missing"
        )
    if left := sum(collection.hidden + collection.vanished for collection in collections):
        but += f", but {plural(left, 'row')} of the source could not be read"
    if collections and (
        taken := [collection.snapshot for collection in collections if collection.snapshot]
    ):
        sums.append(f"as of {instant(min(taken))}")
    return f"{_WORDS[outcome]}{but} ({', '.join(sums)})."


def steps(
    collections: Sequence[CollectionReport],
    plan: Plan,
    missing: Sequence[Finding] = (),
    *,
    read_until: str = "",
    signs: Mapping[str, Collection[Sign]] = MappingProxyType({}),
) -> Iterator[str]:
    """Says what to do next, the most urgent first.

    `missing` is what the target has not made, `read_until` is when the source was read, where that
    was before this run. `signs` are those of the keys that differ, by collection.
    """
    yield from _mending(collections, signs)
    if rejected := [collection for collection in collections if collection.rejected]:
        yield (
            f"The target refused {plural(sum(each.rejected for each in rejected), 'row')} of "
            f"{_names(rejected)}; rejected.parquet in the job's folder holds them and the reasons. "
            "Mend the reason, then `kitelift replay` sends them again."
        )
    if changed := [collection for collection in collections if collection.source_changed]:
        yield (
            f"{_names(changed)} changed {'since' if read_until else 'while being copied'}, so "
            "later writes may be missing in the target. Where they matter: stop the writes, then "
            "`kitelift sync` carries them over."
        )
    outcome = worst([collection.outcome for collection in collections])
    left = [collection for collection in collections if collection.hidden or collection.vanished]
    yield from _vanished(collections)
    if features := [each for each in missing if each.code not in _ROWS_LEFT]:
        yield _without(features)
    elif left:
        pass
    elif any(
        collection.outcome in _WEAKER and not _moved(collection) for collection in collections
    ):
        yield from _proof(plan)
    if outcome == "proven" and not changed and not rejected and not missing:
        yield _unread(read_until) if read_until else _use(plan)


def _mending(
    collections: Sequence[CollectionReport], signs: Mapping[str, Collection[Sign]]
) -> Iterator[str]:
    """Says what to do about collections that failed."""
    if incomplete := [collection for collection in collections if _incomplete(collection)]:
        yield (
            "Fix what the reasons above name, then run the same command again: it copies only what "
            f"is missing of {_names(incomplete)}."
        )
    if unknown := [collection for collection in collections if _unknown(collection)]:
        yield (
            f"Run `kitelift verify`: it compares again what of {_names(unknown)} could not be "
            "compared, and copies nothing."
        )
    unequal = [collection for collection in collections if _unequal(collection)]
    extra = [each for each in unequal if {*signs.get(each.name, ())} == {"+"}]
    if extra:
        yield (
            f"Rows of {_names(extra)} are only in the target: the source does not have their "
            "keys. If the target is to equal the source, stop all writes to both sides, then run "
            "`kitelift sync --delete`: it removes these rows."
        )
    if others := [each for each in unequal if each not in extra]:
        extra_too = any("+" in signs.get(other.name, ()) for other in others)
        rest = " Rows that only the target has stay; `kitelift sync --delete` removes them, too."
        yield (
            f"Do not use {_names(others)} in the target yet. Stop all writes to both sides, then "
            "run `kitelift sync`: it makes the target equal to the source, range by range."
            + (rest if extra_too else "")
        )


def _vanished(collections: Sequence[CollectionReport]) -> Iterator[str]:
    """Says what to do about rows of a snapshot that could not be read any more."""
    if vanished := [collection for collection in collections if collection.vanished]:
        yield (
            f"Rows of {_names(vanished)} were deleted, replaced or expired after the snapshot and "
            "before they were read. Run `kitelift sync`: it compares the target with the source "
            "as it is now and copies the changes. If those rows do not matter, run the same "
            "command with --accept=vanished-rows."
        )


def _without(missing: Sequence[Finding]) -> str:
    """Says how to come by what the target has not made, or to do without it."""
    few = len(missing) <= NAMED
    codes = ",".join(each.code for each in missing) if few else "CODE, for each of these codes"
    return (
        "Mend what keeps the target from making what is missing, or make it by hand; then run the "
        "same command again: it copies no row twice, and proves what it can read. Or do without: "
        f"the same command with --accept={codes}"
    )


def _proof(plan: Plan) -> Iterator[str]:
    """Says how what was copied can be proven."""
    if not plan.settings.get("sink.Milvus.create_index", True):
        yield (
            "Create the indexes in the target: this job makes none (`create_index = false`), "
            "and without them nothing can be loaded and compared."
        )
    yield (
        'Run `kitelift verify` with `env.verify = "full"`: it compares the content of every '
        "row and copies nothing."
    )


def _unread(read_until: str) -> str:
    """Says what a comparison with the receipts of a copy cannot see."""
    return (
        f"The target is as the source was on {read_until}. The source was not read again: "
        "`kitelift sync` finds what was written there since, and carries it over."
    )


def _use(plan: Plan) -> str:
    """Says what the target is good for now."""
    if plan.target_url.startswith(FILES):
        folder = plan.target_url.removeprefix(FILES)
        return f"Bring {folder} to where a job reads it: source {{ Parquet {{ path = … }} }}."
    _, target = sides(plan)
    names = [collection.target for collection in plan.collections]
    what = f"collection{'s' if len(names) > 1 else ''} {listed(names, most=NAMED)}"
    where = f"database {target.database} of {target.url}"
    return f"Nothing is left to do: applications may use {what} in {where}."


def noticed(report: CollectionReport, *, hidden: int = 0) -> Iterator[Finding]:
    """Yields what the copy of one collection showed, as findings.

    `hidden` are the rows that the source shows to no query and preflight did not know of.
    """
    yield from _not_read(report, hidden)
    yield from _read_otherwise(report)
    if report.rejected:
        yield Finding(
            code="rejected-rows",
            where=report.name,
            what=f"{plural(report.rejected, 'row')} refused by the target.",
            remedy="Mend the reason, then `kitelift replay` sends them again.",
            severity="warning",
        )
    if report.mended or report.deleted:
        yield Finding("mended", report.name, f"{mended(report)}.", severity="info")
    if report.doubled:
        yield Finding(
            code="may-be-doubled",
            where=report.name,
            what=f"up to {plural(report.doubled, 'row')} may stand twice in the target: the "
            "connection broke after a write was sent, and the target makes its own keys.",
            severity="warning",
        )


def _not_read(report: CollectionReport, hidden: int) -> Iterator[Finding]:
    """Yields what is not in the target, as it could not be read."""
    if hidden > 0:
        yield Finding(
            code="unreadable-rows",
            where=report.name,
            what=f"the source counts {plural(hidden, 'row')} that it shows to no query; they are "
            "not in the target.",
            acceptable=True,
        )
    if report.vanished:
        yield Finding(
            code="vanished-rows",
            where=report.name,
            what=f"{plural(report.vanished, 'row')} of the snapshot were gone before they were "
            "read: deleted or replaced after it, or expired (TTL).",
            remedy="Run `kitelift sync`, or accept it with --accept=vanished-rows.",
            acceptable=True,
        )


def _read_otherwise(report: CollectionReport) -> Iterator[Finding]:
    """Yields why the rows that were read are not as many as the source counts."""
    if report.repeats:
        yield Finding(
            code="repeated-keys",
            where=report.name,
            what=f"{repeats(report)}; of each key one row was copied, as the source shows it.",
            severity="warning",
        )
    if report.source_changed:
        yield Finding(
            "source-changed", report.name, f"{report.source_changed}.", severity="warning"
        )


def uncounted(name: str) -> Finding:
    """Says that a comparison with what was copied earlier has not looked at the source at all."""
    return Finding(
        code="source-not-counted",
        where=name,
        what="it is not loaded in the source, so whether rows came or went there is not known.",
        severity="info",
    )


def left_behind(report: CollectionReport) -> Iterator[str]:
    """Says which rows of a collection the source counted and were not read."""
    if report.hidden:
        yield f"{plural(report.hidden, 'row')} that the source counts and shows to no query"
    if report.vanished:
        gone = plural(report.vanished, "row")
        yield f"{gone} of the snapshot were deleted, replaced or expired before they were read"


def repeats(report: CollectionReport) -> str:
    """Takes the rows of a source with repeated keys apart.

    >>> repeats(CollectionReport("a", "a", "proven", 12, 10, 2, 10, 10, 10, 0, 0.0, 0))
    '12 = 10 keys + 2 repeats'
    """
    rows = report.keys + report.repeats
    parts = f"{plural(report.keys, 'key')} + {plural(report.repeats, 'repeat')}"
    return f"{number(rows)} = {parts}"


def mended(report: CollectionReport) -> str:
    """Says what a sync did to make a collection equal."""
    written, deleted = plural(report.mended, "row"), plural(report.deleted, "row")
    return f"{written} written and {deleted} deleted to make the target equal"


def asked_again(retries: Iterable[Retry]) -> Iterator[str]:
    """Says how often each side was asked again, why, and what was waited.

    >>> for line in asked_again([Retry("target", "not ready", 3, 1.5)]):
    ...     print(line)
    target: 3 calls sent again (3 not ready); they waited 1.5 s in all
    """
    for side, found in groupby(retries, key=lambda retry: retry.side):
        each_reason = list(found)
        reasons = ", ".join(f"{number(each.calls)} {each.reason}" for each in each_reason)
        calls = plural(sum(each.calls for each in each_reason), "call")
        waited = duration(sum(each.seconds for each in each_reason))
        yield f"{side}: {calls} sent again ({reasons}); they waited {waited} in all"


def _incomplete(report: CollectionReport) -> bool:
    # A collection is finished only once all of it is copied.
    return report.outcome == "failed" and report.finishing_seconds is None


def _unknown(report: CollectionReport) -> bool:
    # Of what was not even counted, no range was compared.
    unseen = report.rows_target is None and report.ranges.copied == report.ranges.total
    failed = report.outcome == "failed" and not _incomplete(report)
    return failed and (unseen or report.ranges.failed > 0)


def _unequal(report: CollectionReport) -> bool:
    return report.outcome == "failed" and not _incomplete(report) and not _unknown(report)


def _moved(report: CollectionReport) -> bool:
    """Whether rows may be missing that came while it was copied: only a sync finds those."""
    return bool(report.source_changed) and report.outcome == "copied" and report.snapshot is None


def _names(collections: Sequence[CollectionReport]) -> str:
    return listed([collection.name for collection in collections], most=NAMED)
