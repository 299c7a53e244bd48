"""Why a server rejects a row: the field that exceeds a limit, its size, and the limit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from transforms.milvus import types
from transforms.milvus.schema import Field, Schema

JSON_BYTES = 65_536
"""The default of ``common.JSONMaxLength``, for JSON fields and for the dynamic field."""

_JSON_LIMIT = re.compile(r"(?:json|dynamic) field.* exceeds max length ?\((\d+)\)")
"""The server's message about JSON above its limit (2.3 to 3.0), in lower case."""

_TEXT, _ARRAY = "max_length", "max_capacity"

WIDEN = "widen the field in the target (`field_schema`)"
RAISE_JSON = "raise `common.JSONMaxLength` of the target"


@dataclass(frozen=True)
class Excess:
    """A value that exceeds a limit.

    Attributes:
        words: the field, its size and the limit.
        remedy: how to raise the limit, as an imperative.
    """

    words: str
    remedy: str


def find(schema: Schema, row: pa.RecordBatch, said: str = "") -> Excess | None:
    """Returns the first value of a single row that exceeds a limit of the target, or None.

    Args:
        schema: the fields of the target.
        said: the message with which the server rejects the row; it contains the limit for JSON.
    """
    limit = _JSON_LIMIT.search(said.lower())
    json_bytes = int(limit[1]) if limit else JSON_BYTES
    for field in schema.fields:
        if field.name in row.schema.names:
            value = row.column(field.name)[0]
            for excess in _excesses(field, value, json_bytes):
                return excess
    return None


def _excesses(field: Field, value: pa.Scalar, json_bytes: int, of: str = "") -> Iterator[Excess]:
    if not value.is_valid:
        return
    name = f"field `{of}{field.name}`"
    if field.children:
        for child, part in zip(field.children, value.values(), strict=True):
            yield from _excesses(child, part, json_bytes, f"{field.name}.")
    elif pa.types.is_list(value.type) and not pa.types.is_fixed_size_list(value.type):
        yield from _of_array(field, value, name)
    elif field.type.name == "JSON":
        size = len(value.as_buffer())
        if size > json_bytes:
            what = f"the dynamic field (`{types.META}`)" if field.dynamic else name
            limit = f"{json_bytes:,} (`common.JSONMaxLength`)"
            yield Excess(f"{what} has {size:,} bytes, the limit is {limit}", RAISE_JSON)
    elif pa.types.is_string(value.type) and field.max_length:
        size = len(value.as_buffer())
        if size > field.max_length:
            limit = f"{field.max_length:,} (`{_TEXT}`)"
            yield Excess(f"{name} has {size:,} bytes, the limit is {limit}", WIDEN)


def _of_array(field: Field, value: pa.ListScalar, name: str) -> Iterator[Excess]:
    items = value.values
    if field.max_capacity and len(items) > field.max_capacity:
        limit = f"{field.max_capacity:,} (`{_ARRAY}`)"
        yield Excess(f"{name} has {len(items):,} items, the limit is {limit}", WIDEN)
    if field.max_length and pa.types.is_string(items.type):
        size = max((len(item.as_buffer()) for item in items if item.is_valid), default=0)
        if size > field.max_length:
            limit = f"{field.max_length:,} (`{_TEXT}`)"
            yield Excess(f"{name} has an item of {size:,} bytes, the limit is {limit}", WIDEN)
