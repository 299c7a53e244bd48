"""A job restores what it loads or opens for itself; what was so before, or since, stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen.common_pb2 import KeyValuePair

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, of, reads, row, rows, writes
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED
from transforms.ledger import temporary_changes
from transforms.ledger.temporary_changes import TemporaryChange

pytestmark = pytest.mark.slow

IDS = "allow_insert_auto_id"
OPEN = [KeyValuePair(key=IDS, value="true")]


@pytest.fixture
def copied(job: Job) -> Job:
    """A job that has ended, with a source that was released since; it has little patience."""
    job.env["retry.max_outage"] = "1 s"
    job.from_source["collections"] = ["docs"]
    job.source.create(schema(), rows(40))
    assert job.run() == 0
    job.source["docs"].loaded = False
    return job


@pytest.fixture
def unloaded(job: Job) -> Job:
    """A job that has yet to load its source."""
    job.env["retry.max_outage"] = "1 s"
    job.from_source |= {"collections": ["docs", "more"], "auto_load": True}
    for name in ("docs", "more"):
        job.source.create(schema(name), rows(20)).loaded = False
    return job


@pytest.fixture
def automatic(tmp_path: Path) -> Iterator[Job]:
    """A job that keeps the keys which the source has made."""
    with FakeMilvus("v2.6.3") as source, FakeMilvus("v2.6.3") as target:
        made = source.create(schema(auto_id=True))
        made.alter(OPEN, [])
        made.insert(rows(20))
        made.alter([], [IDS])
        yield Job(tmp_path, source, target)


def loaded(server: FakeMilvus) -> set[str]:
    names = server.ShowCollections(None).collection_names
    return {name for name in names if server[name].loaded}


def is_open(job: Job) -> bool:
    return job.target["docs"].has(IDS)


# A source that is not loaded


@pytest.mark.parametrize("may_load", [True, False])
def test_equal_collections_are_proven_without_the_source(copied: Job, may_load: bool) -> None:
    copied.from_source["auto_load"] = may_load
    assert copied.run("verify") == 0
    assert copied.collection()["outcome"] == "proven"
    assert changing(copied.source) == set()
    assert [each["code"] for each in copied.report["findings"]] == ["source-not-counted"]
    assert copied.collection()["source_changed"] == ""


def test_differing_keys_are_named_if_the_source_may_be_loaded(copied: Job) -> None:
    copied.target["docs"].upsert([row(15) | {"title": "changed"}])
    copied.target["docs"].delete("id == 3")
    assert copied.run("verify") == 4
    assert copied.differences() == []
    reasons = [each["reason"] for each in copied.report["failures"]]
    reason = (
        "the range differs in the target, and Kitelift could not find the differing keys: source "
        "collection docs is not loaded. Load it, or set `source.Milvus.auto_load = true`. Then "
        "verify again."
    )
    assert reasons == [reason, reason]
    copied.from_source["auto_load"] = True
    assert copied.run("verify") == 4
    assert copied.differences() == ["- 3", "* 15 title"]
    assert loaded(copied.source) == set()


def test_in_a_target_with_other_rows_only_keys_of_the_source_are_compared(job: Job) -> None:
    job.env["retry.max_outage"] = "1 s"
    job.from_source["collections"] = ["docs"]
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    job.source.create(schema(), rows(20))
    job.target.create(schema(), [row(100)])
    assert job.run() == 0
    job.source["docs"].loaded = False
    assert job.run("verify") == 4
    assert "source collection docs is not loaded" in job.report["failures"][0]["reason"]
    job.from_source["auto_load"] = True
    assert job.run("verify") == 0
    assert job.collection()["outcome"] == "proven"
    assert loaded(job.source) == set()


def test_rejected_rows_are_resent_without_the_source(job: Job) -> None:
    job.env |= {"max_rejected": 5, "retry.max_outage": "1 s"}
    job.from_source["collections"] = ["docs"]
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", REFUSED, times=None, when=writes(7))
    assert job.run() == 4
    job.target.heal()
    job.source["docs"].loaded = False
    assert job.run("replay") == 0
    assert job.target.keys("docs") == [*range(40)]
    assert changing(job.source) == set()


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_comparison_that_fails_leaves_the_copy_complete(
    copied: Job, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copied.source["docs"].loaded = True
    server = getattr(copied, side)
    server.fails("Query", REFUSED, times=None, when=lambda q: q.output_fields == ["count(*)"])
    copied.run("verify")
    server.heal()
    [problem] = copied.collection()["problems"]
    assert problem.startswith("it could not be compared: ")
    assert copied.report["next"][0].startswith("Run `kitelift verify`: it retries")
    capsys.readouterr()
    assert copied.run("verify") == 0
    assert copied.collection()["problems"] == []


# What is loaded by others


def test_a_target_that_applications_have_loaded_since_stays_loaded(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.to_sink["load_collection"] = False
    assert job.run() == 0
    assert loaded(job.target) == set()
    job.target["docs"].load()
    job.target["docs"].delete("id == 3")
    for command, code in (("verify", 4), ("sync", 0), ("verify", 0), ("replay", 0)):
        assert job.run(command) == code
        assert "ReleaseCollection" not in changing(job.target)


def test_a_target_that_loads_new_collections_by_itself_ends_as_configured(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As milvus-lite does."""
    make = FakeMilvus.CreateCollection

    def load(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        done = make(server, request, context)
        server[request.collection_name].loaded = True
        return done

    monkeypatch.setattr(FakeMilvus, "CreateCollection", load)
    job.source.create(schema(), rows(40))
    job.to_sink["load_collection"] = False
    assert job.run() == 0
    assert job.collection()["outcome"] == "proven"
    assert loaded(job.target) == set()


def test_a_target_that_was_released_since_is_loaded_for_the_comparison_and_released(
    job: Job,
) -> None:
    job.source.create(schema(), rows(40))
    assert job.run() == 0
    job.target["docs"].loaded = False
    assert job.run("verify") == 0
    assert job.collection()["outcome"] == "proven"
    assert loaded(job.target) == set()


def test_a_source_that_was_loaded_for_good_since_stays_loaded(unloaded: Job) -> None:
    assert unloaded.run() == 0
    assert loaded(unloaded.source) == set()
    unloaded.source["docs"].load()
    for command in ("verify", "sync"):
        assert unloaded.run(command) == 0
        assert loaded(unloaded.source) == {"docs"}


def test_a_copy_by_another_tool_is_compared_and_not_changed(unloaded: Job) -> None:
    for name in ("docs", "more"):
        unloaded.target.create(schema(name), rows(20))
    unloaded.to_sink["load_collection"] = False
    unloaded.source["more"].load()
    assert unloaded.run("verify") == 0
    assert changing(unloaded.target) == set()
    assert loaded(unloaded.source) == {"more"}


def test_a_property_that_was_set_since_stays_set(automatic: Job) -> None:
    assert automatic.run() == 0
    assert not is_open(automatic)
    automatic.target["docs"].alter(OPEN, [])
    assert automatic.run("verify") == 0
    assert is_open(automatic)


# What a run that ended early has left


def test_the_next_run_releases_what_a_killed_run_had_loaded(unloaded: Job) -> None:
    """It was killed while it loaded, so that there is no plan yet."""
    unloaded.source["docs"].load()
    temporary_changes.record(unloaded.ledger, temporary_changes.loaded("source", "docs"))
    assert unloaded.run() == 0
    assert loaded(unloaded.source) == set()
    assert temporary_changes.list_pending(unloaded.ledger) == []


def test_a_collection_that_an_earlier_run_had_loaded_is_loaded_again_and_released(
    unloaded: Job,
) -> None:
    unloaded.source.fails("Query", REFUSED, times=None, when=reads(7))
    assert unloaded.run() == 4
    assert loaded(unloaded.source) == set()
    unloaded.source.heal()
    assert unloaded.run() == 0
    assert unloaded.target["docs"].rows() == rows(20)
    assert loaded(unloaded.source) == set()


def test_a_restart_releases_what_the_archived_run_had_loaded(unloaded: Job) -> None:
    assert unloaded.run() == 0
    unloaded.source["docs"].load()
    temporary_changes.record(unloaded.ledger, temporary_changes.loaded("source", "docs"))
    for name in ("docs", "more"):
        unloaded.target.drop(name)
    assert unloaded.run("run", "--restart") == 0
    assert loaded(unloaded.source) == set()


def test_a_source_that_cannot_be_loaded_leaves_the_others_as_they_were(unloaded: Job) -> None:
    unloaded.source.fails("LoadCollection", REFUSED, when=of("more"))
    assert unloaded.run() == 4
    assert loaded(unloaded.source) == set()
    assert temporary_changes.list_pending(unloaded.ledger) == []
    assert unloaded.run() == 0


def test_a_dropped_collection_needs_no_restore(unloaded: Job) -> None:
    temporary_changes.record(unloaded.ledger, temporary_changes.loaded("source", "dropped"))
    temporary_changes.record(
        unloaded.ledger, TemporaryChange("target", "opened", "dropped", {IDS: None})
    )
    assert unloaded.run() == 0
    assert temporary_changes.list_pending(unloaded.ledger) == []


def test_a_run_that_fails_restores_everything_and_the_next_one_resumes(automatic: Job) -> None:
    automatic.env["fail_fast"] = True
    automatic.from_source |= {"collections": ["docs"], "auto_load": True}
    automatic.source["docs"].loaded = False
    automatic.target.fails("Insert", REFUSED, times=None, when=writes(7))
    assert automatic.run() == 4
    assert loaded(automatic.source) == set()
    assert not is_open(automatic)
    automatic.target.heal()
    assert automatic.run() == 0
    assert automatic.target.keys("docs") == [*range(20)]
    assert loaded(automatic.source) == set()
    assert not is_open(automatic)


def test_a_change_that_cannot_be_restored_is_reported_and_left_to_the_next_run(
    automatic: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    automatic.env["fail_fast"] = True
    automatic.target.fails("Insert", REFUSED, times=None, when=writes(7))
    automatic.target.fails("AlterCollection", REFUSED, when=lambda asked: asked.delete_keys)
    assert automatic.run() == 4
    said = f"not restored yet: target collection docs with {IDS}. The next run of this job restores"
    assert said in capsys.readouterr().err
    assert is_open(automatic)
    automatic.target.heal()
    assert automatic.run() == 0
    assert not is_open(automatic)


def test_a_property_gets_the_value_that_it_had_before_a_killed_run(
    automatic: Job,
) -> None:
    automatic.target.create(schema(auto_id=True)).alter(OPEN, [])
    temporary_changes.record(
        automatic.ledger, TemporaryChange("target", "opened", "docs", {IDS: "false"})
    )
    assert automatic.run() == 0
    found = {pair.key: pair.value for pair in automatic.target["docs"].request.properties}
    assert found == {IDS: "false"}
