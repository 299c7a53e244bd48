"""The throughput limit between Kitelift and one server."""

from __future__ import annotations

from dataclasses import dataclass


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
