"""Whole jobs between two fake servers, when nothing goes wrong: what is in the source arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.engines import engine_choice
from tests.clusters import schema
from tests.dataflow.jobs import (
    PAGE_ROWS,
    REQUEST_ROWS,
    Job,
    between_fakes,
    changing,
    row,
    rows,
    rows_a_page,
    written,
)
from tests.fakes.memory import Row
from transforms.split import SAMPLE_ROWS


@dataclass
class Made:
    """A collection of the source: `rows` without a partition, and those of each of `parts`.

    `later` are copies of keys that are there already: a source shows the first one.
    """

    rows: list[Row]
    schema: schema_pb2.CollectionSchema = field(default_factory=schema)
    partitions: tuple[str, ...] = ("_default",)
    parts: dict[str, list[Row]] = field(default_factory=dict)
    later: list[Row] = field(default_factory=list)


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
    "repeated": Made(
        rows(40), later=[row(key) | {"title": "a later copy"} for key in range(10, 20)]
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
            collection.insert(made.later)
        assert job.run() == 0
        yield job


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_arrives_with_each_key_once_as_the_source_shows_it(
    moved: Job, name: str
) -> None:
    later = COLLECTIONS[name].later
    shown = [each for each in moved.source[name].rows() if each not in later]
    assert moved.target[name].rows() == shown


@pytest.mark.parametrize("name", ["partitions", "partition_key"])
def test_rows_stay_in_their_partition(moved: Job, name: str) -> None:
    source, target = moved.source[name], moved.target[name]
    assert target.partitions == source.partitions
    for partition in source.partitions:
        assert target.rows(partition) == source.rows(partition)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_a_collection_ends_proven_and_loaded_and_its_rows_add_up(moved: Job, name: str) -> None:
    count, repeats = len(moved.source.keys(name)), len(COLLECTIONS[name].later)
    report = moved.collection(name)
    assert (report["outcome"], moved.target[name].loaded) == ("proven", True)
    assert (report["rows_source"], report["repeats"]) == (count, repeats)
    counts = ("keys", "rows_read", "rows_written", "rows_target")
    assert [report[each] for each in counts] == [count - repeats] * 4


def test_repeated_keys_are_told_in_numbers(moved: Job) -> None:
    assert "50 = 40 keys + 10 duplicates" in str(moved.report["findings"])


@pytest.mark.parametrize("name", COLLECTIONS)
def test_rows_are_inserted_each_once(moved: Job, name: str) -> None:
    assert written(moved.target, "Insert", name) == moved.target.keys(name)
    assert written(moved.target, "Upsert", name) == []


def test_requests_are_of_the_wanted_size(moved: Job) -> None:
    assert max(request.num_rows for request in moved.target.asked("Insert")) == REQUEST_ROWS


def test_pages_are_asked_for_in_the_way_that_loses_no_rows(moved: Job) -> None:
    pages = [each for each in moved.source.asked("Query") if "title" in each.output_fields]
    for page in pages:
        params = {pair.key: pair.value for pair in page.query_params}
        assert rows_a_page(page) in (PAGE_ROWS, SAMPLE_ROWS)
        assert params["iterator"] == "True"
        left = moved.source[page.collection_name].count(page.expr, page.partition_names)
        assert params["reduce_stop_for_best"] == "True" or left <= rows_a_page(page)


def test_the_source_is_only_asked_and_never_changed(moved: Job) -> None:
    assert changing(moved.source) == set()


def test_each_collection_is_flushed_once(moved: Job) -> None:
    flushed = [name for each in moved.target.asked("Flush") for name in each.collection_names]
    assert sorted(flushed) == sorted(COLLECTIONS)


def test_a_job_that_is_done_changes_nothing_and_reads_no_row(moved: Job) -> None:
    before = moved.report
    sides = moved.source, moved.target
    asked = [list(side.requests) for side in sides]
    assert moved.run() == 0
    assert changing(moved.source) | changing(moved.target) == set()
    queries = [each for side in sides for each in side.asked("Query")]
    assert all(list(query.output_fields) in (["count(*)"], []) for query in queries)
    assert moved.report == before
    for side, requests in zip(sides, asked, strict=True):
        side.requests[:] = requests


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
    ("keys", "indexes", "outcome"),
    [
        ({"load_collection": False}, ["vector"], "proven"),
        ({"create_index": False}, [], "copied"),
    ],
    ids=["not loaded", "without indexes"],
)
def test_indexes_and_load_state_are_as_the_job_wants_them(
    job: Job, keys: dict[str, Any], indexes: list[str], outcome: str
) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink |= keys
    assert job.run() == 0
    target = job.target["docs"]
    assert [index.index_name for index in target.indexes] == indexes
    assert not target.loaded
    assert job.report["outcome"] == outcome


def test_a_source_that_is_loaded_for_the_job_is_released_after_it(job: Job) -> None:
    job.source.create(schema(), rows(20)).loaded = False
    job.from_source |= {"collections": ["docs"], "auto_load": True}
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(20)
    assert changing(job.source) == {"LoadCollection", "GetLoadingProgress", "ReleaseCollection"}
    assert not job.source["docs"].loaded


def test_new_ids_are_made_and_proven_in_sum(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    titles = sorted(each["title"] for each in job.target["docs"].rows())
    assert titles == sorted(each["title"] for each in rows(30))


def test_a_sample_of_the_ranges_is_compared_and_the_others_are_counted(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.env["verify"] = "sample"
    assert job.run() == 0
    assert job.report["outcome"] == "sampled"
    ranges = job.collection()["ranges"]
    assert (ranges["proven"], ranges["counted"]) == (1, 3)


# Sources that do not show all that they have


def losing(job: Job, version: str) -> None:
    """A source with the merge of 2.4.0, and keys that stand four times in one segment."""
    job.source.version, job.source.loses_rows = version, True
    found = rows(40)
    job.source.create(schema(), found[1::2]).insert(found[::2] * 4)
    job.target.version = "2.6.5"


def test_nothing_is_lost_on_a_server_whose_pages_lose_rows(job: Job) -> None:
    losing(job, "2.4.3")
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)
    assert job.collection()["repeats"] == 60


def test_a_server_whose_pages_lose_rows_unexpectedly_is_found_out(job: Job) -> None:
    losing(job, "2.5.0")
    assert job.run() == 4
    assert "more on a second read" in job.report["failures"][0]["reason"]


@pytest.fixture(scope="module")
def left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job whose source has a row that it never shows; that is accepted."""
    with between_fakes(tmp_path_factory.mktemp("left_behind")) as job:
        job.source.create(schema(), [*rows(20), row(2**63 - 1)])
        assert job.run() == 3
        assert changing(job.target) == set()
        job.env["accept"] = ["unreadable-key"]
        assert job.run() == 0
        yield job


def test_rows_that_the_source_never_shows_are_left_behind_if_that_is_accepted(
    left_behind: Job,
) -> None:
    assert left_behind.target.keys("docs") == list(range(20))
    assert "unreadable-key" in [each["code"] for each in left_behind.report["findings"]]


def test_rows_that_were_left_behind_are_not_called_repeats(left_behind: Job) -> None:
    assert left_behind.collection()["repeats"] == 0


def test_what_was_left_behind_is_counted_and_the_rest_is_not_called_proven(
    left_behind: Job,
) -> None:
    assert (left_behind.report["outcome"], left_behind.collection()["hidden"]) == ("copied", 1)
    assert "unreadable-rows" not in [each["code"] for each in left_behind.report["findings"]]


def test_a_pipeline_that_never_runs_leaves_no_folder_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine_choice.create_pipeline([], workers=1)
    assert list(tmp_path.iterdir()) == []
