"""Progress in words: lines with time stamps, for anything that is not a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TextIO

from pipeline.console import logs
from pipeline.console.formatting import about, number, plural, size
from pipeline.display.job_progress import MOVING, UNDER_WAY, UNITS, Phase, PhaseProgress, View
from transforms.ledger.worker_limits import Side
from transforms.milvus.retries import Cause, Slowdown

LINE_EVERY_S = 10.0

_UNSAID: frozenset[Phase] = frozenset({"waiting", "queued"})

NAMED = 3
"""Collections that a line names; it counts the others."""


class Lines:
    """A line every `LINE_EVERY_S`, and one at each change of a collection's phase."""

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        self._stream, self._as_json = stream, as_json
        self._phases: dict[str, Phase] = {}
        self._next: float | None = None

    def show(self, view: View) -> None:
        """Writes what is due."""
        news = [
            collection
            for collection in view.collections
            if collection.phase not in _UNSAID | {self._phases.get(collection.name)}
        ]
        self._phases = {collection.name: collection.phase for collection in view.collections}
        for receipt in news:
            self._write(view.at, _changed(receipt), [receipt])
        if self._next is None:
            self._next = view.at + LINE_EVERY_S
        elif view.at >= self._next:
            self._next = view.at + LINE_EVERY_S
            if not news or _has_figures(view):  # Else all of it was said just now.
                self._sum(view)

    def _sum(self, view: View) -> None:
        slowdowns = {side: asdict(each) for side, each in view.slowdowns.items()}
        facts = {"slowdowns": slowdowns, "sent_again": sent_again(view)}
        self._write(view.at, _summed(view), [view.total, *under_way(view)], **facts)

    def close(self) -> None:
        """Does nothing: each line was written whole."""

    def _write(self, at: float, words: str, about: list[PhaseProgress], **others: Any) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        if self._as_json:
            facts = [{**asdict(each), "share": round(each.share, 4)} for each in about]
            words = logs.line(at, "info", words, progress=facts, **others)
        else:
            words = f"{stamp} {words}"
        print(words, file=self._stream, flush=True)


def _changed(standing: PhaseProgress) -> str:
    """Says which phase a collection has come to."""
    words: str = standing.phase
    match standing.phase:
        case "planning":
            words = "cutting key ranges"
        case "copying" | "reading" as moving:
            words = f"{moving} {plural(standing.rows_total, 'row')}"
        case "copied" | "read" as moved if standing.rows == standing.rows_total:
            words = f"{moved} {plural(standing.rows, 'row')}"  # Not with repeated keys.
        case "failed":
            words = "failed; the report says what and why"
    return f"{standing.name}: {words}"


def _has_figures(view: View) -> bool:
    """Whether there is more to say than the phases."""
    counts = view.total.phase in MOVING or any(done(progress) for progress in under_way(view))
    return counts or bool(view.slowdowns)


def _summed(view: View) -> str:
    """Says in a line where the whole job stands."""
    parts = []
    total = view.total
    if total.phase in MOVING:
        moved = "copied" if total.phase == "copying" else "read"
        words = [f"{moved} {done(total)}", rows_speed(total), bytes_speed(total), left(total)]
        parts.append(", ".join(filter(None, words)))
    others = [
        progress for progress in under_way(view) if progress.phase not in {"planning", *MOVING}
    ]
    parts.extend(f"{other.name}: {other.phase} {done(other)}".rstrip() for other in others[:NAMED])
    if len(others) > NAMED:
        parts.append(f"and {plural(len(others) - NAMED, 'more collection')}")
    return "; ".join([*(parts or [counted(view)]), *calls(view), *slowed(view.slowdowns)])


def done(standing: PhaseProgress) -> str:
    """Says how much of its phase a collection has behind it; "" where nothing is counted."""
    if standing.phase in ("copied", "read", "done"):
        return plural(standing.rows, "row")
    if not standing.total:
        return ""
    unit = UNITS.get(standing.phase, "")
    if unit == "%":
        return f"{standing.done} %"
    of = f"{number(standing.done)} of {number(standing.total)} {unit}"
    return f"{of} ({int(100 * standing.share)} %)"


def rows_speed(standing: PhaseProgress) -> str:
    """Says how many rows arrived in each of the last seconds."""
    return f"{standing.rows_per_second:,.0f} rows/s"


def bytes_speed(standing: PhaseProgress) -> str:
    """Says how many bytes arrived in each of the last seconds."""
    return f"{size(standing.bytes_per_second)}/s"


def left(standing: PhaseProgress) -> str:
    """Says how long a phase will last yet; "" where nothing can be said."""
    return "" if standing.left_s is None else f"{about(standing.left_s)} left"


_CAUSES: dict[Cause, str] = {
    "rate limit": "answers rate limit",
    "quota": "answers that a quota is used up",
    "overloaded": "has too much to do",
    "not ready": "is not ready",
    "not answered": "does not answer",
    "broken off": "breaks connections off",
    "no reason given": "fails without a reason",
    "answered late": "answers later than max_latency",
}


def slowed(slowdowns: Mapping[Side, Slowdown]) -> list[str]:
    """Says what keeps which side below full speed, and how far.

    >>> slowed({"target": Slowdown("rate limit", 0.4)})
    ['target answers rate limit, at 40 % of full speed']
    """
    return [
        f"{side} {_CAUSES[each.cause]}, at {100 * each.share:.0f} % of full speed"
        for side, each in slowdowns.items()
    ]


def calls(view: View) -> list[str]:
    """Says how many calls were sent again, if there are any."""
    again = sent_again(view)
    return [f"{plural(again, 'call')} sent again"] if again else []


def sent_again(view: View) -> int:
    """Returns how many calls, to both sides and for all reasons, were sent again."""
    return sum(each.calls for found in view.retries.values() for each in found.values())


def under_way(view: View) -> list[PhaseProgress]:
    """Returns the collections with which something is being done."""
    return [collection for collection in view.collections if collection.phase in UNDER_WAY]


def counted(view: View) -> str:
    """Says how many collections are in which phase: ``1 done, 2 copying``."""
    phases = Counter(collection.phase for collection in view.collections)
    return ", ".join(f"{count:,} {phase}" for phase, count in phases.items())
