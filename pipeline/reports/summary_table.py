"""The summary table: what a job moved, collection by collection, and the verdict in words.

The lines are laid out here and not by rich's Table: a name that does not fit gets its own line
instead of being cut, and lines in a file have no trailing blanks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pipeline.console.formatting import number, plural, size
from pipeline.console.wrapping import wrap
from pipeline.reports import next_steps
from pipeline.reports.report_values import CollectionReport, Outcome, Report
from transforms.finding import Finding

NAMED = 10
"""Number of failures and differing keys on the console; report.json has more of them."""

STYLES: dict[Outcome, str] = {
    "proven": "green",
    "sampled": "green",
    "counted": "yellow",
    "copied": "yellow",
    "created": "yellow",
    "failed": "red",
}

_GAP = 2
_NAME_COLUMNS = 16
"""A collection gets one line if at least this many columns remain for its name, else two."""

_COUNTS = ("source", "keys", "read", "written", "target")
_SPEEDS = ("bytes", "seconds", "rows/s")
_COMPARED = ("rows copied", "ranges", "equal now")
_SIGNS = "- missing in the target, + only there, * differs, # more than once there"


class SummaryTable:
    """A report for the console, in the layout that fits the width."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = options.max_width
        for role, side in (("source", self._report.source), ("target", self._report.target)):
            for part in wrap(f"{role}: {side}", width):
                yield Text(part, "dim", no_wrap=True, overflow="ignore")
        yield ""
        if self._report.again:
            yield from _compared(self._report.collections, width)
        else:
            yield from _table(self._report.collections, width)
        yield ""
        for line in _notes(self._report):
            for part in wrap(line.plain, width):
                yield Text(part, line.style, no_wrap=True, overflow="ignore")


def _table(collections: Sequence[CollectionReport], width: int) -> Iterator[Text]:
    """Yields one line per collection if that fits, else two."""
    rows = [(*_counts(collection), *_speeds(collection)) for collection in collections]
    heads = (*_COUNTS, *_SPEEDS)
    if _room([heads, *rows], width) >= _NAME_COLUMNS:
        yield from _wide(collections, heads, rows, width)
    else:
        yield from _tall(collections, rows, width)


def _compared(collections: Sequence[CollectionReport], width: int) -> Iterator[Text]:
    """Yields a line per collection that was only compared: speeds would be those of the copy."""
    rows = [
        (
            number(collection.rows_written),
            number(collection.ranges.total),
            number(_equal(collection)),
        )
        for collection in collections
    ]
    yield from _wide(collections, _COMPARED, rows, width)


def _equal(report: CollectionReport) -> int:
    return report.ranges.proven + report.ranges.counted


def _room(rows: Sequence[Sequence[str]], width: int) -> int:
    """Returns how many columns remain for the names."""
    outcome = _GAP + max(len(word) for word in ("outcome", *STYLES))
    return width - sum(_widths(rows)) - outcome


def _wide(
    collections: Sequence[CollectionReport],
    heads: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    width: int,
) -> Iterator[Text]:
    widths = _widths([heads, *rows])
    room = max(0, min(_room([heads, *rows], width), _longest(collections)))
    yield _line("collection", heads, widths, room, "dim").append("  outcome", "dim")
    for collection, row in zip(collections, rows, strict=True):
        yield from _own_line(collection, room)
        line = _line(_fitting(collection, room), row, widths, room)
        yield line.append(" " * _GAP).append(collection.outcome, STYLES[collection.outcome])


def _tall(
    collections: Sequence[CollectionReport], rows: Sequence[tuple[str, ...]], width: int
) -> Iterator[Text]:
    below = ("", *_SPEEDS, "")
    pairs = [(row[:5], ("", *row[5:], "")) for row in rows]
    widths = _widths([_COUNTS, below, *(line for pair in pairs for line in pair)])
    room = max(0, min(width - sum(widths), _longest(collections)))
    yield _line("collection", _COUNTS, widths, room, "dim")
    yield _line("  outcome", below, widths, room, "dim")
    for collection, (counts, speeds) in zip(collections, pairs, strict=True):
        yield from _own_line(collection, room)
        yield _line(_fitting(collection, room), counts, widths, room)
        line = _line(f"  {collection.outcome}", speeds, widths, room)
        line.stylize(STYLES[collection.outcome], 0, room)
        yield line


