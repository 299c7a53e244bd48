"""Limits what passes between this process and one server: throughput, page size, write size."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from transforms.milvus.rate_limit import UNLIMITED, RateLimit
from transforms.milvus.request_size import SLOW_GROWTH, RequestSize
from transforms.milvus.retry_statistics import Retries
from transforms.milvus.throttle import Throttle

PAGE_S = 0.5
"""A page has at most what the throughput limit allows in this time: small and frequent requests
burden a server less than large and rare ones."""

SMALLEST_PAGE_BYTES = 64 * 1024.0
"""Slow pages do not become smaller than this: then their size is not the reason."""

LARGEST_PAGE_BYTES = 64 * 1024 * 1024.0
"""Larger than any page."""

LARGEST_WRITE_BYTES = 64 * 1024 * 1024
"""A Milvus proxy receives no larger message."""

SMALLEST_WRITE_BYTES = 64 * 1024
"""If less is still too large, a single row is, which says nothing about other rows."""

LONGEST_SLEEP_S = 1.0
"""After this time the limit is read again, because it may have changed."""


class FlowControl:
    """Keeps the rows and bytes of all threads of this process below a throughput limit.

    What passes becomes a debt, and time reduces the debt at the limit's rate. Nothing passes until
    the debt is 0. So a pause saves up no throughput, and a changed limit has effect at once.

    Attributes:
        rate_limit: the throughput limit; may be changed at any time.
        throttle: the pause between calls, which the server's errors make longer.
        write_bytes: the largest write, as the server's errors show.
        retries: how often its calls were retried.
    """

    def __init__(
        self,
        rate_limit: RateLimit = UNLIMITED,
        look: Callable[[], None] = lambda: None,
        retries: Retries | None = None,
    ) -> None:
        """Starts without debt; `look` is called before each wait, and may change `rate_limit`."""
        self.rate_limit = rate_limit
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

    def page_rows(self, row_bytes: float) -> int:
        """Returns the maximum of rows in one page, for rows of this width."""
        rows, size_bytes = self.rate_limit.rows * PAGE_S, self.rate_limit.bytes * PAGE_S
        by_bytes = min(size_bytes or self._page_bytes, self._page_bytes) / max(row_bytes, 1.0)
        return max(1, int(min(rows or by_bytes, by_bytes)))

    def adjust_page_size(self, took_s: float, size_bytes: int, *, longest_s: float) -> None:
        """Makes pages smaller, and then less frequent, after one that took longer than `longest_s`.

        Faster pages let them grow again. `longest_s` 0 is no limit.
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
        """If the debt is 0, adds to it and returns 0; otherwise returns the seconds until then."""
        with self._lock:
            now = time.monotonic()
            passed_s, self._at_s = now - self._at_s, now
            self._owed_rows = _debt_after(self._owed_rows, self.rate_limit.rows, passed_s)
            self._owed_bytes = _debt_after(self._owed_bytes, self.rate_limit.bytes, passed_s)
            if self._owed_rows <= 0 and self._owed_bytes <= 0:
                self._owed_rows += rows
                self._owed_bytes += size_bytes
                return 0.0
            return max(
                owed / rate
                for owed, rate in (
                    (self._owed_rows, self.rate_limit.rows),
                    (self._owed_bytes, self.rate_limit.bytes),
                )
                if owed > 0 and rate
            )


def _debt_after(owed: float, rate: float, passed_s: float) -> float:
    """Returns the debt after a time; without a rate it is 0."""
    if not rate:
        return 0.0
    # A correction can make the debt negative: that is kept, but idle time is not saved up.
    return owed if owed <= 0 else max(0.0, owed - rate * passed_s)
