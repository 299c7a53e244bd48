"""Whole jobs between two fake servers, when nothing goes wrong: what is in the source arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import (
    PAGE_ROWS,
    REQUEST_ROWS,
    Job,
    between_fakes,
    changing,
    row,
    rows,
    written,
)
from tests.fakes.memory import Collection, Row


@dataclass
class Made:
    """A collection of the source: `rows` without a partition, and those of each of `parts`."""

    rows: list[Row]
    schema: schema_pb2.CollectionSchema = field(default_factory=schema)
    partitions: tuple[str, ...] = ("_default",)
    parts: dict[str, list[Row]] = field(default_factory=dict)


NASTY = ("", "a", 'say "a"', "a\\b", "it's", "line\nfeed", "tab\t", "\0", "世界", "\U0001f600")
ODD_JSON = (b"{}", b'{"a": 1.0}', '{"ключ":  [1,2]}'.encode())

COLLECTIONS = {
    "empty": Made([]),
    "single": Made([row(-7)]),
    "one_page": Made(rows(PAGE_ROWS)),
    "int64_edges": Made([row(key) for key in (-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2)]),
    "texts": Made(
        [row(key) for key in (*NASTY, *(f"key {number}" for number in range(30)))],
        schema(key=DataType.VarChar),
    ),
    "partitions": Made(
        rows(5),
        partitions=("_default", "eu", "us"),
        parts={
            "eu": [row(key) for key in range(100, 130)],
            # The same keys again: other rows, for Milvus.
            "us": [row(key) | {"title": "us"} for key in range(100, 103)],
        },
    ),
    "partition_key": Made(
        rows(30), schema(partition_key="title"), ("_default_0", "_default_1", "_default_2")
    ),
    "dynamic": Made(
        [row(key) | {"$meta": ODD_JSON[key % 3]} for key in range(20)], schema(dynamic=True)
    ),
}


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job that has copied all of `COLLECTIONS`."""
    with between_fakes(tmp_path_factory.mktemp("moved")) as job:
        for name, made in COLLECTIONS.items():
            made.schema.name = name
            collection = job.source.create(made.schema, made.rows, partitions=made.partitions)
            for partition, found in made.parts.items():
                collection.insert(found, partition)
        assert job.run() == 0
        yield job


def both(job: Job, name: str) -> tuple[Collection, Collection]:
    return job.source[name], job.target[name]


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_arrives_as_it_is(moved: Job, name: str) -> None:
    source, target = both(moved, name)
    assert target.rows() == source.rows()
    assert target.partitions == source.partitions
    assert target.loaded


@pytest.mark.parametrize("name", ["partitions", "partition_key"])
def test_rows_stay_in_their_partition(moved: Job, name: str) -> None:
    source, target = both(moved, name)
    for partition in source.partitions:
        assert target.rows(partition) == source.rows(partition)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_ends_proven_with_as_many_rows_as_it_had(moved: Job, name: str) -> None:
    [report] = [each for each in moved.report["collections"] if each["name"] == name]
    count = len(moved.source[name].rows())
    assert report["outcome"] == "proven"
    counts = ("rows_source", "keys", "rows_read", "rows_written", "rows_target")
    assert [report[each] for each in counts] == [count] * 5


def test_rows_are_inserted_each_once_in_requests_of_the_wanted_size(moved: Job) -> None:
    count = sum(len(moved.source.keys(name)) for name in COLLECTIONS)
    assert len(written(moved.target, "Insert")) == count
    assert moved.target.asked("Upsert") == []
    assert max(request.num_rows for request in moved.target.asked("Insert")) == REQUEST_ROWS


def test_pages_are_asked_for_in_the_way_that_loses_no_rows(moved: Job) -> None:
    pages = [each for each in moved.source.asked("Query") if "title" in each.output_fields]
    for page in pages:
        params = {pair.key: pair.value for pair in page.query_params}
        assert int(params["limit"]) in (PAGE_ROWS, 1_000)
        assert (params["iterator"], params["reduce_stop_for_best"]) == ("True", "True")


def test_the_source_is_only_asked_and_never_changed(moved: Job) -> None:
    assert changing(moved.source) == set()


def test_the_target_is_flushed_once_for_each_collection(moved: Job) -> None:
    flushed = [name for each in moved.target.asked("Flush") for name in each.collection_names]
    assert sorted(flushed) == sorted(COLLECTIONS)


def test_a_job_that_is_done_asks_nothing_and_changes_nothing(moved: Job) -> None:
    before, asked = moved.report, [*moved.source.requests], [*moved.target.requests]
    assert moved.run() == 0
    assert (moved.source.requests, moved.target.requests) == ([], [])
    assert moved.report == before
    moved.source.requests[:], moved.target.requests[:] = asked, asked


