"""Progress as lines with timestamps, for anything that is not a terminal.

A line has the form `collection: phase done/total (percent)`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from pipeline.console import logs
from pipeline.console.formatting import about, plural, size
from pipeline.display.job_progress import MOVING, UNDER_WAY, UNITS, Phase, PhaseProgress, View
from transforms.ledger.worker_limits import Side
from transforms.milvus.retry_statistics import Cause, Slowdown

LINE_EVERY_S = 10.0

_UNREPORTED: frozenset[Phase] = frozenset({"waiting", "queued"})

NAMED = 3
"""Number of collections that a line names; it counts the others."""


class Lines:
    """Writes a line every `LINE_EVERY_S`, and one whenever the phase of a collection changes."""

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        self._stream, self._as_json = stream, as_json
        self._phases: dict[str, Phase] = {}
        self._next: float | None = None

    def show(self, view: View) -> None:
        """Writes the lines that are due."""
        changed = [
            collection
            for collection in view.collections
            if collection.phase not in _UNREPORTED | {self._phases.get(collection.name)}
        ]
        self._phases = {collection.name: collection.phase for collection in view.collections}
        for progress in changed:
            self._write(view.at, _describe_change(progress), [progress])
        if self._next is None:
            self._next = view.at + LINE_EVERY_S
        elif view.at >= self._next:
            self._next = view.at + LINE_EVERY_S
            if not changed or _has_figures(view):  # Else the lines above say everything.
                self._sum(view)

    def _sum(self, view: View) -> None:
        slowdowns = {side: asdict(slowdown) for side, slowdown in view.slowdowns.items()}
        facts = {"slowdowns": slowdowns, "sent_again": retried_calls(view)}
        self._write(view.at, _describe_job(view), [view.total, *under_way(view)], **facts)

    def close(self) -> None:
        """Does nothing: each line is complete."""

    def _write(self, at: float, words: str, progresses: list[PhaseProgress], **others: Any) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        if self._as_json:
            facts = [
                {**asdict(progress), "share": round(progress.share, 4)} for progress in progresses
            ]
            words = logs.line(at, "info", words, progress=facts, **others)
        else:
            words = f"{stamp} {words}"
        print(words, file=self._stream, flush=True)


def _describe_change(progress: PhaseProgress) -> str:
    """Returns the line for a collection that has reached a new phase."""
    words: str = progress.phase
    match progress.phase:
        case "planning":
            words = "planning key ranges"
        case "copying" | "reading" as moving:
            words = f"{moving} {plural(progress.rows_total, 'row')}"
        case "copied" | "read" as moved if progress.rows == progress.rows_total:
            words = f"{moved} {plural(progress.rows, 'row')}"  # Not with duplicate keys.
        case "failed":
            words = f"failed, {progress.failure or 'see the report for the reason'}"
    return f"{progress.name}: {words}"


def _has_figures(view: View) -> bool:
    """Whether there are figures to show besides the phases."""
    counts = view.total.phase in MOVING or any(done(progress) for progress in under_way(view))
    return counts or bool(view.slowdowns)


def _describe_job(view: View) -> str:
    """Returns one line about the whole job."""
    parts = []
    total = view.total
    if total.phase in MOVING:
        phase = f"all collections: {total.phase} {done(total)}"
        words = [phase, rows_speed(total), bytes_speed(total), time_left(total)]
        parts.append(", ".join(filter(None, words)))
    others = [
        progress for progress in under_way(view) if progress.phase not in {"planning", *MOVING}
    ]
    parts.extend(f"{other.name}: {other.phase} {done(other)}".rstrip() for other in others[:NAMED])
    if len(others) > NAMED:
        parts.append(f"and {plural(len(others) - NAMED, 'more collection')}")
    parts = parts or [phase_counts(view)]
    return "; ".join([*parts, *retried_words(view), *slowdown_lines(view.slowdowns)])


def done(progress: PhaseProgress) -> str:
    """Returns how much of its phase a collection has done; "" if the phase counts nothing."""
    if progress.phase in ("copied", "read", "done"):
        return plural(progress.rows, "row")
    if not progress.total:
        return ""
    unit = UNITS.get(progress.phase, "")
    if unit == "%":
        return f"{progress.done} %"
    return fraction(progress.done, progress.total, unit)


def fraction(done: int, total: int, unit: str) -> str:
    """Returns a progress as a fraction, with its percentage.

    >>> fraction(20, 35, "rows"), fraction(0, 0, "rows")
    ('20/35 rows (57 %)', '0/0 rows')
    """
    percent = f" ({min(100, 100 * done // total)} %)" if total else ""
    return f"{done:,}/{total:,} {unit}{percent}"


def rows_speed(progress: PhaseProgress) -> str:
    """Returns the rows per second of the last seconds."""
    return f"{progress.rows_per_second:,.0f} rows/s"


def bytes_speed(progress: PhaseProgress) -> str:
    """Returns the bytes per second of the last seconds."""
    return f"{size(progress.bytes_per_second)}/s"


def time_left(progress: PhaseProgress) -> str:
    """Returns the time left in a phase; "" if it is unknown."""
    return "" if progress.left_s is None else f"{about(progress.left_s)} left"


_CAUSES: dict[Cause, str] = {
    "rate limit": "is rate-limiting",
    "quota": "reports that a quota is used up",
    "overloaded": "is overloaded",
    "not ready": "is not ready",
    "not answered": "does not answer",
    "broken off": "drops connections",
    "no reason given": "returns errors without a reason",
    "answered late": "answers slower than max_latency",
}


def slowdown_lines(slowdowns: Mapping[Side, Slowdown]) -> list[str]:
    """Returns for each side why calls to it run below full speed, and at which share of it.

    >>> slowdown_lines({"target": Slowdown("rate limit", 0.4)})
    ['target is rate-limiting; running at 40 % of full speed']
    """
    return [
        f"{side} {_CAUSES[slowdown.cause]}; running at {100 * slowdown.share:.0f} % of full speed"
        for side, slowdown in slowdowns.items()
    ]


def retried_words(view: View) -> list[str]:
    """Returns how many calls were retried; nothing if none was."""
    calls = retried_calls(view)
    return [f"{plural(calls, 'call')} retried"] if calls else []


def retried_calls(view: View) -> int:
    """Returns how many calls to both sides were retried, for any reason."""
    return sum(
        retried.calls for by_reason in view.retries.values() for retried in by_reason.values()
    )


def under_way(view: View) -> list[PhaseProgress]:
    """Returns the collections in an active phase."""
    return [collection for collection in view.collections if collection.phase in UNDER_WAY]


def phase_counts(view: View) -> str:
    """Returns how many collections are in each phase: ``1 done, 2 copying``."""
    phases = Counter(collection.phase for collection in view.collections)
    return ", ".join(f"{count:,} {phase}" for phase, count in phases.items())
