"""One column: a serialized FieldData message <-> an Arrow array."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import schema_pb2

from transforms.milvus import types
from transforms.milvus.codec import arrays, values, varints, wire
from transforms.milvus.schema import Field, sub_name
from transforms.milvus.types import Packing

# Field numbers of schema_pb2.FieldData, of its VectorField, and of StructArrayField.
_TYPE, _NAME, _SCALARS, _VECTORS, _DYNAMIC, _VALID, _STRUCTS = 1, 2, 3, 4, 6, 7, 8
_DIM = 1
_SUB_FIELDS = 1


def name_of(message: memoryview) -> str:
    """Returns the field name of a column."""
    for number, _, value in wire.fields(message):
        if number == _NAME and not isinstance(value, int):
            return str(value, "utf-8")
    return ""


def read(field: Field, message: memoryview) -> pa.Array:
    """Reads the column of a field: one value per row; null as in `valid_data`.

    Raises:
        ValueError: the bytes are not a column of this field.
    """
    try:
        return _read(field, message)
    except wire.Irregular:
        return _read(field, _usual_layout(message))


def write(field: Field, column: pa.Array) -> list[Any]:
    """Writes the column of a field as buffers that, joined, are its FieldData message.

    Nulls are left out, and `valid_data` has their places: every release accepts that. A field with
    a default value needs `valid_data` too.
    """
    head = wire.number(_TYPE, field.data_type) + wire.text(_NAME, field.name)
    if field.type.packing is Packing.STRUCTS:
        structs = _write_structs(field, column)
        return [head + wire.head(_STRUCTS, size(structs)), *structs]
    valid = column.is_valid() if field.nullable or field.has_default else None
    holder = _VECTORS if field.type.vector else _SCALARS
    dim = field.dim if field.type.vector and not field.type.sparse else 0
    body = _write_values(field, column.drop_null() if column.null_count else column)
    inner = wire.number(_DIM, dim) + wire.head(field.type.slot, size(body))
    return [
        head + wire.head(holder, len(inner) + size(body)) + inner,
        *body,
        wire.number(_DYNAMIC, int(field.dynamic)),
        b"" if valid is None else _write_valid(valid),
    ]


def size(parts: list[Any]) -> int:
    """Returns the total bytes of all buffers."""
    return sum(memoryview(part).nbytes for part in parts)


def _read(field: Field, message: memoryview) -> pa.Array:
    parts = _parts(message)
    if field.type.packing is Packing.STRUCTS:
        return _read_structs(field, parts.get(_STRUCTS, message[:0]))
    holder = parts.get(_VECTORS if field.type.vector else _SCALARS, message[:0])
    column = _read_values(field, _member(field, holder))
    valid = varints.read(parts.get(_VALID, message[:0]))
    return _spread(column, valid.astype(bool)) if len(valid) else column


def _parts(message: memoryview) -> dict[int, memoryview]:
    parts: dict[int, memoryview] = {}
    for number, _, value in wire.fields(message):
        if number not in (_SCALARS, _VECTORS, _STRUCTS, _VALID):
            continue
        if number in parts or isinstance(value, int):
            raise wire.Irregular(f"field {number} comes in several parts")
        parts[number] = value
    return parts


def _usual_layout(message: memoryview) -> memoryview:
    """Rewrites a column with protobuf, without the fields that protobuf does not know."""
    parsed = wire.parsed(schema_pb2.FieldData, message)
    parsed.DiscardUnknownFields()
    return memoryview(parsed.SerializeToString())


def _member(field: Field, holder: memoryview) -> memoryview:
    """Returns the member of a ScalarField or VectorField with the values, or 0 bytes."""
    members = [
        (number, value)
        for number, _, value in wire.fields(holder)
        if number != _DIM or not field.type.vector
    ]
    if not members:
        return holder[:0]
    [(slot, body), *others] = members
    if others or isinstance(body, int):
        raise wire.Irregular("more than one member")
    # An empty answer of 2.6.6 and later has a TIMESTAMPTZ column as an empty `long_data`.
    if slot != field.type.slot and len(body):
        raise ValueError(f"its values are member {slot} of the message, not {field.type.slot}")
    return body


def _read_values(field: Field, body: memoryview) -> pa.Array:
    match field.type.packing:
        case Packing.ARRAYS:
            return arrays.read(body, types.of(field.element_type))
        case Packing.VECTOR_ARRAYS:
            return arrays.read_vectors(body, types.of(field.element_type), field.dim)
    return values.read(body, field.type, field.arrow().type)


def _write_values(field: Field, column: pa.Array) -> list[Any]:
    match field.type.packing:
        case Packing.ARRAYS:
            return arrays.write(column, types.of(field.element_type))
        case Packing.VECTOR_ARRAYS:
            return arrays.write_vectors(column, types.of(field.element_type), field.dim)
    return values.write(column, field.type)


def _spread(column: pa.Array, valid: npt.NDArray[np.bool_]) -> pa.Array:
    """Inserts nulls where rows are not valid; `column` may have or omit the values of such rows."""
    rows, present = len(valid), int(valid.sum())
    if len(column) not in (rows, present):
        raise ValueError(f"{len(column)} values, but {present} of {rows} rows are valid")
    if present == rows:
        return column
    places = np.arange(rows) if len(column) == rows else np.cumsum(valid) - 1
    return column.take(pa.array(places, mask=~valid))


def _write_valid(valid: pa.BooleanArray) -> bytes:
    flags: bytes = pc.cast(valid, pa.uint8()).to_numpy().tobytes()
    return wire.head(_VALID, len(flags)) + flags if flags else b""


def _read_structs(field: Field, body: memoryview) -> pa.StructArray:
    """Reads the sub-fields; each is a separate column of lists."""
    columns = {sub_name(name_of(message)): message for message in wire.messages(body, _SUB_FIELDS)}
    missing = [child.name for child in field.children if child.name not in columns]
    if missing and columns:
        raise ValueError(f"the answer has no sub-field {missing[0]}")
    children = [read(child, columns.get(child.name, body[:0])) for child in field.children]
    absent = children[0].is_null() if children[0].null_count else None
    return pa.StructArray.from_arrays(children, fields=list(field.arrow().type), mask=absent)


def _write_structs(field: Field, column: pa.StructArray) -> list[Any]:
    parts: list[Any] = []
    for child, sub_column in zip(field.children, column.flatten(), strict=True):
        message = write(child, sub_column)
        parts += [wire.head(_SUB_FIELDS, size(message)), *message]
    return parts