# More than rows


def test_a_collection_arrives_with_all_that_belongs_to_it(job: Job) -> None:
    message = schema(dynamic=True, price=DataType.Double)
    message.description = "What we sell"
    made = job.source.create(message)
    made.request.consistency_level = 1
    made.request.shards_num = 2
    made.request.properties.append(KeyValuePair(key="collection.ttl.seconds", value="3600"))
    made.aliases += ["goods", "wares"]
    made.index("price", "by_price", [KeyValuePair(key="index_type", value="STL_SORT")])
    assert job.run() == 0
    target = job.target["docs"]
    assert target.schema == made.schema
    assert target.indexes == made.indexes
    assert sorted(target.aliases) == ["goods", "wares"]
    for name in ("consistency_level", "shards_num", "properties"):
        assert getattr(target.request, name) == getattr(made.request, name)


@pytest.mark.parametrize(
    ("keys", "made", "loaded"),
    [
        ({}, ["vector"], True),
        ({"load_collection": False}, ["vector"], False),
        ({"create_index": False}, [], False),
    ],
    ids=["as it is", "not loaded", "without indexes"],
)
def test_indexes_and_load_state_are_as_the_job_wants_them(
    job: Job, keys: dict[str, Any], made: list[str], loaded: bool
) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink |= keys
    assert job.run() == 0
    target = job.target["docs"]
    assert [index.index_name for index in target.indexes] == made
    assert target.loaded is loaded
    assert job.report["outcome"] == ("proven" if made else "copied")


def test_a_source_that_is_loaded_for_the_job_is_released_after_it(job: Job) -> None:
    job.source.create(schema(), rows(20)).loaded = False
    job.env["job.name"] = "job"
    job.from_source |= {"collections": ["docs"], "auto_load": True}
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(20)
    assert changing(job.source) == {"LoadCollection", "GetLoadingProgress", "ReleaseCollection"}
    assert not job.source["docs"].loaded


# Keys that are not unique, or not shown


def test_of_a_repeated_key_the_row_that_the_source_shows_arrives_once(job: Job) -> None:
    made = job.source.create(schema(), rows(40))
    made.insert([row(key) | {"title": "a later copy"} for key in range(10, 20)])
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == rows(40)
    assert (job.collection["keys"], job.collection["repeats"]) == (40, 10)
    assert "40 keys + 10 repeats" in str(job.report["findings"])


def losing(job: Job, version: str) -> None:
    """A source with the merge of 2.4.0, and keys that stand four times in one segment."""
    job.source.version, job.source.loses_rows = version, True
    job.source.create(schema(), rows(40)).insert(rows(20) * 4)
    job.target.version = "2.6.5"


def test_nothing_is_lost_on_a_server_whose_pages_lose_rows(job: Job) -> None:
    losing(job, "2.4.3")
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)
    assert job.collection["repeats"] == 80


def test_a_server_whose_pages_lose_rows_unexpectedly_is_found_out(job: Job) -> None:
    losing(job, "2.5.0")
    assert job.run() == 4
    assert "the source shows" in job.report["failures"][0]["reason"]


def test_new_ids_are_made_and_proven_in_sum(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    titles = sorted(each["title"] for each in job.target["docs"].rows())
    assert titles == sorted(each["title"] for each in rows(30))


def test_rows_that_the_source_never_shows_are_left_behind_only_if_that_is_accepted(
    job: Job,
) -> None:
    job.source.create(schema(), [*rows(20), row(2**63 - 1)])
    assert job.run() == 3
    assert changing(job.target) == set()
    job.env["accept"] = ["unreadable-key"]
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(20))


@pytest.mark.xfail(reason="they are counted as repeats of a key")
def test_rows_that_were_left_behind_are_not_called_repeats(job: Job) -> None:
    job.source.create(schema(), [*rows(20), row(2**63 - 1)])
    job.env["accept"] = ["unreadable-key"]
    job.run()
    assert job.collection["repeats"] == 0


# How much is proven


@pytest.mark.parametrize(
    ("verify", "outcome"),
    [("full", "proven"), ("sample", "sampled"), ("count", "counted"), ("none", "copied")],
)
def test_the_outcome_says_how_the_target_was_compared(job: Job, verify: str, outcome: str) -> None:
    job.source.create(schema(), rows(40))
    job.env["verify"] = verify
    assert job.run() == 0
    assert job.report["outcome"] == outcome
