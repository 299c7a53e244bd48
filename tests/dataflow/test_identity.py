"""A collection is never copied into itself, under any url; a copy beside it is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.jobfile import config
from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, rows, written
from tests.fakes.milvus import FakeMilvus

pytestmark = pytest.mark.slow

COUNT = 25


@pytest.fixture
def itself(job: Job) -> Job:
    """A job whose urls both lead to the source: as `127.0.0.1`, and as `localhost`."""
    job.source.create(schema(), rows(COUNT))
    spelt: Any = SimpleNamespace(
        url=job.source.url.replace("127.0.0.1", "localhost"), requests=job.source.requests
    )
    job.target = spelt
    job.from_source["collections"] = ["docs"]
    return job


def refused(job: Job, capsys: pytest.CaptureFixture[str], *command: str) -> str:
    """Runs a command that must be rejected; returns its stderr."""
    assert job.run(*command) == 3
    assert changing(job.source) == set()
    assert job.source.keys("docs") == [*range(COUNT)]
    said = " ".join(capsys.readouterr().err.split())
    assert "[same-collection] target collection docs: it is the source collection itself" in said
    return said


@pytest.mark.parametrize(
    "sink",
    [
        {},
        {"data_save_mode": "APPEND_DATA"},
        {"data_save_mode": "DROP_DATA"},
        {"schema_save_mode": "RECREATE_SCHEMA"},
        {"schema_save_mode": "IGNORE", "data_save_mode": "APPEND_DATA"},
        {"enable_auto_id": True, "data_save_mode": "APPEND_DATA"},
    ],
)
def test_no_save_mode_writes_into_the_source(itself: Job, capsys, sink: dict[str, Any]) -> None:
    itself.to_sink |= sink
    refused(itself, capsys, "run", "--yes")
    refused(itself, capsys, "plan")


@pytest.mark.parametrize("command", [("sync",), ("sync", "--delete"), ("verify",)])
def test_every_command_rejects_the_source_as_its_target(itself: Job, capsys, command) -> None:
    refused(itself, capsys, *command)


def test_a_certain_match_cannot_be_accepted(itself: Job, capsys) -> None:
    itself.to_sink["data_save_mode"] = "APPEND_DATA"
    refused(itself, capsys, "run", "--accept=same-collection")


def test_the_same_url_is_rejected_too(itself: Job, capsys) -> None:
    itself.target.url = itself.source.url  # type: ignore[misc]
    refused(itself, capsys, "run")


def test_a_copy_beside_the_original_runs_and_resumes(itself: Job) -> None:
    itself.source["docs"].aliases.append("docs_live")
    itself.to_sink["collection_rename"] = {"docs": "docs_v2"}
    assert itself.run() == 0
    assert itself.source["docs_live"] is itself.source["docs"]
    assert "alias-stays" in {each["code"] for each in itself.report["findings"]}
    assert itself.source.keys("docs") == itself.source.keys("docs_v2") == [*range(COUNT)]
    assert itself.collection()["outcome"] == "proven"
    assert set(written_to(itself.source)) == {"docs_v2"}
    assert itself.run() == 0
    assert itself.run("verify") == 0
    itself.source["docs_v2"].delete("id in [7]")
    assert itself.run("sync") == 0
    assert itself.source.keys("docs_v2") == [*range(COUNT)]


def test_the_copy_beside_the_original_can_be_replaced(itself: Job) -> None:
    itself.source.create(schema("docs_v2"), rows(3))
    itself.to_sink |= {"collection_rename": {"docs": "docs_v2"}, "data_save_mode": "DROP_DATA"}
    assert itself.run("run", "--yes") == 0
    assert itself.source.keys("docs") == itself.source.keys("docs_v2") == [*range(COUNT)]


def test_two_collections_cannot_swap_names(itself: Job, capsys) -> None:
    itself.source.create(schema("papers"), rows(3))
    itself.from_source["collections"] = ["docs", "papers"]
    itself.to_sink |= {
        "collection_rename": {"docs": "papers", "papers": "docs"},
        "schema_save_mode": "RECREATE_SCHEMA",
    }
    assert itself.run("run", "--yes") == 3
    assert changing(itself.source) == set()
    assert "papers: it is another source collection of this job" in " ".join(
        capsys.readouterr().err.split()
    )


# Two servers


def cloned(job: Job) -> None:
    """Source and target have the same collection, of the same id."""
    job.source.create(schema(), rows(COUNT))
    job.target.create(schema(), rows(COUNT))
    assert job.source["docs"].number == job.target["docs"].number
    job.to_sink["data_save_mode"] = "APPEND_DATA"


def test_a_clone_of_the_source_is_recognized_by_its_clock(job: Job) -> None:
    cloned(job)
    assert job.run() == 0
    assert written(job.target, "Upsert") == [*range(COUNT)]


def test_servers_without_timestamps_need_accept(clockless, job: Job, capsys) -> None:
    cloned(job)
    assert job.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "docs: it may be the source collection itself: both have the collection id 447" in said
    assert "rerun with `--accept=same-collection`" in said
    assert job.run("run", "--accept=same-collection") == 0
    assert job.collection()["outcome"] == "proven"


def test_a_possible_source_is_dropped_only_if_accepted(clockless, job: Job) -> None:
    cloned(job)
    job.from_source["collections"] = ["docs"]
    job.to_sink["data_save_mode"] = "DROP_DATA"
    assert job.run("run", "--yes") == 3
    assert job.target.keys("docs") == [*range(COUNT)]
    assert job.run("run", "--yes", "--accept=same-collection") == 0


@pytest.fixture
def clockless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers created after this return no timestamps."""
    connect: Callable[..., Any] = FakeMilvus.Connect

    def without(self: FakeMilvus, request: Any, context: Any = None) -> Any:
        answer = connect(self, request, context)
        answer.identifier = 0
        return answer

    monkeypatch.setattr(FakeMilvus, "Connect", without)


