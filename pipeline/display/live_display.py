"""Live progress on a terminal: a bar for each collection, and the totals below."""

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
from pipeline.display.log_lines import (
    bytes_speed,
    done,
    phase_counts,
    retried_words,
    rows_speed,
    slowdown_lines,
    time_left,
)

WIDE_COLUMNS = 140
"""From this width on, a collection has one line; below, two."""

_STYLES: dict[Phase, str] = {"done": "green", "failed": "red", "waiting": "dim", "queued": "dim"}
_FOOT_LINES = 5
"""Lines below the collections: the totals, and the line with the cursor."""


class Moving:
    """A display that is redrawn in place and removed when the job ends."""

    def __init__(self, console: Console) -> None:
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            # Output that is redirected to a file must not go to the terminal.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._began: float | None = None
        self._diverted: list[logging.StreamHandler[Any]] = []

    def show(self, view: View) -> None:
        """Draws the progress."""
        if self._began is None:
            self._began = view.at
            self._start()
        self._live.update(Frame(view, view.at - self._began), refresh=True)

    def close(self) -> None:
        """Removes the display."""
        for handler in self._diverted:
            handler.setStream(self._live.console.file)
        self._live.stop()

    def _start(self) -> None:
        stream = self._live.console.file
        self._live.start()
        # An interrupted job ends at once, without showing the cursor again.
        self._live.console.show_cursor(True)
        # Log lines are printed above the display, not into it.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is stream:
                handler.setStream(sys.stderr)
                self._diverted.append(handler)


class Frame:
    """One frame of the display, in the layout that fits the terminal."""

    def __init__(self, view: View, elapsed_s: float) -> None:
        self._view, self._elapsed_s = view, elapsed_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE_COLUMNS
        slowdowns = slowdown_lines(self._view.slowdowns)
        room = max(1, options.size.height - _FOOT_LINES - len(slowdowns))
        shown = _fitting(self._view.collections, room, wide=wide)
        for progress in shown:
            yield from _row(progress, wide=wide)
        if len(self._view.collections) > 1:
            yield from _row(self._view.total, wide=wide)
        yield Text(self._foot(shown), "dim", no_wrap=True, overflow="ellipsis")
        for line in slowdowns:
            yield Text(line, "yellow", no_wrap=True, overflow="ellipsis")
        yield ""  # For the cursor, and for the shell prompt after an interrupted job.

    def _foot(self, shown: Sequence[PhaseProgress]) -> str:
        hidden = sum(
            collection.phase in UNDER_WAY
            for collection in self._view.collections
            if collection not in shown
        )
        note = f" ({number(hidden)} of them not shown)" if hidden else ""
        words = [f"{phase_counts(self._view)}{note}", *retried_words(self._view)]
        return f"{clock(self._elapsed_s)}  {'; '.join(words)}"


def _fitting(progresses: Sequence[PhaseProgress], room: int, *, wide: bool) -> list[PhaseProgress]:
    """Returns all collections if they fit, else as many active ones as fit."""
    if sum(_height(progress, wide=wide) for progress in progresses) <= room:
        return list(progresses)
    under_way = [progress for progress in progresses if progress.phase in UNDER_WAY]
    heights = accumulate(_height(progress, wide=wide) for progress in under_way)
    return [progress for progress, height in zip(under_way, heights, strict=True) if height <= room]


def _height(progress: PhaseProgress, *, wide: bool) -> int:
    return 1 if wide or progress.phase not in UNDER_WAY else 2


def _row(progress: PhaseProgress, *, wide: bool) -> Iterator[RenderableType]:
    if wide:
        yield _wide(progress)
        return
    yield _first(progress)
    if progress.phase in UNDER_WAY:
        yield _second(progress)


def _wide(progress: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(width=28, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(ratio=1)
    for width in (38, 16, 10, 15):
        grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_row(
        _name(progress), _phase(progress), _bar(progress), done(progress), *_speeds(progress)
    )
    return grid


def _first(progress: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    grid.add_column(width=9, no_wrap=True)
    grid.add_column(width=38, justify="right", no_wrap=True)
    grid.add_row(_name(progress), _phase(progress), done(progress))
    return grid


def _second(progress: PhaseProgress) -> Table:
    grid = _grid()
    grid.add_column(ratio=1)
    for width in (16, 10, 15):
        grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_row(_bar(progress), *_speeds(progress))
    return grid


def _grid() -> Table:
    return Table.grid(expand=True, padding=(0, 1), pad_edge=False)


def _name(progress: PhaseProgress) -> Text:
    return Text(progress.name, "bold" if progress.phase in UNDER_WAY else "")


def _phase(progress: PhaseProgress) -> Text:
    return Text(progress.phase, _STYLES.get(progress.phase, ""))


def _bar(progress: PhaseProgress) -> RenderableType:
    if not progress.total:
        return ""
    return _Bar(progress.share)


class _Bar:
    """A bar whose rest is visible without colour too."""

    def __init__(self, share: float) -> None:
        self._share = share

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        full, rest = "#." if options.ascii_only else "━·"
        width = options.max_width
        filled = int(width * self._share)
        yield Text.assemble((full * filled, "cyan"), (rest * (width - filled), "dim"))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(4, options.max_width)


def _speeds(progress: PhaseProgress) -> tuple[str, str, str]:
    if progress.phase not in MOVING:
        return "", "", time_left(progress)
    return rows_speed(progress), bytes_speed(progress), time_left(progress)
