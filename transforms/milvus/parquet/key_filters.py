"""The keys that a filter of ours is about: `transforms.milvus.filters`, read back."""

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

_EACH = re.compile(_KEY, re.DOTALL)


@dataclass(frozen=True)
class Keys:
    """Keys with ``after < key <= upto``, and of those only the ones `among` these, if any."""

    after: Key | None = None
    upto: Key | None = None
    among: tuple[Key, ...] | None = None

    def meets(self, first: Key, last: Key) -> bool:
        """Whether one of the keys from `first` to `last` may be among these."""
        below = self.after is not None and last <= self.after  # type: ignore[operator]
        above = self.upto is not None and first > self.upto  # type: ignore[operator]
        if below or above:
            return False
        return self.among is None or any(first <= each <= last for each in self.among)  # type: ignore[operator]

    def holds(self, first: Key, last: Key) -> bool:
        """Whether all keys from `first` to `last` are among these."""
        above = self.after is None or first > self.after  # type: ignore[operator]
        below = self.upto is None or last <= self.upto  # type: ignore[operator]
        return self.among is None and above and below

    def up_to(self, edge: Key) -> Keys:
        """Returns those of the keys that are not above the edge."""
        inside = self.upto is not None and self.upto <= edge  # type: ignore[operator]
        return self if inside else replace(self, upto=edge)

    def both(self, other: Keys) -> Keys:
        """Returns the keys that are among both."""
        after = [each.after for each in (self, other) if each.after is not None]
        upto = [each.upto for each in (self, other) if each.upto is not None]
        named = [each.among for each in (self, other) if each.among is not None]
        among = tuple(key for key in named[0] if key in named[-1]) if named else None
        return Keys(max(after, default=None), min(upto, default=None), among)

    def of(self, rows: pa.RecordBatch, primary: str) -> pa.RecordBatch:
        """Returns the rows that have one of the keys."""
        keys = rows.column(primary)
        if rows.num_rows and self.holds(keys[0].as_py(), keys[-1].as_py()):
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
    r"""Reads a filter back; None if it is not about keys alone.

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
    if found := matched(_BOUNDS):
        pairs = [found.group(1, 2), found.group(3, 4)]
        keys = Keys()
        for sign, key in (pair for pair in pairs if pair[0]):
            keys = _bounded(keys, sign, _key(key))
        return keys
    if found := matched(_AMONG):
        named = [_key(each) for each in _EACH.findall(found[1])]
        lowest = [] if found[2] is None else [int(found[2]) - 1]
        return Keys(among=(*named, *lowest))
    return _of_both(text, primary)


def _of_both(text: str, primary: str) -> Keys | None:
    """Reads ``(a filter) and (another)``."""
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
    if isinstance(key, str):  # Only ever at the empty text, above which all others are.
        return keys
    return replace(keys, after=key - 1) if sign == ">=" else replace(keys, upto=key - 1)


def _key(text: str) -> Key:
    if not text.startswith('"'):
        return int(text)
    key: str = json.loads(text, strict=False)
    return key
