"""The time at which rows are read: one for all ranges of a source, one after the last write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, reads, row, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault

COUNT = 40
LINES = ["v2.3.22", "v2.4.24", "v2.5.27", "2.6.19", "v3.0.0"]
PINNING = LINES[2:]


@pytest.fixture(params=LINES)
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    yield from made(tmp_path, request.param)


@pytest.fixture(params=PINNING)
def pinned(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    yield from made(tmp_path, request.param)


def made(folder: Path, line: str) -> Iterator[Job]:
    with between_fakes(folder, source_version=line, target_version=line) as job:
        job.source.create(schema(), rows(COUNT))
        yield job


def timestamps(server: FakeMilvus) -> set[int]:
    """The guarantee timestamps of all queries but those that take a snapshot."""
    asked = (each for each in server.asked("Query") if each.output_fields)
    return {int(each.guarantee_timestamp) for each in asked}


def during(job: Job, change: Any) -> None:
    """Changes the source once, at the request of its first page of rows."""
    left = [change]

    def once(request: Any) -> bool:
        if left and reads(5)(request):
            left.pop()()
        return False

    job.source.fails("Query", Fault(), times=None, when=once)


# The source


def test_all_pages_and_counts_of_a_source_are_of_one_snapshot(pinned: Job) -> None:
    assert pinned.run() == 0
    # The last count is Strong: it tells what was written since.
    [snapshot] = timestamps(pinned.source) - {0}
    of_ranges = [each for each in pinned.source.asked("Query") if each.expr]
    assert {int(key_range.guarantee_timestamp) for key_range in of_ranges} == {snapshot}


def test_a_run_that_is_resumed_reads_the_snapshot_of_the_first(pinned: Job) -> None:
    assert pinned.run() == 0
    first = timestamps(pinned.source) - {0}
    pinned.crash(lost=5)
    pinned.source["docs"].insert([row(1_000)])
    assert pinned.run() == 0
    pages = {int(each.guarantee_timestamp) for each in pinned.source.asked("Query") if each.expr}
    assert first < pages | first
    assert pinned.target.keys("docs") == [*range(COUNT)]
    assert (pinned.report["outcome"], pinned.collection()["keys"]) == ("proven", COUNT)


def test_rows_that_arrive_while_the_source_is_read_are_not_read_and_are_reported(
    pinned: Job,
) -> None:
    during(pinned, lambda: pinned.source["docs"].insert([row(key) for key in (1_000, -5)]))
    assert pinned.run() == 0
    assert pinned.target.keys("docs") == [*range(COUNT)]
    assert pinned.report["outcome"] == "proven"
    assert "40 then, 42 now" in pinned.collection()["source_changed"]
    assert "as of 20" in pinned.report["verdict"]
    assert pinned.collection()["snapshot"] is not None


def test_rows_that_compaction_takes_from_the_snapshot_are_counted_and_not_proven(
    pinned: Job,
) -> None:
    def compacted() -> None:
        pinned.source["docs"].delete("id >= 30")
        pinned.source["docs"].compact()

    during(pinned, compacted)
    assert pinned.run() == 4
    assert (pinned.report["outcome"], pinned.collection()["vanished"]) == ("copied", 10)
    assert "vanished-rows" in [each["code"] for each in pinned.report["findings"]]
    assert any("kitelift sync" in step for step in pinned.report["next"])
    assert pinned.run("run", "--accept=vanished-rows") == 0
    assert pinned.report["outcome"] == "copied"


def test_before_2_5_nothing_is_said_to_be_of_one_time(job: Job) -> None:
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    told = job.collection()["snapshot"]
    assert (told is not None) == (job.source.version in PINNING)


# Replicas


@pytest.mark.parametrize(
    "refused",
    [
        None,
        Fault(code=10, text="service unimplemented"),
        Fault(code=1401, text="privilege not permitted"),
        Fault(StatusCode.PERMISSION_DENIED, text="PrivilegeAllocTimestamp: permission deny to me"),
    ],
    ids=["AllocTimestamp", "unknown", "not permitted", "denied"],
)
def test_a_target_of_which_a_replica_lags_is_proven_by_what_it_was_sent(
    job: Job, refused: Fault | None
) -> None:
    if refused:
        for server in (job.source, job.target):
            server.fails("AllocTimestamp", refused, times=None)
    job.target.lags(0.0, 60.0, 3.0)
    assert job.run() == 0
    assert job.report["outcome"] == "proven"


def test_a_source_of_which_a_replica_lags_loses_nothing(job: Job) -> None:
    job.source.lags(0.0, 60.0, 3.0)
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(COUNT)]


def test_what_sync_has_repaired_is_proven_though_a_replica_lags(job: Job) -> None:
    assert job.run() == 0
    job.source["docs"].insert([row(1_000)])
    job.target["docs"].delete("id == 7")
    job.target.lags(0.0, 60.0)
    assert job.run("sync") == 0
    assert job.target.keys("docs") == [*range(COUNT), 1_000]
    assert job.report["outcome"] == "proven"


# Without a snapshot


@pytest.fixture(params=[line for line in LINES if line not in PINNING])
def moving(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    yield from made(tmp_path, request.param)


@pytest.mark.parametrize("keys", [(1_000,), (6, 7), (-5, 11, 1_000)])
def test_rows_that_come_while_the_source_is_read_are_no_failure_and_no_proof(
    moving: Job, keys: tuple[int, ...]
) -> None:
    late = [row(key) for key in keys]
    moving.source["docs"].delete(f"id in {list(keys)}")
    during(moving, lambda: moving.source["docs"].insert(late))
    assert moving.run() == 0
    assert moving.report["outcome"] == "copied"
    assert moving.collection()["source_changed"]
    assert any("kitelift sync" in step for step in moving.report["next"])
    assert not any("kitelift verify" in step for step in moving.report["next"])
    assert moving.run("verify") == 0
    assert moving.report["outcome"] == "copied"  # No evidence was added.
    assert moving.run("sync") == 0
    assert moving.report["outcome"] == "proven"
    assert moving.target.keys("docs") == moving.source.keys("docs")


def test_rows_that_go_while_the_source_is_read_are_no_failure_and_no_proof(moving: Job) -> None:
    during(moving, lambda: moving.source["docs"].delete("id in [0, 1, 8, 9, 35]"))
    assert moving.run() == 0
    assert moving.report["outcome"] == "copied"
    assert moving.run("sync", "--delete") == 0
    assert moving.report["outcome"] == "proven"
    assert moving.target.keys("docs") == moving.source.keys("docs")
