"""Hypothesis strategies, each built from the ones above it: fields, collections, values, batches.

`answer` and `request` make the messages of a batch through protobuf's own API, value by value: what
the codec is compared with.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from hypothesis import settings
from hypothesis import strategies as st
from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from transforms.milvus import schema as schemas
from transforms.milvus import types
from transforms.milvus.schema import Field, Schema

laws = settings(max_examples=50)
"""For properties over whole batches, whose examples take milliseconds to make."""

SCALARS = tuple(kind.number for kind in types.TABLE if kind.arrow is not None and not kind.sparse)
VECTORS = tuple(kind.number for kind in types.TABLE if kind.bits or kind.sparse)
ELEMENTS = tuple(sorted(types.ELEMENTS[DataType.Array]))
VECTOR_ELEMENTS = tuple(sorted(types.ELEMENTS[DataType.ArrayOfVector]))

_INTEGER_BITS = {DataType.Int8: 8, DataType.Int16: 16, DataType.Int32: 32, DataType.Int64: 64}


# --- fields and collections ----------------------------------------------------------------------


def field_messages(name: str) -> st.SearchStrategy[schema_pb2.FieldSchema]:
    """A field of any type that is carried, apart from struct arrays."""
    return st.builds(
        _field_message,
        name=st.just(name),
        kind=st.one_of(
            st.sampled_from(SCALARS).map(lambda kind: (kind, 0)),
            st.sampled_from(VECTORS).map(lambda kind: (kind, 0)),
            st.sampled_from(ELEMENTS).map(lambda element: (DataType.Array, element)),
        ),
        eighth_dim=st.integers(1, 3),
        nullable=st.booleans(),
        default=st.booleans(),
    )


def struct_messages(name: str) -> st.SearchStrategy[schema_pb2.StructArrayFieldSchema]:
    """A struct array with one to three sub-fields."""
    kinds = st.one_of(
        st.sampled_from(ELEMENTS).map(lambda element: (DataType.Array, element)),
        st.sampled_from(VECTOR_ELEMENTS).map(lambda element: (DataType.ArrayOfVector, element)),
    )
    return st.builds(
        _struct_message,
        name=st.just(name),
        kinds=st.lists(kinds, min_size=1, max_size=3),
        eighth_dim=st.integers(1, 2),
        nullable=st.booleans(),
    )


@st.composite
def collections(draw: st.DrawFn) -> schema_pb2.CollectionSchema:
    """A collection with a primary key, up to four fields, struct arrays and dynamic fields."""
    message = schema_pb2.CollectionSchema(name="docs", enable_dynamic_field=draw(st.booleans()))
    message.fields.add(
        name="id",
        is_primary_key=True,
        data_type=draw(st.sampled_from([DataType.Int64, DataType.VarChar])),
        autoID=draw(st.booleans()),
    )
    for place in range(draw(st.integers(0, 4))):
        message.fields.append(draw(field_messages(f"field_{place}")))
    for place in range(draw(st.integers(0, 1))):
        message.struct_array_fields.append(draw(struct_messages(f"struct_{place}")))
    return message


def schemas_of_any_kind() -> st.SearchStrategy[Schema]:
    """What `schema.parse` makes of any collection."""
    return collections().map(schemas.parse)


def _field_message(
    name: str, kind: tuple[int, int], eighth_dim: int, nullable: bool, default: bool
) -> schema_pb2.FieldSchema:
    message = schema_pb2.FieldSchema(
        name=name, data_type=kind[0], element_type=kind[1], nullable=nullable
    )
    if types.of(kind[0]).bits or types.of(kind[1] or kind[0]).bits:
        message.type_params.add(key="dim", value=str(8 * eighth_dim))
    elif default:
        message.default_value.string_data = "default"
    return message


def _struct_message(
    name: str, kinds: list[tuple[int, int]], eighth_dim: int, nullable: bool
) -> schema_pb2.StructArrayFieldSchema:
    message = schema_pb2.StructArrayFieldSchema(name=name, nullable=nullable)
    for place, kind in enumerate(kinds):
        message.fields.append(_field_message(f"sub_{place}", kind, eighth_dim, nullable, False))
    return message


# --- values and batches --------------------------------------------------------------------------

# Line feeds, and texts of ten bytes: both look like the tag before each text on the wire.
texts = st.text(max_size=12) | st.sampled_from(["", "\n", "ten bytes!", "\n" * 10, "é\U0001f600"])
blobs = st.binary(max_size=12) | st.sampled_from([b"", b"{}", b'{"a": 1.0}', b"\n" * 130])
_pairs = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.floats(width=32, allow_nan=False)), max_size=3
)


def _integers(bits: int) -> st.SearchStrategy[int]:
    least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    return st.integers(least, most) | st.sampled_from([least, most, 0, -1])


def values(field: Field) -> st.SearchStrategy[Any]:
    """A value of a field, as Arrow takes it; None too, if the field is nullable."""
    if field.children:
        found: st.SearchStrategy[Any] = st.fixed_dictionaries(
            {child.name: _present(child) for child in field.children}
        )
    else:
        found = _present(field)
    return st.none() | found if field.nullable else found


def _present(field: Field) -> st.SearchStrategy[Any]:
    if field.data_type in types.ELEMENTS:
        return st.lists(_one(field.element_type, field.dim), max_size=3)
    return _one(field.data_type, field.dim)


def _one(number: int, dim: int) -> st.SearchStrategy[Any]:
    kind = types.of(number)
    if number in _INTEGER_BITS:
        return _integers(_INTEGER_BITS[number])
    if number == DataType.FloatVector:
        return st.lists(st.floats(width=32), min_size=dim, max_size=dim)
    if kind.bits:
        return st.binary(min_size=kind.width(dim), max_size=kind.width(dim))
    if kind.sparse:
        return _pairs.map(_sparse_bytes)
    return {
        DataType.Bool: st.booleans(),
        DataType.Float: st.floats(width=32),
        DataType.Double: st.floats(),
        DataType.JSON: blobs,
    }.get(number, texts)


def _sparse_bytes(pairs: Sequence[tuple[int, float]]) -> bytes:
    message = schema_pb2.SparseFloatArray()
    for index, value in pairs:
        message.contents.append(struct.pack("<If", index, value))
    return b"".join(message.contents)


def rows(schema: Schema, *, max_rows: int = 6) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of a schema, as dictionaries."""
    row = st.fixed_dictionaries({field.name: values(field) for field in schema.fields})
    return st.lists(row, max_size=max_rows)


