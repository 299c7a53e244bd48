"""Progress in words: lines with time stamps, for anything that is not a terminal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import TextIO

from pipeline import logs
from pipeline.display.tally import UNDER_WAY, UNITS, Phase, Standing, View
from pipeline.words import about, number, plural, size
from transforms.pacing import Side

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
        for each in view.collections:
            if each.phase not in _UNSAID | {self._phases.get(each.name)}:
                self._write(view.at, _changed(each), [each])
            self._phases[each.name] = each.phase
        if self._next is None:
            self._next = view.at + LINE_EVERY_S
        elif view.at >= self._next:
            self._next = view.at + LINE_EVERY_S
            self._write(view.at, _summed(view), [view.total, *under_way(view)])

    def close(self) -> None:
        """Does nothing: each line was written whole."""

    def _write(self, at: float, words: str, about: list[Standing]) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
        if self._as_json:
            facts = [{**asdict(each), "share": round(each.share, 4)} for each in about]
            words = logs.line(at, "info", words, progress=facts)
        else:
            words = f"{stamp} {words}"
        print(words, file=self._stream, flush=True)


def _changed(standing: Standing) -> str:
    """Says which phase a collection has come to."""
    words: str = standing.phase
    match standing.phase:
        case "planning":
            words = "cutting key ranges"
        case "copying":
            words = f"copying {plural(standing.rows_total, 'row')}"
        case "copied" if standing.rows == standing.rows_total:  # Not with repeated keys.
            words = f"copied {plural(standing.rows, 'row')}"
        case "failed":
            words = "failed; the report says what and why"
    return f"{standing.name}: {words}"


def _summed(view: View) -> str:
    """Says in a line where the whole job stands."""
    parts = []
    if view.total.phase == "copying":
        total = view.total
        words = [f"copied {done(total)}", rows_speed(total), bytes_speed(total), left(total)]
        parts.append(", ".join(filter(None, words)))
    others = [each for each in under_way(view) if each.phase not in ("planning", "copying")]
    parts.extend(f"{each.name}: {each.phase} {done(each)}".rstrip() for each in others[:NAMED])
    if len(others) > NAMED:
        parts.append(f"and {plural(len(others) - NAMED, 'more collection')}")
    return "; ".join([*(parts or [counted(view)]), *patience(view.pauses_s)])


def done(standing: Standing) -> str:
    """Says how much of its phase a collection has behind it; "" where nothing is counted."""
    if standing.phase in ("copied", "done"):
        return plural(standing.rows, "row")
    if not standing.total:
        return ""
    unit = UNITS.get(standing.phase, "")
    if unit == "%":
        return f"{standing.done} %"
    of = f"{number(standing.done)} of {number(standing.total)} {unit}"
    return f"{of} ({int(100 * standing.share)} %)"


def rows_speed(standing: Standing) -> str:
    """Says how many rows arrived in each of the last seconds."""
    return f"{standing.rows_per_second:,.0f} rows/s"


def bytes_speed(standing: Standing) -> str:
    """Says how many bytes arrived in each of the last seconds."""
    return f"{size(standing.bytes_per_second)}/s"


def left(standing: Standing) -> str:
    """Says how long a phase will last yet; "" where nothing can be said."""
    return "" if standing.left_s is None else f"{about(standing.left_s)} left"


def patience(pauses_s: Mapping[Side, float]) -> list[str]:
    """Says which side asks Kitelift to slow down, and how much it does."""
    return [
        f"{side} asks for patience, {pause_s:.1f} s between calls"
        for side, pause_s in pauses_s.items()
    ]


def under_way(view: View) -> list[Standing]:
    """Returns the collections with which something is being done."""
    return [each for each in view.collections if each.phase in UNDER_WAY]


def counted(view: View) -> str:
    """Says how many collections are in which phase: ``1 done, 2 copying``."""
    phases = Counter(each.phase for each in view.collections)
    return ", ".join(f"{count:,} {phase}" for phase, count in phases.items())
