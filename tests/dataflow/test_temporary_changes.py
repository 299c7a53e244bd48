"""Temporary changes on servers with rules of their own: isolated keys, providers of functions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Refusal

pytestmark = pytest.mark.slow

IDS, ISOLATION = "allow_insert_auto_id", "partitionkey.isolation"
OUTPUTS = "collection.function.allowInsertNonBM25FunctionOutputs"
NO_CHECK = "disable_func_runtime_check"
OPEN = [KeyValuePair(key=IDS, value="true")]


def properties(server: FakeMilvus) -> dict[str, str]:
    """The properties of the collection, without those that a server adds itself."""
    found = {pair.key: pair.value for pair in server["docs"].request.properties}
    return {key: value for key, value in found.items() if key != "timezone"}


@pytest.fixture
def isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """Servers of 2.5.27: with an index, a change that does not name the isolation is refused."""
    alter = FakeMilvus.AlterCollection

    def strict(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        found = server[request.collection_name]
        named = (ISOLATION, "true") in [(pair.key, pair.value) for pair in request.properties]
        if found.has(ISOLATION) and found.indexes and not named:
            words = "can not alter partition key isolation mode"
            raise Refusal(702, f"{words} if the collection already has a vector index")
        return alter(server, request, context)

    monkeypatch.setattr(FakeMilvus, "AlterCollection", strict)
    with FakeMilvus("v2.5.27") as source, FakeMilvus("v2.5.27") as target:
        made = source.create(schema(auto_id=True, partition_key="title"))
        made.alter([KeyValuePair(key=ISOLATION, value="true"), *OPEN], [])
        made.insert(rows(20))
        made.alter([], [IDS])
        yield Job(tmp_path, source, target)


def test_a_temporary_change_is_restored_before_an_index_makes_it_permanent(isolated: Job) -> None:
    assert isolated.run() == 0
    assert isolated.collection()["outcome"] == "proven"
    assert isolated.target.keys("docs") == [*range(20)]
    assert properties(isolated.target) == {ISOLATION: "true"}
    asked = [method for method, _ in isolated.target.requests]
    assert asked.count("AlterCollection") == 2
    assert asked.index("AlterCollection") < asked.index("Insert")
    assert asked.index("CreateIndex") > len(asked) - asked[::-1].index("AlterCollection") - 1


def test_with_the_index_made_before_the_rows_the_property_is_left_false(isolated: Job) -> None:
    isolated.to_sink["create_index"] = "before"
    assert isolated.run() == 0
    assert isolated.collection()["outcome"] == "proven"
    assert properties(isolated.target) == {ISOLATION: "true", IDS: "false"}
    [finding] = [each for each in isolated.report["findings"] if each["code"] == "while-writing"]
    assert "it becomes false: Milvus 2.5.27 cannot remove a property" in finding["what"]


def test_a_later_sync_can_write_to_an_indexed_collection(isolated: Job) -> None:
    assert isolated.run() == 0
    isolated.source["docs"].alter(OPEN, [])
    isolated.source["docs"].insert(rows(21)[20:])
    isolated.source["docs"].alter([], [IDS])
    assert isolated.run("sync") == 0
    assert isolated.target.keys("docs") == [*range(21)]
    assert properties(isolated.target) == {ISOLATION: "true", IDS: "false"}


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Job]:
    """A target that reaches no provider of embeddings."""
    made = schema(meaning=DataType.FloatVector)
    made.functions.add(
        name="embed",
        type=FunctionType.TextEmbedding,
        input_field_names=["title"],
        output_field_names=["meaning"],
    )
    with FakeMilvus("v2.6.8") as source, FakeMilvus("v2.6.8") as target:
        source.create(made, rows(20))
        target.fails("CreateCollection", REFUSED, times=None, when=_is_checked)
        yield Job(tmp_path, source, target)


def _is_checked(request: Any) -> bool:
    return (NO_CHECK, "true") not in [(pair.key, pair.value) for pair in request.properties]


def test_a_collection_is_created_without_the_providers_of_its_functions(embedded: Job) -> None:
    assert embedded.run() == 0
    assert embedded.collection()["outcome"] == "proven"
    assert properties(embedded.target) == {}
    [finding] = [each for each in embedded.report["findings"] if each["code"] == "while-writing"]
    assert f"sets `{OUTPUTS}` and `{NO_CHECK}` to true in the target" in finding["what"]
    assert not [each for each in embedded.report["findings"] if each["severity"] != "info"]


def test_the_source_keeps_its_own_setting(embedded: Job) -> None:
    embedded.source["docs"].alter([KeyValuePair(key=NO_CHECK, value="false")], [])
    assert embedded.run() == 0
    assert properties(embedded.target) == {NO_CHECK: "false"}


def test_a_target_that_calls_the_functions_itself_checks_them(embedded: Job) -> None:
    embedded.to_sink["function_outputs"] = "recompute"
    assert embedded.run() == 3
