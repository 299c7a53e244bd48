"""Progress that moves: a bar for each collection on a terminal, and the sums below."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from pipeline.console.formatting import clock, number
from pipeline.display.job_progress import MOVING, UNDER_WAY, Phase, PhaseProgress, View
from pipeline.display.log_lines import bytes_speed, calls, counted, done, left, rows_speed, slowed

WIDE_COLUMNS = 140
"""From this width on, a collection is one line; below, two."""

_STYLES: dict[Phase, str] = {"done": "green", "failed": "red", "waiting": "dim", "queued": "dim"}
_FOOT_LINES = 5
"""The sums below the collections, and the line that the cursor stands in."""


class Moving:
    """A display that is drawn in place, and gone once the job has ended."""

    def __init__(self, console: Console) -> None:
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            # What goes into a file must not end up on the terminal instead.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._began: float | None = None
        self._diverted: list[logging.StreamHandler[Any]] = []

    def show(self, view: View) -> None:
        """Draws where the job stands."""
        if self._began is None:
            self._began = view.at
            self._start()
        self._live.update(Frame(view, view.at - self._began), refresh=True)

    def close(self) -> None:
        """Takes the display away."""
        for handler in self._diverted:
            handler.setStream(self._live.console.file)
        self._live.stop()

    def _start(self) -> None:
        stream = self._live.console.file
        self._live.start()
        # An interrupted job ends at once, and nobody would show the cursor again.
        self._live.console.show_cursor(True)
        # Log lines go above the display and not through it.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(sys.stderr)
                self._diverted.append(handler)


class Frame:
    """One picture of a job; takes the form that fits the terminal."""

    def __init__(self, view: View, elapsed_s: float) -> None:
        self._view, self._elapsed_s = view, elapsed_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE_COLUMNS
        slow = slowed(self._view.slowdowns)
        room = max(1, options.size.height - _FOOT_LINES - len(slow))
        shown = _fitting(self._view.collections, room, wide=wide)
        for each in shown:
            yield from _row(each, wide=wide)
        if len(self._view.collections) > 1:
            yield from _row(self._view.total, wide=wide)
        yield Text(self._foot(shown), "dim", no_wrap=True, overflow="ellipsis")
        for line in slow:
            yield Text(line, "yellow", no_wrap=True, overflow="ellipsis")
        yield ""  # Where the cursor stands, and the prompt of a shell after an interrupted job.

    def _foot(self, shown: Sequence[PhaseProgress]) -> str:
        hidden = sum(
            collection.phase in UNDER_WAY
            for collection in self._view.collections
            if collection not in shown
        )
        note = f" ({number(hidden)} of them not shown)" if hidden else ""
        words = [f"{counted(self._view)}{note}", *calls(self._view)]
        return f"{clock(self._elapsed_s)}  {'; '.join(words)}"


def _fitting(standings: Sequence[PhaseProgress], room: int, *, wide: bool) -> list[PhaseProgress]:
    """Returns all collections where there is room, else those under way, as many as fit."""
    if sum(_height(standing, wide=wide) for standing in standings) <= room:
        return list(standings)
    under_way = [standing for standing in standings if standing.phase in UNDER_WAY]
    heights = accumulate(_height(progress, wide=wide) for progress in under_way)
    return [each for each, height in zip(under_way, heights, strict=True) if height <= room]


def _height(standing: PhaseProgress, *, wide: bool) -> int:
    return 1 if wide or standing.phase not in UNDER_WAY else 2


def _row(standing: PhaseProgress, *, wide: bool) -> Iterator[RenderableType]:
    if wide:
        yield _wide(standing)
        return
    yield _first(standing)
    if standing.phase in UNDER_WAY:
        yield _second(standing)


def _wide(standing: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(width=28, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(ratio=1)
    for width in (38, 16, 10, 15):
        grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_row(
        _name(standing), _phase(standing), _bar(standing), done(standing), *_speeds(standing)
    )
    return grid


def _first(standing: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(width=38, justify="right", no_wrap=True)
    grid.add_row(_name(standing), _phase(standing), done(standing))
    return grid


def _second(standing: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(ratio=1)
    for width in (16, 10, 15):
        grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_row(_bar(standing), *_speeds(standing))
    return grid


def _grid() -> Table:
    return Table.grid(expand=True, padding=(0, 1), pad_edge=False)


def _name(standing: PhaseProgress) -> Text:
    return Text(standing.name, "bold" if standing.phase in UNDER_WAY else "")


def _phase(standing: PhaseProgress) -> Text:
    return Text(standing.phase, _STYLES.get(standing.phase, ""))


def _bar(standing: PhaseProgress) -> RenderableType:
    if not standing.total:
        return ""
    return _Bar(standing.share)


class _Bar:
    """A bar of which the rest can be told without colour too."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, rest = "#." if options.ascii_only else "━·"
        width = options.max_width
        filled = int(width * self._share)
        yield Text.assemble((full * filled, "cyan"), (rest * (width - filled), "dim"))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, options.max_width)


def _speeds(standing: PhaseProgress) -> tuple[str, str, str]:
    if standing.phase not in MOVING:
        return "", "", left(standing)
    return rows_speed(standing), bytes_speed(standing), left(standing)
