"""Columns of arrays: ArrayArray and VectorArray messages <-> Arrow lists."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from transforms.milvus import types
from transforms.milvus.codec import values, varints, wire
from transforms.milvus.types import FieldType, Packing

# Field numbers of schema_pb2.ArrayArray, and of the messages of numbers and strings.
_DATA, _ELEMENT_TYPE = 1, 2
_DATA_TAG = _DATA << 3 | wire.BYTES


def read(body: memoryview, element: FieldType) -> pa.ListArray:
    """Reads ArrayArray: one ScalarField per row -> lists. A row of 0 bytes is an empty list."""
    rows, rest = wire.pieces(body)
    if any(number != _ELEMENT_TYPE for number, _, _ in wire.fields(rest)):
        raise wire.Irregular("fields beside the rows")
    members = _unwrapped(rows, element.slot << 3 | wire.BYTES)
    if element.packing is Packing.PIECES:
        return _read_strings(members, element)
    packed = _unwrapped(members, _DATA_TAG)
    data = memoryview(wire.content(packed))
    bounds = wire.offsets(packed) - wire.offsets(packed)[0]
    if element.packing is Packing.FIXED:
        dtype = values.FLOATS[element.number]
        items = pa.array(wire.fixed(data, dtype))
        return _lists(bounds // np.dtype(dtype).itemsize, items)
    before = np.append(0, np.cumsum(np.frombuffer(data, np.uint8) < 0x80))
    return _lists(before[bounds], values.narrowed(varints.read(data), element.arrow))


def write(column: pa.ListArray, element: FieldType) -> list[Any]:
    """Writes ArrayArray: lists -> one ScalarField per row.

    An empty list is an empty member of the right type, never a ScalarField without a member: Milvus
    2.3 sends the latter, but crashes (SIGSEGV in checkArrayElement) when it receives one.
    """
    items = _item_bytes(column, element)
    lengths = wire.byte_lengths(items)
    wrapped = (lengths > 0) & (element.packing is not Packing.PIECES)
    member = lengths + wrapped * (1 + varints.sizes(lengths))
    heads = np.empty((len(column), 6), np.int64)
    heads[:, 0] = heads[:, 4] = _DATA_TAG
    heads[:, 1] = 1 + varints.sizes(member) + member
    heads[:, 2] = element.slot << 3 | wire.BYTES
    heads[:, 3] = member
    heads[:, 5] = lengths
    keep = np.ones(heads.shape, bool)
    keep[:, 4:] = wrapped[:, None]
    return [
        wire.join(wire.interleaved(heads, keep), items),
        wire.number(_ELEMENT_TYPE, element.number),
    ]


def read_vectors(body: memoryview, element: FieldType, dim: int) -> pa.ListArray:
    """Reads VectorArray: one VectorField per row -> lists of vectors. Creates an object per row."""
    message = wire.parsed(schema_pb2.VectorArray, body)
    rows = [_vector_bytes(row, element) for row in message.data]
    arrow = types.arrow_type(element.number, dim=dim)
    bounds = np.append(0, np.cumsum([len(row) // element.width(dim) for row in rows]))
    joined = memoryview(b"".join(rows))
    if element.packing is Packing.FIXED:
        floats = pa.array(wire.fixed(joined, np.float32))
        return _lists(bounds, pa.FixedSizeListArray.from_arrays(floats, type=arrow))
    return _lists(bounds, values.blob_rows(joined, arrow))


def write_vectors(column: pa.ListArray, element: FieldType, dim: int) -> list[Any]:
    """Writes VectorArray: lists of vectors -> a VectorField per row. Creates an object per row."""
    message = schema_pb2.VectorArray(dim=dim, element_type=element.number)
    bounds = (wire.offsets(column) - wire.offsets(column)[0]) * element.width(dim)
    vectors = column.flatten()
    if element.packing is Packing.FIXED:
        data = values.numbers(vectors.flatten()).data.cast("B")
    else:
        data = values.blob(vectors)
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        row = data[start:end]
        packed = element.packing is Packing.FIXED and len(row)
        member = wire.head(_DATA, len(row)) + row if packed else bytes(row)
        head = wire.number(1, dim) + wire.head(element.slot, len(member))
        message.data.append(schema_pb2.VectorField.FromString(head + member))
    return [message.SerializeToString()]


def _vector_bytes(row: schema_pb2.VectorField, element: FieldType) -> bytes:
    if element.packing is Packing.FIXED:
        return bytes(wire.only(memoryview(row.float_vector.SerializeToString()), _DATA))
    member = row.DESCRIPTOR.fields_by_number[element.slot].name
    data: bytes = getattr(row, member)
    return data


def _unwrapped(rows: pa.BinaryArray, tag: int) -> pa.BinaryArray:
    """Returns the only field of each row's message, which has this tag; 0 bytes remain 0 bytes."""
    data = wire.content(rows)
    bounds = (wire.offsets(rows) - wire.offsets(rows)[0]).astype(np.int64)
    starts, ends = bounds[:-1].copy(), bounds[1:]
    filled = np.flatnonzero(starts < ends)
    if len(filled):
        view = np.frombuffer(data, np.uint8)
        lengths, sizes = varints.at(view, starts[filled] + 1)
        if (view[starts[filled]] != tag).any():
            raise wire.Irregular("not the expected field")
        starts[filled] += 1 + sizes
        if (starts[filled] + lengths != ends[filled]).any():
            raise wire.Irregular("more than the expected field")
    return wire.spans(memoryview(data), starts, ends)


def _read_strings(members: pa.BinaryArray, element: FieldType) -> pa.ListArray:
    """Splits each row's repeated strings: all rows joined are one long repeated field."""
    data = memoryview(wire.content(members))
    heads, starts, end = wire.find_pieces(np.frombuffer(data, np.uint8))
    bounds = wire.offsets(members) - wire.offsets(members)[0]
    edges = np.searchsorted(heads, bounds)
    if end != len(data) or not np.array_equal(np.append(heads, end)[edges], bounds):
        raise wire.Irregular("fields beside the values")
    items = wire.spans(data, starts, np.append(heads, end)[1:])
    return _lists(edges, items.cast(element.arrow))


def _lists(bounds: np.ndarray[Any, Any], items: pa.Array) -> pa.ListArray:
    arrow = pa.list_(pa.field("item", items.type, nullable=False))
    return pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), items, type=arrow)


def _item_bytes(column: pa.ListArray, element: FieldType) -> pa.BinaryArray:
    """Returns the bytes of the items of each row."""
    bounds = wire.offsets(column) - wire.offsets(column)[0]
    items = column.flatten()
    match element.packing:
        case Packing.PIECES:
            data = np.frombuffer(wire.pack_pieces(items.cast(pa.binary())), np.uint8)
            lengths = wire.byte_lengths(items)
            sizes = lengths + 1 + varints.sizes(lengths)
        case Packing.VARINTS:
            data, sizes = varints.write(values.widened(items))
        case _:
            data = values.numbers(items).view(np.uint8)
            sizes = np.full(len(items), items.type.bit_width // 8)
    return wire.binary(data, np.diff(np.append(0, np.cumsum(sizes))[bounds]))
