"""A schema that the job file asks for: partition key, dynamic field, indexes, partitions."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows
from tests.fakes.memory import Row

pytestmark = pytest.mark.slow


def codes(job: Job) -> list[str]:
    return [each["code"] for each in job.report["findings"]]


def test_a_collection_gets_a_partition_key_and_a_dynamic_field(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink |= {"partition_key": "title", "partition_num": 3, "enable_dynamic_field": True}
    assert job.run() == 0
    target = job.target["docs"]
    assert [field.name for field in target.schema.fields if field.is_partition_key] == ["title"]
    assert (len(target.partitions), target.schema.enable_dynamic_field) == (3, True)
    assert target.rows() == [{**row(key), "$meta": b"{}"} for key in range(20)]
    assert (job.collection()["outcome"], codes(job)) == ("proven", [])
    assert job.collection()["reshaped"] == ["dynamic field: added, empty"]
    fates = {each["what"]: each["fate"] for each in job.collection()["carried"]}
    assert (fates["dynamic_field"], fates["fields.title.partition_key"]) == ("new", "new")
    assert "lost" not in fates.values()


def test_what_the_dynamic_field_of_the_copy_has_is_compared_too(job: Job) -> None:
    job.source.create(schema(), rows(5))
    job.to_sink["enable_dynamic_field"] = True
    assert job.run() == 0
    job.target["docs"].upsert([{**row(3), "$meta": b'{"color": "red"}'}])
    assert job.run("verify") == 4
    assert job.differences() == ["* 3 $meta"]
    assert job.run("sync") == 0
    assert job.target["docs"].rows()[3]["$meta"] == b"{}"


def test_rows_of_named_partitions_get_a_partition_key_if_that_is_accepted(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = job.source.create(schema(), rows(6))
    docs.partitions.append("old")
    docs.insert([row(key) for key in range(6, 20)], "old")
    job.to_sink["partition_key"] = "title"
    assert job.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "its rows are in the partitions _default, old. With the partition key title" in said
    assert changing(job.target) == set()
    job.env["accept"] = ["lost:docs.partitions"]
    assert job.run() == 0
    assert job.target["docs"].rows() == [row(key) for key in range(20)]
    assert len(job.target["docs"].partitions) == 16
    assert job.collection()["outcome"] == "proven"


def test_another_partition_key_takes_the_place_of_that_of_the_source(job: Job) -> None:
    made = schema(partition_key="title", tenant=DataType.Int64)
    job.source.create(made, [{**each, "tenant": each["id"] % 3} for each in rows(20)])
    job.to_sink["partition_key"] = "tenant"
    assert job.run() == 0
    fields = job.target["docs"].schema.fields
    assert [field.name for field in fields if field.is_partition_key] == ["tenant"]
    assert job.target["docs"].rows() == job.source["docs"].rows()
    assert job.collection()["outcome"] == "proven"


def dynamic(count: int) -> list[Row]:
    """Rows of which every fifth has a color in its dynamic field."""
    return [
        {**each, "$meta": b'{"color": 1}' if each["id"] % 5 == 0 else b"{}"} for each in rows(count)
    ]


def test_a_dynamic_field_is_left_out_if_that_is_accepted(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(dynamic=True), dynamic(20))
    job.to_sink["enable_dynamic_field"] = False
    assert job.run() == 3
    assert "[lost:docs.dynamic_field] source collection docs" in capsys.readouterr().err
    assert changing(job.target) == set()
    job.env["accept"] = ["lost:docs.dynamic_field"]
    assert job.run() == 0
    assert not job.target["docs"].schema.enable_dynamic_field
    assert job.target["docs"].rows() == rows(20)
    assert job.collection()["outcome"] == "proven"
    assert job.collection()["reshaped"] == ["dropped: $meta"]


def test_such_a_job_resumes_and_another_schema_is_another_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink |= {"partition_key": "title", "enable_dynamic_field": True}
    assert job.run() == 0
    job.crash(lost=2)
    assert job.run() == 0
    assert job.collection()["outcome"] == "proven"
    assert job.run("verify") == 0
    job.to_sink["partition_key"] = "id"
    assert job.run() == 3
    assert 'partition_key: was "title" when the job started' in capsys.readouterr().err


def test_an_index_on_request_takes_the_place_of_that_of_the_source(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["index"] = {
        "docs.vector": {
            "index_type": "HNSW",
            "metric_type": "COSINE",
            "params": {"M": 16, "efConstruction": 100},
        }
    }
    assert job.run() == 0
    [index] = job.target["docs"].indexes
    [before] = job.source["docs"].indexes
    assert (index.field_name, index.index_name) == ("vector", before.index_name)
    assert {pair.key: pair.value for pair in index.params} == {
        "index_type": "HNSW",
        "metric_type": "COSINE",
        "params": '{"M":16,"efConstruction":100}',
    }
    assert job.target["docs"].rows() == rows(20)
    assert (job.collection()["outcome"], codes(job)) == ("proven", [])
    [line] = job.collection()["reshaped"]
    assert line.startswith("index changed on request on vector: HNSW COSINE")
    assert "lost" not in {each["fate"] for each in job.collection()["carried"]}
    assert job.run("verify") == 0
    job.crash(lost=1)
    assert job.run() == 0


def test_every_vector_gets_an_autoindex_and_other_fields_keep_their_index(job: Job) -> None:
    docs = job.source.create(schema(), rows(20))
    docs.index("title", "by_title", [KeyValuePair(key="index_type", value="Trie")])
    job.to_sink |= {"create_index": "AUTOINDEX", "load_collection": True}
    assert job.run() == 0
    kinds = {
        index.field_name: {pair.key: pair.value for pair in index.params}["index_type"]
        for index in job.target["docs"].indexes
    }
    assert kinds == {"vector": "AUTOINDEX", "title": "Trie"}
    assert (job.collection()["outcome"], codes(job)) == ("proven", [])
