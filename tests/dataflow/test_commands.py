"""The commands other than run, on fake servers."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows, writes, written
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED
from transforms.errors import Unreachable
from transforms.ledger import worker_limits
from transforms.milvus.endpoint import Endpoint

pytestmark = pytest.mark.slow


def test_plan_writes_nothing(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    assert job.run("plan") == 0
    assert "docs: 20 rows, 3 fields, 1 index" in capsys.readouterr().out
    assert changing(job.source) | changing(job.target) == set()
    assert not (job.folder / "state").exists()


def test_plan_as_json(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    assert job.run("plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["starts"] is True
    assert [(docs["name"], docs["rows"]) for docs in plan["collections"]] == [("docs", 20)]


def test_the_plan_of_a_finished_job_has_nothing_to_do(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    capsys.readouterr()
    assert job.run("plan") == 0
    said = capsys.readouterr().out
    assert "Job job has copied 1 collection, 20 rows" in said
    assert "Nothing to do: this job ended as proven" in said
    assert job.run("plan", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["finished"], plan["starts"], plan["estimate"]) == (True, True, None)
    assert changing(job.source) | changing(job.target) == set()


def test_plan_refuses_a_changed_job_as_run_does(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.to_sink["enable_auto_id"] = True
    assert job.run("plan") == job.run() == 3


def test_a_finding_stops_the_job_before_anything_is_written(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.target.create(schema(), rows(3))
    assert job.run() == 3
    said = capsys.readouterr().err
    assert "[target-not-empty]" in said
    assert "1 finding stops the job; nothing was written." in said
    assert changing(job.target) == set()
    assert not (job.folder / "state").exists()


def test_status_shows_the_state_of_a_job(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    assert job.run("status") == 0
    assert capsys.readouterr().out.startswith("job job: new")
    job.run()
    job.crash(lost=3)
    capsys.readouterr()
    assert job.run("status") == 0
    assert capsys.readouterr().out.startswith("job job: stopped")
    job.run()
    capsys.readouterr()
    assert job.run("status") == 0
    assert capsys.readouterr().out.startswith("job job: done")


def test_status_shows_the_host_that_runs_the_job_and_what_slows_it_down(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.crash(lost=3)
    holder = {"run_id": "r", "host": "elsewhere", "pid": 7, "at": time.time()}
    job.ledger.replace("lock.json", json.dumps(holder).encode())
    job.ledger.set_status(
        "docs", "planning"
    )  # The only status of a collection before its copy ends.
    worker = worker_limits.connect(Endpoint(job.target.url), job.ledger, "target")
    worker.flow.limiter.acquire(0, 0)
    worker.flow.retries.add_retry(Unreachable(job.target.url, "Insert", "Socket closed"), 1.5)
    worker_limits.flush_retries(job.ledger)
    worker.close()
    capsys.readouterr()

    assert job.run("status") == 0
    first, *sides, docs, slowdown, retries = capsys.readouterr().out.splitlines()
    assert sides == [
        f"  from {job.source.url}, database default",
        f"  to {job.target.url}, database default",
    ]
    assert first.startswith("job job: running (host elsewhere, process 7, last heartbeat")
    assert re.fullmatch(r"  docs: copying 1\d/20 rows \(\d\d %\)", docs)
    assert re.fullmatch(r"target does not answer; running at \d+ % of full speed", slowdown)
    assert retries == "target: 1 call retried (1 not answered), total wait 1.5 s"
    assert job.run("status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert status["state"] == "running"
    assert status["slowdowns"]["target"]["cause"] == "not answered"
    assert status["retries"] == [
        {"side": "target", "reason": "not answered", "calls": 1, "seconds": 1.5}
    ]
    assert job.run() == 3
    assert "another run of this job is active: host elsewhere" in capsys.readouterr().err


def test_status_follows_the_current_run_and_not_an_earlier_one(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.target.fails("Insert", REFUSED, times=None, when=writes(7))
    assert job.run() == 4
    job.target.heal()
    ended: list[int] = []
    follower = threading.Thread(target=lambda: ended.append(job.run("status", "--follow")))

    def begin(_: Any) -> bool:
        if not follower.ident:
            follower.start()
        follower.join(0.5)
        return False

    job.target.fails("Upsert", REFUSED, when=begin)
    assert job.run() == 0
    follower.join(30)
    assert ended == [0]
    assert capsys.readouterr().out.count("Proven") >= 2


def test_status_cannot_follow_a_job_that_never_ran(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.run("status", "--follow") == 3
    assert "this job is not running" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code"), [("status", 0), ("limit --rows=500", 0), ("cancel", 3)]
)
def test_commands_that_only_need_the_ledger_need_no_token(
    job: Job, monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    job.from_source["token"] = "env:SOURCE_TOKEN"
    job.source.create(schema(), rows(20))
    monkeypatch.setenv("SOURCE_TOKEN", "root:Milvus")
    assert job.run() == 0
    monkeypatch.delenv("SOURCE_TOKEN")
    assert job.run() == 2
    assert job.run(*command.split()) == code


def test_status_distinguishes_duplicate_keys_from_missing_rows(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = job.source.create(schema(), rows(20))
    docs.insert([row(key) for key in range(5)])
    job.run()
    capsys.readouterr()
    assert job.run("status") == 0
    line = "docs: proven 20/20 rows (100 %), the source counts 25 with 5 duplicates"
    assert line in capsys.readouterr().out


def test_verify_compares_again_and_copies_the_report_but_no_rows(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.env["verify"] = "count"
    job.run()
    assert job.report["outcome"] == "counted"
    job.env["verify"] = "full"
    place = job.folder / "out" / "report.json"
    assert job.run("verify", f"--report={place}") == 0
    assert job.report["outcome"] == "proven"
    assert changing(job.target) == set()
    assert json.loads(place.read_text()) == job.report


def test_verify_loads_an_unloaded_target_and_releases_it_again(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["load_collection"] = False
    assert job.run() == 0
    job.env["retry.max_outage"] = "1 s"
    assert job.run("verify") == 0
    assert not job.target["docs"].loaded


def test_verify_compares_a_copy_by_another_tool_and_changes_nothing(job: Job) -> None:
    for server in (job.source, job.target):
        server.create(schema(), rows(40))
    assert job.run("verify") == 0
    job.target["docs"].delete("id == 7")
    assert job.run("verify") == 4
    assert changing(job.source) | changing(job.target) == set()
    # Nothing was copied, so a run finds a target that is not its own.
    assert job.run() == 3


def test_sync_makes_the_target_equal_and_writes_only_what_differs(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.run()
    target = job.target["docs"]
    target.upsert([row(15) | {"title": "changed"}])
    target.delete("id == 25")
    target.insert([row(16), row(100)])
    assert job.run("sync") == 4
    assert job.target.keys("docs") == [*range(40), 100]
    assert written(job.target, "Upsert") == [15, 16, 25]
    assert job.run("sync", "--delete") == 0
    assert target.rows() == rows(40)
    assert job.target.asked("Insert", "Upsert") == []


def test_after_a_killed_sync_only_sync_resumes_and_no_row_is_duplicated(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(40))
    job.run()
    job.run("sync")
    job.crash(lost=3)
    job.target["docs"].delete("id == 25")
    for command in ("run", "plan", "verify"):
        capsys.readouterr()
        assert job.run(command) == 3
        assert "Run `kitelift sync`: it compares again" in capsys.readouterr().err
        assert changing(job.target) == set()
    assert job.run("sync") == 0
    assert job.target["docs"].rows() == rows(40)
    assert written(job.target, "Upsert") == [25]


def test_a_job_that_lost_rows_after_a_sync_is_not_finished(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.run("sync")
    job.target["docs"].delete("id < 5")
    assert job.run() == 3
    assert "20 rows were copied, but it has 15 now" in capsys.readouterr().err
    assert job.run("verify") == 4
    assert job.collection()["rows_written"] == 0


def test_a_finished_job_says_so_and_shows_new_rows_of_the_source(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.source["docs"].insert([row(20)])
    job.target["docs"].insert([row(100)])  # An application writes there by now.
    capsys.readouterr()
    assert job.run() == 0
    said = capsys.readouterr().out
    assert said.startswith("Nothing to do: this job ended as proven")
    assert "it had 20 rows and has 21 now; `kitelift sync` copies the changes" in said
    assert "Next: " not in said, "there is something to do"
    assert changing(job.source) | changing(job.target) == set()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda job: job.target.drop("docs"), "target collection docs: no longer exists"),
        (lambda job: recreate(job.target), "target collection docs: was dropped and recreated"),
        (lambda job: recreate(job.source), "source collection docs: was dropped and recreated"),
        (lambda job: job.source.drop("docs"), "source collection docs: no longer exists"),
    ],
    ids=["target dropped", "target recreated", "source recreated", "source dropped"],
)
def test_a_job_whose_result_is_gone_is_not_finished(
    job: Job, capsys: pytest.CaptureFixture[str], change: Callable[[Job], None], words: str
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    change(job)
    assert job.run() == 3
    said = capsys.readouterr().err
    assert words in said
    assert "--restart" in said


def test_missing_rows_in_the_target_have_one_remedy(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.target["docs"].delete("id < 5")
    assert job.run() == 3
    said = capsys.readouterr().err
    assert (
        "target collection docs: 20 rows were copied, but it has 15 now; `kitelift verify` lists"
        in said
    )
    assert "--restart" not in said


def recreate(server: FakeMilvus) -> None:
    server.drop("docs")
    server.create(schema(), rows(20))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda server: server.drop("docs"), "target collection docs: no longer exists, and"),
        (recreate, "target collection docs: was dropped and recreated, and this job has copied"),
    ],
    ids=["dropped", "recreated"],
)
def test_a_job_does_not_resume_if_its_copied_rows_are_gone(
    job: Job,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[FakeMilvus], None],
    words: str,
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.crash(lost=1)
    change(job.target)
    assert job.run() == 3
    said = capsys.readouterr().err
    assert words in said
    assert "--restart" in said
    assert changing(job.target) == set()


def test_a_job_that_was_killed_before_its_first_row_recreates_a_dropped_target(
    job: Job,
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.crash()
    for path in (job.folder / "state" / "job" / "intents").iterdir():
        path.unlink()
    job.target.drop("docs")
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(20)


def test_verify_of_a_killed_copy_says_to_resume_it(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    job.crash(lost=3)
    assert job.run("verify") == 3
    said = capsys.readouterr().err
    assert "the copy of docs is not finished" in said
    assert "without `verify`" in said
    assert job.run() == 0


def test_a_target_without_indexes_is_compared_once_they_exist(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["create_index"] = False
    assert job.run() == 0
    assert job.report["outcome"] == "copied"
    assert "Create the indexes" in job.report["next"][0]
    assert "[not-proven]" in capsys.readouterr().err
    assert job.run("verify") == 3
    assert "[target-not-indexed] target collection docs: no index" in capsys.readouterr().err
    job.target["docs"].indexes = list(job.source["docs"].indexes)
    assert job.run("verify") == 0
    assert job.report["outcome"] == "proven"


def test_a_load_state_that_the_server_refuses_is_learned_from_a_query(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20)).loaded = False
    job.source.fails("GetLoadState", REFUSED, times=None)
    job.from_source["collections"] = ["docs"]
    assert job.run() == 3
    assert "[not-loaded] source collection docs" in capsys.readouterr().err
    job.from_source["auto_load"] = True
    assert job.run() == 0
    assert not job.source["docs"].loaded


def test_extra_rows_in_the_target_lead_to_sync_delete(job: Job) -> None:
    job.source.create(schema(), rows(20))
    assert job.run() == 0
    job.source["docs"].delete("id in [3, 4]")
    job.source["docs"].upsert([row(5) | {"title": "new"}])
    assert job.run("sync") == 4
    assert job.differences() == ["+ 3", "+ 4"]
    [step] = job.report["next"]
    assert (
        "To delete these rows, stop all writes to both sides, then run `kitelift sync --delete`"
        in step
    )
    assert job.run("sync", "--delete") == 0
    assert job.target.keys("docs") == job.source.keys("docs")


def test_extra_rows_are_reported_beside_other_differences(job: Job) -> None:
    job.source.create(schema(), rows(20))
    assert job.run() == 0
    job.target["docs"].delete("id == 3")
    job.target["docs"].insert([row(77)])
    assert job.run("verify") == 4
    [step] = [step for step in job.report["next"] if "kitelift sync" in step]
    assert "run `kitelift sync`: it makes the target equal" in step
    assert (
        "Rows that exist only in the target remain, unless you run `kitelift sync --delete`."
        in step
    )


def test_a_sync_flushes_only_what_it_has_changed(job: Job) -> None:
    for name in ("changed", "same"):
        job.source.create(schema(name), rows(20))
    assert job.run() == 0
    job.source["changed"].upsert([row(5) | {"title": "new"}])
    assert job.run("sync") == 0
    flushed = [name for flush in job.target.asked("Flush") for name in flush.collection_names]
    assert flushed == ["changed"]
    assert job.run("sync") == 0
    assert job.target.asked("Flush") == []


def test_rows_that_a_sync_deletes_are_flushed(job: Job) -> None:
    job.source.create(schema(), rows(20))
    assert job.run() == 0
    job.source["docs"].delete("id == 3")
    assert job.run("sync", "--delete") == 0
    assert len(job.target.asked("Flush")) == 1
