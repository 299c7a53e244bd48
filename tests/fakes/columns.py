"""Columns of every type, value by value, as Milvus puts them into its messages.

A scalar is a Python value, JSON and vectors of small numbers are bytes, a float vector is a list, an
array is a list, a struct array is a list of its sub-fields by name; None is null. Answers have
something in the place of a null; requests must leave it out, and say by `valid_data` where it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

Field = schema_pb2.FieldSchema | schema_pb2.StructArrayFieldSchema

_SCALARS = {
    DataType.Bool: ("bool_data", False),
    **dict.fromkeys((DataType.Int8, DataType.Int16, DataType.Int32), ("int_data", 0)),
    DataType.Int64: ("long_data", 0),
    DataType.Float: ("float_data", 0.0),
    DataType.Double: ("double_data", 0.0),
    **dict.fromkeys((DataType.VarChar, DataType.Text, DataType.Timestamptz), ("string_data", "")),
    DataType.Geometry: ("geometry_wkt_data", ""),
    DataType.JSON: ("json_data", b""),
}
_BLOBS = {
    DataType.BinaryVector: ("binary_vector", 1),
    DataType.Float16Vector: ("float16_vector", 16),
    DataType.BFloat16Vector: ("bfloat16_vector", 16),
    DataType.Int8Vector: ("int8_vector", 8),
}
"""The slot of a vector that is bytes, and the bits of one dimension."""

_MESSAGES = {
    DataType.FloatVector: "float_vector",
    DataType.SparseFloatVector: "sparse_float_vector",
    DataType.ArrayOfVector: "vector_array",
}


def column(field: Field, values: Sequence[Any]) -> schema_pb2.FieldData:
    """Writes a column as an answer has it."""
    if isinstance(field, schema_pb2.StructArrayFieldSchema):
        return _structs(field, values)
    data = schema_pb2.FieldData(field_name=field.name, type=field.data_type)
    data.is_dynamic = field.is_dynamic
    if field.nullable:
        data.valid_data.extend(value is not None for value in values)
    there = [value for value in values if value is not None]
    if field.data_type >= DataType.BinaryVector:
        _write_vectors(data.vectors, field.data_type, field.element_type, _dim(field), there)
    elif field.data_type == DataType.Array:
        array = data.scalars.array_data
        array.SetInParent()
        array.element_type = field.element_type
        for value in values:
            _write_scalars(array.data.add(), field.element_type, value or [])
    else:
        _write_scalars(data.scalars, field.data_type, values)
    return data


def values_of(data: schema_pb2.FieldData) -> list[Any]:
    """Reads a column of a request.

    Raises:
        ValueError: there are more or fewer values than `valid_data` says.
    """
    if data.HasField("struct_arrays"):
        parts = {sub.field_name: values_of(sub) for sub in data.struct_arrays.fields}
        rows = zip(*parts.values(), strict=True)
        return [None if row[0] is None else dict(zip(parts, row, strict=True)) for row in rows]
    there = list(
        _read_vectors(data.vectors, data.type) if data.HasField("vectors") else _read(data)
    )
    if not data.valid_data:
        return there
    if len(there) != sum(data.valid_data):
        raise ValueError(f"{len(there)} values, {sum(data.valid_data)} of them valid")
    left = iter(there)
    return [next(left) if valid else None for valid in data.valid_data]


def _dim(field: schema_pb2.FieldSchema) -> int:
    return next((int(pair.value) for pair in field.type_params if pair.key == "dim"), 0)


def _write_scalars(slots: schema_pb2.ScalarField, kind: int, values: Sequence[Any]) -> None:
    slot, nothing = _SCALARS[kind]
    getattr(slots, slot).SetInParent()  # The member is there in empty answers too.
    getattr(slots, slot).data.extend(nothing if value is None else value for value in values)


def _write_vectors(
    slots: schema_pb2.VectorField, kind: int, element: int, dim: int, values: Sequence[Any]
) -> None:
    slots.dim = dim
    if kind in _MESSAGES:
        getattr(slots, _MESSAGES[kind]).SetInParent()
    if kind == DataType.FloatVector:
        slots.float_vector.data.extend(itertools.chain.from_iterable(values))
    elif kind == DataType.SparseFloatVector:
        slots.sparse_float_vector.contents.extend(values)
    elif kind == DataType.ArrayOfVector:
        slots.vector_array.dim, slots.vector_array.element_type = dim, element
        for value in values:
            _write_vectors(slots.vector_array.data.add(), element, 0, dim, value)
    else:
        setattr(slots, _BLOBS[kind][0], b"".join(values))


def _structs(
    field: schema_pb2.StructArrayFieldSchema, values: Sequence[Any]
) -> schema_pb2.FieldData:
    data = schema_pb2.FieldData(field_name=field.name, type=DataType.ArrayOfStruct)
    data.struct_arrays.SetInParent()
    for sub in field.fields:
        part = column(sub, [None if value is None else value[sub.name] for value in values])
        data.struct_arrays.fields.append(part)
    return data


def _read(data: schema_pb2.FieldData) -> Iterator[Any]:
    if data.type == DataType.Array:
        slot = _SCALARS[data.scalars.array_data.element_type][0]
        return (list(getattr(each, slot).data) for each in data.scalars.array_data.data)
    slot = data.scalars.WhichOneof("data")
    return iter(getattr(data.scalars, slot).data if slot else ())


def _read_vectors(slots: schema_pb2.VectorField, kind: int) -> Iterator[Any]:
    if kind == DataType.FloatVector:
        numbers = slots.float_vector.data
        yield from (list(numbers[at : at + slots.dim]) for at in range(0, len(numbers), slots.dim))
    elif kind == DataType.SparseFloatVector:
        yield from slots.sparse_float_vector.contents
    elif kind == DataType.ArrayOfVector:
        element = slots.vector_array.element_type
        yield from (list(_read_vectors(each, element)) for each in slots.vector_array.data)
    else:
        slot, bits = _BLOBS[kind]
        blob, width = getattr(slots, slot), bits * slots.dim // 8
        yield from (blob[at : at + width] for at in range(0, len(blob), width))
