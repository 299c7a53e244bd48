"""What inserts need and what they are refused for."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import (
    AUTOMATIC,
    PLAIN,
    Answer,
    Asker,
    Column,
    documents,
    field,
    longs,
    text_field,
    texts,
    vectors,
)
from tests.fakes.answers.steps import Steps

nullable, insert = Steps("nullable", newer=True), Steps("insert")

_INSERTS = "inserts so far"


@nullable
def create_nullable(asker: Asker) -> Answer:
    asker.drop("probe_n")
    fields = [
        *PLAIN,
        text_field("t", 20, nullable=True),
        field("i", DataType.Int64, nullable=True),
        field("w", DataType.Int64, default=7),
        text_field("nd", 9, nullable=True, default="dd"),
    ]
    return asker.create("probe_n", fields)


@nullable
def describe_nullable(asker: Asker) -> Answer:
    asker.index("probe_n", "v", index_type="FLAT", metric_type="L2")
    asker.load("probe_n")
    return asker.describe("probe_n")


def _nullable(name: str, *columns: Column) -> None:
    def ask(asker: Asker) -> Answer:
        # The keys of the recordings: the first insert has 30 and 31.
        first = 10 * asker.notes.setdefault(_INSERTS, 3)
        asker.notes[_INSERTS] += 1
        keys = longs("id", range(first, first + 2))
        return asker.insert("probe_n", keys, vectors("v", 2), *columns)

    nullable.add(name, ask)


_ONE: dict[str, Any] = {"valid_data": [True, False]}
_BOTH: dict[str, Any] = {"valid_data": [True, True]}
_NONE: dict[str, Any] = {"valid_data": [False, False]}

_nullable(
    "insert_compact",
    texts("t", ["a"], **_ONE),
    longs("i", [1], **_ONE),
    longs("w", [1, 2], **_BOTH),
    texts("nd", ["x"], **_ONE),
)
_nullable(
    "insert_padded",
    texts("t", ["a", ""], **_ONE),
    longs("i", [1, 0], **_ONE),
    longs("w", [1, 2], **_BOTH),
    texts("nd", ["x", ""], **_ONE),
)
_nullable(
    "insert_default_without_valid_data",
    texts("t", ["a"], **_ONE),
    longs("i", [1], **_ONE),
    longs("w", [1, 2]),
    texts("nd", ["x"], **_ONE),
)
_nullable(
    "insert_nullable_without_valid_data",
    texts("t", ["a", "b"]),
    longs("i", [1, 2]),
    longs("w", [1, 2], **_BOTH),
    texts("nd", ["x", "y"]),
)
_nullable("insert_default_left_out", texts("t", ["a"], **_ONE), longs("i", [1], **_ONE))
_nullable(
    "insert_required_with_valid_data",
    texts("t", ["a"], **_ONE),
    longs("i", [1], **_ONE),
    longs("w", [1], **_ONE),
    texts("nd", [], **_NONE),
)


@nullable
def read_nullable(asker: Asker) -> Answer:
    asker.settle(1.0)
    return asker.query("probe_n", "id >= 0", ["*"], limit=100, iterator=True)


@insert
def missing_field(asker: Asker) -> Answer:
    asker.ready("probe_i", [*PLAIN, text_field("t", 8)], enable_dynamic_field=True)
    return asker.insert("probe_i", longs("id", [1]), vectors("v", 1))


def _insert(name: str, *columns: Column, keys: tuple[int, ...] = (1,), **more: Any) -> None:
    """Asks for an insert of one row, or of these keys; columns come after the key."""
    upserts = more.pop("upserts", False)

    def ask(asker: Asker) -> Answer:
        write = asker.upsert if upserts else asker.insert
        return write("probe_i", longs("id", keys), *columns, **more)

    insert.add(name, ask)


_V, _T = vectors("v", 1), texts("t", ["a"])

_insert("text_too_long", _V, texts("t", ["123456789"]))
_insert("text_too_long_in_bytes", _V, texts("t", ["äöüäö"]))
_insert("wrong_dim", vectors("v", 1, dim=5), _T)
_insert("nan", vectors("v", 1, value=float("nan")), _T)
_insert("row_counts_differ", _V, _T, keys=(1, 2), rows=1)
_insert("field_twice", _V, _T, texts("t", ["b"]))
_insert("unknown_column", _V, _T, texts("zzz", ["b"]))
_insert("meta_not_object", _V, _T, documents("$meta", [b"[1]"]))
_insert("meta_key_of_field", _V, _T, documents("$meta", [b'{"t": 1}']))
_insert("meta_left_out", _V, _T)
_insert("meta_too_long", _V, _T, documents("$meta", [b'{"x": "' + b"y" * 70_000 + b'"}']))
_insert("upsert_one_key_twice", vectors("v", 2), texts("t", ["a", "b"]), keys=(7, 7), upserts=True)
_insert("unknown_partition_insert", _V, _T, partition_name="nope")
_insert("no_rows", vectors("v", 0), texts("t", []), keys=())


@insert
def explicit_auto_id(asker: Asker) -> Answer:
    asker.drop("probe_x")
    asker.create("probe_x", AUTOMATIC, autoID=True)
    return asker.insert("probe_x", longs("id", [1]), vectors("v", 1))


@insert
def allow_insert_auto_id(asker: Asker) -> Answer:
    altered = asker.alter("probe_x", allow_insert_auto_id="true")
    inserted = asker.insert("probe_x", longs("id", [1]), vectors("v", 1))
    return {"alter": altered, "insert": inserted}


@insert
def upsert_auto_id(asker: Asker) -> Answer:
    return asker.upsert("probe_x", longs("id", [1]), vectors("v", 1))


@insert
def partition_key(asker: Asker) -> Answer:
    name, key = "probe_k", field("k", DataType.Int64, is_partition_key=True)
    asker.drop(name)
    created = asker.create(name, [*PLAIN, key], partitions=4)
    asker.index(name, "v", index_type="FLAT", metric_type="L2")
    asker.load(name)
    columns = longs("id", [1]), vectors("v", 1), longs("k", [1])
    show = milvus_pb2.ShowPartitionsRequest(collection_name=name)
    make = milvus_pb2.CreatePartitionRequest(collection_name=name, partition_name="p")
    return {
        "create": created,
        "insert_named": asker.insert(name, *columns, partition_name="_default_0"),
        "query_named": asker.query(name, "id > 0", ["id"], limit=1, partitions=["_default_0"]),
        "partitions": asker.call("ShowPartitions", show),
        "make": asker.call("CreatePartition", make),
    }
