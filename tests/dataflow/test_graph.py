"""Whole jobs between two fake servers: exact whatever happens on the way, and never twice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import (
    PAGE_ROWS,
    REQUEST_ROWS,
    Job,
    reads,
    row,
    rows,
    was_read,
    writes,
    written,
)
from tests.fakes.memory import Row
from tests.fakes.script import AWAY, LOST_ANSWER, RATE_LIMIT, REFUSED, Fault
from transforms import finish
from transforms.milvus import channel
from transforms.ranges import Key

ASKS = {
    *("Connect", "GetVersion", "ListDatabases", "ShowCollections", "DescribeCollection"),
    *("ShowPartitions", "DescribeIndex", "GetLoadState", "GetCollectionStatistics", "Query"),
}
"""The calls that change nothing."""


def calls(requests: list[tuple[str, Any]]) -> set[str]:
    return {method for method, _ in requests}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits before another try, but not for long."""
    monkeypatch.setattr(channel.random, "uniform", lambda low, high: 0.01)


# What is copied


def test_a_job_ends_proven_with_the_same_rows_in_the_target(job: Job) -> None:
    job.source.create(schema(), rows(100))
    assert job.run() == 0
    assert job.target["docs"].rows() == job.source["docs"].rows()
    assert job.report["outcome"] == "proven"
    counts = ("rows_source", "keys", "repeats", "rows_read", "rows_written", "rows_target")
    assert [job.collection[name] for name in counts] == [100, 100, 0, 100, 100, 100]


def test_rows_are_inserted_each_once_in_requests_of_the_wanted_size(job: Job) -> None:
    job.source.create(schema(), rows(50))
    job.run()
    assert written(job.target, "Insert") == list(range(50))
    assert written(job.target, "Upsert") == []
    assert max(request.num_rows for request in job.target.asked("Insert")) == REQUEST_ROWS


def test_pages_are_asked_for_in_the_way_that_loses_no_rows(job: Job) -> None:
    job.source.create(schema(), rows(50))
    job.run()
    pages = [each for each in job.source.asked("Query") if len(each.output_fields) == 3]
    assert pages
    for page in pages:
        params = {pair.key: pair.value for pair in page.query_params}
        assert int(params["limit"]) in (PAGE_ROWS, 1_000)
        assert (params["iterator"], params["reduce_stop_for_best"]) == ("True", "True")


def test_the_source_is_only_asked_and_never_changed(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    assert calls(job.source.requests) <= ASKS


def with_partitions(job: Job) -> None:
    made = job.source.create(schema())
    made.partitions += ["eu", "us"]
    made.insert(rows(5))
    made.insert([row(key) for key in range(100, 140)], "eu")
    # The same keys again: other rows, for Milvus.
    made.insert([row(key) | {"title": "us"} for key in range(100, 103)], "us")


def with_partition_key(job: Job) -> None:
    made = job.source.create(schema(partition_key="title"))
    made.request.num_partitions = 3
    made.partitions = ["_default_0", "_default_1", "_default_2"]
    for place, partition in enumerate(made.partitions):
        made.insert([row(key) for key in range(place * 10, place * 10 + 10)], partition)


def with_dynamic_fields(job: Job) -> None:
    odd = [b"{}", b'{"a": 1.0}', '{"ключ":  [1,2]}'.encode()]
    dynamic = [row(key) | {"$meta": odd[key % 3]} for key in range(30)]
    job.source.create(schema(dynamic=True), dynamic)


def keys(*found: Key) -> Callable[[Job], None]:
    kind = DataType.Int64 if isinstance(found[0], int) else DataType.VarChar
    return lambda job: job.source.create(schema(key=kind), map(row, found)) and None


NASTY = [
    "",
    "a",
    'say "a"',
    "back\\slash",
    "it's",
    "line\nfeed",
    "tab\t",
    "\0",
    "世界",
    "\U0001f600",
]
COLLECTIONS: dict[str, Callable[[Job], Any]] = {
    "no row": lambda job: job.source.create(schema()),
    "one row": keys(7),
    "as many rows as a page has": lambda job: job.source.create(schema(), rows(PAGE_ROWS)),
    "negative keys and the ends of int64": keys(-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2),
    "text keys": keys(*NASTY, *(f"key {number}" for number in range(40))),
    "partitions": with_partitions,
    "partition key": with_partition_key,
    "dynamic fields": with_dynamic_fields,
}


@pytest.mark.parametrize("make", COLLECTIONS.values(), ids=COLLECTIONS)
def test_a_collection_arrives_as_it_is(job: Job, make: Callable[[Job], Any]) -> None:
    make(job)
    source = job.source["docs"]
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    target = job.target["docs"]
    assert target.rows() == source.rows()
    assert target.partitions == source.partitions
    if not source.key_decides_partition:
        for partition in source.partitions:
            assert target.rows(partition) == source.rows(partition)


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
    assert target.loaded
    for name in ("consistency_level", "shards_num", "properties"):
        assert getattr(target.request, name) == getattr(made.request, name)


def test_several_collections_arrive_each_with_its_own_rows(job: Job) -> None:
    for name, count in (("a", 30), ("b", 0), ("c", 15)):
        job.source.create(schema(name), rows(count))
    assert job.run() == 0
    assert {name: len(job.target.keys(name)) for name in "abc"} == {"a": 30, "b": 0, "c": 15}
    assert [each["outcome"] for each in job.report["collections"]] == ["proven"] * 3


def test_of_a_repeated_key_the_row_that_the_source_shows_arrives_once(job: Job) -> None:
    made = job.source.create(schema(), rows(40))
    made.insert([row(key) | {"title": "a later copy"} for key in range(10, 20)])
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)
    assert (job.collection["keys"], job.collection["repeats"]) == (40, 10)
    assert "40 keys + 10 repeats" in str(job.report["findings"])


