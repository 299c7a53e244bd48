"""The clock of a fake cluster: timestamps of writes, and how far each replica is behind."""

from __future__ import annotations

import time
from collections.abc import Sequence

LOGICAL_BITS = 18
"""A timestamp is a time in milliseconds, and below it a counter of this many bits."""

GRACE_S = 5.0
"""How old a Bounded read may be (common.gracefulTime)."""


def ticks(seconds: float) -> int:
    """Returns a duration as the difference of two timestamps."""
    return int(seconds * 1000) << LOGICAL_BITS


class Clock:
    """Gives timestamps, each later than those before: the time of day, moved by `advance`."""

    def __init__(self) -> None:
        self._ahead_s = 0.0
        self._last = 0
        self.proxy_skew_s = 0.0
        """How far the clock of the proxy is ahead of the cluster's."""

    def now(self) -> int:
        """Returns a new timestamp."""
        self._last = max(self._last + 1, ticks(time.time() + self._ahead_s))
        return self._last

    def of_proxy(self) -> int:
        """Returns the time by the proxy's own clock, which counts nothing."""
        return ticks(time.time() + self._ahead_s + self.proxy_skew_s)

    def advance(self, seconds: float) -> None:
        """Lets time pass at once."""
        self._ahead_s += seconds


class Replicas:
    """Copies of a collection in memory, which answer in turn; each is behind by its lag."""

    def __init__(self, lags_s: Sequence[float] = (0.0,)) -> None:
        self._lags_s = list(lags_s)
        self._next = 0

    def seen_by_next(self, now: int) -> int:
        """Returns up to when the replica whose turn it is has consumed the writes."""
        lag_s = self._lags_s[self._next % len(self._lags_s)]
        self._next += 1
        return now - ticks(lag_s)
