"""Aliases, limits of collections, and flushes."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.answers.asking import (
    PLAIN,
    Answer,
    Asker,
    Field,
    field,
    key_field,
    vector_field,
)
from tests.fakes.answers.shown import properties_of, status_of
from tests.fakes.answers.steps import Steps

alias, limits, flush = Steps("alias"), Steps("limits"), Steps("flush")

ALIAS, ONE, TWO, MADE = "probe_alias", "probe_l1", "probe_l2", "probe_c"


def _alias(asker: Asker, call: str, name: str, text: str = ALIAS) -> Answer:
    request = {
        "CreateAlias": milvus_pb2.CreateAliasRequest,
        "AlterAlias": milvus_pb2.AlterAliasRequest,
    }[call]
    return asker.call(call, request(collection_name=name, alias=text))


def _drop_alias(asker: Asker) -> Answer:
    return asker.call("DropAlias", milvus_pb2.DropAliasRequest(alias=ALIAS))


def _described(asker: Asker, name: str) -> list[str]:
    return list(getattr(asker.describe(name), "aliases", []))


def _listed(asker: Asker, name: str) -> list[str]:
    request = milvus_pb2.ListAliasesRequest(collection_name=name)
    return list(getattr(asker.call("ListAliases", request), "aliases", []))


@alias
def aliases(asker: Asker) -> Answer:
    for name in (ONE, TWO):
        _drop_alias(asker)
        asker.drop(name)
        asker.create(name, PLAIN)
    return {
        "create": _alias(asker, "CreateAlias", ONE),
        "described_1": _described(asker, ONE),
        "again": _alias(asker, "CreateAlias", ONE),
        "of_other": _alias(asker, "CreateAlias", TWO),
        "named_as_collection": _alias(asker, "CreateAlias", TWO, ONE),
        "move": _alias(asker, "AlterAlias", TWO),
        "described_after_move": [_described(asker, ONE), _described(asker, TWO)],
        "listed_after_move": [_listed(asker, ONE), _listed(asker, TWO)],
        "describe_alias": asker.describe(ALIAS).collection_name,
        "drop_collection_with_alias": asker.drop(TWO),
        "drop_alias": _drop_alias(asker),
        "drop_after": _dropped_both(asker),
    }


def _dropped_both(asker: Asker) -> Answer:
    answer = asker.drop(TWO)
    asker.drop(ONE)
    return answer


def _made(asker: Asker, *fields: Field, **create: Any) -> Answer:
    """Creates a collection and drops it."""
    answer = asker.create(MADE, fields, **create)
    asker.drop(MADE)
    return answer


@limits
def long_description(asker: Asker) -> Answer:
    return _made(asker, *PLAIN, description="x" * 1500)


@limits
def no_vector(asker: Asker) -> Answer:
    return _made(asker, key_field())


@limits
def vectors_two(asker: Asker) -> Answer:
    return _made(asker, *PLAIN, vector_field("w"))


@limits
def vectors_five(asker: Asker) -> Answer:
    return _made(asker, key_field(), *(vector_field(f"v{number}") for number in range(5)))


@limits
def fields_65(asker: Asker) -> Answer:
    return _made(asker, *PLAIN, *(field(f"f{number}", DataType.Int64) for number in range(63)))


@limits
def shards_17(asker: Asker) -> Answer:
    return _made(asker, *PLAIN, shards=17)


@limits
def names(asker: Asker) -> Answer:
    words = ("in", "like", "exists", "null", "text_match", "random_sample", "array_length")
    return {
        name: status_of(_made(asker, *PLAIN, field(name, DataType.Int64)))
        for name in (*words, "contains")
    }


@limits
def types(asker: Asker) -> Answer:
    fields = {
        "f16": vector_field("x", DataType.Float16Vector),
        "bf16": vector_field("x", DataType.BFloat16Vector),
        "sv": field("x", DataType.SparseFloatVector),
        "i8v": vector_field("x", DataType.Int8Vector),
        "bv": vector_field("x", DataType.BinaryVector, dim=8),
        "json_nullable": field("x", DataType.JSON, nullable=True),
        "fv_nullable": vector_field("x", nullable=True),
    }
    return {name: status_of(_made(asker, *PLAIN, made)) for name, made in fields.items()}


@limits
def properties(asker: Asker) -> Answer:
    asked = {
        "collection.ttl.seconds": "86400",
        "mmap.enabled": "true",
        "partitionkey.isolation": "true",
        "timezone": "Asia/Shanghai",
        "allow_insert_auto_id": "true",
        "made.up": "1",
        "consistency_level": "Strong",
    }
    return {key: _property(asker, key, value) for key, value in asked.items()}


def _property(asker: Asker, key: str, value: str) -> dict[str, Any]:
    created = asker.create(MADE, PLAIN, properties={key: value})
    described = asker.describe(MADE)
    asker.drop(MADE)
    return {
        "create": status_of(created),
        "described": properties_of(described),
        "level": described.consistency_level,
    }


@limits
def create_twice(asker: Asker) -> Answer:
    answers = {
        "first": asker.create(MADE, PLAIN),
        "same": asker.create(MADE, PLAIN),
        "other": asker.create(MADE, [*PLAIN, field("z", DataType.Int64)]),
    }
    asker.drop(MADE)
    return answers


@limits
def isolation_and_alter(asker: Asker) -> Answer:
    name = "probe_s"
    fields = [*PLAIN, field("k", DataType.Int64, is_partition_key=True)]
    isolation = {"partitionkey.isolation": "true"}
    hnsw = {"index_type": "HNSW", "metric_type": "L2"}
    asker.drop(name)
    answers = {
        "create": asker.create(name, fields, partitions=2, properties=isolation),
        "index": asker.index(name, "v", **hnsw, M=8, efConstruction=50),
        "alter": asker.alter(name, collection__ttl__seconds="9999"),
    }
    asker.drop(name)
    return answers


@flush
def flush_twice(asker: Asker) -> Answer:
    return {"first": asker.flush("probe_p"), "second": asker.flush("probe_p")}


@flush
def delete_by_filter(asker: Asker) -> Answer:
    return asker.delete("probe_p", "id > 140")


@flush
def delete_of_unloaded(asker: Asker) -> Answer:
    asker.release("probe_p")
    state = milvus_pb2.GetLoadStateRequest(collection_name="probe_p")
    return {
        "by_key": asker.delete("probe_p", "id in [120]"),
        "by_filter": asker.delete("probe_p", "id > 140"),
        "query": asker.query("probe_p", "id > 0", ["id"], limit=1),
        "progress": asker.progress("probe_p"),
        "state": asker.call("GetLoadState", state),
    }
