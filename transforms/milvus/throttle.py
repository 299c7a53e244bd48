"""How fast one server is asked, found from what it says."""

from __future__ import annotations

import threading
import time

from transforms.milvus.retries import Cause


class Throttle:
    """Paces the calls of all threads to one server: slower when told to, then up again by itself.

    The pause between two calls starts at none. Each refusal makes it longer by the share of calls
    that were refused lately: it doubles where all are, and grows little where few are, as if by
    chance. Each success raises the rate again, by `GROWTH` and by no less than `STEP_PER_S`: so it
    climbs back within some dozens of calls, and a server that refuses one call in five whatever the
    pace is asked at full speed, while one with a limit is asked at its limit.

    Attributes:
        cause: what asked for the pause.
    """

    FIRST_PAUSE_S = 0.02
    LONGEST_PAUSE_S = 30.0
    GROWTH = 0.05
    STEP_PER_S = 0.25
    LATELY = 0.1
    """What one call weighs in the share of those that were refused."""
    LOOK_EVERY_S = 1.0
    """A thread that waits sees so soon that the pause has become shorter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = 0.0
        self._next_s = 0.0
        self._changed_s = 0.0
        self._share = 0.0
        self.cause: Cause = "overloaded"

    @property
    def pause_s(self) -> float:
        """Seconds between two calls; 0 is full speed."""
        return self._pause_s

    def wait(self) -> float:
        """Waits for this call's turn; returns the seconds."""
        waited_s, left_s = 0.0, self._until_turn()
        while left_s > 0:
            nap_s = min(left_s, self.LOOK_EVERY_S)
            time.sleep(nap_s)
            waited_s, left_s = waited_s + nap_s, self._until_turn()
        return waited_s

    def slow_down(
        self,
        cause: Cause = "overloaded",
        *,
        least_s: float = FIRST_PAUSE_S,
        longest_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Slows down; refusals of calls that were sent at the same pace count once."""
        with self._lock:
            now = time.monotonic()
            self._share += (1 - self._share) * self.LATELY
            if now - self._changed_s < self._pause_s or self._pause_s > longest_s:
                return
            longer_s = self._pause_s / (1 - self._share / 2)
            self._pause_s = min(max(longer_s, least_s), longest_s)
            self._changed_s, self.cause = now, cause
            self._next_s = now + self._pause_s

    def slow_down_late(self, took_s: float) -> None:
        """Slows down after an answer that took too long, to no less than a tenth of the time."""
        self.slow_down("answered late", longest_s=9 * took_s)

    def slow_down_unanswered(self, took_s: float) -> None:
        """Slows down after a call that was given up: the server may be at work on it still."""
        self.slow_down("not answered", least_s=took_s / 10)

    def speed_up(self) -> None:
        """Speeds up again, for those who wait already as well."""
        with self._lock:
            self._share -= self._share * self.LATELY
            if self._pause_s == 0.0:
                return
            faster_s = 1 / (1 / self._pause_s + self.STEP_PER_S)
            self._pause_s = min(self._pause_s * (1 - self.GROWTH), faster_s)
            if self._pause_s < self.FIRST_PAUSE_S / 4:
                self._pause_s = 0.0
            self._next_s = min(self._next_s, time.monotonic() + self._pause_s)

    def _until_turn(self) -> float:
        """Takes the turn if it is time and returns 0; else returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            if self._pause_s and now < self._next_s:
                return self._next_s - now
            self._next_s = now + self._pause_s
            return 0.0
