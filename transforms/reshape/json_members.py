"""Finds the members of JSON objects, a column at a time: `"key": value`, at the top level only.

numpy looks at the quotes, commas, colons and brackets of all rows together, so that no Python
object is created per value. Values are not decoded; what stays of an object keeps its bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.milvus.codec import wire
from transforms.milvus.codec.varints import Bytes, Ints

Mask = npt.NDArray[np.bool_]

_QUOTE, _COMMA, _COLON, _BACKSLASH = b'",:\\'
_OPEN, _CLOSE = b"{}"
_SPACES = np.frombuffer(b" \t\r\n", np.uint8)

_IS_STRUCTURE = np.zeros(256, np.bool_)
_IS_STRUCTURE[[*b'"{}[],:']] = True
_STEP = np.zeros(256, np.int8)
_STEP[[*b"{["]], _STEP[[*b"}]"]] = 1, -1
"""How much deeper each byte leads."""


class NotJson(ValueError):
    """Some values are not JSON objects."""


@dataclass(frozen=True)
class Members:
    """The members of the objects of a column, in the order of their bytes.

    All attributes but `data` and `bounds` have one item per member; places are offsets in `data`.

    Attributes:
        data: the bytes of all objects, joined.
        bounds: the place where each object begins; and the end of the last one.
        rows: the object that has the member.
        starts: the place after the comma or the brace before the member.
        keys: the place of its key, after the quote.
        key_ends: the place of the quote after its key.
        values: the place after its colon.
        ends: the place of the comma or the brace after the member.
    """

    data: Bytes
    bounds: Ints
    rows: Ints
    starts: Ints
    keys: Ints
    key_ends: Ints
    values: Ints
    ends: Ints

    def named(self, name: str) -> Mask:
        """Returns which members have this key.

        Raises:
            NotJson: a key has an escape that JSON does not have.
        """
        encoded = np.frombuffer(name.encode(), np.uint8)
        named: Mask = self.key_ends - self.keys == len(encoded)
        alike = np.flatnonzero(named)
        letters = self.data[self.keys[alike][:, None] + np.arange(len(encoded))]
        named[alike] = (letters == encoded).all(axis=1)
        for member in self._escaped:
            key = self.data[self.keys[member] - 1 : self.key_ends[member] + 1].tobytes()
            try:
                named[member] = json.loads(key) == name
            except ValueError:
                raise NotJson from None
        return named

    @cached_property
    def _escaped(self) -> Ints:
        r"""The numbers of the members whose key has a backslash, such as `caf\u00e9`."""
        slashes = np.flatnonzero(self.data == _BACKSLASH)
        before, upto = (np.searchsorted(slashes, places) for places in (self.keys, self.key_ends))
        return np.flatnonzero(before != upto)

    def last(self, named: Mask) -> Ints:
        """Returns the numbers of the members `named`; of a key that an object has twice, the last.

        Milvus and most parsers take the last one.
        """
        numbers = np.flatnonzero(named)
        rows = self.rows[numbers]
        last: Ints = numbers[np.append(rows[1:] != rows[:-1], True)[: len(rows)]]
        return last

    def texts(self, members: Ints) -> pa.BinaryArray:
        """Returns the JSON of the values of these members, without the spaces around it.

        Raises:
            NotJson: a member has no value.
        """
        starts, ends = self.values[members].copy(), self.ends[members].copy()
        while (spaces := np.isin(self.data[starts], _SPACES)).any():
            starts += spaces
        while (spaces := np.isin(self.data[ends - 1], _SPACES)).any():
            ends -= spaces
        if (starts >= ends).any():
            raise NotJson
        return wire.spans(self.data.data, starts, ends)

    def without(self, dropped: Mask) -> pa.BinaryArray:
        """Returns the objects without the members `dropped`; all other bytes stay."""
        kept = ~dropped
        last_kept = np.full(len(self.bounds) - 1, -1)
        last_kept[self.rows[kept]] = np.flatnonzero(kept)
        # The comma after a member stays if the member stays, and another one after it.
        comma = kept & (np.arange(len(kept)) < last_kept[self.rows])
        drops_comma = ~comma & (self.data[self.ends] == _COMMA)
        cut = dropped | drops_comma
        starts, ends = (
            np.where(dropped, self.starts, self.ends)[cut],
            (self.ends + drops_comma)[cut],
        )
        stays = wire.spans(self.data.data, np.append(0, ends), np.append(starts, len(self.data)))
        gone = np.bincount(self.rows[cut], ends - starts, len(self.bounds) - 1).astype(np.int64)
        content = np.frombuffer(wire.content(stays), np.uint8)
        return wire.binary(content, np.diff(self.bounds) - gone)


def find_members(objects: pa.BinaryArray) -> Members:
    """Finds the members of JSON objects; none may be null.

    Raises:
        NotJson: a value is not a JSON object.
    """
    data = np.frombuffer(wire.content(objects), np.uint8)
    bounds = wire.offsets(objects).astype(np.int64)
    bounds -= bounds[0]
    at = _structure(data)
    kinds = data[at]
    edges = np.searchsorted(at, bounds)
    rows = np.repeat(np.arange(len(objects)), np.diff(edges))
    quotes = np.append(0, np.cumsum(kinds == _QUOTE))
    if (quotes[edges] % 2).any():
        raise NotJson
    outside = (kinds == _QUOTE) | (quotes[1:] % 2 == 0)
    at, kinds, rows = at[outside], kinds[outside], rows[outside]
    edges = np.searchsorted(at, bounds)
    depth = np.cumsum(_STEP[kinds], dtype=np.int64)
    _check_objects(kinds, depth, edges)
    colons = np.flatnonzero((kinds == _COLON) & (depth == 1))
    ends = np.flatnonzero((kinds == _COMMA) & (depth == 1) | (kinds == _CLOSE) & (depth == 0))
    is_empty = np.bincount(rows[colons], minlength=len(objects)) == 0
    ends = ends[~is_empty[rows[ends]]]
    if not np.array_equal(rows[ends], rows[colons]) or (kinds[colons - 1] != _QUOTE).any():
        raise NotJson
    of, first = rows[colons], np.diff(rows[colons], prepend=-1) != 0
    before = np.where(first, at[edges[of]], np.append(0, at[ends])[: len(ends)])
    return Members(
        data=data,
        bounds=bounds,
        rows=of,
        starts=before + 1,
        keys=at[colons - 2] + 1,
        key_ends=at[colons - 1],
        values=at[colons] + 1,
        ends=at[ends],
    )


def _structure(data: Bytes) -> Ints:
    """Returns the places of all structural bytes, and of quotes that are not escaped."""
    is_structure = _IS_STRUCTURE[data]
    slashes = np.flatnonzero(data == _BACKSLASH)
    if len(slashes):
        begins = np.diff(slashes, prepend=-2) != 1
        lengths = np.bincount(np.cumsum(begins) - 1)
        # An odd number of backslashes escapes the byte after them.
        after = slashes[begins] + lengths
        is_structure[after[(lengths % 2 == 1) & (after < len(data))]] = False
    return np.flatnonzero(is_structure)


def _check_objects(kinds: Bytes, depth: Ints, edges: Ints) -> None:
    """Checks that each row is one object: its first brace opens it, and its last one closes it."""
    firsts, lasts = edges[:-1], edges[1:] - 1
    if (firsts > lasts).any():
        raise NotJson
    whole = (kinds[firsts] == _OPEN) & (depth[firsts] == 1)
    whole &= (kinds[lasts] == _CLOSE) & (depth[lasts] == 0)
    if not whole.all() or np.count_nonzero(depth == 0) != len(firsts):
        raise NotJson
