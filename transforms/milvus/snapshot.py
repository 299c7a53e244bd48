"""The timestamp at which rows are read, and how a query requests it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_LOGICAL_BITS = 18
"""A Milvus timestamp is milliseconds since the epoch, then a counter of this many bits."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Consistency:
    """The consistency level of one query, and its guarantee timestamp; `pinned` as in `Snapshot`.

    With `iterator`, 2.5 and later read exactly at a timestamp above 0, at every level. So a small
    constant as the timestamp hides every row (2.5 `task_query.go:485`, 2.6 `:567`, 3.0 `:893`).
    """

    level: int
    timestamp: int = 0
    pinned: bool = False


STRONG = Consistency(0)
"""The query waits for all earlier writes: one time tick, some 0.2 s."""

BOUNDED = Consistency(2)
"""The query may be 5 s behind, plus the proxy's clock skew; each page may use another replica."""

_CUSTOMIZED = 4


@dataclass(frozen=True)
class Snapshot:
    """The timestamp at which all ranges of a collection are read.

    From 2.5 on it is exact for inserts, on every replica, also in a retry an hour later. Later
    deletes and upserts may become visible after compaction, and a TTL ignores the snapshot.

    Attributes:
        timestamp: of the server's clock; 0 if the server has none (milvus-lite, files).
        pinned: whether a query sees exactly the rows of that time. Otherwise (2.3, 2.4) it sees at
            least those rows, on every replica.
    """

    timestamp: int = 0
    pinned: bool = False

    @property
    def consistency(self) -> Consistency | None:
        """What a query must send to see these rows; None if the server has no timestamp."""
        if not self.timestamp:
            return None
        return Consistency(_CUSTOMIZED, self.timestamp, self.pinned)

    @property
    def time(self) -> datetime | None:
        """The time of the snapshot by the server's clock; None unless it is pinned.

        >>> print(Snapshot((1796054351297 << 18) + 5, pinned=True).time)
        2026-11-30 15:59:11.297000+00:00
        """
        if not self.pinned:
            return None
        return _EPOCH + timedelta(milliseconds=self.timestamp >> _LOGICAL_BITS)


NO_TIMESTAMP = Snapshot()
"""For a server that has no timestamp, or before one is requested."""
