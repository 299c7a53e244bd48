"""Two jobs, one target: the second one does not write; a mark is gone when its job is finished."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.planning import planner
from pipeline.target import job_marks
from pipeline.target.temporary_changes import restore_after_error
from tests import clusters
from tests.clusters import described, schema, side, survey
from tests.dataflow.jobs import Job, between_fakes, of, rows
from tests.fakes.script import LOST_ANSWER, Fault
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.milvus import job_mark
from transforms.milvus.job_mark import JobMark

COUNT = 10
SINCE = datetime(2026, 11, 30, 22, 15, tzinfo=UTC)
NO_PRIVILEGE = Fault(code=1401, text="PrivilegeDropAlias: permission deny to reader")
OTHER = JobMark(SINCE, "3f9a1c5e7b20", "nightly-copy", "db-2")


@pytest.fixture
def filled(job: Job) -> Job:
    job.source.create(schema(), rows(COUNT))
    return job


def mark(job: Job, new: JobMark = OTHER) -> str:
    """Marks the target collection as a job does that is about to write to it."""
    job.target["docs"].aliases.append(new.alias)
    return new.alias


def written(job: Job) -> int:
    return len(job.target.asked("Insert")) + len(job.target.asked("Upsert"))


def findings(job: Job) -> list[str]:
    return [finding["code"] for finding in job.report["findings"]]


def test_a_collection_to_which_another_job_writes_is_refused(
    filled: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.target.create(schema())
    before = mark(filled)
    assert filled.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "target-in-use" in said
    assert "job `nightly-copy` on host db-2, since 2026-11-30 22:15:00 UTC" in said
    assert written(filled) == 0
    assert filled.target["docs"].aliases == [before]


@pytest.mark.parametrize(
    "mode", ["data_save_mode = DROP_DATA", "schema_save_mode = RECREATE_SCHEMA"]
)
def test_nothing_of_another_job_is_dropped(filled: Job, mode: str) -> None:
    filled.target.create(schema(), rows(3))
    before = mark(filled)
    filled.to_sink |= dict([mode.split(" = ")])
    assert filled.run("run", "--yes") == 3
    assert filled.target.keys("docs") == [*range(3)]
    assert filled.target["docs"].aliases == [before]


def test_the_mark_of_a_job_that_nobody_resumes_is_accepted_and_removed(filled: Job) -> None:
    filled.target.create(schema())
    mark(filled)
    assert filled.run("run", "--accept=target-in-use") == 0
    assert filled.collection()["outcome"] == "proven"
    assert filled.target["docs"].aliases == []


@pytest.mark.parametrize("version", ["v2.3.7", "v2.5.27", "v2.6.19"])
def test_a_collection_is_marked_while_rows_are_written_and_only_then(
    tmp_path: Path, version: str
) -> None:
    with between_fakes(tmp_path, source_version=version, target_version=version) as job:
        job.source.create(schema(), rows(COUNT))
        seen = watch(job, "Insert")
        assert job.run() == 0
        assert {mark.job for mark in seen} == {"job"}
        assert job.target["docs"].aliases == []
        assert findings(job) == []
        assert job.run("verify") == 0
        job.source["docs"].insert(rows(COUNT + 1)[COUNT:])
        seen = watch(job, "Upsert")
        assert job.run("sync") == 0
        assert {mark.job for mark in seen} == {"job"}
        assert job.target["docs"].aliases == []
        assert not temporary_changes.list_pending(job.ledger)


def watch(job: Job, method: str) -> list[JobMark]:
    """Returns a list of the marks that the target has at each call of a method from now on."""
    seen: list[JobMark] = []

    def look(request: Any) -> bool:
        seen.extend(map(job_mark.parse, job.target["docs"].aliases))
        return False

    job.target.fails(method, Fault(), when=look)
    return seen


def test_a_crashed_job_keeps_its_mark_resumes_and_removes_it(filled: Job) -> None:
    assert filled.run() == 0
    filled.crash()
    left = mark(filled, replace(OTHER, job="job"))
    temporary_changes.record(filled.ledger, temporary_changes.marked("docs", left))
    filled.env["job.name"] = "other"
    assert filled.run() == 3
    assert filled.target["docs"].aliases == [left]
    filled.env["job.name"] = "job"
    assert filled.run() == 0
    assert filled.target.keys("docs") == [*range(COUNT)]
    assert filled.target["docs"].aliases == []


def test_a_job_that_starts_over_does_not_stop_at_its_own_mark(filled: Job) -> None:
    assert filled.run() == 0
    left = mark(filled)
    temporary_changes.record(filled.ledger, temporary_changes.marked("docs", left))
    filled.from_source["collections"] = ["docs"]
    filled.to_sink["data_save_mode"] = "DROP_DATA"
    assert filled.run("run", "--restart", "--yes") == 0
    assert filled.target["docs"].aliases == []


def test_a_user_who_may_not_drop_aliases_copies_without_a_mark(filled: Job) -> None:
    filled.target.fails("DropAlias", NO_PRIVILEGE, times=None)
    assert filled.run() == 0
    assert filled.target["docs"].aliases == []
    assert findings(filled) == ["target-unmarked"]


def test_without_the_right_to_list_aliases_there_is_no_mark(filled: Job) -> None:
    filled.target.fails("ListAliases", NO_PRIVILEGE, times=None)
    assert filled.run() == 0
    assert filled.target["docs"].aliases == []
    assert findings(filled) == ["target-unmarked"]


def test_a_target_that_cannot_be_marked_does_not_hide_the_mark_of_another(
    filled: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_marks, "YIELD_S", 0.0)
    filled.source.create(schema("more"), rows(COUNT))
    filled.target.fails("CreateAlias", Fault(code=1100, text="too many"), when=of("docs"))

    def another(request: Any) -> bool:
        if request.collection_name == "more":
            filled.target["more"].aliases.append(OTHER.alias)
        return False

    filled.target.fails("CreateAlias", Fault(), when=another)
    assert filled.run() == 3
    assert written(filled) == 0


def test_rows_that_another_job_wrote_since_the_survey_are_noticed(
    filled: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.target.create(schema())
    filled.target.fails(
        "CreateAlias", Fault(), when=lambda _: filled.target["docs"].insert(rows(COUNT)) is None
    )
    assert filled.run() == 3
    assert "target-not-empty" in capsys.readouterr().err
    assert written(filled) == 0
    assert filled.target["docs"].aliases == []


def test_a_mark_that_was_made_though_the_answer_was_lost_is_removed_at_the_end(
    filled: Job,
) -> None:
    filled.target.fails("CreateAlias", LOST_ANSWER)
    assert filled.run() == 0
    assert filled.target["docs"].aliases == []
    assert findings(filled) == []


def test_a_mark_on_the_source_is_not_copied(filled: Job) -> None:
    filled.source["docs"].aliases += ["live", OTHER.alias]
    assert filled.run() == 0
    assert filled.target["docs"].aliases == ["live"]
    assert filled.source["docs"].aliases == ["live", OTHER.alias]


def start(job: Job, name: str) -> Callable[[], bool]:
    """Returns a call that marks the target for a new job; whether that job may write."""
    config = clusters.job(env=f'job.name = "{name}"', sink=f'url = "{job.target.url}"')
    plan = planner.build_plan(
        config, survey(side(described(schema()))), (), plan_id=name, made_at=1.5
    )
    ledger = Ledger(str(job.folder / name), name)

    def run() -> bool:
        may = not any(each.stops for each in job_marks.mark_targets(config, plan, ledger))
        if not may:
            restore_after_error(config, ledger)
        return may

    return run


def test_of_jobs_that_start_at_the_same_moment_one_writes(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_marks, "YIELD_S", 60.0)
    job.target.create(schema())
    jobs = [start(job, f"job-{number}") for number in range(4)]
    with ThreadPoolExecutor(len(jobs)) as pool:
        started = list(pool.map(lambda run: run(), jobs))
    assert sum(started) == 1
    [left] = job.target["docs"].aliases
    assert job_mark.parse(left).job == f"job-{started.index(True)}"
