"""Reads pages around rows that contain a text which is not UTF-8.

Old SDKs accepted such texts. No server can send them: the whole page fails as gRPC INTERNAL, "error
while marshaling: string field contains invalid UTF-8". A page of keys alone succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import pyarrow as pa

from transforms.errors import NotUtf8, TextNotUtf8
from transforms.ranges import Key, KeyRange

MAX_ROWS = 50
"""The maximum of such rows in one range. Each costs some 20 queries."""

Page: TypeAlias = "pa.RecordBatch | TextNotUtf8"
"""The first rows of an interval, or the error if the server cannot send the first row."""


def last_key(page: Page, primary: str) -> Key:
    """Returns the last key of a non-empty page."""
    if isinstance(page, TextNotUtf8):
        return page.rows[0][0]
    key: Key = page.column(primary)[page.num_rows - 1].as_py()
    return key


def readable_rows(
    left: KeyRange, keys: list[Key], page: Callable[[KeyRange], pa.RecordBatch]
) -> pa.RecordBatch | None:
    """Returns the first rows of an interval, up to a row that the server cannot send.

    None if that is the first row. `keys` are the first keys of the interval, in order; `page` reads
    the first rows of an interval.
    """
    readable, unreadable, rows = 0, len(keys) + 1, None
    while unreadable - readable > 1:
        middle = (readable + unreadable) // 2
        try:
            rows = page(replace(left, upto=keys[middle - 1]))
            readable = middle
        except NotUtf8:
            unreadable = middle
    return rows


def unreadable_fields(names: Iterable[str], show: Callable[[str], object]) -> tuple[str, ...]:
    """Returns the fields of a row that a server cannot send; `show` reads one field of the row."""
    return tuple(name for name in names if not _can_be_sent(name, show))


def _can_be_sent(name: str, show: Callable[[str], object]) -> bool:
    try:
        show(name)
    except NotUtf8:
        return False
    return True
