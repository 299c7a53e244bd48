"""The numbers of the charts in report.html: strips of ranges, speed, and times of the phases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.console.formatting import plural
from pipeline.reports.ledger_facts import CollectionEvidence, Evidence, RangeEvidence, RangeState
from transforms.ledger.receipts import Receipt

CELLS = 240
"""Cells of a strip. With more ranges, neighbours share a cell, which shows the worst state."""

STEPS = 120
RECEIPTS_A_STEP = 3
"""Points of the speed curve, and the receipts that a point needs: with fewer, it only jumps."""

PAUSE_S = 300.0
"""A verdict that is recorded later than this after the copy belongs to a later run."""

WORST_FIRST: tuple[RangeState, ...] = ("failed", "open", "unequal", "copied", "counted", "proven")


@dataclass(frozen=True)
class StripCell:
    """One or more neighbouring ranges; `left` and `width` are in percent of the strip."""

    left: float
    width: float
    state: RangeState
    title: str


@dataclass(frozen=True)
class PhaseSpan:
    """A phase on the time axis; `left` and `width` are in percent of the axis."""

    name: str
    left: float
    width: float
    seconds: float


@dataclass(frozen=True)
class SpeedChart:
    """Rows a second over time.

    `points` are (x, y) in percent of the time axis and of `peak`; `began` and `ended` are in
    seconds since 1970.
    """

    points: tuple[tuple[float, float], ...]
    peak: float
    began: float
    ended: float


def strip(evidence: CollectionEvidence) -> list[StripCell]:
    """Returns the ranges of a collection as cells, in the order of their keys."""
    ranges = evidence.ranges or ()
    size = -(-len(ranges) // CELLS) or 1
    groups = [ranges[start : start + size] for start in range(0, len(ranges), size)]
    return [_cell(group, index, 100 / len(groups)) for index, group in enumerate(groups)]


def _cell(group: Sequence[RangeEvidence], index: int, width: float) -> StripCell:
    state = min((key_range.state for key_range in group), key=WORST_FIRST.index)
    first = next(key_range for key_range in group if key_range.state == state)
    title = f"{first.planned}: {state}, {plural(first.rows, 'row')}"
    if len(group) > 1:
        title = f"{plural(len(group), 'range')}, worst: {title}"
    return StripCell(index * width, width, state, title)


def speed(evidence: Evidence) -> SpeedChart | None:
    """Returns the copy speed over time; None if all receipts have the same time."""
    receipts = [receipt for collection in evidence.collections for receipt in collection.receipts]
    times = [receipt.at for receipt in receipts]
    times += [
        collection.began for collection in evidence.collections if collection.began is not None
    ]
    if not receipts or max(times) <= min(times):
        return None
    began, ended = min(times), max(times)
    steps = max(2, min(STEPS, len(receipts) // RECEIPTS_A_STEP))
    rows = _rows_by_step(receipts, began, (ended - began) / steps, steps)
    peak = max(rows)
    if not peak:
        return None
    points = tuple((100 * step / (steps - 1), 100 * n / peak) for step, n in enumerate(rows))
    return SpeedChart(points, peak * steps / (ended - began), began, ended)


def _rows_by_step(
    receipts: Iterable[Receipt], began: float, step_s: float, steps: int
) -> list[int]:
    rows = [0] * steps
    for receipt in receipts:
        rows[min(steps - 1, int((receipt.at - began) / step_s))] += receipt.rows
    return rows


def phases(evidence: CollectionEvidence, began: float, ended: float) -> list[PhaseSpan]:
    """Returns when a collection was copied, finished and proven; `began` to `ended` is the axis."""
    whole = ended - began
    if whole <= 0:
        return []
    spans = _spans(evidence)
    return [
        PhaseSpan(name, 100 * (first - began) / whole, 100 * (last - first) / whole, last - first)
        for name, first, last in spans
        if last > first
    ]


def _spans(evidence: CollectionEvidence) -> Iterator[tuple[str, float, float]]:
    copied = [receipt.at for receipt in evidence.receipts]
    if copied:
        began = evidence.began if evidence.began is not None else min(copied)
        yield "copying", began, max(copied)
    if done := evidence.finished:
        yield "finishing", done.at - done.seconds, done.at
    if judged := [verdict.at for verdict in evidence.verdicts]:
        # A verdict is recorded at the end of its range.
        first = min(judged)
        if done and 0 < first - done.at < PAUSE_S:
            first = done.at
        yield "proving", first, max(judged)
