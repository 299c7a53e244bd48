"""Finishing: what completes a collection, done twice, changes nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
import grpc
import pytest
from pymilvus.grpc_gen.common_pb2 import IndexState, KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.engines import engine_choice
from pipeline.reports import report_files
from pipeline.target import create
from tests import clusters
from tests.clusters import schema
from tests.dataflow.jobs import Job, When, between_fakes, changing, of, rows, written
from tests.fakes.memory import Collection
from tests.fakes.script import REFUSED, Fault
from transforms.finish import Finish
from transforms.ledger import temporary_changes
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint

pytestmark = pytest.mark.slow


def finish(job: Job) -> None:
    """Runs the transform alone, with the plan of a job that has run."""
    plan = job.ledger.plan()
    assert plan is not None
    made = Finish(
        Endpoint(job.source.url),
        Endpoint(job.target.url),
        plan,
        job.ledger,
        create_index=True,
        prove=True,
    )
    with engine_choice.create_pipeline([], workers=1) as pipeline:
        _ = pipeline | beam.Create(["docs"], reshuffle=False) | made


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job that has ended, with a collection that has all there is to be made."""
    with between_fakes(tmp_path_factory.mktemp("done")) as job:
        made = job.source.create(schema(), rows(10))
        made.aliases.append("papers")
        made.index("title", "by_title", [KeyValuePair(key="index_type", value="Trie")])
        assert job.run() == 0
        yield job


def test_preparing_and_reporting_twice_changes_nothing(done: Job) -> None:
    plan, before = done.ledger.plan(), done.report
    assert plan is not None
    done.target.requests.clear()
    config = clusters.job(sink=f'url = "{done.target.url}"')
    create.create_all(config, plan)
    assert changing(done.target) == set()
    report_files.write(done.ledger, plan, before["run"], "full", settings=before["settings"])
    assert done.report == before


def test_finishing_twice_changes_nothing(done: Job) -> None:
    target, before = done.target["docs"], done.ledger.finished("docs")
    state = (list(target.indexes), list(target.aliases), target.loaded, target.rows())
    done.target.requests.clear()
    finish(done)
    after = done.ledger.finished("docs")
    assert before is not None
    assert after is not None
    assert (after.rows_source, after.rows_target) == (before.rows_source, before.rows_target)
    assert (list(target.indexes), list(target.aliases), target.loaded, target.rows()) == state
    assert changing(done.target) <= {
        *("Flush", "GetFlushState", "LoadCollection", "GetLoadingProgress")
    }


