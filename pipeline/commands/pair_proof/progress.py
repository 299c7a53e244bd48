"""Progress lines of a proof: `collection: phase done/total (percent)`."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TextIO

from pipeline.console import logs
from pipeline.console.wrapping import fit_to_terminal
from transforms.errors import MigrationError
from transforms.ledger.ledger import Ledger

EVERY_S = 2.0
"""Shortest time between two lines of a phase."""


PHASES = ("planning", "copying", "flushing", "indexing", "loading", "proving", "done")
"""The phases of a collection, in order."""


def slowest(phases: Iterable[str]) -> tuple[str, int]:
    """Returns the phase of the slowest collection, and how many have passed it.

    >>> slowest(["loading", "done", "flushing", "flushing"]), slowest([])
    (('flushing', 2), ('starting', 0))
    """
    places = sorted(PHASES.index(phase) for phase in phases if phase in PHASES)
    if not places:
        return "starting", 0
    return PHASES[places[0]], sum(place > places[0] for place in places)


class Progress:
    """Writes lines to `stream`, also while the output of the inner job is redirected."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream, self._quiet = stream, quiet
        self._as_json = logs.are_json()
        self._last = 0.0

    def step(self, about: str, phase: str, done: int, total: int) -> None:
        """Writes the progress of a phase, at most every `EVERY_S`, and always at its end."""
        now = time.monotonic()
        if self._quiet or (done < total and now - self._last < EVERY_S):
            return
        self._last = now
        percent = 100 * done // total if total else 100
        self.say(f"{about}: {phase} {done}/{total} ({percent} %)")

    def say(self, text: str, level: str = "info") -> None:
        """Writes a line; if quiet, only warnings and errors."""
        if self._quiet and level == "info":
            return
        words = fit_to_terminal(f"kitelift: {text}", self._stream)
        line = logs.line(time.time(), level, text) if self._as_json else words
        print(line, file=self._stream, flush=True)

    @contextlib.contextmanager
    def show_phases(self, ledger: Ledger, total: int) -> Iterator[None]:
        """Writes the phase of the slowest collection, from the ledger of the job."""
        over = threading.Event()

        def follow() -> None:
            while not over.wait(EVERY_S):
                with contextlib.suppress(MigrationError):
                    statuses = ledger.statuses().values()
                    phase, passed = slowest([status.phase for status in statuses])
                    self.step("all collections", phase, passed, total)

        follower = threading.Thread(target=follow, name="proof-progress", daemon=True)
        follower.start()
        try:
            yield
        finally:
            over.set()
            follower.join(EVERY_S)
