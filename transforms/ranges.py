"""Key ranges: the unit of copy, retry, resume, progress and proof.

The pieces of a range always cover it without gaps or overlaps. So the remaining work is the planned
range minus the acknowledged pieces (`subtract`), and no end marker is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

Key = int | str
"""A primary key: int64 or VarChar. Milvus orders VarChar keys by their UTF-8 bytes, which is the
order of Python strings (by code point)."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Keys `k` of one collection with ``after < k <= upto``; None is unbounded.

    With a `partition`, only keys of that partition; "" is the whole collection.
    """

    collection: str
    after: Key | None = None
    upto: Key | None = None
    partition: str = ""

    def __contains__(self, key: Key) -> bool:
        return _before(self.after, key) and (self.upto is None or key <= self.upto)  # type: ignore[operator]

    def __str__(self) -> str:
        place = f"{self.collection}/{self.partition}" if self.partition else self.collection
        after = "" if self.after is None else repr(self.after)
        upto = ")" if self.upto is None else f"{self.upto!r}]"
        return f"{place}({after}..{upto}"

    def same_place(self, other: KeyRange) -> bool:
        """Returns whether both are in the same partition of the same collection."""
        return (self.collection, self.partition) == (other.collection, other.partition)


def split(whole: KeyRange, cuts: Iterable[Key]) -> list[KeyRange]:
    """Cuts a range after each of `cuts`; each key is in exactly one piece.

    >>> print(*split(KeyRange("docs"), [20, 10]))
    docs(..10] docs(10..20] docs(20..)
    """
    inside = sorted({cut for cut in cuts if cut in whole and cut != whole.upto})
    edges = [whole.after, *inside, whole.upto]
    return [replace(whole, after=after, upto=upto) for after, upto in pairwise(edges)]


def subtract(planned: KeyRange, done: Iterable[KeyRange]) -> list[KeyRange]:
    """Returns the parts of `planned` that are not in `done`, in key order; `done` may overlap.

    >>> print(*subtract(KeyRange("docs", 0, 30), [KeyRange("docs", 10, 20)]))
    docs(0..10] docs(20..30]
    >>> subtract(KeyRange("docs"), [KeyRange("docs", None, 7), KeyRange("docs", 7, None)])
    []
    """
    remaining = []
    cursor = planned.after
    for piece in sorted((p for p in done if p.same_place(planned)), key=_start):
        if _upto_is_before(piece.upto, cursor):
            continue
        if _starts_later(piece.after, cursor):
            if planned.upto is not None and piece.after >= planned.upto:  # type: ignore[operator]
                break
            remaining.append(replace(planned, after=cursor, upto=piece.after))
        if piece.upto is None or (planned.upto is not None and piece.upto >= planned.upto):  # type: ignore[operator]
            return remaining
        cursor = piece.upto
    remaining.append(replace(planned, after=cursor, upto=planned.upto))
    return remaining


def first(pieces: Iterable[KeyRange]) -> KeyRange:
    """Returns the piece with the lowest start."""
    return min(pieces, key=_start)


def last(pieces: Iterable[KeyRange]) -> KeyRange:
    """Returns the piece with the highest end."""
    return max(pieces, key=lambda piece: (piece.upto is None, piece.upto))


def _before(bound: Key | None, key: Key) -> bool:
    return bound is None or bound < key  # type: ignore[operator]


def _start(piece: KeyRange) -> tuple[bool, Any]:
    return (piece.after is not None, piece.after)


def _starts_later(after: Key | None, cursor: Key | None) -> bool:
    return after is not None and (cursor is None or after > cursor)  # type: ignore[operator]


def _upto_is_before(upto: Key | None, cursor: Key | None) -> bool:
    return upto is not None and cursor is not None and upto <= cursor  # type: ignore[operator]
