"""How fast one server is asked, found from what it says."""

from __future__ import annotations

import threading
import time

from transforms.milvus.retries import Cause


class Governor:
    """Paces the calls of all threads to one server: halves its rate when told to, then recovers.

    The pause between two calls starts at none. Each refusal doubles it. Each success raises the
    rate again, by a tenth and by no less than `STEP_PER_S`: so it climbs back by itself within some
    dozens of calls, and a server that refuses one call in five at random does not bring it down to
    nothing.

    Attributes:
        cause: what asked for the pause.
    """

    FIRST_PAUSE_S = 0.02
    LONGEST_PAUSE_S = 30.0
    STEP_PER_S = 0.5

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = 0.0
        self._next_s = 0.0
        self._changed_s = 0.0
        self.cause: Cause = "overloaded"

    @property
    def pause_s(self) -> float:
        """Seconds between two calls; 0 is full speed."""
        return self._pause_s

    def wait(self) -> float:
        """Waits for this call's turn; returns the seconds."""
        with self._lock:
            if self._pause_s == 0.0:
                return 0.0
            now = time.monotonic()
            turn = max(now, self._next_s)
            self._next_s = turn + self._pause_s
        time.sleep(turn - now)
        return turn - now

    def refused(self, cause: Cause = "overloaded", *, longest_s: float = LONGEST_PAUSE_S) -> None:
        """Slows down; refusals of calls that were sent at the same pace count once."""
        with self._lock:
            now = time.monotonic()
            if now - self._changed_s < self._pause_s or self._pause_s > longest_s:
                return
            self._pause_s = min(max(self._pause_s * 2, self.FIRST_PAUSE_S), longest_s)
            self._changed_s, self.cause = now, cause
            self._next_s = now + self._pause_s

    def late(self, took_s: float) -> None:
        """Slows down after an answer that took too long, to no less than a tenth of the time."""
        self.refused("answered late", longest_s=9 * took_s)

    def accepted(self) -> None:
        """Speeds up again."""
        with self._lock:
            if self._pause_s == 0.0:
                return
            self._pause_s = min(self._pause_s * 0.9, 1 / (1 / self._pause_s + self.STEP_PER_S))
            if self._pause_s < self.FIRST_PAUSE_S / 4:
                self._pause_s = 0.0
