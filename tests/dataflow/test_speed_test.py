"""`kitelift plan`: its speed test, which leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.target.scratch import name_of
from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, rows, written
from tests.fakes.script import REFUSED

ROWS = 50


@pytest.fixture
def stocked(job: Job) -> Job:
    job.source.create(schema(), rows(ROWS))
    return job


def planned(job: Job, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    capsys.readouterr()
    assert job.run("plan", "--json", *arguments) == 0
    plan: dict[str, Any] = json.loads(capsys.readouterr().out)
    return plan


def test_the_read_speed_test_changes_nothing(
    stocked: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = planned(stocked, capsys)["estimate"]
    assert 0 < estimate["read"]["rows"] <= ROWS
    assert estimate["write"] is None
    assert estimate["problems"] == []
    assert estimate["bytes"] > ROWS * 16
    assert estimate["ranges"] == ROWS // 10
    assert changing(stocked.source) | changing(stocked.target) == set()


def test_the_write_speed_test_uses_a_scratch_collection_and_drops_it(
    stocked: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    estimate = planned(stocked, capsys, "--probe_write")["estimate"]
    assert 0 < estimate["write"]["rows"] <= ROWS
    [scratch] = [request.collection_name for request in stocked.target.asked("CreateCollection")]
    assert scratch == name_of("job")
    assert written(stocked.target, "Insert", scratch)
    assert {request.collection_name for request in stocked.target.asked("DropCollection")} == {
        scratch
    }
    assert stocked.target.ShowCollections(None).collection_names == []
    assert not stocked.target.asked("CreateIndex")


def test_a_target_that_rejects_rows_is_reported_and_nothing_stays(
    stocked: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    stocked.target.fails("Insert", REFUSED, times=100)
    estimate = planned(stocked, capsys, "--probe_write")["estimate"]
    [problem] = estimate["problems"]
    assert problem.startswith(f"{stocked.target.url}: Insert: the server does not")
    assert estimate["read"]
    assert stocked.target.ShowCollections(None).collection_names == []


def test_ranges_are_cut_and_not_recorded(stocked: Job, capsys: pytest.CaptureFixture[str]) -> None:
    ranges = planned(stocked, capsys, "--ranges")["ranges"]
    assert len(ranges) == ROWS // 10
    assert (ranges[0]["after"], ranges[-1]["upto"]) == (None, None)
    assert not (stocked.folder / "state").exists()


def test_ranges_are_listed_on_request(stocked: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert stocked.run("plan", "--ranges") == 0
    assert "  docs(..9]\n" in (out := capsys.readouterr().out)
    assert "in 5 key ranges\n" in out


def test_the_rest_of_a_resumed_job_is_estimated(
    stocked: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = planned(stocked, capsys)["estimate"]["bytes"]
    stocked.run()
    stocked.crash(lost=3)
    assert 0 < planned(stocked, capsys)["estimate"]["bytes"] < whole


def test_without_rows_there_is_nothing_to_measure(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), [])
    assert planned(job, capsys)["estimate"]["read"] is None


def test_a_collection_that_is_not_loaded_is_not_waited_for(
    stocked: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    stocked.source["docs"].loaded = False
    stocked.from_source |= {"collections": ["docs"], "auto_load": True}
    estimate = planned(stocked, capsys)["estimate"]
    assert (estimate["bytes"], estimate["read"]) == (None, None)
