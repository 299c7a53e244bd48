"""A target that already exists: what stays, what is dropped, and what is proven."""

from __future__ import annotations

import builtins
import sys
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.target.scratch import name_of
from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, of, row, rows, written
from tests.fakes import milvus
from tests.fakes.memory import Row
from tests.fakes.script import AWAY, REFUSED, Fault

pytestmark = pytest.mark.slow

OTHERS = range(100, 130)


def fill(job: Job, *, ours: int = 25) -> None:
    """Keys 0 to 24 in the source; in the target the first three in another form, and 30 others."""
    job.source.create(schema(), rows(ours))
    changed = [{**row(key), "title": "old"} for key in range(3)]
    job.target.create(schema(), [*changed, *(row(key) for key in OTHERS)])
    job.from_source["collections"] = ["docs"]


def title(job: Job, key: int) -> Row:
    return next(row for row in job.target["docs"].rows() if row["id"] == key)["title"]


# APPEND_DATA


def test_rows_are_upserted_beside_existing_rows(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(25), *OTHERS]
    assert title(job, 0) == "title of 0"
    assert written(job.target, "Insert") == []
    assert written(job.target, "Upsert") == [*range(25)]


def test_only_the_copied_keys_are_proven(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    docs = job.collection()
    assert (docs["outcome"], docs["rows_written"], docs["rows_target"]) == ("proven", 25, None)
    assert job.differences() == []


def test_a_changed_row_of_the_job_is_found_beside_other_rows(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    docs = job.target["docs"]
    docs.delete("id in [7, 100]")
    docs.upsert([{**row(8), "title": "spoilt"}, {**row(101), "title": "as they like"}])
    docs.insert([row(9), row(102)])
    assert job.run("verify") == 4
    assert job.differences() == ["- 7", "* 8 title", "# 9"]


def test_verify_count_counts_only_the_keys_of_the_source(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.env["verify"] = "count"
    assert job.run() == 0
    assert job.collection()["outcome"] == "counted"
    job.target["docs"].delete("id in [7]")
    assert job.run("verify") == 4


def test_sync_repairs_copied_rows_and_leaves_other_rows(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    docs = job.target["docs"]
    docs.delete("id in [7]")
    docs.insert([row(9), row(102)])
    assert job.run("sync") == 0
    assert job.target.keys("docs") == [*range(25), *OTHERS[:3], 102, *OTHERS[3:]]
    assert job.run("sync", "--delete") == 2


def test_new_keys_beside_existing_rows_are_copied_and_not_proven(job: Job) -> None:
    job.source.create(
        schema(auto_id=True), [{k: v for k, v in r.items() if k != "id"} for r in rows(5)]
    )
    job.target.create(schema(auto_id=True), [{"title": "theirs", "vector": [0.0, 1.0]}])
    job.to_sink |= {"data_save_mode": "APPEND_DATA", "enable_auto_id": True}
    assert job.run() == 0
    assert job.collection()["outcome"] == "copied"
    assert len(job.target["docs"].rows()) == 6


# What is dropped


@pytest.mark.parametrize(
    "mode", [{"data_save_mode": "DROP_DATA"}, {"schema_save_mode": "RECREATE_SCHEMA"}]
)
def test_nothing_is_dropped_unless_the_user_confirms(job: Job, mode, capsys) -> None:
    fill(job)
    job.to_sink |= mode
    assert job.run() == 3
    assert "To agree, add --yes. Nothing was written." in capsys.readouterr().err
    assert changing(job.target) == set()
    assert job.ledger.plan() is None

    assert job.run("run", "--yes") == 0
    assert job.target.keys("docs") == [*range(25)]
    assert job.collection()["outcome"] == "proven"


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 3), ("", 3)])
def test_on_a_terminal_the_user_is_asked(job: Job, monkeypatch, answer: str, code: int) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "DROP_DATA"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(builtins, "input", lambda _: answer)
    assert job.run() == code
    assert (100 in job.target.keys("docs")) == (code != 0)


def test_a_collection_that_is_not_named_is_not_dropped(job: Job) -> None:
    fill(job)
    del job.from_source["collections"]
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 3
    assert changing(job.target) == set()


def test_dropping_rows_leaves_the_collection_as_it_was(job: Job) -> None:
    fill(job)
    job.target["docs"].partitions.append("theirs")
    job.target["docs"].request.properties.add(key="collection.ttl.seconds", value="9")
    job.target["docs"].aliases.append("papers")
    job.target.create(schema("other"), rows(3))
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 0
    docs = job.target["docs"]
    assert [(pair.key, pair.value) for pair in docs.request.properties] == [
        ("collection.ttl.seconds", "9")
    ]
    assert docs.aliases == ["papers"]
    assert docs.partitions == ["_default", "theirs"]
    assert len(job.target["other"].rows()) == 3


def test_a_recreated_collection_is_like_the_source(job: Job) -> None:
    fill(job)
    job.target["docs"].request.properties.add(key="collection.ttl.seconds", value="9")
    job.to_sink["schema_save_mode"] = "RECREATE_SCHEMA"
    assert job.run("run", "--yes") == 0
    assert not job.target["docs"].request.properties


def test_a_resumed_run_drops_nothing_again(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 0
    job.crash(lost=2)
    assert job.run() == 0
    assert "DropCollection" not in changing(job.target)
    assert job.target.keys("docs") == [*range(25)]


# A collection is only dropped if it can be recreated


@pytest.fixture(params=["DROP_DATA", "RECREATE_SCHEMA"])
def two(job: Job, request: pytest.FixtureRequest) -> Job:
    """A job that replaces two collections of the target; only `notes` has a field `note`."""
    fill(job)
    job.source.create(schema("notes", note=DataType.Int64), [{**row(1), "note": 1}])
    job.target.create(schema("notes", note=DataType.Int64), [{**row(2), "note": 2}])
    job.from_source["collections"] = ["docs", "notes"]
    drops_all = request.param == "RECREATE_SCHEMA"
    job.to_sink["schema_save_mode" if drops_all else "data_save_mode"] = request.param
    return job


def is_unchanged(job: Job) -> bool:
    """Whether the target has its original collections and rows, and nothing else."""
    before = {"docs": [*range(3), *OTHERS], "notes": [2]}
    names = job.target.ShowCollections(None).collection_names
    return {name: job.target.keys(name) for name in names} == before


def of_notes(request: Any) -> bool:
    return b"note" in request.schema


NO_ROOM = Fault(code=102, text="exceeded the limit number of collections[limit=2]")
DENIED = Fault(grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeDropCollection: permission deny")


@pytest.mark.parametrize(
    ("method", "fault", "when", "words"),
    [
        ("CreateCollection", REFUSED, of_notes, "CreateCollection: the server does not like it"),
        ("CreateCollection", NO_ROOM, None, "CreateCollection: exceeded the limit number"),
        ("CreateCollection", DENIED, None, "CreateCollection: "),
        ("DropCollection", DENIED, None, "DropCollection: "),
    ],
    ids=["refused", "no room", "may not create", "may not drop"],
)
def test_nothing_is_dropped_if_the_target_refuses_to_create_it(
    two: Job, capsys: pytest.CaptureFixture[str], method: str, fault: Fault, when: Any, words: str
) -> None:
    two.target.fails(method, fault, times=None, **({"when": when} if when else {}))
    assert two.run("run", "--yes") == 3
    said = capsys.readouterr().err
    assert words in said
    assert "nothing was dropped, no row was written" in said
    assert is_unchanged(two)
    assert two.ledger.plan() is None
    two.target.heal()
    assert two.run("run", "--yes") == 0
    assert two.target.keys("docs") == [*range(25)]


def test_nothing_is_dropped_if_the_target_creates_it_differently(
    two: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    def forget(request: Any) -> bool:
        del request.properties[:]
        return False

    for server in (two.source, two.target):
        server["notes"].request.properties.add(key="collection.ttl.seconds", value="9")
    two.target.fails("CreateCollection", REFUSED, when=forget)
    assert two.run("run", "--yes") == 3
    said = capsys.readouterr().err
    assert "[lost:notes.ttl]" in said
    assert "1 finding stops the job; nothing was dropped, no row was written." in said
    assert is_unchanged(two)
    assert two.run("run", "--yes", "--accept=lost:notes.ttl") == 0


def test_dropped_collections_are_named_if_creating_fails(
    two: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    two.target.fails("CreateCollection", REFUSED, when=of("notes"))
    assert two.run("run", "--yes") == 3
    said = capsys.readouterr().err
    assert "everything that this run created was dropped again. " in said
    assert "Dropped as the job file requires: docs, notes." in said
    assert two.target.ShowCollections(None).collection_names == []
    assert two.run() == 0


def test_an_outage_after_a_drop_names_the_dropped_collections(
    two: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    two.env["retry.max_outage"] = "1 ms"
    two.target.fails("DropCollection", AWAY, times=None, when=of("notes"))
    assert two.run("run", "--yes") == 4
    assert "dropped earlier, as the job file requires: docs" in capsys.readouterr().err
    two.target.heal()
    assert two.run("run", "--yes") == 0
    assert two.target.keys("docs") == [*range(25)]
    assert two.target.keys("notes") == [1]


def test_the_next_run_drops_the_scratch_collection_of_a_killed_run(two: Job) -> None:
    two.target.create(schema(name_of("job")))
    assert two.run("run", "--yes") == 0
    assert sorted(two.target.ShowCollections(None).collection_names) == ["docs", "notes"]


def test_privileges_on_the_collections_of_the_job_are_enough(two: Job) -> None:
    two.source["notes"].partitions.append("more")
    two.to_sink["create_index"] = "before"
    for method in ("CreatePartition", "CreateIndex"):
        two.target.fails(method, DENIED, times=None, when=of(name_of("job")))
    assert two.run("run", "--yes") == 0
    assert two.target["notes"].partitions == ["_default", "more"]


# Collections that must exist


@pytest.mark.parametrize("mode", ["ERROR_WHEN_SCHEMA_NOT_EXIST", "IGNORE"])
def test_a_collection_that_must_exist_is_not_created(job: Job, mode: str) -> None:
    job.source.create(schema(), rows(5))
    job.to_sink["schema_save_mode"] = mode
    assert job.run() == 3
    job.target.create(schema())
    assert job.run() == 0
    assert "CreateCollection" not in changing(job.target)


@pytest.mark.parametrize(("mode", "code"), [("ERROR_WHEN_SCHEMA_NOT_EXIST", 3), ("IGNORE", 0)])
def test_only_ignore_accepts_a_collection_with_other_settings(
    job: Job, mode: str, code: int
) -> None:
    docs = job.source.create(schema(), rows(5))
    docs.request.properties.add(key="collection.ttl.seconds", value="9")
    job.target.create(schema())
    job.to_sink["schema_save_mode"] = mode
    assert job.run() == code


# Rows that are counted only once they are flushed


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The flushed collections; the server reports row counts only for these."""
    count, flush = milvus.FakeMilvus.GetCollectionStatistics, milvus.FakeMilvus.Flush
    seen: set[str] = set()

    def counted(server: milvus.FakeMilvus, request: Any, context: Any = None) -> Any:
        answer = count(server, request)
        return answer if request.collection_name in seen else type(answer)()

    def flushed_now(server: milvus.FakeMilvus, request: Any, context: Any = None) -> Any:
        seen.update(request.collection_names)
        return flush(server, request)

    monkeypatch.setattr(milvus.FakeMilvus, "GetCollectionStatistics", counted)
    monkeypatch.setattr(milvus.FakeMilvus, "Flush", flushed_now)
    return seen


@pytest.fixture
def unflushed(flushed: set[str], job: Job) -> Job:
    """A job whose target is not loaded and has unflushed rows."""
    fill(job)
    job.target["docs"].loaded = False
    return job


def test_unflushed_rows_are_found_before_the_first_row_is_written(
    unflushed: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = unflushed.target["docs"].rows()
    assert unflushed.run("plan") == 0
    assert unflushed.run() == 3
    assert (
        "[target-not-empty] target collection docs: it contains 33 rows" in capsys.readouterr().err
    )
    assert unflushed.target["docs"].rows() == before
    marking = {"CreateAlias", "DropAlias"}
    assert changing(unflushed.target) <= {"Flush", "GetFlushState", *marking}
    assert unflushed.target["docs"].aliases == []
    assert not unflushed.ledger.has_plan


def test_a_sync_accepts_unflushed_rows(unflushed: Job) -> None:
    assert unflushed.run("sync", "--delete") == 0
    assert unflushed.target.keys("docs") == [*range(25)]
