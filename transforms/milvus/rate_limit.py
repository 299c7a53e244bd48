"""The most that may pass between Kitelift and one server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RateLimit:
    """The most that may pass in a second; 0 is no limit."""

    rows: float = 0
    bytes: float = 0

    def __bool__(self) -> bool:
        return bool(self.rows or self.bytes)

    def shared(self, among: int) -> RateLimit:
        """Returns the part of each of so many."""
        return RateLimit(self.rows / among, self.bytes / among)


UNLIMITED = RateLimit()
