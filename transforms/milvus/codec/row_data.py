"""Whole messages: answers of queries -> record batches -> insert and upsert requests."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.errors import DataError
from transforms.milvus.codec import columns, wire
from transforms.milvus.schema import Field, Schema
from transforms.milvus.types import Packing

# Field numbers of milvus_pb2.QueryResults, and of InsertRequest, which UpsertRequest shares.
_ANSWER_FIELDS = 2
_DATABASE, _COLLECTION, _PARTITION, _FIELDS, _ROWS = 2, 3, 4, 5, 7

_VIEWED = Packing.FIXED, Packing.BLOB
"""The packings that are read as a view on their message."""

WireColumns = dict[str, memoryview]
"""Field name -> FieldData message of an answer."""


def decode(schema: Schema, answer: bytes) -> pa.RecordBatch:
    """Reads a serialized QueryResults as a batch with the fields of `schema`, in their order.

    Dense vectors and floating-point columns are views on `answer` if they are at least half of it:
    a view keeps all of the answer in memory. Fields of the answer that are not in the schema are
    skipped. An answer without fields is an empty batch.

    Raises:
        DataError: a column is missing, is not of its field, or is shorter than the others.
    """
    messages = _columns(schema, answer)
    messages |= _copies(schema, messages, len(answer))
    if not messages:
        return pa.RecordBatch.from_pylist([], schema=schema.arrow())
    arrays = [_read(schema, field, messages.get(field.name)) for field in schema.fields]
    rows = max(map(len, arrays), default=0)
    for field, array in zip(schema.fields, arrays, strict=True):
        if len(array) != rows:
            raise _bad(schema, field, f"{len(array)} values for {rows} rows")
    return pa.RecordBatch.from_arrays(arrays, schema=schema.arrow())


def insert_request(
    *, database: str, collection: str, partition: str, schema: Schema, batch: pa.RecordBatch
) -> bytes:
    """Returns a serialized InsertRequest, which is also a serialized UpsertRequest.

    It has those fields of `schema` that are columns of `batch`. It copies vectors once.

    Raises:
        DataError: a field that is not nullable has nulls.
    """
    parts: list[Any] = [
        wire.text(_DATABASE, database),
        wire.text(_COLLECTION, collection),
        wire.text(_PARTITION, partition),
    ]
    for field in schema.fields:
        if field.name in batch.schema.names:
            column = _write(schema, field, batch.column(field.name))
            parts.append(wire.head(_FIELDS, columns.size(column)))
            parts.extend(column)
    parts.append(wire.number(_ROWS, batch.num_rows))
    return b"".join(parts)


def encode_fields(schema: Schema, batch: pa.RecordBatch) -> list[bytes]:
    """Returns the serialized FieldData of each field of `schema` that is a column of `batch`."""
    return [
        b"".join(_write(schema, field, batch.column(field.name)))
        for field in schema.fields
        if field.name in batch.schema.names
    ]


def _columns(schema: Schema, answer: bytes) -> WireColumns:
    try:
        messages = wire.messages(memoryview(answer), _ANSWER_FIELDS)
        return {columns.name_of(message): message for message in messages}
    except ValueError as error:
        raise DataError(f"{schema.collection}: the answer is not a message: {error}") from error


def _copies(schema: Schema, messages: WireColumns, answer_bytes: int) -> WireColumns:
    """Returns copies of the viewed columns if they are less than half of the answer."""
    names = [field.name for field in schema.fields if field.type.packing in _VIEWED]
    viewed = {name: messages[name] for name in names if name in messages}
    if 2 * sum(map(len, viewed.values())) >= answer_bytes:
        return {}
    return {name: memoryview(bytes(message)) for name, message in viewed.items()}


def _read(schema: Schema, field: Field, message: memoryview | None) -> pa.Array:
    if message is None:
        raise _bad(schema, field, "the answer does not have this column")
    try:
        column = columns.read(field, message)
    except ValueError as error:
        raise _bad(schema, field, str(error)) from error
    if column.null_count and field.dynamic:
        return column.fill_null(b"{}")
    return column


def _write(schema: Schema, field: Field, column: pa.Array) -> list[Any]:
    if column.null_count and not field.nullable:
        raise _bad(schema, field, f"{column.null_count} nulls, but the field is not nullable")
    expected = field.arrow().type
    try:
        return columns.write(field, column if column.type == expected else column.cast(expected))
    except pa.ArrowException as error:
        raise _bad(schema, field, str(error)) from error


def _bad(schema: Schema, field: Field, problem: str) -> DataError:
    return DataError(f"{schema.collection}.{field.name}: {problem}")


# --- sizes ---------------------------------------------------------------------------------------

_VARINT_BYTES = 10
_HEAD_BYTES = 6
"""A tag, and a length below 2^35."""
_VALID_BYTES = 1


def row_sizes(batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """Returns the maximum bytes of each row in a request: shape (rows,)."""
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += _value_sizes(column) + _VALID_BYTES
    return sizes


def cut(batch: pa.RecordBatch, *, max_rows: int, max_bytes: int) -> list[pa.RecordBatch]:
    """Cuts a batch into consecutive slices within both limits; copies no row.

    Slices have about equal sizes, so that no request has only a few rows. A row larger than
    `max_bytes` is a slice of its own. An empty batch has no slices.
    """
    ends = np.append(0, np.cumsum(row_sizes(batch)))
    slices = []
    start, rows = 0, batch.num_rows
    while start < rows:
        before, left = int(ends[start]), int(ends[-1] - ends[start])
        slices_left = max(-(-left // max_bytes), -(-(rows - start) // max_rows))
        even = int(np.searchsorted(ends, before + -(-left // slices_left)))
        fitting = int(np.searchsorted(ends, before + max_bytes, side="right")) - 1
        stop = max(start + 1, min(even, fitting, start + max_rows))
        slices.append(batch.slice(start, stop - start))
        start = stop
    return slices


def _value_sizes(column: pa.Array) -> npt.NDArray[np.int64] | int:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return wire.byte_lengths(column) + _HEAD_BYTES
    if pa.types.is_list(kind):
        return _list_sizes(column) + 4 * _HEAD_BYTES
    if pa.types.is_struct(kind):
        return sum(_value_sizes(child) + _VALID_BYTES for child in column.flatten())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return _VARINT_BYTES
    return _fixed_size(kind)


def _fixed_size(kind: pa.DataType) -> int:
    size: int
    if pa.types.is_fixed_size_list(kind):
        size = kind.list_size * _fixed_size(kind.value_type)
    else:
        size = kind.byte_width
    return size


def _list_sizes(column: pa.ListArray) -> npt.NDArray[np.int64]:
    bounds = wire.offsets(column)
    items = column.values.slice(bounds[0], bounds[-1] - bounds[0])
    sizes = np.broadcast_to(_value_sizes(items), len(items))
    ends = np.append(0, np.cumsum(sizes))[bounds - bounds[0]]
    row_sizes: npt.NDArray[np.int64] = np.diff(ends)
    return row_sizes
