"""Turns keys of the dynamic field into columns.

A key that is missing or null in a row becomes the default value, or null. A row is rejected if its
value has another type than the column, or if there is no value and no default, and null is not
allowed. A rejected row keeps the key in its dynamic field and has null in the column.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from transforms.milvus import types
from transforms.milvus.codec import wire
from transforms.milvus.codec.varints import Ints
from transforms.milvus.schema import Field
from transforms.reshape.column import Column, DynamicKey
from transforms.reshape.json_members import Mask, Members, NotJson, find_members

_INTEGERS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_NUMBERS = (*_INTEGERS, "Float", "Double")

_WORDS = ("text", "a number", "true or false", "an array", "an object", "not JSON")
_KIND = np.full(256, _WORDS.index("not JSON"), np.int8)
"""What a JSON value is, by its first byte: the place in the words above."""
for _first, _word in {b'"': 0, b"-0123456789": 1, b"tf": 2, b"[": 3, b"{": 4}.items():
    _KIND[[*_first]] = _word

_EXACT_DIGITS = {32: 7, 64: 15}
"""All whole numbers with so many digits are exact in a Float and a Double, by bits."""

_EXPECTED = {"VarChar": 0, "Text": 0, "Bool": 2, "Array": 3} | dict.fromkeys(_NUMBERS, 1)
"""The kind of JSON value that each Milvus type takes; JSON takes all."""


@dataclass(frozen=True)
class Extracted:
    """Columns that were taken out of the dynamic field.

    Attributes:
        values: the values of each column, by its name.
        rest: the dynamic field without the extracted keys.
        refusals: why a row is rejected, or null; None if no row is.
    """

    values: dict[str, pa.Array]
    rest: pa.BinaryArray
    refusals: pa.StringArray | None = None


def field_of(name: str, wanted: DynamicKey) -> Field:
    """Returns the field of the target that a key becomes."""
    return Field(
        name,
        types.BY_NAME[wanted.kind].number,
        element_type=types.BY_NAME[wanted.element].number if wanted.element else 0,
        max_length=wanted.max_length,
        max_capacity=wanted.max_capacity,
        nullable=wanted.nullable,
        has_default=wanted.default is not None,
    )


def extract(
    objects: pa.BinaryArray, columns: Sequence[Column], removed: Sequence[str]
) -> Extracted:
    """Takes `columns` out of dynamic fields, and removes the keys `removed` from them."""
    objects = objects.fill_null(b"{}") if objects.null_count else objects
    try:
        return _extract(objects, find_members(objects), columns, removed)
    except NotJson:
        readable, broken = _readable(objects)
        return _extract(objects, find_members(readable), columns, removed, broken)


def _extract(
    objects: pa.BinaryArray,
    members: Members,
    columns: Sequence[Column],
    removed: Sequence[str],
    broken: pa.StringArray | None = None,
) -> Extracted:
    values, refusals = {}, [broken]
    for column in columns:
        if column.extracted is not None:
            values[column.name], refused = _column(members, column.name, column.extracted)
            refusals.append(refused)
    reasons = first_of(refusals)
    return Extracted(values, _rest(objects, members, removed, reasons), reasons)


def first_of(refusals: Sequence[pa.StringArray | None]) -> pa.StringArray | None:
    """Returns the first reason of each row; None if no row has one."""
    some = [
        reasons for reasons in refusals if reasons is not None and reasons.is_valid().true_count
    ]
    return reduce(pc.coalesce, some) if some else None


def _readable(objects: pa.BinaryArray) -> tuple[pa.BinaryArray, pa.StringArray]:
    """Returns the objects with `{}` instead of what is not JSON, and the reasons for these rows."""
    broken = np.array([not _is_object(text) for text in objects.to_pylist()])
    reasons = pa.array(["the dynamic field is not a JSON object", None]).take(
        pa.array((~broken).astype(np.int8))
    )
    return pc.if_else(pa.array(broken), pa.scalar(b"{}", pa.binary()), objects), reasons


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _rest(
    objects: pa.BinaryArray,
    members: Members,
    removed: Sequence[str],
    refusals: pa.StringArray | None,
) -> pa.BinaryArray:
    """Returns the objects without the keys `removed`; rejected rows stay as they are."""
    dropped = np.zeros(len(members.rows), np.bool_)
    for key in removed:
        dropped |= members.named(key)
    if refusals is None:
        return members.without(dropped) if dropped.any() else objects
    refused = refusals.is_valid()
    dropped &= ~refused.to_numpy(zero_copy_only=False)[members.rows]
    return pc.if_else(refused, objects, members.without(dropped))


def _column(members: Members, name: str, wanted: DynamicKey) -> tuple[pa.Array, pa.StringArray]:
    """Returns the values of one key for all rows, and why a row is rejected, or null."""
    count = len(members.bounds) - 1
    found = members.last(members.named(wanted.key))
    texts = members.texts(found)
    is_null = pc.equal(texts, pa.scalar(b"null", pa.binary())).to_numpy(zero_copy_only=False)
    found, texts = found[~is_null], texts.filter(pa.array(~is_null))
    values, misfits = _converted(texts, wanted)
    rows = members.rows[found]
    place = np.full(count, -1)
    place[rows] = np.arange(len(rows))
    is_missing = place < 0
    column = values.take(pa.array(place, mask=is_missing))
    reasons = np.full(count, -1)
    reasons[rows[misfits]] = _kinds(texts)[misfits]
    if wanted.default is not None:
        default = pa.scalar(wanted.default, column.type)
        column = pc.if_else(pa.array(is_missing), default, column)
    elif not wanted.nullable:
        reasons[is_missing] = len(_WORDS)
    return column, _words_of(wanted, name).take(pa.array(reasons, mask=reasons < 0))


def _kinds(texts: pa.BinaryArray) -> Ints:
    """Returns what each JSON text is, as a place in the words."""
    data = np.frombuffer(wire.content(texts), np.uint8)
    starts = wire.offsets(texts)
    kinds: Ints = _KIND[data[starts[:-1] - starts[0]]].astype(np.int64)
    return kinds


def _words_of(wanted: DynamicKey, name: str) -> pa.StringArray:
    """Returns the reasons to reject a row, by the kind of its value; the last is for no value."""
    kind = f"{wanted.kind} of {wanted.element}" if wanted.element else wanted.kind
    field = f"field `{name}` is {kind}"
    misfits = []
    for place, word in enumerate(_WORDS):
        what = f"{word} that does not fit" if place == _EXPECTED.get(wanted.kind) else word
        misfits.append(f"key `{wanted.key}` of the dynamic field is {what}, but {field}")
    missing = f"the dynamic field has no key `{wanted.key}`, but {field}, not nullable, and has "
    return pa.array([*misfits, f"{missing}no default value"], pa.string())


def _converted(texts: pa.BinaryArray, wanted: DynamicKey) -> tuple[pa.Array, Mask]:
    """Returns JSON texts as values of a type, null if one does not fit; and which do not fit."""
    if wanted.kind == "JSON":
        misfits = _kinds(texts) == _WORDS.index("not JSON")
        return pc.if_else(pa.array(misfits), pa.scalar(None, pa.binary()), texts), misfits
    type_ = field_of("", wanted).arrow().type
    alike = _kinds(texts) == _EXPECTED[wanted.kind]
    candidates = texts.filter(pa.array(alike))
    fitting = _exact(_narrowed(_decoded(candidates, _wide(type_)), type_), candidates)
    place = np.full(len(texts), -1)
    place[alike] = np.arange(len(fitting))
    values = fitting.take(pa.array(place, mask=place < 0))
    return values, values.is_null().to_numpy(zero_copy_only=False)


def _wide(type_: pa.DataType) -> pa.DataType:
    """Returns the type of JSON values that may fit into a column, with room for all of them."""
    if pa.types.is_list(type_):
        return pa.list_(_wide(type_.value_type))
    if pa.types.is_integer(type_):
        return pa.int64()
    return pa.float64() if pa.types.is_floating(type_) else type_


def _decoded(texts: pa.BinaryArray, type_: pa.DataType) -> pa.Array:
    """Returns the values of JSON texts; null for a text that is not of this type."""
    if not len(texts):
        return pa.array([], type_)
    head, tail = (
        pa.repeat(pa.scalar(part, pa.binary()), len(texts)) for part in (b'{"v":', b"}\n")
    )
    lines = wire.join(head, texts, tail)
    read = pj.ReadOptions(use_threads=False, block_size=lines.size + 1)
    parse = pj.ParseOptions(pa.schema([("v", type_)]), newlines_in_values=True)
    try:
        table = pj.read_json(pa.BufferReader(lines), read_options=read, parse_options=parse)
    except pa.ArrowInvalid:
        half = len(texts) // 2
        if not half:
            return pa.nulls(1, type_)
        return pa.concat_arrays([_decoded(part, type_) for part in (texts[:half], texts[half:])])
    return pa.concat_arrays(table.column("v").chunks)


def _narrowed(values: pa.Array, type_: pa.DataType) -> pa.Array:
    """Returns values in the type of their column; null for those that do not fit into it."""
    if not pa.types.is_list(type_):
        return _fitting(values, type_)
    items = _fitting(values.flatten(), type_.value_type)
    fits = values.is_valid()
    if items.null_count:
        parents = pc.list_parent_indices(values).filter(items.is_null())
        broken = np.isin(np.arange(len(values)), parents.to_numpy())
        fits = pc.and_(fits, pa.array(~broken))
    lists = pa.ListArray.from_arrays(values.offsets, items, type=type_)
    return pc.if_else(fits, lists, pa.scalar(None, type_))


def _exact(values: pa.Array, texts: pa.BinaryArray) -> pa.Array:
    """Returns the values; null for whole numbers in `texts` that a Float or Double changed.

    Only texts with a whole number of many digits are looked at: all others are exact.
    """
    is_list = pa.types.is_list(values.type)
    item = values.type.value_type if is_list else values.type
    if not pa.types.is_floating(item):
        return values
    digits = _EXACT_DIGITS[item.bit_width] + 1
    is_long = pc.match_substring_regex(texts, rf"(^|[\[,\s])-?[0-9]{{{digits},}}($|[\],\s])")
    changed = np.zeros(len(values), np.bool_)
    for place in np.flatnonzero(pc.and_(is_long, values.is_valid())):
        read, kept = json.loads(texts[place].as_py()), values[place].as_py()
        pairs = zip(read, kept, strict=True) if is_list else [(read, kept)]
        changed[place] = any(isinstance(was, int) and was != now for was, now in pairs)
    return pc.if_else(pa.array(~changed), values, pa.scalar(None, values.type))


def _fitting(values: pa.Array, type_: pa.DataType) -> pa.Array:
    if pa.types.is_integer(type_):
        half = 1 << (type_.bit_width - 1)
        fits = pc.and_(pc.greater_equal(values, -half), pc.less_equal(values, half - 1))
    elif pa.types.is_floating(type_):
        values = values.cast(type_)
        fits = pc.is_finite(values)
    else:
        return values.cast(type_)
    return pc.if_else(fits, values, pa.scalar(None, values.type)).cast(type_)
