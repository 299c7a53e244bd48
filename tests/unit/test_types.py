"""The table of types, compared with the protocol and with Arrow."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from transforms.errors import UnsupportedField
from transforms.milvus import types
from transforms.milvus.schema import Field
from transforms.milvus.types import Packing

CARRIED = [kind for kind in types.TABLE if kind.packing is not None]
REFUSED = [kind for kind in types.TABLE if kind.packing is None]

FIELDS = [
    *(Field(kind.name, kind.number, dim=16) for kind in CARRIED if kind.arrow or kind.bits),
    *(Field(f"array-{e}", DataType.Array, e) for e in types.ELEMENTS[DataType.Array]),
]


def test_the_table_has_every_type_of_the_protocol_once():
    assert sorted(types.BY_NUMBER) == sorted(set(DataType.values()) - {0})
    assert len(types.TABLE) == len(types.BY_NUMBER)


def test_these_types_cannot_be_copied():
    assert {kind.name for kind in REFUSED} == {"String", "Struct", "Mol", "Date", "Time", "Decimal"}


@pytest.mark.parametrize("kind", CARRIED, ids=lambda kind: kind.name)
def test_the_slot_of_a_type_is_a_member_of_the_message(kind):
    holder = schema_pb2.VectorField if kind.vector else schema_pb2.ScalarField
    if kind.packing is Packing.STRUCTS:
        holder, slot = schema_pb2.FieldData, 8
    else:
        slot = kind.slot
    member = holder.DESCRIPTOR.fields_by_number[slot]

    assert (member.type == member.TYPE_BYTES) == (kind.packing is Packing.BLOB)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_the_milvus_type_is_read_from_the_arrow_field(field):
    assert types.milvus_type(field.arrow()) == field.type


@pytest.mark.parametrize(
    ("arrow", "expected"),
    [
        (pa.bool_(), "Bool"),
        (pa.int8(), "Int8"),
        (pa.int64(), "Int64"),
        (pa.float32(), "Float"),
        (pa.float64(), "Double"),
        (pa.string(), "VarChar"),
        (pa.binary(), "JSON"),
        (pa.list_(pa.int64()), "Array"),
        (pa.list_(pa.float32(), 8), "FloatVector"),
    ],
)
def test_an_arrow_column_without_a_milvus_type_becomes_the_common_one(arrow, expected):
    assert types.milvus_type(pa.field("column", arrow)).name == expected


def test_the_error_names_an_arrow_type_that_milvus_does_not_have():
    with pytest.raises(UnsupportedField, match="when: type timestamp"):
        types.milvus_type(pa.field("when", pa.timestamp("s")))


@pytest.mark.parametrize(
    ("number", "dim", "width"),
    [
        (DataType.BinaryVector, 128, 16),
        (DataType.Float16Vector, 128, 256),
        (DataType.BFloat16Vector, 128, 256),
        (DataType.Int8Vector, 128, 128),
        (DataType.FloatVector, 128, 512),
    ],
)
def test_a_dense_vector_has_the_bytes_of_its_dimensions(number, dim, width):
    arrow = types.arrow_type(number, dim=dim)

    assert types.of(number).width(dim) == width
    assert arrow == (
        pa.list_(pa.field("item", pa.float32(), nullable=False), dim)
        if number == DataType.FloatVector
        else pa.binary(width)
    )


@pytest.mark.parametrize("number", [*(kind.number for kind in REFUSED), 999])
def test_the_error_names_a_type_that_cannot_be_copied(number):
    with pytest.raises(UnsupportedField) as raised:
        types.of(number, collection="docs", field="odd")

    assert raised.value.data_type == types.name_of(number)
    assert str(raised.value).startswith("docs.odd: type ")


@pytest.mark.parametrize(
    ("number", "element", "carried"),
    [
        (DataType.Array, DataType.VarChar, True),
        (DataType.Array, DataType.JSON, False),
        (DataType.Array, 0, False),
        (DataType.ArrayOfVector, DataType.FloatVector, True),
        (DataType.ArrayOfVector, DataType.SparseFloatVector, False),
        (DataType.Int64, 0, True),
        (DataType.Decimal, 0, False),
        (999, 0, False),
    ],
)
def test_whether_a_type_can_be_copied_depends_on_its_element_type(number, element, carried):
    assert types.can_copy(number, element) == carried