def _longest(collections: Sequence[CollectionReport]) -> int:
    return max([_NAME_COLUMNS, *(cell_len(_name(collection)) for collection in collections)])


def _own_line(report: CollectionReport, room: int) -> Iterator[Text]:
    if cell_len(_name(report)) > room:
        yield Text(_name(report), no_wrap=True, overflow="ellipsis")


def _fitting(report: CollectionReport, room: int) -> str:
    return _name(report) if cell_len(_name(report)) <= room else ""


def _line(
    name: str, cells: Sequence[str], widths: Sequence[int], room: int, style: str = ""
) -> Text:
    padded = "".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    blanks = " " * (room - cell_len(name))
    return Text(f"{name}{blanks}{padded}".rstrip(), style=style, no_wrap=True)


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    return [_GAP + max(map(len, column)) for column in zip(*rows, strict=True)]


def _name(report: CollectionReport) -> str:
    renamed = report.target != report.name
    return f"{report.name} > {report.target}" if renamed else report.name


def _counts(report: CollectionReport) -> tuple[str, ...]:
    target = "-" if report.rows_target is None else number(report.rows_target)
    counts = (report.rows_source, report.keys, report.rows_read, report.rows_written)
    return (*map(number, counts), target)


def _speeds(report: CollectionReport) -> tuple[str, str, str]:
    speed = number(report.rows_per_second) if report.rows_per_second else "-"
    return size(report.bytes), f"{report.seconds:,.1f}", speed


def _notes(report: Report) -> Iterator[Text]:
    """Yields the notes on single collections, the verdict, its details, and the next steps."""
    yield from _capped(
        [note for collection in report.collections for note in _problems(collection)]
    )
    yield from _capped([_missing(finding) for finding in report.findings if finding.stops])
    yield from _capped([note for collection in report.collections for note in _details(collection)])
    yield from _capped([Text(line) for line in next_steps.retry_lines(report.retries)])
    yield Text(report.verdict, f"bold {STYLES[report.outcome]}")
    yield from _differing(report)
    yield from _failures(report)
    for step in report.next:
        yield Text(f"Next: {step}")


def _capped(notes: list[Text]) -> Iterator[Text]:
    yield from notes[:NAMED]
    if len(notes) > NAMED:
        yield Text(f"and {plural(len(notes) - NAMED, 'more note')}, in report.json")
    if notes:
        yield Text()


def _missing(finding: Finding) -> Text:
    return Text(f"[{finding.code}] {finding.where}: {finding.what}", "red")


def _problems(report: CollectionReport) -> Iterator[Text]:
    return (Text(f"{report.name}: {problem}", "red") for problem in report.problems)


def _details(report: CollectionReport) -> Iterator[Text]:
    if report.reshaped:
        yield Text(f"{report.name}: {'; '.join(report.reshaped)}")
    if report.repeats:
        yield Text(f"{report.name}: {next_steps.duplicate_words(report)}")
    if report.undecided:
        yield Text(
            f"{report.name}: {next_steps.undecided_keys(report.undecided)} in the source", "yellow"
        )
    for line in next_steps.unread_lines(report):
        yield Text(f"{report.name}: {line}", "yellow")
    if report.rejected:
        rejected = plural(report.rejected, "row")
        yield Text(f"{report.name}: the target rejected {rejected}", "yellow")
    if report.mended or report.deleted:
        yield Text(f"{report.name}: {next_steps.sync_words(report)}")
    if report.source_changed:
        yield Text(f"{report.name}: {report.source_changed}", "yellow")


def _differing(report: Report) -> Iterator[Text]:
    shown = report.differences[:NAMED]
    for name, keys in groupby(shown, key=lambda difference: difference.collection):
        yield Text(f"  {name}")
        yield from (Text(f"    {key}") for key in keys)
    if report.differences_total > len(shown):
        more = plural(report.differences_total - len(shown), "more key")
        yield Text(f"    and {more}, listed in report.json")
    if shown:
        yield Text(f"  ({_SIGNS})", "dim")


def _failures(report: Report) -> Iterator[Text]:
    shown = report.failures[:NAMED]
    yield from (Text(f"  {failure.range}: {failure.reason}") for failure in shown)
    if report.failures_total > len(shown):
        more = plural(report.failures_total - len(shown), "more range")
        yield Text(f"  and {more}, listed in report.json")