def test_nothing_is_lost_on_a_server_whose_pages_lose_rows(job: Job) -> None:
    job.source.version, job.source.loses_rows = "2.4.3", True
    made = job.source.create(schema(), rows(40))
    for _ in range(3):
        made.insert(rows(12))
    job.target.version = "2.4.17"
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)
    assert job.collection["repeats"] == 36


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
    assert calls(job.target.requests) <= ASKS
    job.env["accept"] = ["unreadable-key"]
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(20))


@pytest.mark.xfail(reason="they are counted as repeats of a key")
def test_rows_that_were_left_behind_are_not_called_repeats(job: Job) -> None:
    job.source.create(schema(), [*rows(20), row(2**63 - 1)])
    job.env["accept"] = ["unreadable-key"]
    job.run()
    assert job.collection["repeats"] == 0


# Servers that fail for a while


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(
    "fault",
    [LOST_ANSWER, AWAY, replace(LOST_ANSWER, status=grpc.StatusCode.INTERNAL)],
    ids=["the answer is lost", "the server is away", "the stream is reset"],
)
def test_a_write_that_may_have_arrived_is_repeated_by_key(job: Job, fault: Fault) -> None:
    job.source.create(schema(), rows(50))
    job.target.fails("Insert", fault, times=5)
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target.keys("docs") == list(range(50))
    assert len(job.target.asked("Upsert")) == 5


@pytest.mark.usefixtures("at_once")
def test_without_upsert_the_keys_are_deleted_and_inserted_again(job: Job) -> None:
    job.source.create(schema(), rows(50))
    job.to_sink["enable_upsert"] = False
    job.target.fails("Insert", LOST_ANSWER, times=3)
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(50))
    assert (len(job.target.asked("Upsert")), len(job.target.asked("Delete"))) == (0, 3)


@pytest.mark.usefixtures("at_once")
@pytest.mark.xfail(reason="the second insert is the last one")
def test_without_upsert_a_write_that_fails_again_is_repeated_again(job: Job) -> None:
    job.source.create(schema(), rows(10))
    job.to_sink["enable_upsert"] = False
    job.target.fails("Insert", LOST_ANSWER, times=3, when=writes(5))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(10))


@pytest.mark.usefixtures("at_once")
def test_new_ids_that_may_stand_twice_are_counted(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    job.target.fails("Insert", LOST_ANSWER, times=1)
    job.run()
    assert len(job.target.keys("docs")) == 33
    assert job.collection["doubled"] == 3


@pytest.mark.usefixtures("at_once")
@pytest.mark.xfail(reason="the second insert is the last one")
def test_with_new_ids_a_target_that_is_away_for_a_while_is_waited_for(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    job.target.fails("Insert", AWAY, times=12)
    assert job.run() == 0


@pytest.mark.usefixtures("at_once")
def test_a_rate_limit_is_waited_for_and_what_it_refused_is_inserted(job: Job) -> None:
    job.source.create(schema(), rows(50))
    job.target.fails("Insert", RATE_LIMIT, times=8)
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(50))
    assert len(job.target.asked("Upsert")) == 0


@pytest.mark.usefixtures("at_once")
@pytest.mark.xfail(reason="it is inserted again, which doubles rows if it had been done")
def test_a_write_that_failed_for_an_unknown_reason_is_repeated_by_key(job: Job) -> None:
    job.source.create(schema(), rows(50))
    job.target.fails("Insert", Fault(code=65535, text="unexpected error", done=True))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(50))


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("fault", [AWAY, RATE_LIMIT, Fault(code=65535, text="panic")])
def test_a_source_that_fails_for_a_while_is_read_on(job: Job, fault: Fault) -> None:
    job.source.create(schema(), rows(50))
    job.source.fails("Query", fault, times=3, when=reads(33))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(50))


