"""What a job file changes about the target, in the calls that the target sees."""

from __future__ import annotations

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows


def order(job: Job) -> list[str]:
    """The calls that make and fill the target, each kind once, in order."""
    calls = ("CreateCollection", "CreateIndex", "Insert", "Flush")
    return list(dict.fromkeys(name for name, _ in job.target.requests if name in calls))


def test_indexes_are_made_after_the_rows(job: Job) -> None:
    job.source.create(schema(), rows(20))
    assert job.run() == 0
    assert order(job) == ["CreateCollection", "Insert", "Flush", "CreateIndex"]


def test_indexes_are_made_before_the_rows_on_request(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["create_index"] = "before"
    assert job.run() == 0
    assert order(job) == ["CreateCollection", "CreateIndex", "Insert", "Flush"]
    assert len(job.target.asked("CreateIndex")) == 1


def test_a_renamed_collection_is_written_and_proven_under_its_new_name(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["collection_rename"] = {"docs": "papers"}
    assert job.run() == 0
    assert job.target.keys("papers") == [*range(20)]
    found = job.collection()
    assert (found["name"], found["target"], found["outcome"]) == ("docs", "papers", "proven")
