"""Shows how far a job is, while it runs: a display on a terminal, else lines with time stamps.

It only reads the ledger, so it is the same for every runner. Whatever goes wrong in here is said
once and never ends the job.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from rich.console import Console

from pipeline.console import interrupt, logs
from pipeline.display.job_progress import JobProgress, View
from pipeline.display.live_display import Moving
from pipeline.display.log_lines import Lines
from pipeline.planning.planner import Purpose
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan

logger = logging.getLogger(__name__)

DRAW_EVERY_S = 0.5
LOOK_SHARE = 0.1
"""Looking may take this share of the time: a ledger of many receipts is looked at less often."""

JOIN_S = 5.0
"""A display that hangs on its ledger is left behind."""


class Display(Protocol):
    """Where progress is shown."""

    def show(self, view: View) -> None:
        """Shows where the job stands now."""

    def close(self) -> None:
        """Leaves the terminal as it was."""


@contextmanager
def following(
    ledger: Ledger,
    plan: Plan,
    run_id: str,
    *,
    quiet: bool = False,
    proves: bool = True,
    purpose: Purpose = "copy",
    metrics: str = "",
    stream: TextIO | None = None,
) -> Iterator[None]:
    """Shows the progress of one run of a job for as long as the context lasts.

    Args:
        quiet: whether nothing is shown.
        proves: whether the run verifies what it copied.
        purpose: what the run is for.
        metrics: where Prometheus finds the same, be it quiet or not: ``PORT`` or ``HOST:PORT``.
        stream: stderr if None; results belong to stdout.

    Raises:
        ConfigError: nothing can listen there.
    """
    displays = [] if quiet else [choose(stream or sys.stderr, as_json=logs.are_json())]
    if metrics:
        from pipeline.display.metrics import Exporter

        displays.append(Exporter(metrics))
    if not displays:
        yield
        return
    tally = JobProgress(ledger, plan, run_id, proves=proves, purpose=purpose)
    follower = _Follower(tally, displays)
    follower.start()
    try:
        with interrupt.closing(follower.close):
            yield
    finally:
        follower.stop()


def choose(stream: TextIO, *, as_json: bool = False) -> Display:
    """Returns a moving display for a terminal, lines for anything else."""
    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and not as_json:
        return Moving(console)
    return Lines(stream, as_json=as_json)


class _Follower:
    """Looks at the ledger from a thread of its own."""

    def __init__(self, tally: JobProgress, displays: list[Display]) -> None:
        self._tally, self._displays = tally, displays
        self._stopped, self._showing = threading.Event(), threading.RLock()
        self._said = False
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(JOIN_S)

    def close(self) -> None:
        """Shows nothing more; any thread may say so, and more than once."""
        with self._showing:
            displays, self._displays = self._displays, []
            for display in displays:
                self._guarded(display.close)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            began = time.monotonic()
            self._guarded(self._look)
            took = time.monotonic() - began
            self._stopped.wait(max(DRAW_EVERY_S, took / LOOK_SHARE))
        self._guarded(self._look)  # The last phases are worth saying.
        self.close()

    def _look(self) -> None:
        view = self._tally.look(time.time())
        with self._showing:
            for display in self._displays:
                display.show(view)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the job matters, its display does not
            if not self._said:
                self._said = True
                logger.warning("the progress display has a problem, the job goes on: %r", error)