def test_a_collection_of_which_an_interval_is_missing_is_left_as_it_is(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.run()
    job.crash(lost=2)
    job.target.requests.clear()
    finish(job)
    assert job.target.requests == []
    assert job.ledger.finished("docs") is None
    assert job.ledger.statuses()["docs"].phase == "failed"


def test_an_index_that_is_being_built_is_waited_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.completion._POLL_S", 0.0)
    job.source.create(schema(), rows(10))
    states = iter([IndexState.InProgress, IndexState.InProgress, IndexState.Finished])

    def build(request: Any) -> bool:
        for index in job.target["docs"].indexes:
            index.state = next(states, IndexState.Finished)
        return False

    job.target.fails("DescribeIndex", REFUSED, when=build)
    assert job.run() == 0
    assert next(states, None) is None


@pytest.fixture
def two(job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    """Two collections, and no patience for the slower one."""
    monkeypatch.setattr("transforms.completion._POLL_S", 0.0)
    monkeypatch.setattr("pipeline.graph.PATIENCE_S", 2.0)
    job.source.create(schema(), rows(10))
    job.source.create(schema(name="slow"), rows(20))
    return job


def verified(job: Job) -> set[str]:
    """The collections that the newest run has compared so far."""
    runs = job.ledger.names("verdicts")
    return {found.planned.collection for run in runs for found in job.ledger.verdicts(run)}


def build(slow: Collection, done: bool) -> None:
    for index in slow.indexes:
        index.state = IndexState.Finished if done else IndexState.InProgress


def store(slow: Collection, done: bool) -> None:
    slow.stored = done


def load(slow: Collection, done: bool) -> None:
    slow.load_percent = 100 if done else 50


@pytest.mark.parametrize(
    ("call", "work"),
    [("GetFlushState", store), ("DescribeIndex", build), ("GetLoadingProgress", load)],
)
def test_a_slow_collection_does_not_delay_the_proof_of_others(
    two: Job, call: str, work: Callable[[Collection, bool], None]
) -> None:
    until = time.monotonic() + 30.0
    proven_before = []

    def goes_on(request: Any) -> bool:
        if request.collection_name == "slow":
            proven_before.append("docs" in verified(two))
            work(two.target["slow"], proven_before[-1] or time.monotonic() > until)
        return False

    two.target.fails(call, REFUSED, times=None, when=goes_on)
    assert two.run() == 0
    assert proven_before[-1]
    assert two.report["outcome"] == "proven"


# What the target does not make


TRIE = [KeyValuePair(key="index_type", value="Trie")]
STL_SORT = [KeyValuePair(key="index_type", value="STL_SORT")]
DENIED = Fault(grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeCreateAlias: permission deny")


@pytest.fixture
def rich(job: Job) -> Job:
    """A collection with two indexes more than it needs, and two aliases."""
    made = job.source.create(
        schema(pages=DataType.Int64), [{**row, "pages": 1} for row in rows(25)]
    )
    made.index("title", "by_title", TRIE)
    made.index("pages", "by_pages", STL_SORT)
    made.aliases += ["papers", "texts"]
    return job


def missing(job: Job) -> dict[str, dict[str, Any]]:
    """The findings about what the target has not made, by code."""
    found = job.report["findings"]
    return {each["code"]: each for each in found if each["severity"] == "error"}


def on(name: str) -> When:
    return lambda request: name in (request.field_name, request.collection_name)


def test_rejected_indexes_and_aliases_are_named_and_all_else_is_created_and_proven(
    rich: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    rich.target.fails("CreateIndex", REFUSED, times=None, when=on("title"))
    rich.target.fails("CreateAlias", DENIED, when=lambda request: request.alias == "papers")
    assert rich.run() == 4
    docs = rich.target["docs"]
    assert {each.index_name for each in docs.indexes} == {"vector", "by_pages"}
    assert (docs.aliases, docs.loaded) == (["texts"], True)
    assert rich.collection()["outcome"] == "proven"
    index, alias = "lost:docs.indexes.by_title", "lost:docs.aliases.papers"
    assert missing(rich).keys() == {index, alias}
    assert "rejects it: CreateIndex: the server does not like it." in missing(rich)[index]["what"]
    assert "CreateAlias" in missing(rich)[alias]["what"]
    assert "2 indexes or aliases are missing" in rich.report["verdict"]
    assert f"--accept={index},{alias}" in " ".join(rich.report["next"])
    said = " ".join(capsys.readouterr().out.split())
    assert f"[{index}] target collection docs: index (indexes.by_title): the target" in said


def test_aliases_are_given_last(rich: Job) -> None:
    assert rich.run() == 0
    asked = [getattr(request, "alias", "") or method for method, request in rich.target.requests]
    assert asked.index("CreateIndex") < asked.index("LoadCollection") < asked.index("papers")


def test_a_later_run_can_accept_rejected_indexes_and_aliases(rich: Job) -> None:
    rich.target.fails("CreateIndex", REFUSED, times=None, when=on("title"))
    assert rich.run() == 4
    assert rich.run("verify") == 4
    assert rich.run("run", "--accept=lost:docs.indexes.by_title") == 0
    assert written(rich.target, "Insert") == written(rich.target, "Upsert") == []
    assert missing(rich)["lost:docs.indexes.by_title"]["accepted"]
    assert rich.report["verdict"].startswith("Proven")
    assert rich.run("verify") == 0
    assert rich.run() == 0


@pytest.mark.parametrize("maker", ["the next run", "somebody"])
def test_rejected_indexes_and_aliases_may_be_created_later(rich: Job, maker: str) -> None:
    rich.target.fails("CreateIndex", REFUSED, times=None, when=on("title"))
    assert rich.run() == 4
    if maker == "somebody":
        rich.target["docs"].index("title", "of_theirs", TRIE)
    else:
        rich.target.heal()
    assert rich.run() == 0
    assert missing(rich) == {}
    assert len(rich.target.asked("CreateIndex")) == (maker == "the next run")


def test_an_alias_that_was_taken_meanwhile_stays_with_who_has_it(rich: Job) -> None:
    other = rich.target.create(schema("other"), rows(1))

    def take(request: Any) -> bool:
        other.aliases.append("papers")
        return False

    rich.target.fails("Flush", REFUSED, times=1, when=take)
    assert rich.run() == 4
    what = missing(rich)["lost:docs.aliases.papers"]["what"]
    assert "papers is alias to another collection: other: alias already exist[" in what
    assert rich.target["papers"] is other
    rich.target.heal()
    other.aliases.remove("papers")
    assert rich.run() == 0
    assert rich.target["papers"] is rich.target["docs"]


def test_without_the_index_of_a_vector_nothing_is_loaded_or_waited_for(rich: Job) -> None:
    rich.target.fails("CreateIndex", REFUSED, times=None, when=on("vector"))
    assert rich.run() == 4
    found = rich.collection()
    assert (found["outcome"], found["rows_target"]) == ("copied", None)
    assert not rich.target["docs"].loaded
    assert rich.target["docs"].aliases == ["papers", "texts"]
    what = missing(rich)["lost:docs.indexes.vector"]["what"]
    assert what.endswith(
        "Without it, the collection cannot be loaded and its rows cannot be compared."
    )
    rich.target["docs"].index("vector", "mine", TRIE)
    assert rich.run() == 0
    assert rich.collection()["outcome"] == "proven"


# A target without room


NO_ROOM = Fault(code=3, text="memory limit exceeded[predict=9][limit=8]")


@pytest.fixture
def many(job: Job, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.setattr("transforms.finish.FINISHED_AT_ONCE", 1)
    for name in ("a", "b", "c"):
        job.source.create(schema(name), rows(10))
    return job


def outcomes(job: Job) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in job.report["collections"]}


def test_a_collection_that_finds_no_room_is_reported_and_the_others_are_proven(many: Job) -> None:
    many.target.fails("LoadCollection", NO_ROOM, times=None, when=of("b"))
    assert many.run() == 4
    [problem] = many.collection("b")["problems"]
    assert "memory limit exceeded" in problem
    assert outcomes(many) == {"a": "proven", "b": "failed", "c": "proven"}
    [step] = [step for step in many.report["next"] if "not proven" in step]
    assert step.startswith("All rows of b are in the target, but not proven")
    assert "release other collections there, add memory" in step
    many.target.heal()
    assert many.run() == 0
    assert outcomes(many) == {"a": "proven", "b": "proven", "c": "proven"}
    assert not many.target.asked("Insert", "Upsert")


def test_after_a_load_without_progress_others_are_given_up_sooner(
    many: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.finish.LOAD_STALL_S", 0.5)
    monkeypatch.setattr("transforms.finish.LATER_STALL_S", 0.25)
    waits: list[float] = []
    wait = Client.wait_for_load

    def watched(client: Client, collection: str, **options: Any) -> None:
        waits.append(options["stall_s"])
        wait(client, collection, **options)

    monkeypatch.setattr(Client, "wait_for_load", watched)

    def stick(request: Any) -> bool:
        many.target[request.collection_name].load_percent = 50
        return False

    many.target.fails("LoadCollection", REFUSED, when=stick)
    assert many.run() == 4
    assert waits == [0.5, 0.25, 0.25]
    assert set(outcomes(many).values()) == {"failed"}
    [step] = many.report["next"]
    assert step.startswith("All rows of a, b, c are in the target, but not proven")


def watch_memory(job: Job) -> list[int]:
    """Returns a list of how many collections of the target are loaded, at each query from now on."""
    seen: list[int] = []

    def look(request: Any) -> bool:
        seen.append(sum(job.target[name].loaded for name in ("a", "b", "c")))
        return False

    job.target.fails("Query", REFUSED, times=None, when=look)
    return seen


def test_collections_that_do_not_stay_loaded_are_in_memory_one_at_a_time(many: Job) -> None:
    many.to_sink["load_collection"] = False
    seen = watch_memory(many)
    for command in ("run", "verify", "sync"):
        assert many.run(command) == 0
        assert set(outcomes(many).values()) == {"proven"}
        assert [each["rows_target"] for each in many.report["collections"]] == [10, 10, 10]
    many.source["b"].insert(rows(11)[10:])
    assert many.run("sync") == 0
    assert (many.target.keys("b"), many.collection("b")["mended"]) == ([*range(11)], 1)
    assert max(seen) == 1
    assert not any(many.target[name].loaded for name in ("a", "b", "c"))
    assert temporary_changes.list_pending(many.ledger) == []


def test_a_collection_that_finds_no_room_for_its_proof_does_not_stop_the_others(many: Job) -> None:
    many.to_sink["load_collection"] = False
    many.target.fails("LoadCollection", NO_ROOM, times=None, when=of("b"))
    assert many.run() == 4
    assert outcomes(many) == {"a": "proven", "b": "failed", "c": "proven"}
    [step] = [step for step in many.report["next"] if "not proven" in step]
    assert step.startswith("All rows of b are in the target, but not proven")
    many.target.heal()
    assert many.run() == 0
    assert set(outcomes(many).values()) == {"proven"}
    assert not many.target.asked("Insert", "Upsert")


FAILED, STUCK = "out of memory", "no progress for 0 minutes"


@pytest.mark.parametrize("why", [FAILED, STUCK])
@pytest.mark.parametrize(("field", "outcome"), [("title", "proven"), ("vector", "copied")])
def test_an_index_that_is_not_built_is_reported(
    rich: Job, monkeypatch: pytest.MonkeyPatch, field: str, outcome: str, why: str
) -> None:
    monkeypatch.setattr("transforms.completion._POLL_S", 0.0)
    monkeypatch.setattr("transforms.completion.STALL_S", 0.0)

    def spoil(request: Any) -> bool:
        for index in rich.target["docs"].indexes:
            if index.field_name == field:
                index.state = IndexState.Failed if why == FAILED else IndexState.InProgress
                index.index_state_fail_reason = why if why == FAILED else ""
        return False

    rich.target.fails("DescribeIndex", REFUSED, when=spoil)
    assert rich.run() == 4
    assert rich.collection()["outcome"] == outcome
    name = "by_title" if field == "title" else "vector"
    what = missing(rich)[f"lost:docs.indexes.{name}"]["what"]
    assert f"the target does not build it: {why}." in what
    assert rich.run("run", f"--accept=lost:docs.indexes.{name}") == 0


@pytest.mark.parametrize("command", ["sync", "verify"])
def test_what_finds_no_room_later_is_not_compared_and_does_not_become_unfinished(
    many: Job, command: str
) -> None:
    many.to_sink["load_collection"] = False
    assert many.run() == 0
    many.source["b"].insert(rows(11)[10:])
    many.target.fails("LoadCollection", NO_ROOM, times=None, when=of("b"))
    assert many.run(command) == 4
    assert outcomes(many)["b"] == "failed"
    many.target.heal()
    assert many.run(command) == 0
    assert many.run("sync") == 0
    assert many.target.keys("b") == [*range(11)]


def test_what_a_sync_has_written_is_flushed_also_if_it_is_loaded_in_turn(many: Job) -> None:
    many.to_sink["load_collection"] = False
    assert many.run() == 0
    many.source["b"].insert(rows(11)[10:])
    assert many.run("sync") == 0
    assert [[*request.collection_names] for request in many.target.asked("Flush")] == [["b"]]
