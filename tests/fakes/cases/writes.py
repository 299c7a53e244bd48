"""Inserts, upserts, deletes and flushes by release."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes.answers.asking import (
    AUTOMATIC,
    PLAIN,
    Answer,
    Column,
    documents,
    field,
    integer_arrays,
    longs,
    text_field,
    texts,
    vector_field,
    vectors,
)
from tests.fakes.cases.lines import NAME, Cases, Line, around, by_line, code, column

writes = Cases()


def _insert(line: Line, *columns: Column, rows: int = 1) -> Answer:
    return line.asker.insert(NAME, longs("id", range(rows)), vectors("v", rows), *columns)


@writes.of("checks_valid_data", by_line(0, 0, 1100, 1100, 1100))
def valid_data_of_a_required_column(line: Line) -> object:
    line.ready(*PLAIN, field("n", DataType.Int64))
    return code(_insert(line, longs("n", [1], valid_data=[True])))


@writes.of(
    "needs_valid_data",
    {"2.5.27": 1100, "2.6.19": 0, "3.0.0": 0},
    around("2.6.1", 1100, "2.6.2", 0),
)
def nullable_column_without_valid_data(line: Line) -> object:
    line.ready(*PLAIN, field("n", DataType.Int64, nullable=True))
    return code(_insert(line, longs("n", [1])))


@writes.of("needs_valid_data", {"2.5.27": 1100, "2.6.19": 1100, "3.0.0": 1100})
def padded_values(line: Line) -> object:
    line.ready(*PLAIN, field("n", DataType.Int64, nullable=True))
    return code(_insert(line, longs("n", [1, 0], valid_data=[True, False]), rows=2))


@writes.of("needs_valid_data", {"2.5.27": [7, 8], "2.6.19": [7, 8], "3.0.0": [7, 8]})
def null_in_a_field_with_a_default(line: Line) -> object:
    line.ready(*PLAIN, field("n", DataType.Int64, nullable=True, default=8))
    _insert(line, longs("n", [7], valid_data=[True, False]), rows=2)
    return list(column(line.query("n", limit=10), "n").scalars.long_data.data)


def _reason(answer: Answer) -> str:
    return " ".join(answer.status.reason.split()[:2])


@writes.of(
    "names_unknown_columns",
    by_line("the number", *["more fieldData"] * 2, *["fieldName zzz"] * 2),
)
def column_that_is_not_known(line: Line) -> object:
    line.ready(*PLAIN)
    return _reason(_insert(line, texts("zzz", ["a"])))


@writes.of("names_missing_columns", by_line("varchar field", *["fieldSchema(t) has"] * 4))
def column_that_is_missing(line: Line) -> object:
    line.ready(*PLAIN, text_field("t", 20))
    return _reason(_insert(line))


@writes.of("dynamic_keys_clash", by_line(0, 0, 65535, 1100, 1100))
def dynamic_key_with_the_name_of_a_field(line: Line) -> object:
    line.ready(*PLAIN, enable_dynamic_field=True)
    return code(_insert(line, documents("$meta", [b'{"v": 1}'])))


@writes.of("nullable_meta", by_line(0, 0, 0, 1, 1), around("2.6.7", 0, "2.6.8", 1))
def valid_data_of_dynamic_keys(line: Line) -> object:
    line.ready(*PLAIN, enable_dynamic_field=True)
    _insert(line)
    return len(column(line.query("$meta", limit=1), "$meta").valid_data)


def _with_ids(line: Line) -> Answer:
    line.ready(*AUTOMATIC, autoID=True)
    line.asker.alter(NAME, allow_insert_auto_id="true")
    return _insert(line)


@writes.of(
    "takes_auto_ids",
    by_line(1100, 1100, 0, 0, 0),
    around("2.5.18", 1100, "2.5.19", 0),
    around("2.6.2", 1100, "2.6.3", 0),
)
def given_ids_of_an_automatic_key(line: Line) -> object:
    return code(_with_ids(line))


@writes.of("upserts_auto_ids", by_line(1100, 0, 0, 0, 0))
def upsert_of_an_automatic_key(line: Line) -> object:
    line.ready(*AUTOMATIC, autoID=True)
    return code(line.asker.upsert(NAME, longs("id", [1]), vectors("v", 1)))


@writes.of("upserts_auto_ids", {"2.4.24": (1, True), "2.6.19": (1, True), "3.0.0": (1, True)})
def key_of_an_upsert_of_an_automatic_key(line: Line) -> object:
    line.ready(*AUTOMATIC, autoID=True)
    line.asker.insert(NAME, vectors("v", 1), rows=1)
    [old] = line.keys()
    line.asker.upsert(NAME, longs("id", [old]), vectors("v", 1))
    return line.count(), line.keys() != [old]


@writes.of("upsert_keys_once", by_line(0, 0, 0, 1100, 1100), around("2.6.7", 0, "2.6.8", 1100))
def upsert_of_one_key_twice(line: Line) -> object:
    line.ready(*PLAIN)
    return code(line.asker.upsert(NAME, longs("id", [7, 7]), vectors("v", 2)))


def _function_output(line: Line, **properties: Any) -> Answer:
    function = schema_pb2.FunctionSchema(
        name="f",
        type=FunctionType.TextEmbedding,
        input_field_names=["t"],
        output_field_names=["w"],
    )
    fields = [*PLAIN, text_field("t", 20), vector_field("w", dim=2)]
    line.asker.create(NAME, fields, functions=[function], properties=properties)
    return _insert(line, texts("t", ["a"]), vectors("w", 1, dim=2))


@writes.of(
    "takes_function_outputs",
    {"2.5.27": 1100, "2.6.19": 0, "3.0.0": 0},
    around("2.6.2", 1100, "2.6.3", 0),
)
def given_output_of_a_function(line: Line) -> object:
    allowed = "collection.function.allowInsertNonBM25FunctionOutputs"
    return code(_function_output(line, **{allowed: "true"}))


@writes.of("struct_lengths_checked", around("2.6.18", 0, "2.6.19", 1100), {"3.0.0": 1100})
def struct_with_unequal_lengths(line: Line) -> object:
    numbers = {"element": DataType.Int32, "params": {"max_capacity": 4}}
    parts = [field(name, DataType.Array, **numbers) for name in ("a", "b")]
    struct = schema_pb2.StructArrayFieldSchema(name="st", fields=parts)
    line.ready(*PLAIN, struct_array_fields=[struct])
    sent = schema_pb2.FieldData(field_name="st", type=DataType.ArrayOfStruct)
    sent.struct_arrays.fields.extend([integer_arrays("a", [[1, 2]]), integer_arrays("b", [[1]])])
    return code(_insert(line, sent))


@writes.of("deletes_tell_timestamp", by_line(False, True, True, True, True))
def timestamp_of_a_delete(line: Line) -> object:
    line.ready(*PLAIN, rows=2)
    return line.asker.delete(NAME, "id in [1]").timestamp > 0


@writes.of("limits_flush", by_line((0, 0), (0, 8), (0, 8), (0, 8), (0, 8)))
def two_flushes(line: Line) -> object:
    line.ready(*PLAIN)
    line.server.flush_interval_s = 10.0
    return code(line.asker.flush(NAME)), code(line.asker.flush(NAME))


@writes.of("limits_flush", by_line(*[(0, 0)] * 5))
def two_flushes_ten_seconds_apart(line: Line) -> object:
    line.ready(*PLAIN)
    line.server.flush_interval_s = 10.0
    first = code(line.asker.flush(NAME))
    line.server.clock.advance(10.0)
    return first, code(line.asker.flush(NAME))
