"""Values above a limit of the target: which field, how large, and which limit."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from transforms.milvus import value_over_limit
from transforms.milvus.schema import Schema, parse


def field(name: str, kind: int, **params: int) -> Schema:
    message = schema_pb2.CollectionSchema(name="docs")
    message.fields.add(name="id", data_type=DataType.Int64, is_primary_key=True)
    added = message.fields.add(name=name, data_type=kind, element_type=DataType.VarChar)
    for key, value in params.items():
        added.type_params.add(key=key, value=str(value))
    return parse(message)


TEXT = field("title", DataType.VarChar, max_length=8)
TAGS = field("tags", DataType.Array, max_length=8, max_capacity=2)
JSON = field("facts", DataType.JSON)


@pytest.mark.parametrize(
    ("schema", "value", "words"),
    [
        (TEXT, "12345678", None),
        (TEXT, "ü" * 5, "field `title` has 10 bytes, the limit is 8 (`max_length`)"),
        (TAGS, ["a", "b"], None),
        (TAGS, ["a"] * 3, "field `tags` has 3 items, the limit is 2 (`max_capacity`)"),
        (TAGS, ["a" * 9], "field `tags` has an item of 9 bytes, the limit is 8 (`max_length`)"),
        (JSON, b"x" * 65_536, None),
        (
            JSON,
            b"x" * 65_537,
            "field `facts` has 65,537 bytes, the limit is 65,536 (`common.JSONMaxLength`)",
        ),
    ],
)
def test_a_value_above_its_limit_is_found(schema: Schema, value: Any, words: str | None) -> None:
    row = pa.RecordBatch.from_pylist([{"id": 1, schema.names[1]: value}], schema=schema.arrow())
    excessive = value_over_limit.find(schema, row)
    assert (excessive and excessive.words) == words


def test_the_limit_of_json_comes_from_the_servers_message() -> None:
    row = pa.RecordBatch.from_pylist([{"id": 1, "facts": b"x" * 200}], schema=JSON.arrow())
    words = "the length (200) of json field facts exceeds max length (100): expected=…"
    excessive = value_over_limit.find(JSON, row, words)
    assert excessive is not None
    assert "has 200 bytes, the limit is 100" in excessive.words


def test_without_a_value_above_a_limit_nothing_is_found() -> None:
    row = pa.RecordBatch.from_pylist([{"id": 1, "title": "short"}], schema=TEXT.arrow())
    assert value_over_limit.find(TEXT, row, "value 'NaN' is not a number or infinity") is None
