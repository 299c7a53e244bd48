"""Parses the key filters that `transforms.milvus.filters` writes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from transforms.ranges import Key

_KEY = r'-?\d+|"(?:\\.|[^"\\])*"'
_BOUND = rf"@ (<=|>=|<|>|==) ({_KEY})"
_BOUNDS = rf"{_BOUND}(?: and {_BOUND})?"
_AMONG = rf"\(?@ in \[((?:(?:{_KEY})(?:, )?)*)\](?:\) or \(@ < ({_KEY})\))?"
_ANYTHING = "@ < 0 or @ >= 0"
"""The forms of a filter; @ is the name of the primary key."""

_KEYS = re.compile(_KEY, re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """Keys with ``after < key <= upto``; only those in `among`, if it is not None."""

    after: Key | None = None
    upto: Key | None = None
    among: tuple[Key, ...] | None = None

    def meets(self, first: Key, last: Key) -> bool:
        """Returns whether a key from `first` to `last` may be one of these keys."""
        below = self.after is not None and last <= self.after  # type: ignore[operator]
        above = self.upto is not None and first > self.upto  # type: ignore[operator]
        if below or above:
            return False
        return self.among is None or any(first <= key <= last for key in self.among)  # type: ignore[operator]

    def include(self, first: Key, last: Key) -> bool:
        """Returns whether all keys from `first` to `last` are among these keys."""
        above = self.after is None or first > self.after  # type: ignore[operator]
        below = self.upto is None or last <= self.upto  # type: ignore[operator]
        return self.among is None and above and below

    def up_to(self, edge: Key) -> Keys:
        """Returns the keys that are not above `edge`."""
        inside = self.upto is not None and self.upto <= edge  # type: ignore[operator]
        return self if inside else replace(self, upto=edge)

    def both(self, other: Keys) -> Keys:
        """Returns the keys that are in both."""
        after = [keys.after for keys in (self, other) if keys.after is not None]
        upto = [keys.upto for keys in (self, other) if keys.upto is not None]
        named = [keys.among for keys in (self, other) if keys.among is not None]
        among = tuple(key for key in named[0] if key in named[-1]) if named else None
        return Keys(max(after, default=None), min(upto, default=None), among)

    def of(self, rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
        """Returns the rows that have one of the keys."""
        keys = rows.column(primary)
        if rows.num_rows and self.include(keys[0].as_py(), keys[-1].as_py()):
            return rows
        chosen = pa.repeat(True, rows.num_rows)
        if self.after is not None:
            chosen = pc.and_(chosen, pc.greater(keys, pa.scalar(self.after, keys.type)))
        if self.upto is not None:
            chosen = pc.and_(chosen, pc.less_equal(keys, pa.scalar(self.upto, keys.type)))
        if self.among is not None:
            chosen = pc.and_(chosen, pc.is_in(keys, pa.array(self.among, keys.type)))
        return rows.filter(chosen)


def parse(text: str, primary: str) -> Keys | None:
    r"""Returns the keys of a filter; None if the filter is not on keys only.

    >>> parse("id > 10 and id <= 20", "id"), parse('id in ["a", "b\\n"]', "id")
    (Keys(after=10, upto=20, among=None), Keys(after=None, upto=None, among=('a', 'b\n')))
    >>> parse("(id > 3) and (id > 5)", "id")
    Keys(after=5, upto=None, among=None)
    >>> parse("", "id") == parse("id < 0 or id >= 0", "id") == Keys(), parse("price > 3", "id")
    (True, None)
    """

    def matched(form: str) -> re.Match[str] | None:
        return re.fullmatch(form.replace("@", re.escape(primary)), text, re.DOTALL)

    if not text or matched(_ANYTHING):
        return Keys()
    if bounds := matched(_BOUNDS):
        pairs = [bounds.group(1, 2), bounds.group(3, 4)]
        keys = Keys()
        for sign, key in (pair for pair in pairs if pair[0]):
            keys = _bounded(keys, sign, _key(key))
        return keys
    if among := matched(_AMONG):
        named = [_key(text) for text in _KEYS.findall(among[1])]
        lowest = [] if among[2] is None else [int(among[2]) - 1]
        return Keys(among=(*named, *lowest))
    return _of_both(text, primary)


def _of_both(text: str, primary: str) -> Keys | None:
    """Returns the keys of ``(a filter) and (another)``."""
    for between in re.finditer(r"\) and \(", text):
        left = parse(text[1 : between.start()], primary)
        right = parse(text[between.end() : -1], primary)
        if left is not None and right is not None:
            return left.both(right)
    return None


def _bounded(keys: Keys, sign: str, key: Key) -> Keys:
    if sign == "==":
        return replace(keys, among=(key,))
    if sign == ">":
        return replace(keys, after=key)
    if sign == "<=":
        return replace(keys, upto=key)
    if isinstance(key, str):  # Only with the empty text, which is the smallest.
        return keys
    return replace(keys, after=key - 1) if sign == ">=" else replace(keys, upto=key - 1)


def _key(text: str) -> Key:
    if not text.startswith('"'):
        return int(text)
    key: str = json.loads(text, strict=False)
    return key
