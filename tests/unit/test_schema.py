"""The schema of rows, parsed from a server's schema message."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest
from hypothesis import given
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests import strategies
from transforms.errors import UnsupportedField
from transforms.milvus import schema


def docs(**more: object) -> schema_pb2.CollectionSchema:
    """A collection with a key and a text."""
    message = schema_pb2.CollectionSchema(name="docs", **more)  # type: ignore[arg-type]
    message.fields.add(name="id", data_type=DataType.Int64, is_primary_key=True)
    text = message.fields.add(name="text", data_type=DataType.VarChar)
    text.type_params.add(key="max_length", value="200")
    return message


def with_function(kind: int) -> schema_pb2.CollectionSchema:
    message = docs()
    output = DataType.SparseFloatVector if kind == FunctionType.BM25 else DataType.FloatVector
    made = message.fields.add(name="made", data_type=output)
    made.type_params.add(key="dim", value="8")
    message.functions.add(type=kind, input_field_names=["text"], output_field_names=["made"])
    return message


@given(message=strategies.collections())
def test_every_field_is_a_column_with_its_name(message):
    parsed = schema.parse(message)

    expected = [field.name for field in message.fields]
    expected += [struct.name for struct in message.struct_array_fields]
    expected += ["$meta"] if message.enable_dynamic_field else []
    assert list(parsed.names) == expected
    assert parsed.arrow().names == expected


@given(message=strategies.collections())
def test_a_schema_can_be_pickled(message):
    parsed = schema.parse(message)

    assert pickle.loads(pickle.dumps(parsed)) == parsed


def test_the_settings_of_a_field_are_kept():
    message = docs()
    key = message.fields[0]
    key.autoID = True
    text = message.fields[1]
    text.nullable = text.is_partition_key = True
    text.default_value.string_data = ""

    first, second = schema.parse(message).fields

    assert first == schema.Field("id", DataType.Int64, primary=True, auto_id=True)
    assert second == schema.Field(
        "text",
        DataType.VarChar,
        max_length=200,
        nullable=True,
        partition_key=True,
        has_default=True,
    )


def test_the_key_is_found():
    assert schema.parse(docs()).primary.name == "id"


def test_auto_id_of_the_collection_is_that_of_the_key():
    assert schema.parse(docs(autoID=True)).primary.auto_id


def test_dynamic_fields_are_a_column_of_json():
    parsed = schema.parse(docs(enable_dynamic_field=True))

    assert parsed.dynamic
    assert parsed.fields[-1] == schema.Field("$meta", DataType.JSON, dynamic=True)
    assert parsed.arrow().field("$meta").type == pa.binary()


def test_dynamic_fields_listed_by_the_server_occur_once():
    message = docs(enable_dynamic_field=True)
    message.fields.add(name="$meta", data_type=DataType.JSON, is_dynamic=True)

    assert schema.parse(message).names == ("id", "text", "$meta")


def test_outputs_of_bm25_are_not_copied():
    parsed = schema.parse(with_function(FunctionType.BM25))

    assert parsed.names == ("id", "text")
    assert parsed.computed == ("made",)


def test_outputs_of_other_functions_are_copied():
    parsed = schema.parse(with_function(FunctionType.TextEmbedding))

    assert parsed.field("made").function_output
    assert parsed.computed == ()


def test_a_struct_array_is_a_struct_of_lists():
    message = docs()
    struct = message.struct_array_fields.add(name="chunks", nullable=True)
    struct.fields.add(name="chunks[text]", data_type=DataType.Array, element_type=DataType.VarChar)
    vector = struct.fields.add(
        name="chunks[vector]", data_type=DataType.ArrayOfVector, element_type=DataType.FloatVector
    )
    vector.type_params.add(key="dim", value="4")

    chunks = schema.parse(message).field("chunks")

    assert chunks.nullable
    assert [child.name for child in chunks.children] == ["text", "vector"]
    assert pa.types.is_struct(chunks.arrow().type)
    assert chunks.arrow().type.field("vector").type.value_type.list_size == 4


@pytest.mark.parametrize(
    ("kind", "element", "named"),
    [
        (DataType.Decimal, 0, "Decimal"),
        (DataType.Array, DataType.JSON, "Array of JSON"),
        (999, 0, "number 999"),
    ],
)
def test_the_error_names_the_field_whose_type_cannot_be_copied(kind, element, named):
    message = docs()
    message.fields.add(name="odd", data_type=kind, element_type=element)

    with pytest.raises(UnsupportedField) as raised:
        schema.parse(message)

    assert str(raised.value) == f"docs.odd: type {named} cannot be copied"


def test_a_field_that_cannot_be_copied_may_be_skipped():
    message = docs()
    message.fields.add(name="odd", data_type=DataType.Decimal)

    assert schema.parse(message, skip=["odd"]).names == ("id", "text")
    assert [each.field for each in schema.unsupported(message)] == ["odd"]


def test_selected_fields_have_the_requested_order():
    assert schema.parse(docs()).select(["text", "id"]).names == ("text", "id")
