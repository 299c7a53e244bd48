"""How much one call asks of a server, or gives to it, found from what the server refuses."""

from __future__ import annotations

import threading

GROWTH = 8
"""A page grows back by an eighth each time, in case only some rows were wide."""

SLOW_GROWTH = 32
"""A write by less: it counts bytes as the server does, whose limit stays where it was."""


class RequestSize:
    """The most for one call, in rows or bytes: half of what was refused, then slowly more again.

    Any thread may use it.
    """

    def __init__(self, limit: int, *, least: int = 1, growth: int = GROWTH) -> None:
        """Begins with the limit, is never below `least`, grows back by one part in so many."""
        self._limit = self._most = limit
        self._least, self._growth = least, growth
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """What the next call may be."""
        return self._most

    def shrink(self, size: int) -> None:
        """Halves; refusals of calls of one size, which were under way together, count once."""
        with self._lock:
            self._most = max(self._least, min(self._most, size // 2))

    def grow(self, size: int) -> None:
        """Grows, if the call was large enough to say anything about a larger one."""
        with self._lock:
            if 2 * size >= self._most:
                self._most = min(self._limit, self._most + self._most // self._growth + 1)
