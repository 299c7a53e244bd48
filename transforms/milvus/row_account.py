"""How the rows that a source counts are accounted for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """The rows that a source counts in one range, and what is known about them.

    Attributes:
        counted: ``count(*)``, duplicates included.
        keys: the distinct keys that its pages contain.
        hidden: counted rows whose key is in none of its pages.
        unreadable: those hidden rows with the key 2^63-1, which servers before 2.6.8 never return.
        changes: whether something writes to the source. Then, without a snapshot, more keys than
            were read do not mean that keys are hidden.
    """

    counted: int
    keys: int
    hidden: int = 0
    unreadable: int = 0
    changes: bool = False

    def sums(self, rows_read: int) -> tuple[int, int, int]:
        """Returns (counted without late keys, hidden, late). Late keys appeared after the read."""
        late = max(0, self.keys - rows_read)
        return self.counted - late, self.hidden, late
