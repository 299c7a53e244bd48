"""A target that keeps less than it is told to: what is said, and what is left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, rows
from tests.fakes.milvus import FakeMilvus

TTL = ("collection.ttl.seconds", "60")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A source with a lifetime of rows and two shards; a target that knows neither."""
    make = FakeMilvus.CreateCollection

    def forget(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        if server is target:
            del request.properties[:]
            request.shards_num = 1
        return make(server, request, context)

    monkeypatch.setattr(FakeMilvus, "CreateCollection", forget)
    with between_fakes(tmp_path) as made:
        target = made.target
        docs = made.source.create(schema(), rows=rows(20))
        docs.request.properties.add(key=TTL[0], value=TTL[1])
        docs.request.shards_num = 2
        yield made


@pytest.fixture
def filled_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes a row into whatever is flushed."""
    flush = FakeMilvus.Flush

    def fill(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        server["docs"].insert(rows(1))
        return flush(server, request, context)

    monkeypatch.setattr(FakeMilvus, "Flush", fill)


def codes(job: Job) -> list[str]:
    return [finding["code"] for finding in job.report["findings"]]


def test_a_loss_that_only_making_shows_stops_before_the_first_row(job: Job, capsys) -> None:
    assert job.run() == 3
    assert "[lost:docs.ttl]" in capsys.readouterr().err
    assert "Insert" not in changing(job.target)


def test_what_was_made_for_a_job_that_is_refused_is_gone_again(job: Job) -> None:
    assert job.run() == 3
    assert job.target.ShowCollections(None).collection_names == []
    assert job.ledger.plan() is None


def test_what_somebody_else_made_is_not_dropped(job: Job) -> None:
    job.target.create(schema())
    assert job.run() == 3
    assert job.target.ShowCollections(None).collection_names == ["docs"]


def test_what_somebody_has_filled_meanwhile_is_not_dropped(filled_by_others, job: Job) -> None:
    assert job.run() == 3
    assert job.target.keys("docs") == [0]


@pytest.mark.parametrize("code", ["lost:docs.ttl", "lost:*"])
def test_a_loss_that_is_accepted_is_told_in_the_report(job: Job, code: str) -> None:
    assert job.run("run", f"--accept={code}") == 0
    assert job.collection()["outcome"] == "proven"
    assert codes(job) == ["changed:docs.shards", "lost:docs.ttl"]
    fates = {each["what"]: each["fate"] for each in job.collection()["carried"]}
    assert (fates["ttl"], fates["shards"], fates["fields.title"]) == ("lost", "changed", "kept")


def test_a_later_verification_still_tells_what_was_lost(job: Job) -> None:
    assert job.run("run", "--accept=lost:docs.ttl") == 0
    assert job.run("verify") == 0
    fates = {each["what"]: each["fate"] for each in job.collection()["carried"]}
    assert fates["ttl"] == "lost"
