"""The values of a column of scalars or vectors: the member of a FieldData message <-> Arrow.

Floats and dense vectors have the same layout in both: they are read as views on the message and
written as views on Arrow's buffers. Integers and booleans are varints on the wire. Arrow copies
strings, JSON and sparse vectors once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from transforms.milvus.codec import varints, wire
from transforms.milvus.types import FieldType, Packing

_DATA = 1
_SPARSE_DIM = 2

_Numbers = np.ndarray[Any, Any]

FLOATS: dict[int, type[np.float32 | np.float64]] = {
    schema_pb2.DataType.Float: np.float32,
    schema_pb2.DataType.Double: np.float64,
    schema_pb2.DataType.FloatVector: np.float32,
}


def read(body: memoryview, kind: FieldType, arrow: pa.DataType) -> pa.Array:
    """Reads the bytes of a member as a column of the given Arrow type."""
    match kind.packing:
        case Packing.VARINTS:
            return narrowed(varints.read(wire.only(body, _DATA)), arrow)
        case Packing.FIXED:
            floats = pa.array(wire.fixed(wire.only(body, _DATA), FLOATS[kind.number]))
            return pa.FixedSizeListArray.from_arrays(floats, type=arrow) if kind.vector else floats
        case Packing.PIECES:
            return _read_pieces(body, arrow, rest_allowed=kind.sparse)
    return blob_rows(body, arrow)


def write(column: pa.Array, kind: FieldType) -> list[Any]:
    """Writes a column without nulls as buffers that, joined, are the bytes of its member."""
    match kind.packing:
        case Packing.VARINTS:
            return _packed(varints.write(widened(column))[0])
        case Packing.FIXED:
            return _packed(numbers(column.flatten() if kind.vector else column))
        case Packing.PIECES:
            rest = wire.number(_SPARSE_DIM, _sparse_dim(column)) if kind.sparse else b""
            return [wire.pack_pieces(column.cast(pa.binary())), rest]
    return [blob(column)]


def narrowed(values: varints.Ints, arrow: pa.DataType) -> pa.Array:
    """Casts int64 to an integer or boolean type; ArrowInvalid if a value does not fit."""
    if pa.types.is_boolean(arrow):
        return pa.array(values.astype(bool))
    return pa.array(values).cast(arrow)


def widened(column: pa.Array) -> varints.Ints:
    """Returns integers or booleans without nulls as int64."""
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    widened: varints.Ints = column.to_numpy().astype(np.int64, copy=False)
    return widened


def numbers(column: pa.Array) -> _Numbers:
    """Returns numbers without nulls as a view."""
    view: _Numbers = column.to_numpy(zero_copy_only=True)
    return view


def blob_rows(body: memoryview, arrow: pa.FixedSizeBinaryType) -> pa.FixedSizeBinaryArray:
    """Cuts one blob into rows of the same width, as a view."""
    rows, rest = divmod(len(body), arrow.byte_width)
    if rest:
        raise ValueError(f"{len(body)} bytes are not a multiple of {arrow.byte_width}")
    return pa.Array.from_buffers(arrow, rows, [None, pa.py_buffer(body)])


def blob(column: pa.FixedSizeBinaryArray) -> memoryview:
    """Returns the bytes of all rows, joined, as a view."""
    width = column.type.byte_width
    start = column.offset * width
    return memoryview(column.buffers()[1])[start : start + len(column) * width]


def _packed(values: _Numbers) -> list[Any]:
    return [wire.head(_DATA, values.nbytes), values.data] if values.nbytes else []


def _read_pieces(body: memoryview, arrow: pa.DataType, *, rest_allowed: bool) -> pa.Array:
    values, rest = wire.pieces(body)
    if len(rest) and (not rest_allowed or any(n == _DATA for n, _, _ in wire.fields(rest))):
        raise wire.Irregular("fields beside the values")
    return values.cast(arrow)


def _sparse_dim(column: pa.BinaryArray) -> int:
    """Returns the highest index plus one, as clients do; 0 if there are no indexes."""
    data = np.frombuffer(wire.content(column), np.uint8)
    index = data[: len(data) // 8 * 8].view(np.uint32)[0::2]
    return int(index.max()) + 1 if len(index) else 0
