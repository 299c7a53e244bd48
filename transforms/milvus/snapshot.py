"""The time at which rows are read, and what a query sends so that it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_LOGICAL_BITS = 18
"""A Milvus timestamp is milliseconds since the epoch, then a counter of so many bits."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Consistency:
    """The consistency level of one query, and its guarantee timestamp; `pinned` as in `Snapshot`.

    With `iterator`, 2.5 and later read at exactly a timestamp above 0, whatever the level: a small
    constant there hides every row (2.5 `task_query.go:485`, 2.6 `:567`, 3.0 `:893`).
    """

    level: int
    timestamp: int = 0
    pinned: bool = False


STRONG = Consistency(0)
"""Waits for all writes before it: one time tick, some 0.2 s."""

BOUNDED = Consistency(2)
"""May be 5 s behind, plus the clock skew of the proxy; each page may go to another replica."""

_CUSTOMIZED = 4


@dataclass(frozen=True)
class Snapshot:
    """The timestamp at which all ranges of a collection are read.

    From 2.5 on it is exact for inserts, on every replica, in a retry an hour later as well. Deletes
    and upserts after it may show through after compaction, and a TTL ignores it.

    Attributes:
        timestamp: of the server's clock; 0 where the server tells none (milvus-lite, files).
        pinned: whether a query sees exactly the rows of that time. Otherwise (2.3, 2.4) it sees at
            least those, on every replica.
    """

    timestamp: int = 0
    pinned: bool = False

    @property
    def consistency(self) -> Consistency | None:
        """What a query sends to see these rows; None where the server tells no timestamp."""
        if not self.timestamp:
            return None
        return Consistency(_CUSTOMIZED, self.timestamp, self.pinned)

    @property
    def time(self) -> datetime | None:
        """When it was, by the server's clock; None unless the snapshot is pinned.

        >>> print(Snapshot((1796054351297 << 18) + 5, pinned=True).time)
        2026-11-30 15:59:11.297000+00:00
        """
        if not self.pinned:
            return None
        return _EPOCH + timedelta(milliseconds=self.timestamp >> _LOGICAL_BITS)


NOT_TOLD = Snapshot()
"""Where a server tells no timestamp, or was not asked for one."""
