"""How fast Kitelift calls one server: it adapts to the server's answers."""

from __future__ import annotations

import threading
import time

from transforms.milvus.retry_statistics import Cause


class Throttle:
    """Puts a pause between the calls of all threads to one server; shortens it again by itself.

    The pause starts at zero. Each refusal makes it longer, depending on the recent share of refused
    calls: it doubles if all calls are refused, and grows little if few are, as if by chance. Each
    success raises the rate by the share `GROWTH`, and by at least `STEP_PER_S`. So it recovers
    within dozens of calls. A server that refuses one call in five at any rate is called at full
    speed; one with a rate limit is called at its limit.

    Attributes:
        cause: the reason for the pause.
    """

    FIRST_PAUSE_S = 0.02
    LONGEST_PAUSE_S = 30.0
    GROWTH = 0.05
    STEP_PER_S = 0.25
    LATELY = 0.1
    """The weight of one call in the share of refused calls."""
    LOOK_EVERY_S = 1.0
    """A waiting thread checks this often whether the pause has become shorter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = 0.0
        self._next_s = 0.0
        self._changed_s = 0.0
        self._share = 0.0
        self.cause: Cause = "overloaded"

    @property
    def pause_s(self) -> float:
        """The seconds between two calls; 0 is full speed."""
        return self._pause_s

    def wait(self) -> float:
        """Waits for this call's turn; returns the seconds that it waited."""
        waited_s, wait_s = 0.0, self._until_turn()
        while wait_s > 0:
            sleep_s = min(wait_s, self.LOOK_EVERY_S)
            time.sleep(sleep_s)
            waited_s, wait_s = waited_s + sleep_s, self._until_turn()
        return waited_s

    def slow_down(
        self,
        cause: Cause = "overloaded",
        *,
        least_s: float = FIRST_PAUSE_S,
        longest_s: float = LONGEST_PAUSE_S,
    ) -> None:
        """Makes the pause longer; refusals of calls sent at the same rate count once."""
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
        """Slows down after a late answer; calls keep at least a tenth of the time."""
        self.slow_down("answered late", longest_s=9 * took_s)

    def slow_down_unanswered(self, took_s: float) -> None:
        """Slows down after a call without an answer: the server may still be working on it."""
        self.slow_down("not answered", least_s=took_s / 10)

    def speed_up(self) -> None:
        """Makes the pause shorter, also for threads that already wait."""
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
        """Takes the turn and returns 0 if it is time; otherwise returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            if self._pause_s and now < self._next_s:
                return self._next_s - now
            self._next_s = now + self._pause_s
            return 0.0