def test_pages_and_requests_that_are_too_large_are_halved(job: Job) -> None:
    big = [row(key) | {"title": f"{key}" * 20_000} for key in range(100, 120)]
    job.source.create(schema(), big)
    too_large = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text="message larger than max (9 vs. 4)")
    job.source.fails("Query", too_large, times=None, when=lambda page: _limit(page) > 2)
    job.target.fails("Insert", too_large, times=None, when=lambda insert: insert.num_rows > 1)
    assert job.run() == 0
    assert job.target["docs"].rows() == big


def _limit(query: Any) -> int:
    return next((int(pair.value) for pair in query.query_params if pair.key == "limit"), 0)


# Ranges that fail for good


def test_a_range_that_fails_for_good_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.target.fails("Insert", REFUSED, times=None, when=writes(33))
    assert job.run() == 4
    lost = set(range(100)) - set(job.target.keys("docs"))
    assert 33 in lost
    assert lost <= set(range(26, 39))
    assert (job.report["outcome"], job.collection["ranges"]["failed"]) == ("failed", 1)
    [failure] = job.report["failures"]
    assert failure["range"] == "docs(25..38]"
    assert "the server does not like it" in failure["reason"]
    assert "Run the same command again" in job.report["next"][0]


def test_running_again_completes_what_failed_and_nothing_else(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.target.fails("Insert", REFUSED, times=None, when=writes(33))
    job.run()
    arrived = set(job.target.keys("docs"))
    job.target.heal()
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == rows(100)
    assert was_read(job.source, range(26)) == set()
    assert was_read(job.source, range(39, 100)) == set()
    # It may have arrived before, so it is not inserted.
    assert written(job.target, "Insert") == []
    assert set(range(100)) - arrived <= set(written(job.target, "Upsert")) <= set(range(26, 39))


def test_a_range_that_cannot_be_read_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.source.fails("Query", REFUSED, times=None, when=reads(70))
    # Cutting reads keys alone.
    assert job.run() == 4
    lost = set(range(100)) - set(job.target.keys("docs"))
    assert 70 in lost
    assert lost <= set(range(65, 78))
    assert "the server does not like it" in job.report["failures"][0]["reason"]
    job.source.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(100)


def test_a_collection_of_which_a_range_failed_is_not_finished_and_others_are(job: Job) -> None:
    job.source.create(schema("bad"), rows(30))
    job.source.create(schema("good"), rows(30))
    where = writes(7)
    job.target.fails(
        "Insert",
        REFUSED,
        times=None,
        when=lambda each: each.collection_name == "bad" and where(each),
    )
    assert job.run() == 4
    assert [each["outcome"] for each in job.report["collections"]] == ["failed", "proven"]
    assert job.target["good"].indexes
    assert not job.target["bad"].indexes


def test_with_fail_fast_the_first_range_that_fails_ends_the_job(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.env["fail_fast"] = True
    job.target.fails("Insert", REFUSED, times=None, when=writes(3))
    assert job.run() == 4
    assert len(job.target.keys("docs")) < 100 - 13
    job.target.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(100)


def test_an_index_that_cannot_be_made_fails_its_collection_and_is_made_by_the_next_run(
    job: Job,
) -> None:
    job.source.create(schema(), rows(20))
    job.target.fails("CreateIndex", REFUSED)
    assert job.run() == 4
    assert "the server does not like it" in str(job.collection["problems"])
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert written(job.target, "Upsert") == []


@pytest.mark.xfail(reason="the whole job ends, without a report")
def test_a_collection_that_cannot_be_cut_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema("bad"), rows(30))
    job.source.create(schema("good"), rows(30))
    job.source.fails(
        "Query",
        REFUSED,
        times=None,
        when=lambda each: each.collection_name == "bad" and list(each.output_fields) == ["id"],
    )
    assert job.run() == 4
    assert [each["outcome"] for each in job.report["collections"]] == ["failed", "proven"]


# Runs that were killed


def test_a_killed_run_writes_again_only_what_was_not_recorded_and_by_key(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.run()
    lost = job.crash(lost=5)
    intervals = {key for key in range(100) if any(key in each.covered for each in lost)}
    assert 0 < len(intervals) < 20
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == rows(100)
    assert written(job.target, "Insert") == []
    assert set(written(job.target, "Upsert")) == intervals
    assert was_read(job.source, range(100)) == intervals


def test_a_killed_run_goes_on_whatever_of_its_writes_had_arrived(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.run()
    lost = job.crash(lost=9)
    for key in list(job.target.keys("docs")):
        if key % 2 and any(key in each.covered for each in lost):
            job.target["docs"].delete(f"id == {key}")
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == rows(100)


def test_a_range_that_was_never_begun_is_inserted(job: Job) -> None:
    job.source.create(schema(), rows(100))
    job.run()
    last = {each.range_id for each in job.crash(lost=3)}
    untouched = {key for key in range(78, 100)}
    [folder] = (job.folder / "state").glob("job")
    for name in last:
        (folder / "intents" / f"{name}.json").unlink()
    job.target["docs"].delete("id > 77")
    job.crash(lost=8)
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(100)
    assert untouched >= set(written(job.target, "Insert"))


def test_a_job_goes_on_with_the_ranges_of_its_first_run_whatever_the_parallelism(job: Job) -> None:
    job.source.create(schema(), rows(200))
    job.run()
    frozen = job.ledger.frozen("docs")
    job.crash(lost=20)
    job.env["parallelism"] = 4
    job.source["docs"].insert([row(key) for key in range(1_000, 1_040)])
    job.run()
    assert job.ledger.frozen("docs") == frozen
    cutting = [each for each in job.source.asked("Query") if list(each.output_fields) == ["id"]]
    assert cutting == []


def test_a_job_that_is_done_asks_nothing_and_changes_nothing(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    before = job.report
    assert job.run() == 0
    assert (job.source.requests, job.target.requests) == ([], [])
    assert job.report == before


def test_restart_copies_anew_and_keeps_the_old_ledger(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.target.DropCollection(job.target.asked("CreateCollection")[0])
    assert job.run("run", "--restart") == 0
    assert job.target["docs"].rows() == rows(20)
    assert len(list((job.folder / "state").iterdir())) == 2


def test_with_new_ids_what_a_killed_run_may_have_written_is_counted_as_doubled(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    job.run()
    lost = sum(each.rows for each in job.crash(lost=2))
    job.run()
    assert len(job.target.keys("docs")) == 30 + lost
    assert job.collection["doubled"] == lost


# Changes between two runs


def changed_schema(job: Job) -> None:
    job.source["docs"].schema.fields.add(name="later", data_type=DataType.Int64)


def made_again(job: Job) -> None:
    job.source.create(schema(), rows(100))


def other_ids(job: Job) -> None:
    job.to_sink["enable_auto_id"] = True


def dropped(job: Job) -> None:
    job.source.DropCollection(job.target.asked("CreateCollection")[0])
    job.source.create(schema("another"))


CHANGES = {
    "its schema has changed": changed_schema,
    "was dropped and made again": made_again,
    "is no longer there": dropped,
    "sink.Milvus.enable_auto_id: was False when the job began, is True now": other_ids,
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_job_that_is_no_longer_the_same_is_refused_with_the_reason(
    job: Job, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    job.source.create(schema(), rows(100))
    job.run()
    CHANGES[words](job)
    job.crash(lost=3)
    capsys.readouterr()
    assert job.run() == 3
    said = capsys.readouterr().err
    assert words in said
    assert "begin anew with --restart" in said
    assert calls(job.target.requests) <= ASKS


# The other commands


def test_plan_shows_what_would_be_done_and_writes_nothing(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    assert job.run("plan") == 0
    assert "docs: 20 rows, 3 fields, 1 index" in capsys.readouterr().out
    assert calls(job.source.requests) | calls(job.target.requests) <= ASKS
    assert not (job.folder / "state").exists()


def test_a_finding_stops_the_job_before_anything_is_written(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.target.create(schema(), rows(3))
    assert job.run() == 3
    said = capsys.readouterr().err
    assert "[target-not-empty]" in said
    assert "1 finding stops the job; nothing was written." in said
    assert calls(job.target.requests) <= ASKS
    assert not (job.folder / "state").exists()


def test_status_tells_where_a_job_stands(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    assert job.run("status") == 0
    assert capsys.readouterr().out.startswith("job job: new")
    job.run()
    capsys.readouterr()
    assert job.run("status") == 0
    assert capsys.readouterr().out.startswith("job job: done")


def test_a_full_disk_ends_the_job_and_the_next_run_goes_on(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job.source.create(schema(), rows(50))
    with monkeypatch.context() as broken:
        broken.setattr("transforms.ledger.Ledger.begin", _no_space)
        assert job.run() == 4
    assert "No space left on device" in capsys.readouterr().err
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(50)


def _no_space(*_: object) -> bool:
    from transforms.errors import LedgerError

    raise LedgerError("/state/job/intents", "No space left on device")