def batch_of(schema: Schema, of_rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """The rows as a batch of their own."""
    arrow = schema.arrow()
    columns = [pa.array([row[each.name] for row in of_rows], each.type) for each in arrow]
    return pa.RecordBatch.from_arrays(columns, schema=arrow)


@st.composite
def batches(draw: st.DrawFn, schema: Schema | None = None) -> tuple[Schema, pa.RecordBatch]:
    """A schema and a batch of it, often a slice out of the middle of a larger one."""
    schema = schema or draw(schemas_of_any_kind())
    whole = batch_of(schema, draw(rows(schema)))
    start = draw(st.integers(0, whole.num_rows))
    return schema, whole.slice(start, draw(st.integers(0, whole.num_rows - start)))


# --- messages ------------------------------------------------------------------------------------


def answer(
    schema: Schema,
    batch: pa.RecordBatch,
    *,
    padded: bool = True,
    order: Sequence[int] | None = None,
) -> bytes:
    """A QueryResults of the batch; `padded` has values in the place of nulls, as servers answer."""
    message = milvus_pb2.QueryResults(collection_name=schema.collection)
    message.status.code = 0
    for place in order or range(len(schema.fields)):
        field = schema.fields[place]
        column = batch.column(field.name).to_pylist()
        message.fields_data.append(field_data(field, column, padded=padded, inserted=False))
    return message.SerializeToString()


def request(schema: Schema, batch: pa.RecordBatch) -> milvus_pb2.InsertRequest:
    """The InsertRequest of the batch."""
    message = milvus_pb2.InsertRequest(
        db_name="default", collection_name=schema.collection, num_rows=batch.num_rows
    )
    for field in schema.fields:
        column = batch.column(field.name).to_pylist()
        message.fields_data.append(field_data(field, column, padded=False, inserted=True))
    return message


def field_data(
    field: Field, column: Sequence[Any], *, padded: bool, inserted: bool
) -> schema_pb2.FieldData:
    """One column as FieldData, value by value."""
    message = schema_pb2.FieldData(
        type=field.data_type, field_name=field.name, is_dynamic=field.dynamic
    )
    if field.children:
        _fill_structs(message, field, column, padded=padded, inserted=inserted)
        return message
    if field.nullable or (inserted and field.has_default):
        message.valid_data.extend(value is not None for value in column)
    if padded and not field.type.vector:
        column = [_filler(field) if value is None else value for value in column]
    present = [value for value in column if value is not None]
    _fill(message.vectors if field.type.vector else message.scalars, field, present)
    return message


def _filler(field: Field) -> Any:
    """What servers put in the place of null."""
    if field.data_type == DataType.Array:
        return []
    return {pa.string(): "", pa.binary(): b""}.get(field.type.arrow, 0)


def _fill(holder: Any, field: Field, present: Sequence[Any]) -> None:
    """Puts values into the member of a ScalarField or VectorField that is theirs."""
    member: Any = getattr(holder, holder.DESCRIPTOR.fields_by_number[field.type.slot].name)
    if field.type.vector and not field.type.sparse:
        holder.dim = field.dim
    match field.type.packing:
        case types.Packing.BLOB:
            name = holder.DESCRIPTOR.fields_by_number[field.type.slot].name
            setattr(holder, name, b"".join(present))
        case types.Packing.ARRAYS:
            _fill_arrays(member, field, present)
        case types.Packing.VECTOR_ARRAYS:
            _fill_vector_arrays(member, field, present)
        case types.Packing.FIXED if field.type.vector:
            member.SetInParent()
            member.data.extend(number for vector in present for number in vector)
        case _ if field.type.sparse:
            member.SetInParent()
            member.contents.extend(present)
            member.dim = max((_highest(value) for value in present), default=-1) + 1
        case _:
            member.SetInParent()
            member.data.extend(present)


def _highest(sparse: bytes) -> int:
    return max(
        (int.from_bytes(sparse[at : at + 4], "little") for at in range(0, len(sparse), 8)),
        default=-1,
    )


def _fill_arrays(member: Any, field: Field, present: Sequence[Any]) -> None:
    member.SetInParent()
    member.element_type = field.element_type
    for value in present:
        _fill(member.data.add(), Field(field.name, field.element_type), value)


def _fill_vector_arrays(member: Any, field: Field, present: Sequence[Any]) -> None:
    member.dim, member.element_type = field.dim, field.element_type
    for value in present:
        _fill(member.data.add(), Field(field.name, field.element_type, dim=field.dim), value)


def _fill_structs(
    message: Any, field: Field, column: Sequence[Any], *, padded: bool, inserted: bool
) -> None:
    message.struct_arrays.SetInParent()
    for child in field.children:
        values_of_child = [None if value is None else value[child.name] for value in column]
        part = field_data(child, values_of_child, padded=padded, inserted=inserted)
        message.struct_arrays.fields.append(part)
