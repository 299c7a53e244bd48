"""Rows with the timestamps of their writes, and what of them a query may see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.fakes import expressions

Row = dict[str, Any]

FOREVER = 2**63


@dataclass(eq=False, slots=True)
class Stored:
    """A row as it was written at the time `at`; deleted at `gone_at`."""

    key: Any
    values: Row
    partition: str
    shard: int
    segment: int
    at: int
    gone_at: int = FOREVER

    @property
    def order(self) -> int | bytes:
        return expressions.ordered(self.key)


@dataclass(frozen=True)
class View:
    """What one query sees: rows written after `since` and up to `upto`, and not deleted by then."""

    upto: int = FOREVER - 1
    since: int = 0

    def shows(self, row: Stored) -> bool:
        """Whether a row is seen."""
        return self.since < row.at <= self.upto < row.gone_at


EVERYTHING = View()
"""All rows that are not deleted."""


def compacted(rows: Iterable[Stored]) -> list[Stored]:
    """Returns the rows that compaction leaves: deleted ones are forgotten for every timestamp."""
    return [row for row in rows if row.gone_at == FOREVER]
