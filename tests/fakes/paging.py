"""Pages: how a server merges the rows with the smallest keys from its segments.

Each segment of each shard gives the first `limit` of its rows, and each key is shown once. How the
merge ends differs: at the limit, though another segment may have more keys that come before
(`CUT`), which loses rows where keys repeat; or with the last row of the segment that ends first
(`WHOLE`), which may be more rows than the limit; or there, and at the limit too (`BOTH`). 2.3 and
2.4 end it there even if that segment has no more rows, later releases only if it has.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from tests.fakes import expressions
from tests.fakes.rows import Row, Stored
from tests.fakes.rules import Rules


class Merge(Enum):
    """How a merge ends."""

    CUT = "cut"
    WHOLE = "whole"
    BOTH = "both"


def merge_of(rules: Rules, params: Mapping[str, str], *, loses_rows: bool) -> Merge:
    """Returns how the pages of a query are merged.

    2.3 and 2.4 look at `reduce_stop_for_best` alone; 2.5 and later at `iterator` first.
    """
    best = is_true(params, "reduce_stop_for_best")
    if loses_rows or rules.merge_loses_rows:
        return Merge.CUT
    if not rules.pages_by_iterator:
        return Merge.WHOLE if best else Merge.CUT
    if not is_true(params, "iterator"):
        return Merge.CUT
    return Merge.WHOLE if best and not rules.pages_end_at_limit else Merge.BOTH


def is_true(params: Mapping[str, str], name: str) -> bool:
    """Reads a flag of a query as Go's ParseBool does."""
    return params.get(name, "") in ("1", "t", "T", "true", "TRUE", "True")


def page(
    rows: Iterable[Stored], limit: int, merge: Merge, rules: Rules, loads: int = 0
) -> list[Row]:
    """Returns the rows with the smallest keys, about `limit` of them, each key once."""
    parts = _parts(rows)
    shown = [part[:limit] for part in parts]
    merged = _merged(itertools.chain(*shown), rules, loads)
    keys = sorted(merged, key=expressions.ordered)
    edges = [
        first[-1].order
        for first, part in zip(shown, parts, strict=True)
        if len(part) > limit or not rules.merge_ends_where_more
    ]
    if merge is not Merge.CUT and edges:
        keys = [key for key in keys if expressions.ordered(key) <= min(edges)]
    return [merged[key] for key in (keys if merge is Merge.WHOLE else keys[:limit])]


def everything(rows: Iterable[Stored], rules: Rules, loads: int = 0) -> list[Row]:
    """Returns the rows of a query without a limit."""
    merged = _merged(rows, rules, loads)
    return [merged[key] for key in sorted(merged, key=expressions.ordered)]


def _parts(rows: Iterable[Stored]) -> list[list[Stored]]:
    """Returns the rows of each segment in the order of their keys."""
    parts: dict[tuple[int, int], list[Stored]] = {}
    for row in rows:
        parts.setdefault((row.shard, row.segment), []).append(row)
    return [sorted(part, key=lambda row: row.order) for part in parts.values()]


def _merged(rows: Iterable[Stored], rules: Rules, loads: int) -> dict[Any, Row]:
    """Returns one row for each key: the newest, or in older releases that of some segment.

    A segment shows its oldest row of a key. Which segment comes first changes with each load.
    """
    segments: dict[Any, dict[int, Stored]] = {}
    for row in sorted(rows, key=lambda row: row.at):
        segments.setdefault(row.key, {}).setdefault(row.segment, row)
    newest = bool(rules.newest_row_wins)
    return {
        key: list(shown.values())[-1 if newest else loads % len(shown)].values
        for key, shown in segments.items()
    }
