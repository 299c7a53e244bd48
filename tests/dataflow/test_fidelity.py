"""A target that silently drops features: the findings, and what stays in the target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED

pytestmark = pytest.mark.slow

TTL = ("collection.ttl.seconds", "60")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A source with a TTL and two shards; a target that supports neither."""
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
    """Another user writes a row into every collection that is flushed."""
    flush = FakeMilvus.Flush

    def fill(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        server["docs"].insert(rows(1))
        return flush(server, request, context)

    monkeypatch.setattr(FakeMilvus, "Flush", fill)


def codes(job: Job) -> list[str]:
    return [finding["code"] for finding in job.report["findings"]]


def test_a_silently_dropped_feature_stops_the_job_before_the_first_row(job: Job, capsys) -> None:
    assert job.run() == 3
    assert "[lost:docs.ttl]" in capsys.readouterr().err
    assert "Insert" not in changing(job.target)


def test_collections_created_by_a_stopped_job_are_dropped_again(job: Job) -> None:
    assert job.run() == 3
    assert job.target.ShowCollections(None).collection_names == []
    assert job.ledger.plan() is None


@pytest.mark.parametrize("method", ["CreateCollection", "CreatePartition"])
def test_a_collection_that_the_target_rejects_stops_the_job_before_the_first_row(
    job: Job, method: str, capsys
) -> None:
    job.source.create(schema("others"), rows(5), partitions=["_default", "more"])
    job.target.fails(
        method, REFUSED, times=None, when=lambda request: request.collection_name == "others"
    )
    job.env["accept"] = ["lost:*"]
    assert job.run() == 3
    said = capsys.readouterr().err
    assert f"target collection others: {method}: the server does not like it" in said
    assert "everything that this run created was dropped again" in said
    assert job.target.ShowCollections(None).collection_names == []
    assert job.ledger.plan() is None
    job.transform = "Filter { collections = [others], exclude_fields = [title] }"
    job.target.heal()
    assert job.run() == 0


def test_an_index_that_is_rejected_before_the_rows_stops_the_job_unless_accepted(
    job: Job, capsys
) -> None:
    job.target.fails("CreateIndex", REFUSED, times=None)
    job.env["accept"] = ["lost:docs.ttl"]
    job.to_sink["create_index"] = "before"
    assert job.run() == 3
    said = capsys.readouterr().err
    words = "the target rejects it: CreateIndex: the server does not like it. Use another target"
    assert (
        f"[lost:docs.indexes.vector] target collection docs: index (indexes.vector): {words}"
        in said
    )
    assert job.target.ShowCollections(None).collection_names == []
    assert job.run("run", "--accept=lost:docs.indexes.vector") == 0
    assert job.collection()["outcome"] == "copied"
    assert codes(job).count("lost:docs.indexes.vector") == 1


def test_a_collection_of_another_user_is_not_dropped(job: Job) -> None:
    job.target.create(schema())
    assert job.run() == 3
    assert job.target.ShowCollections(None).collection_names == ["docs"]


def test_a_collection_that_another_user_filled_meanwhile_is_not_dropped(
    filled_by_others, job: Job
) -> None:
    assert job.run() == 3
    assert job.target.keys("docs") == [0]


@pytest.mark.parametrize("code", ["lost:docs.ttl", "lost:*"])
def test_an_accepted_loss_is_in_the_report(job: Job, code: str) -> None:
    assert job.run("run", f"--accept={code}") == 0
    assert job.collection()["outcome"] == "proven"
    assert codes(job) == ["rows-expire", "changed:docs.shards", "lost:docs.ttl"]
    fates = {each["what"]: each["fate"] for each in job.collection()["carried"]}
    assert (fates["ttl"], fates["shards"], fates["fields.title"]) == ("lost", "changed", "kept")


def test_an_older_target_gets_what_it_supports_if_both_codes_are_accepted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeMilvus("v2.6.3") as source, FakeMilvus("v2.4.5") as target:
        made = schema()
        made.fields[1].nullable = True
        source.create(made, rows(20))
        job = Job(tmp_path, source, target)
        assert job.run() == 3
        said = capsys.readouterr().err
        assert "[target-version] target" in said
        assert "[lost:docs.fields.title.nullable] target collection docs" in said
        assert job.run("run", "--accept=target-version") == 3
        assert changing(target) == set()
        assert job.run("run", "--accept=target-version,lost:docs.*") == 0
        assert job.collection()["outcome"] == "proven"


@pytest.fixture
def aliased(tmp_path: Path):
    """A source whose alias another collection of the target has."""
    with between_fakes(tmp_path) as made:
        made.source.create(schema(), rows(20)).aliases.append("papers")
        made.target.create(schema("docs_1"), rows(3)).aliases.append("papers")
        yield made


def test_an_alias_in_use_stops_before_the_first_row(aliased: Job, capsys) -> None:
    assert aliased.run() == 3
    assert "it is an alias of docs_1 in the target" in capsys.readouterr().err
    assert changing(aliased.target) == set()


def test_an_alias_in_use_is_left_alone(aliased: Job) -> None:
    assert aliased.run("run", "--accept=lost:docs.aliases.papers") == 0
    assert aliased.collection()["outcome"] == "proven"
    assert aliased.target["papers"].schema.name == "docs_1"
    assert "lost:docs.aliases.papers" in codes(aliased)
    assert aliased.run() == 0


def test_a_name_that_is_an_alias_in_the_target_stops_the_job(aliased: Job, capsys) -> None:
    aliased.to_sink["collection_rename"] = {"docs": "papers"}
    assert aliased.run() == 3
    assert "papers is an alias of docs_1 in the target" in capsys.readouterr().err


def test_a_later_verification_still_reports_the_loss(job: Job) -> None:
    assert job.run("run", "--accept=lost:docs.ttl") == 0
    assert job.run("verify") == 0
    fates = {each["what"]: each["fate"] for each in job.collection()["carried"]}
    assert fates["ttl"] == "lost"
