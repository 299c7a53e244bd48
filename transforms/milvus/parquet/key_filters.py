"""Evaluates filters on the primary key, which `transforms.milvus.filters` and users write."""

from __future__ import annotations

import json
import operator
import re
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from transforms.milvus.filters import MAX_INT64, MIN_INT64, anything
from transforms.milvus.schema import Field
from transforms.ranges import Key

_SIGNS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LITERALS = {"Int64": r"-?\d+", "VarChar": r'"(?:\\.|[^"\\])*"'}
_CONDITION = (
    r"\(*@ ?(?:([<>]=?|==) ?(KEY)|in ?\[((?:KEY(?:, ?KEY)*)?)\]"
    rf"(\) or \(@ < {MIN_INT64 + 1})?)\)*"
)
"""One condition: @ is the name of the primary key, KEY a literal of its type."""


@dataclass(frozen=True)
class Keys:
    """Keys within all `bounds`, each a sign and a key; only those in `among`, if not None."""

    bounds: tuple[tuple[str, Key], ...] = ()
    among: frozenset[Key] | None = None

    def meets(self, first: Key, last: Key) -> bool:
        """Returns whether a key from `first` to `last` may be one of these keys."""
        for sign, key in self.bounds:
            if not (_SIGNS[sign](first, key) or _SIGNS[sign](last, key)):
                return False
        return self.among is None or any(first <= key <= last for key in self.among)  # type: ignore[operator]

    def include(self, first: Key, last: Key) -> bool:
        """Returns whether all keys from `first` to `last` are among these keys."""
        edges = (_SIGNS[sign](edge, key) for sign, key in self.bounds for edge in (first, last))
        return self.among is None and all(edges)

    def both(self, other: Keys) -> Keys:
        """Returns the keys that are in both."""
        named = [keys.among for keys in (self, other) if keys.among is not None]
        return Keys(self.bounds + other.bounds, frozenset.intersection(*named) if named else None)

    def of(self, rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
        """Returns those of the rows, which are in key order, that have one of the keys."""
        for sign, key in self.bounds:
            above = sign in (">", ">=")
            at = bisect_left(
                rows.column(primary), True, key=lambda row: _SIGNS[sign](row.as_py(), key) == above
            )
            rows = rows.slice(at) if above else rows.slice(0, at)
        if self.among is None:
            return rows
        keys = rows.column(primary)
        return rows.filter(pc.is_in(keys, pa.array(self.among, keys.type)))


def parse(text: str, primary: Field) -> Keys | None:
    r"""Returns the keys of a filter; None if it is not a sequence of conditions on the key.

    >>> parse("(id > 10 and id <= 20) and (id in [15, 20])", Field("id", 5))
    Keys(bounds=(('>', 10), ('<=', 20)), among=frozenset({20, 15}))
    >>> parse('key == "a\\n"', Field("key", 21)), parse("", Field("key", 21)) == Keys()
    (Keys(bounds=(), among=frozenset({'a\n'})), True)
    >>> parse("price > 3", Field("id", 5)), parse('id > "a"', Field("id", 5))
    (None, None)
    """
    if not text or text == anything(primary):
        return Keys()
    literal = _LITERALS[primary.type.name]
    condition = _CONDITION.replace("KEY", literal).replace("@", re.escape(primary.name))
    if not re.fullmatch(f"{condition}(?: and {condition})*", text, re.DOTALL):
        return None
    keys = Keys()
    try:
        for sign, key, named, lowest in re.findall(condition, text, re.DOTALL):
            if sign in _SIGNS:
                more = Keys(((sign, _key(key)),))
            else:
                listed = frozenset(map(_key, re.findall(literal, named or key, re.DOTALL)))
                more = Keys(among=listed | {MIN_INT64} if lowest else listed)
            keys = keys.both(more)
    except ValueError:
        return None
    return keys


def _key(text: str) -> Key:
    key: Key = json.loads(text, strict=False)
    if isinstance(key, int) and not MIN_INT64 <= key <= MAX_INT64:
        raise ValueError(key)
    return key
