"""The throughput limit between Kitelift and one server: its value, and the wait that keeps it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_SLEEP_S = 1.0
"""After this time the limit is read again, because it may have changed."""


@dataclass(frozen=True)
class RateLimit:
    """The largest number of rows and bytes per second; 0 is no limit."""

    rows: float = 0
    bytes: float = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.bytes)

    def shared(self, among: int) -> RateLimit:
        """Returns the limit of one of `among` processes that share this one."""
        return RateLimit(self.rows / among, self.bytes / among)


UNLIMITED = RateLimit()


class RateLimiter:
    """Keeps the rows and bytes of all threads of this process below a throughput limit.

    What passes becomes a debt, and time reduces the debt at the limit's rate. Nothing passes until
    the debt is 0. So a pause saves up no throughput, and a changed limit has effect at once.

    Attributes:
        limit: the throughput limit; may be changed at any time.
    """

    def __init__(
        self, limit: RateLimit = UNLIMITED, look: Callable[[], None] = lambda: None
    ) -> None:
        """Starts without debt; `look` is called before each wait, and may change `limit`."""
        self.limit = limit
        self._look = look
        self._lock = threading.Lock()
        self._owed_rows = self._owed_bytes = 0.0
        self._at_s = time.monotonic()

    def acquire(self, rows: int, size_bytes: int) -> None:
        """Waits until the debt is 0, then adds this to it."""
        self._look()
        while (wait_s := self._try(rows, size_bytes)) > 0:
            time.sleep(min(wait_s, LONGEST_SLEEP_S))
            self._look()

    def correct(self, rows: int, size_bytes: int) -> None:
        """Adds to the debt, or subtracts from it, once it is known what has passed."""
        with self._lock:
            self._owed_rows += rows
            self._owed_bytes += size_bytes

    def _try(self, rows: int, size_bytes: int) -> float:
        """If the debt is 0, adds to it and returns 0; otherwise returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            passed_s, self._at_s = now - self._at_s, now
            self._owed_rows = _debt_after(self._owed_rows, self.limit.rows, passed_s)
            self._owed_bytes = _debt_after(self._owed_bytes, self.limit.bytes, passed_s)
            if self._owed_rows <= 0 and self._owed_bytes <= 0:
                self._owed_rows += rows
                self._owed_bytes += size_bytes
                return 0.0
            return max(
                owed / rate
                for owed, rate in (
                    (self._owed_rows, self.limit.rows),
                    (self._owed_bytes, self.limit.bytes),
                )
                if owed > 0 and rate
            )


def _debt_after(owed: float, rate: float, passed_s: float) -> float:
    """Returns the debt after a time; without a rate it is 0."""
    if not rate:
        return 0.0
    # A correction can make the debt negative: that is kept, but idle time is not saved up.
    return owed if owed <= 0 else max(0.0, owed - rate * passed_s)
