"""What became of the rows that a source counts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """What became of the rows that a source counts in one range.

    Attributes:
        counted: ``count(*)``, duplicates included.
        keys: the different keys that its pages show.
        hidden: counted rows that belong to no key that its pages show.
        unreadable: those of them with the key 2^63-1, which servers before 2.6.8 never return.
        changes: whether the source is being written to: without a snapshot, more keys than were
            read are then no sign of hidden ones.
    """

    counted: int
    keys: int
    hidden: int = 0
    unreadable: int = 0
    changes: bool = False

    def sums(self, rows_read: int) -> tuple[int, int, int]:
        """Returns what was counted, without late keys; what is hidden; and keys that came late."""
        late = max(0, self.keys - rows_read)
        return self.counted - late, self.hidden, late
