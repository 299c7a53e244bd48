"""What a target would make itself, and takes from the source instead; and what is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen.common_pb2 import KeyValuePair, Status
from pymilvus.grpc_gen.schema_pb2 import CollectionSchema, DataType, FunctionType

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows, rows_a_page
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import LOST_ANSWER, REFUSED, Fault

pytestmark = pytest.mark.slow

IDS = "allow_insert_auto_id"
OUTPUTS = "collection.function.allowInsertNonBM25FunctionOutputs"


def job(folder: Path, version: str, *, nodes: int = 1, **sink: Any) -> Iterator[Job]:
    with FakeMilvus(version) as source, FakeMilvus(version, nodes=nodes) as target:
        yield Job(folder, source, target, to_sink={"batch_size": 3, **sink})


@pytest.fixture
def modern(tmp_path: Path) -> Iterator[Job]:
    """Two servers that can take what they would make."""
    yield from job(tmp_path, "v2.6.3")


@pytest.fixture
def fields_apart(tmp_path: Path) -> Iterator[Job]:
    """Two servers of the only line that cannot read fields that are not in memory."""
    yield from job(tmp_path, "v2.5.27")


def properties(job: Job) -> list[tuple[str, str]]:
    return [(pair.key, pair.value) for pair in job.target["docs"].request.properties]


def codes(job: Job) -> set[str]:
    return {finding["code"] for finding in job.report["findings"]}


# Automatic ids


@pytest.fixture
def automatic(modern: Job) -> Job:
    """A source whose keys were made by its server."""
    made = modern.source.create(schema(auto_id=True))
    made.alter([*_pairs(IDS, "true")], [])
    made.insert(rows(20))
    made.alter([], [IDS])
    return modern


def _pairs(key: str, value: str) -> list[KeyValuePair]:
    return [KeyValuePair(key=key, value=value)]


def test_automatic_ids_are_kept_and_stay_automatic(automatic: Job) -> None:
    assert automatic.run() == 0
    assert automatic.collection()["outcome"] == "proven"
    assert automatic.target.keys("docs") == [*range(20)]
    assert automatic.target["docs"].primary.autoID
    assert codes(automatic) == {"while-writing"}


def test_the_property_that_lets_ids_in_is_gone_again(automatic: Job) -> None:
    assert automatic.run() == 0
    set_, dropped = automatic.target.asked("AlterCollection")
    assert [(pair.key, pair.value) for pair in set_.properties] == [(IDS, "true")]
    assert list(dropped.delete_keys) == [IDS]
    assert properties(automatic) == []
    fates = {each["what"]: each["fate"] for each in automatic.collection()["carried"]}
    assert IDS not in fates
    assert fates["fields.id.auto_id"] == "kept"


@pytest.mark.parametrize("value", ["true", "false"])
def test_the_property_is_as_the_source_has_it(automatic: Job, value: str) -> None:
    automatic.source["docs"].alter(_pairs(IDS, value), [])
    assert automatic.run() == 0
    assert properties(automatic) == [(IDS, value)]


def test_a_run_that_goes_on_still_knows_how_it_was(automatic: Job) -> None:
    assert automatic.run() == 0
    automatic.crash(lost=2)
    automatic.target["docs"].alter(_pairs(IDS, "true"), [])
    assert automatic.run() == 0
    assert properties(automatic) == []
    assert automatic.target.keys("docs") == [*range(20)]


def test_in_doubt_automatic_keys_are_deleted_and_inserted_again(automatic: Job) -> None:
    """An upsert would give them new ones."""
    automatic.target.fails("Insert", LOST_ANSWER)
    assert automatic.run() == 0
    assert automatic.target.keys("docs") == [*range(20)]
    assert "Upsert" not in changing(automatic.target)
    assert "Delete" in changing(automatic.target)


def test_sync_mends_automatic_keys(automatic: Job) -> None:
    assert automatic.run() == 0
    automatic.target["docs"].delete("id in [3, 4]")
    assert automatic.run("sync") == 0
    assert automatic.target.keys("docs") == [*range(20)]
    assert properties(automatic) == []


# What functions made


@pytest.fixture
def embedded(modern: Job) -> Job:
    """A source with vectors that a model has made of its titles."""
    made = modern.source.create(with_embeddings())
    made.alter(_pairs(OUTPUTS, "true"), [])
    made.insert([row(key) | {"meaning": [float(key), 1.0]} for key in range(20)])
    made.alter([], [OUTPUTS])
    return modern


def with_embeddings() -> CollectionSchema:
    made = schema(meaning=DataType.FloatVector)
    made.functions.add(
        name="embed",
        type=FunctionType.TextEmbedding,
        input_field_names=["title"],
        output_field_names=["meaning"],
    )
    return made


def meanings(server: FakeMilvus) -> list[list[float]]:
    return [each["meaning"] for each in server["docs"].rows()]


def test_embeddings_are_copied(embedded: Job) -> None:
    assert embedded.run() == 0
    assert embedded.collection()["outcome"] == "proven"
    assert meanings(embedded.target) == meanings(embedded.source)
    assert properties(embedded) == []


def test_embeddings_are_made_anew_where_that_is_asked_for(embedded: Job) -> None:
    embedded.to_sink["function_outputs"] = "recompute"
    assert embedded.run() == 0
    assert embedded.collection()["outcome"] == "proven"
    assert meanings(embedded.target) == [[0.5, -0.5]] * 20
    assert codes(embedded) == {"recomputed"}
    assert "AlterCollection" not in changing(embedded.target)
    asked = [*embedded.source.asked("Query"), *embedded.target.asked("Query")]
    pages = [each for each in asked if rows_a_page(each) > 1]
    assert pages
    assert not [page for page in pages if "meaning" in page.output_fields]


# What is in memory


@pytest.mark.parametrize(("nodes", "replicas"), [(2, 2), (1, 1)])
def test_a_collection_is_loaded_as_often_as_in_the_source_if_there_are_nodes(
    tmp_path: Path, nodes: int, replicas: int
) -> None:
    for copy in job(tmp_path, "v2.3.7", nodes=nodes):
        copy.source.create(schema(), rows(10)).replicas = 2
        assert copy.run() == 0
        assert copy.target["docs"].replicas == replicas
        assert codes(copy) == (set() if replicas == 2 else {"changed:docs.loaded"})


def test_a_field_that_is_not_in_memory_is_named(fields_apart: Job, capsys: Any) -> None:
    fields_apart.source.create(schema(), rows(10)).unloaded = {"vector"}
    assert fields_apart.run() == 3
    assert "loaded without field `vector`" in capsys.readouterr().err


def test_a_field_that_is_not_in_memory_may_be_dropped(fields_apart: Job) -> None:
    fields_apart.source.create(schema(), rows(10)).unloaded = {"title"}
    fields_apart.transform = "Filter { exclude_fields = [title] }"
    assert fields_apart.run() == 0
    assert fields_apart.collection()["outcome"] == "proven"
    assert fields_apart.target["docs"].rows() == [
        {"id": k, "vector": row(k)["vector"]} for k in range(10)
    ]


def test_a_partition_that_is_not_in_memory_is_named(modern: Job, capsys: Any) -> None:
    made = modern.source.create(schema(), partitions=["_default", "old", "new"])
    made.insert(rows(10), "new")
    made.released = {"_default", "old"}
    assert modern.run() == 3
    said = capsys.readouterr().err
    assert (
        "[partly-loaded] source collection docs: it is loaded without 2 partitions (_default"
        in said
    )
    made.released = set()
    assert modern.run() == 0
    assert modern.target["docs"].partitions == ["_default", "new", "old"]


# What is made after the rows


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers that name indexes as they like, and forget aliases."""
    make = FakeMilvus.CreateIndex

    def rename(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        request.index_name = request.field_name
        return make(server, request, context)

    monkeypatch.setattr(FakeMilvus, "CreateIndex", rename)
    monkeypatch.setattr(FakeMilvus, "CreateAlias", lambda server, request, context: Status())


def test_what_comes_out_otherwise_is_told(forgetful: None, modern: Job) -> None:
    made = modern.source.create(schema(), rows(10))
    made.aliases.append("papers")
    made.indexes[0].index_name = "by_meaning"
    assert modern.run() == 0
    assert codes(modern) == {"lost:docs.aliases.papers", "changed:docs.indexes.by_meaning"}
    fates = {each["what"]: each["fate"] for each in modern.collection()["carried"]}
    assert (fates["aliases.papers"], fates["indexes.by_meaning"]) == ("lost", "changed")


def test_a_server_that_does_not_know_a_property_ends_the_job_before_the_first_row(
    automatic: Job, capsys: Any
) -> None:
    automatic.target.fails("AlterCollection", REFUSED)
    assert automatic.run() == 4
    assert "Insert" not in changing(automatic.target)


def test_a_server_that_knows_no_partitions_has_one(modern: Job) -> None:
    """As milvus-lite 2.5.1, which does not know the call."""
    modern.source.create(schema(), rows(10))
    for server in (modern.source, modern.target):
        server.fails("ShowPartitions", Fault(grpc.StatusCode.UNIMPLEMENTED), times=None)
    assert modern.run() == 0
    assert modern.collection()["outcome"] == "proven"


# The database


@pytest.fixture
def database(modern: Job) -> Job:
    """A source whose database has properties, and a target that is to have one too."""
    modern.source.create(schema(), rows(10))
    modern.source.properties["default"] = {
        "database.replica.number": "1",
        "database.max.collections": "7",
        "database.force.deny.writing": "true",
    }
    modern.to_sink |= {"database": "shop", "create_database": True}
    return modern


def test_a_database_is_made_with_the_properties_of_the_source(database: Job) -> None:
    assert database.run() == 0
    assert database.target.properties["shop"] == {"database.replica.number": "1"}
    assert codes(database) == {"rate-limits", "of-one-cluster"}


def test_limits_are_copied_if_asked_for(database: Job) -> None:
    database.to_sink["copy_rate_limits"] = True
    assert database.run() == 0
    assert database.target.properties["shop"]["database.max.collections"] == "7"


def test_a_database_that_is_there_stays_as_it_is(database: Job) -> None:
    database.target.databases.append("shop")
    database.target.properties["shop"] = {"database.replica.number": "3"}
    assert database.run() == 0
    assert codes(database) == {"database-differs"}
    assert database.target.properties["shop"] == {"database.replica.number": "3"}


def test_a_property_that_the_new_database_does_not_take_stops_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    make = FakeMilvus.CreateDatabase

    def forget(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        del request.properties[:]
        return make(server, request, context)

    monkeypatch.setattr(FakeMilvus, "CreateDatabase", forget)
    for copy in job(tmp_path, "v2.6.3", database="shop", create_database=True):
        copy.source.create(schema(), rows(10))
        copy.source.properties["default"] = {"database.replica.number": "1"}
        assert copy.run() == 3
        assert "[lost:database.database.replica.number]" in capsys.readouterr().err
        assert copy.target.ShowCollections(None).collection_names == []
        assert copy.target.databases == ["default"]
