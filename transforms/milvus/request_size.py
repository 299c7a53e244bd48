"""How much one call reads or writes; it adapts to sizes that are too large or too slow."""

from __future__ import annotations

import threading

GROWTH = 8
"""A page grows by an eighth each time, in case only a part of the rows is wide."""

SLOW_GROWTH = 32
"""A write grows by less: it counts bytes as the server does, and the server's limit is constant."""


class RequestSize:
    """The maximum for one call, in rows or bytes: half of what failed, then slowly more again.

    Thread-safe.
    """

    def __init__(self, limit: int, *, least: int = 1, growth: int = GROWTH) -> None:
        """Starts at `limit`, never goes below `least`, and grows by one part in `growth`."""
        self._limit = self._size = limit
        self._least, self._growth = least, growth
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The maximum of the next call."""
        return self._size

    def shrink(self, size: int) -> None:
        """Halves a size that failed; failures of parallel calls of the same size count once."""
        with self._lock:
            self._size = max(self._least, min(self._size, size // 2))

    def grow(self, size: int) -> None:
        """Grows after a successful call, if that was at least half of the maximum."""
        with self._lock:
            if 2 * size >= self._size:
                self._size = min(self._limit, self._size + self._size // self._growth + 1)
