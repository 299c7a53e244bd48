"""Jobs that were killed, and jobs that changed before they resume."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, row, rows, was_read, written
from transforms.ledger.ledger import range_id
from transforms.ranges import Key, KeyRange

pytestmark = pytest.mark.slow

COUNT = 40


@dataclass
class Resumed:
    """A job that was killed and run again; `lost` has the keys whose receipts were lost."""

    job: Job
    lost: dict[str, set[Key]]
    frozen: dict[str, list[KeyRange] | None]


def test_a_collection_with_another_name_in_the_target_resumes(tmp_path: Path) -> None:
    with between_fakes(tmp_path) as job:
        job.source.create(schema(), rows(COUNT))
        job.to_sink["collection_rename"] = {"docs": "papers"}
        assert job.run() == 0
        job.crash(lost=3)
        assert job.run() == 0
        assert job.collection()["outcome"] == "proven"
        assert job.target.keys("papers") == [*range(COUNT)]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resumed]:
    """The states that a crash can leave, one collection each.

    arrived: the last writes had arrived, and their receipts were not recorded yet.
    on_the_way: some of the last writes had not arrived.
    not_begun: one range was not started, and no range has receipts.
    grown: the source has one more row since, with the highest key.
    """
    with between_fakes(tmp_path_factory.mktemp("resumed")) as job:
        for name in ("done", "arrived", "on_the_way", "not_begun", "grown"):
            job.source.create(schema(name), rows(COUNT))
        assert job.run() == 0
        lost = {name: job.crash(lost=3, of=name) for name in ("arrived", "on_the_way")}
        lost |= {name: job.crash(of=name) for name in ("not_begun", "grown")}
        for key in lost["on_the_way"]:
            if isinstance(key, int) and key % 2:
                job.target["on_the_way"].delete(f"id == {key}")
        for key in range(10, 20):
            job.target["not_begun"].delete(f"id == {key}")
        [_, second, *_] = job.ledger.frozen("not_begun") or []
        job.ledger.remove(f"intents/{range_id(second)}.json")
        job.source["grown"].insert([row(1_000)])
        resumed_job = Resumed(job, lost, {name: job.ledger.frozen(name) for name in lost})
        # Settings of speed may change.
        job.env["parallelism"] = 3
        job.from_source["batch_size"], job.to_sink["batch_size"] = 7, 100
        assert job.run() == 0
        yield resumed_job


@pytest.mark.parametrize("name", ["done", "arrived", "on_the_way", "not_begun"])
def test_each_row_arrives_once_after_a_crash(resumed: Resumed, name: str) -> None:
    assert resumed.job.target[name].rows() == rows(COUNT)
    assert resumed.job.collection(name)["outcome"] == "proven"


@pytest.mark.parametrize("name", ["arrived", "on_the_way"])
def test_only_rows_without_a_receipt_are_read_and_written_again_by_key(
    resumed: Resumed, name: str
) -> None:
    assert 0 < len(resumed.lost[name]) < COUNT / 2
    assert was_read(resumed.job.source, range(COUNT), name) == resumed.lost[name]
    assert {*written(resumed.job.target, "Upsert", name)} == resumed.lost[name]
    assert written(resumed.job.target, "Insert", name) == []


def test_rows_with_a_receipt_are_not_copied_again(resumed: Resumed) -> None:
    assert was_read(resumed.job.source, range(COUNT), "done") == set()
    assert not [
        request for request in resumed.job.target.asked("Insert", "Upsert") if of_done(request)
    ]


def of_done(request: object) -> bool:
    return getattr(request, "collection_name", "") == "done"


def test_a_range_that_was_not_started_is_inserted(resumed: Resumed) -> None:
    assert written(resumed.job.target, "Insert", "not_begun") == [*range(10, 20)]


def test_the_ranges_are_those_of_the_first_run_whatever_the_parallelism(resumed: Resumed) -> None:
    for name, frozen in resumed.frozen.items():
        assert resumed.job.ledger.frozen(name) == frozen
    assert [q for q in resumed.job.source.asked("Query") if q.output_fields == ["id"]] == []


def test_a_row_above_all_others_belongs_to_the_last_range(resumed: Resumed) -> None:
    assert resumed.job.target.keys("grown") == [*range(COUNT), 1_000]


def test_several_workers_copy_each_row_once(job: Job) -> None:
    job.source.create(schema(), rows(80))
    job.env["parallelism"] = 4
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert written(job.target, "Insert") == [*range(80)]


def test_with_new_ids_rows_that_a_killed_run_may_have_written_count_as_duplicates(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["enable_auto_id"] = True
    job.run()
    lost = len(job.crash(lost=2))
    job.run()
    assert len(job.target.keys("docs")) == 20 + lost
    assert job.collection()["doubled"] == lost


def test_restart_copies_again_and_keeps_the_old_ledger(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.target.drop("docs")
    assert job.run("run", "--restart") == 0
    assert job.target["docs"].rows() == rows(20)
    assert len([*(job.folder / "state").iterdir()]) == 2


def test_a_restart_that_is_refused_leaves_the_ledger_as_it_was(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    assert job.run("run", "--restart") == 3, "the target is not empty"
    assert len([*(job.folder / "state").iterdir()]) == 1
    assert job.run("verify") == 0


# Changes between two runs


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    with between_fakes(tmp_path_factory.mktemp("killed")) as job:
        job.source.create(schema(), rows(10))
        job.run()
        job.crash(lost=1)
        yield job


@contextmanager
def changed_schema(job: Job) -> Iterator[None]:
    fields = job.source["docs"].schema.fields
    fields.add(name="later", data_type=DataType.Int64)
    yield
    fields.pop()


@contextmanager
def recreated(job: Job) -> Iterator[None]:
    job.source["docs"].number += 1
    yield
    job.source["docs"].number -= 1


@contextmanager
def dropped(job: Job) -> Iterator[None]:
    old = job.source["docs"]
    job.source.drop("docs")
    job.source.create(schema("another"))
    yield
    job.source.drop("another")
    job.source.create(schema(), old.rows()).number = old.number


@contextmanager
def new_ids(job: Job) -> Iterator[None]:
    job.to_sink["enable_auto_id"] = True
    yield
    del job.to_sink["enable_auto_id"]


Change = Callable[[Job], AbstractContextManager[None]]
CHANGES: dict[str, Change] = {
    "source collection docs: its schema has changed": changed_schema,
    "source collection docs: was dropped and recreated": recreated,
    "source collection docs: no longer exists": dropped,
    "sink.Milvus.enable_auto_id: was false when the job started, is true now": new_ids,
}


@pytest.mark.parametrize("words", CHANGES)
def test_a_changed_job_is_refused_with_the_reason(
    killed: Job, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    with CHANGES[words](killed):
        assert killed.run() == 3
    said = capsys.readouterr().err
    assert words in said
    assert "start over with `kitelift run --restart`" in said
    assert changing(killed.target) == set()


@pytest.mark.parametrize("written", ["{", '{"format": 1, "plan": {"job_id": 5}}', '{"format": 9}'])
def test_an_unreadable_ledger_is_reported_and_archived_by_restart(
    job: Job, capsys: pytest.CaptureFixture[str], written: str
) -> None:
    job.source.create(schema(), rows(COUNT))
    job.ledger.replace("plan.json", written.encode())
    for command in ("run", "status", "verify"):
        assert job.run(command) in (3, 4)
        said = capsys.readouterr().err
        assert "Another version of Kitelift" in said
        assert "--restart" in said
        assert "Traceback" not in said
    assert job.run("run", "--restart") == 0
    assert job.target["docs"].rows() == rows(COUNT)
