"""Shows the progress of a running job: a live display on a terminal, else lines with timestamps.

It only reads the ledger, so it is the same for every runner. An error in the display is logged once
and never ends the job.
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
"""Largest share of the time for reading: a ledger with many receipts is read less often."""

JOIN_S = 5.0
"""How long the job waits at its end for a display that hangs on its ledger."""


class Display(Protocol):
    """Where progress is shown."""

    def show(self, view: View) -> None:
        """Shows the progress."""

    def close(self) -> None:
        """Restores the terminal."""


@contextmanager
def show_progress(
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
    """Shows the progress of one run of a job while the context is open.

    Args:
        quiet: whether nothing is shown.
        proves: whether the run verifies what it copied.
        purpose: what the run is for.
        metrics: where to serve Prometheus metrics, also if `quiet`: ``PORT`` or ``HOST:PORT``.
        stream: where to write, by default stderr: stdout is for results.

    Raises:
        ConfigError: the address for metrics cannot be listened on.
    """
    displays = [] if quiet else [choose(stream or sys.stderr, as_json=logs.are_json())]
    if metrics:
        from pipeline.display.metrics import Exporter

        displays.append(Exporter(metrics))
    if not displays:
        yield
        return
    job_progress = JobProgress(ledger, plan, run_id, proves=proves, purpose=purpose)
    follower = _Follower(job_progress, displays)
    follower.start()
    try:
        with interrupt.close_before_exit(follower.close):
            yield
    finally:
        follower.stop()


def choose(stream: TextIO, *, as_json: bool = False) -> Display:
    """Returns a live display for a terminal, and log lines for anything else."""
    console = Console(file=stream, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal and not as_json:
        return Moving(console)
    return Lines(stream, as_json=as_json)


class _Follower:
    """Reads the ledger in its own thread."""

    def __init__(self, job_progress: JobProgress, displays: list[Display]) -> None:
        self._job_progress, self._displays = job_progress, displays
        self._stopped, self._showing = threading.Event(), threading.RLock()
        self._warned = False
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(JOIN_S)

    def close(self) -> None:
        """Stops showing; any thread may call this, also repeatedly."""
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
        self._guarded(self._look)  # To show the last phases.
        self.close()

    def _look(self) -> None:
        view = self._job_progress.look(time.time())
        with self._showing:
            for display in self._displays:
                display.show(view)

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # noqa: BLE001 - the job matters, its display does not
            if not self._warned:
                self._warned = True
                logger.warning("the progress display failed; the job continues: %r", error)
