"""A job that copies everything but the rows."""

from __future__ import annotations

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows, written

pytestmark = pytest.mark.slow


def test_everything_but_the_rows_is_created(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    docs = job.source.create(schema(), rows(20))
    docs.partitions.append("old")
    docs.loaded = False
    docs.aliases.append("papers")
    job.from_source["collections"] = ["docs"]
    job.to_sink["rows"] = False
    assert job.run() == 0
    target = job.target["docs"]
    assert (target.rows(), target.schema.fields) == ([], docs.schema.fields)
    assert sorted(target.partitions) == ["_default", "old"]
    assert len(target.indexes) == 1
    assert target.aliases == ["papers"]
    assert not job.source.asked("Query")
    assert written(job.target, "Insert") == []
    found = job.collection()
    assert (found["outcome"], job.report["outcome"]) == ("created", "created")
    assert (found["rows_source"], found["ranges"]["total"]) == (0, 0)
    assert found["reshaped"] == ["no rows, only everything else"]
    said = " ".join(capsys.readouterr().out.split())
    assert "Created: the target has everything but the rows" in said
    assert "roven" not in said
    assert "lost" not in {each["fate"] for each in found["carried"]}


def test_the_rows_follow_with_another_job(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["rows"] = False
    assert job.run() == 0
    assert job.run() == 0
    assert "it had" not in capsys.readouterr().out
    for command in ("verify", "sync"):
        assert job.run(command) == 2
        assert "sink.Milvus.rows: is false, so there are no rows to" in capsys.readouterr().err
    del job.to_sink["rows"]
    assert job.run() == 3
    assert "sink.Milvus.rows: was false when the job started" in capsys.readouterr().err
    job.env["job.name"] = "rows"
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(20)


def test_a_plan_without_rows_reads_none(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["rows"] = False
    assert job.run("plan", "--ranges") == 0
    assert "no rows, only everything else" in capsys.readouterr().out


def test_an_existing_collection_gets_the_partitions_that_it_lacks(job: Job) -> None:
    job.source.create(schema(), rows(20)).partitions.append("old")
    job.target.create(schema()).partitions.append("theirs")
    job.to_sink |= {"rows": False, "schema_save_mode": "IGNORE"}
    assert job.run() == 0
    assert sorted(job.target["docs"].partitions) == ["_default", "old", "theirs"]
