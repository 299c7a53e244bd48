"""How much passes between this process and one server: below a ceiling, and as the server likes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from transforms.milvus.rate_limit import UNLIMITED, RateLimit
from transforms.milvus.request_size import SLOW_GROWTH, RequestSize
from transforms.milvus.retries import Retries
from transforms.milvus.throttle import Throttle

AT_ONCE_S = 0.5
"""One page is no more than a ceiling allows in this time: little and often is kinder to a server
than much and seldom."""

SMALLEST_PAGE_BYTES = 64 * 1024.0
"""Answers that take too long get no smaller: then it is not their size that takes long."""

LARGEST_PAGE_BYTES = 64 * 1024 * 1024.0
"""No page is as large as this anyway."""

LARGEST_WRITE_BYTES = 64 * 1024 * 1024
"""A proxy receives no larger message."""

SMALLEST_WRITE_BYTES = 64 * 1024
"""If less is too large, it is one row that is, and says nothing about the others."""

LONGEST_SLEEP_S = 1.0
"""After it the ceiling is looked at again, since it may have been changed."""


class FlowControl:
    """Keeps the rows and bytes of all threads of this process below a ceiling.

    What passes is owed, and paid off by time at the ceiling's rate; nothing passes as long as
    anything is owed. So a pause saves up nothing, and a changed ceiling counts at once.

    Attributes:
        ceiling: may be changed at any time.
        governor: how the server's own words slow its calls down.
        write_bytes: how large a write the server takes, as far as it has said.
        retries: how often its calls were sent again.
    """

    def __init__(
        self,
        ceiling: RateLimit = UNLIMITED,
        look: Callable[[], None] = lambda: None,
        retries: Retries | None = None,
    ) -> None:
        """Begins without debt; `look` is called before each wait, and may change the ceiling."""
        self.ceiling = ceiling
        self.throttle = Throttle()
        self.write_bytes = RequestSize(
            LARGEST_WRITE_BYTES, least=SMALLEST_WRITE_BYTES, growth=SLOW_GROWTH
        )
        self.retries = retries or Retries()
        self._look = look
        self._lock = threading.Lock()
        self._owed_rows = self._owed_bytes = 0.0
        self._page_bytes = LARGEST_PAGE_BYTES
        self._at_s = time.monotonic()

    def acquire(self, rows: int, size_bytes: int) -> None:
        """Waits until nothing is owed, and then owes this."""
        self._look()
        while (wait_s := self._try(rows, size_bytes)) > 0:
            time.sleep(min(wait_s, LONGEST_SLEEP_S))
            self._look()

    def correct(self, rows: int, size_bytes: int) -> None:
        """Adds to what is owed, or takes from it, once it is known what has passed."""
        with self._lock:
            self._owed_rows += rows
            self._owed_bytes += size_bytes

    def page_rows(self, row_bytes: float) -> int:
        """Returns how many rows of such a width one page is to have at most."""
        rows, size_bytes = self.ceiling.rows * AT_ONCE_S, self.ceiling.bytes * AT_ONCE_S
        by_bytes = min(size_bytes or self._page_bytes, self._page_bytes) / max(row_bytes, 1.0)
        return max(1, int(min(rows or by_bytes, by_bytes)))

    def adjust_page_size(self, took_s: float, size_bytes: int, *, longest_s: float) -> None:
        """Makes pages smaller, and then rarer, after one that took longer than it may.

        Others let them grow again. `longest_s` 0 is no limit.
        """
        if not longest_s:
            return
        if took_s <= longest_s:
            self._page_bytes = min(self._page_bytes * 1.1, LARGEST_PAGE_BYTES)
        else:
            size_bytes = min(size_bytes, int(self._page_bytes))
            self._page_bytes = max(size_bytes / 2, SMALLEST_PAGE_BYTES)
            if size_bytes <= SMALLEST_PAGE_BYTES:
                self.throttle.slow_down_late(took_s)

    def _try(self, rows: int, size_bytes: int) -> float:
        """Owes this if nothing is owed and returns 0; else returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            passed_s, self._at_s = now - self._at_s, now
            self._owed_rows = _left(self._owed_rows, self.ceiling.rows, passed_s)
            self._owed_bytes = _left(self._owed_bytes, self.ceiling.bytes, passed_s)
            if self._owed_rows <= 0 and self._owed_bytes <= 0:
                self._owed_rows += rows
                self._owed_bytes += size_bytes
                return 0.0
            return max(
                owed / rate
                for owed, rate in (
                    (self._owed_rows, self.ceiling.rows),
                    (self._owed_bytes, self.ceiling.bytes),
                )
                if owed > 0 and rate
            )


def _left(owed: float, rate: float, passed_s: float) -> float:
    """Returns what is owed after a time; without a rate nothing is."""
    if not rate:
        return 0.0
    # A correction may have left less than nothing owed: that is kept, an idle time is not.
    return owed if owed <= 0 else max(0.0, owed - rate * passed_s)