def written_to(server: FakeMilvus) -> Iterator[str]:
    """The collections that rows were written to."""
    for call in ("Insert", "Upsert", "Delete"):
        yield from (each.collection_name for each in server.asked(call))


# The database of the target


@pytest.fixture
def shop(job: Job) -> Job:
    """A source with a database of a name; the job does not say which the target's is."""
    job.source.databases.append("shop")
    job.source.create(schema(), rows(COUNT), database="shop")
    job.from_source["database"] = "shop"
    return job


def test_rows_go_to_the_database_of_the_sources_name(shop: Job, capsys) -> None:
    shop.target.databases.append("shop")
    assert shop.run("plan") == 0
    assert f"-> {shop.target.url}, database shop" in capsys.readouterr().out
    assert shop.run() == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"can now use collection docs in database shop of {shop.target.url}" in said
    assert {each.db_name for each in shop.target.asked("CreateCollection")} == {"shop"}
    assert shop.report["source"] == side(shop.source, "shop")
    assert shop.report["target"] == side(shop.target, "shop")
    assert "database <b>shop</b>" in (shop.ledger.read("report.html") or b"").decode()
    assert shop.run("status") == 0
    assert f"to {shop.target.url}, database shop" in capsys.readouterr().out


def side(server: FakeMilvus, database: str) -> dict[str, str]:
    return {"url": server.url, "version": "2.3.7", "database": database}


def test_a_target_without_that_database_is_a_finding(shop: Job, capsys) -> None:
    assert shop.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "[target-database]" in said
    assert "`sink.Milvus.database` is not set" in said
    assert changing(shop.target) == set()
    shop.to_sink["create_database"] = True
    assert shop.run() == 0
    assert shop.target.databases == ["default", "shop"]


# A job that an earlier version began: it wrote to `default`.

COMMANDS = [("run",), ("plan",), ("verify",), ("sync",), ("replay",)]


@pytest.fixture(params=["named", "unnamed"])
def begun(shop: Job, request: pytest.FixtureRequest) -> Job:
    """A job that has ended, before a sink without `database` meant the source's."""
    shop.target.databases.append("shop")
    if request.param == "unnamed":
        shop.env["job.name"] = ""
    shop.to_sink["database"] = "default"
    assert run(shop) == 0
    del shop.to_sink["database"]
    return shop


def run(job: Job, *command: str) -> int:
    """Runs a command of a job that may have no name."""
    env = job.env
    job.env = {key: value for key, value in env.items() if value}
    try:
        with pytest.MonkeyPatch.context() as patched:
            if "job.name" in env:
                patched.setattr("tests.dataflow.jobs.DEFAULTS", {"retry.max_outage": "10 s"})
            return job.run(*command)
    finally:
        job.env = env


@pytest.mark.parametrize("command", COMMANDS)
def test_a_job_that_wrote_to_default_does_not_resume_elsewhere(
    begun: Job, capsys, command: tuple[str, ...]
) -> None:
    assert run(begun, *command) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "an earlier run of this job wrote to database `default`" in said
    assert 'set sink.Milvus.database = "default"' in said
    assert changing(begun.target) == set()


def test_that_job_resumes_once_its_database_is_written(begun: Job, capsys) -> None:
    begun.to_sink["database"] = "default"
    assert run(begun) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_that_job_starts_over_in_the_database_of_the_source(begun: Job) -> None:
    begun.target.drop("docs")
    assert run(begun, "run", "--restart") == 0
    assert {each.db_name for each in begun.target.asked("CreateCollection")} == {"shop"}
    assert run(begun) == 0


def test_the_status_of_that_job_says_where_its_ledger_is(begun: Job, capsys) -> None:
    named = "job.name" not in begun.env
    assert run(begun, "status") == (0 if named else 3)
    said = capsys.readouterr()
    assert ("database default" in said.out) if named else ("wrote to database" in said.err)


def test_a_job_of_default_databases_resumes_as_before(job: Job) -> None:
    text = 'source { Milvus { url = "http://s" } }\nsink { Milvus { url = "http://t" } }'
    made = config.parse(text, base=Path())
    assert made.job_id == made.former_job_id
