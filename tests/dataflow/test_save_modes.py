"""A target that is there already: what stays, what goes, and what is proven of it."""

from __future__ import annotations

import builtins
import itertools
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows, written
from tests.fakes import milvus
from tests.fakes.memory import Row

pytestmark = pytest.mark.slow

OTHERS = range(100, 130)


@pytest.fixture(autouse=True)
def _numbered_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two servers never give two collections one number, as two fakes would."""
    numbers = itertools.count(1)
    monkeypatch.setattr(milvus, "itertools", SimpleNamespace(count=lambda _: numbers))


def fill(job: Job, *, ours: int = 25) -> None:
    """Keys 0 to 24 in the source; in the target the first three in another form, and 30 others."""
    job.source.create(schema(), rows(ours))
    changed = [{**row(key), "title": "old"} for key in range(3)]
    job.target.create(schema(), [*changed, *(row(key) for key in OTHERS)])
    job.from_source["collections"] = ["docs"]


def title(job: Job, key: int) -> Row:
    return next(each for each in job.target["docs"].rows() if each["id"] == key)["title"]


# APPEND_DATA


def test_rows_are_written_by_key_among_those_of_others(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(25), *OTHERS]
    assert title(job, 0) == "title of 0"
    assert written(job.target, "Insert") == []
    assert written(job.target, "Upsert") == [*range(25)]


def test_the_keys_that_were_written_are_proven_and_no_others(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    found = job.collection()
    assert (found["outcome"], found["rows_written"], found["rows_target"]) == ("proven", 25, None)
    assert job.differences() == []


def test_a_key_of_ours_that_goes_wrong_among_others_is_found(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    docs = job.target["docs"]
    docs.delete("id in [7, 100]")
    docs.upsert([{**row(8), "title": "spoilt"}, {**row(101), "title": "as they like"}])
    docs.insert([row(9), row(102)])
    assert job.run("verify") == 4
    assert job.differences() == ["- 7", "* 8 title", "# 9"]


def test_counting_counts_the_keys_of_the_source_only(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.env["verify"] = "count"
    assert job.run() == 0
    assert job.collection()["outcome"] == "counted"
    job.target["docs"].delete("id in [7]")
    assert job.run("verify") == 4


def test_sync_mends_ours_and_leaves_theirs(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.run()
    docs = job.target["docs"]
    docs.delete("id in [7]")
    docs.insert([row(9), row(102)])
    assert job.run("sync") == 0
    assert job.target.keys("docs") == [*range(25), *OTHERS[:3], 102, *OTHERS[3:]]
    assert job.run("sync", "--delete") == 2


def test_new_keys_among_rows_of_others_are_copied_and_not_proven(job: Job) -> None:
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
def test_nothing_is_dropped_unless_somebody_says_yes(job: Job, mode, capsys) -> None:
    fill(job)
    job.to_sink |= mode
    assert job.run() == 3
    assert "give --yes" in capsys.readouterr().err
    assert changing(job.target) == set()
    assert job.ledger.plan() is None

    assert job.run("run", "--yes") == 0
    assert job.target.keys("docs") == [*range(25)]
    assert job.collection()["outcome"] == "proven"


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 3), ("", 3)])
def test_on_a_terminal_it_is_asked_for(job: Job, monkeypatch, answer: str, code: int) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "DROP_DATA"
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(builtins, "input", lambda _: answer)
    assert job.run() == code
    assert (100 in job.target.keys("docs")) == (code != 0)


def test_what_is_not_named_is_not_dropped(job: Job) -> None:
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
    assert [(each.key, each.value) for each in docs.request.properties] == [
        ("collection.ttl.seconds", "9")
    ]
    assert docs.aliases == ["papers"]
    assert docs.partitions == ["_default", "theirs"]
    assert len(job.target["other"].rows()) == 3


def test_a_collection_made_anew_is_as_the_source_is(job: Job) -> None:
    fill(job)
    job.target["docs"].request.properties.add(key="collection.ttl.seconds", value="9")
    job.to_sink["schema_save_mode"] = "RECREATE_SCHEMA"
    assert job.run("run", "--yes") == 0
    assert not job.target["docs"].request.properties


def test_a_run_that_goes_on_drops_nothing_again(job: Job) -> None:
    fill(job)
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 0
    job.crash(lost=2)
    assert job.run() == 0
    assert "DropCollection" not in changing(job.target)
    assert job.target.keys("docs") == [*range(25)]


# What must be there


@pytest.mark.parametrize("mode", ["ERROR_WHEN_SCHEMA_NOT_EXIST", "IGNORE"])
def test_a_collection_that_must_be_there_is_not_made(job: Job, mode: str) -> None:
    job.source.create(schema(), rows(5))
    job.to_sink["schema_save_mode"] = mode
    assert job.run() == 3
    job.target.create(schema())
    assert job.run() == 0
    assert "CreateCollection" not in changing(job.target)


@pytest.mark.parametrize(("mode", "code"), [("ERROR_WHEN_SCHEMA_NOT_EXIST", 3), ("IGNORE", 0)])
def test_only_ignore_takes_a_collection_with_other_settings(job: Job, mode: str, code: int) -> None:
    docs = job.source.create(schema(), rows(5))
    docs.request.properties.add(key="collection.ttl.seconds", value="9")
    job.target.create(schema())
    job.to_sink["schema_save_mode"] = mode
    assert job.run() == code


# Rows that only show once they are flushed


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The collections that were flushed; of no other a server tells how many rows it has."""
    tell, flush = milvus.FakeMilvus.GetCollectionStatistics, milvus.FakeMilvus.Flush
    seen: set[str] = set()

    def told(server: milvus.FakeMilvus, request: Any, context: Any = None) -> Any:
        found = tell(server, request)
        return found if request.collection_name in seen else type(found)()

    def heard(server: milvus.FakeMilvus, request: Any, context: Any = None) -> Any:
        seen.update(request.collection_names)
        return flush(server, request)

    monkeypatch.setattr(milvus.FakeMilvus, "GetCollectionStatistics", told)
    monkeypatch.setattr(milvus.FakeMilvus, "Flush", heard)
    return seen


@pytest.fixture
def unflushed(flushed: set[str], job: Job) -> Job:
    """A job whose target is not loaded, and has rows that were not flushed."""
    fill(job)
    job.target["docs"].loaded = False
    return job


def test_rows_that_were_not_flushed_yet_are_found_before_the_first_is_written(
    unflushed: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    before = unflushed.target["docs"].rows()
    assert unflushed.run("plan") == 0
    assert unflushed.run() == 3
    assert "[target-not-empty] target collection docs: it holds 33 rows" in capsys.readouterr().err
    assert unflushed.target["docs"].rows() == before
    assert changing(unflushed.target) <= {"Flush", "GetFlushState"}
    assert not unflushed.ledger.begun


def test_a_sync_may_find_rows_that_were_not_flushed_yet(unflushed: Job) -> None:
    assert unflushed.run("sync", "--delete") == 0
    assert unflushed.target.keys("docs") == [*range(25)]
