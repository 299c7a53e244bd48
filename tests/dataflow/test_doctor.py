"""`kitelift doctor`: its checks, messages and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.commands import doctor
from tests import sockets
from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, rows
from transforms.ledger.ledger import Ledger


def stdout_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def of(lines: list[str], about: str) -> list[str]:
    """Returns severity and text of the lines about something."""
    split = (line.split(maxsplit=2) for line in lines)
    return [f"{severity} {said}" for severity, what, said in split if what == about]


def test_a_job_without_problems_is_ready_to_run(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))

    assert job.run("doctor") == 0

    lines = stdout_lines(capsys)
    assert {line.split()[0] for line in lines} == {"ok"}
    assert of(lines, "job") == ["ok 1 collection, 20 rows: ready to run."]
    assert of(lines, "ledger") == [f"ok {job.folder}/state/job: writable; the job is new."]
    server, trip = of(lines, "source")
    assert server == f"ok {job.source.url} is Milvus 2.3.7; default has 1 collection."
    assert trip.startswith("ok a round trip takes ")
    assert len(of(lines, "target")) == 2


def test_doctor_changes_nothing(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run("doctor")
    assert changing(job.source) | changing(job.target) == set()
    assert not (job.folder / "state").exists()


def test_json_output(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.run("doctor", "--json") == 3
    checks = json.loads(capsys.readouterr().out)
    [error] = [check for check in checks if check["severity"] == "error"]
    assert error["about"] == "job"
    assert "[no-collection]" in error["said"]
    assert error["remedy"].startswith("Load the collections to copy")


def test_a_finding_that_stops_the_job_is_an_error_with_its_remedy(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.target.create(schema(), rows(3))

    assert job.run("doctor") == 3

    [line] = of(stdout_lines(capsys), "job")
    assert line.startswith("error [target-not-empty] target collection docs: it contains 3 rows")
    assert "drop or rename it" in line


def test_accepted_and_info_findings_do_not_stop_the_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.version = "v2.3.5"
    job.source.create(schema(auto_id=True), [{"title": "a", "vector": [0.0, 1.0]}])

    assert job.run("doctor") == 0

    accepted, info, ready = of(stdout_lines(capsys), "job")
    assert accepted.startswith("warning [source-version] ")
    assert accepted.endswith(" (accepted)")
    assert info.startswith("ok [plain-key] ")
    assert ready == "ok 1 collection, 1 row: ready to run."


def test_an_unreachable_server_is_reported_once_and_the_other_is_still_checked(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.target.url = f"http://127.0.0.1:{sockets.closed_port()}"

    assert job.run("doctor") == 3

    lines = stdout_lines(capsys)
    assert len(of(lines, "source")) == 2
    assert of(lines, "target") == []
    [line] = of(lines, "job")
    assert line.startswith("error [target-unreachable] ")


def test_a_ledger_that_cannot_be_written_is_an_error(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    (job.folder / "file").write_text("")
    job.env["state"] = f"{job.folder}/file"

    assert job.run("doctor") == 3

    [line] = of(stdout_lines(capsys), "ledger")
    assert line.startswith(f"error cannot write {job.folder}/file/")
    assert line.endswith(" Correct `env.state`, or grant write access to it.")


def test_checking_the_ledger_changes_nothing_in_it(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    before = sorted((job.folder / "state").rglob("*"))
    job.run("doctor")
    assert sorted((job.folder / "state").rglob("*")) == before


def test_missing_privileges_are_reported(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.source.create(schema(), rows(20))
    job.from_source["token"] = "reader:secret"
    job.to_sink["token"] = "root:secret"
    job.source.roles["reading"] = {"reader"}
    job.source.grants = {
        ("reading", "Query", "Collection", "docs", "default"),
        ("reading", "ShowPartitions", "Collection", "*", "default"),
    }

    assert job.run("doctor") == 0

    lines = stdout_lines(capsys)
    [lacking] = [line for line in of(lines, "source") if "user reader" in line]
    assert lacking.startswith("warning user reader has no grant for GetLoadState. Grant them")
    assert "ok user root has all privileges." in of(lines, "target")

    job.source.grants.add(("reading", "GetLoadState", "Collection", "*", "default"))
    assert job.run("doctor") == 0
    said = "ok user reader has every privilege that the job needs."
    assert said in of(stdout_lines(capsys), "source")


@pytest.mark.parametrize(
    ("free_bytes", "severity"),
    [(5 * 10**9, "ok"), (5 * 10**8, "warning"), (5 * 10**7, "error")],
)
def test_disk_space_for_the_ledger(tmp_path: Path, free_bytes: int, severity: str) -> None:
    check = doctor.check_disk(tmp_path / "not" / "there", free_bytes)
    assert check.severity == severity
    assert bool(check.remedy) == (severity != "ok")


def test_too_many_workers_per_core_are_a_warning() -> None:
    [few] = doctor.check_host(9, cores=4)
    assert (few.severity, few.remedy) == ("warning", "Set `env.parallelism` to 8 or less.")
    [enough] = doctor.check_host(9, cores=8)
    assert enough.severity == "ok"


def test_a_cluster_is_checked_if_the_job_runs_there(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.env["flink.master"] = f"127.0.0.1:{sockets.closed_port()}"

    assert job.run("doctor") == 0
    assert of(stdout_lines(capsys), "cluster") == [
        "ok not checked; with -m cluster, the job runs there."
    ]

    assert job.run("doctor", "-m", "cluster") == 3
    [error, *_] = of(stdout_lines(capsys), "cluster")
    assert error.startswith("error [engine-unreachable] Flink http://127.0.0.1:")


def test_a_ledger_of_another_version_does_not_end_the_checks(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20))
    job.run()
    Ledger(f"{job.folder}/state", "job").replace("plan.json", b'{"format": 99}')
    capsys.readouterr()

    assert job.run("doctor") == 3

    [line] = of(stdout_lines(capsys), "ledger")
    assert "ledger format 99; this version reads 1." in line


def test_a_proof_is_refused_if_nobody_can_confirm_it(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.run("doctor", "--prove") == 2

    said = capsys.readouterr().err
    assert f"{job.source.url} and {job.target.url}, and drops them afterwards. To agree" in said
    assert "add --yes. Nothing was written." in said
    assert changing(job.source) | changing(job.target) == set()


def test_a_proof_asks_before_it_writes(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(question: str) -> str:
        asked.append(question)
        return "n"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answer)
    assert job.run("doctor", "--prove") == 3

    [question] = asked
    assert question.startswith("This creates 13 small collections in database kitelift_prove_")
    assert question.endswith(" Continue? [y/N] ")
    assert changing(job.source) | changing(job.target) == set()


def test_a_proof_needs_two_usable_servers(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.target.url = f"http://127.0.0.1:{sockets.closed_port()}"
    assert job.run("doctor", "--prove", "--yes") == 3
    assert "[target-unreachable]" in capsys.readouterr().err

    job.target.url = f"parquet:{job.folder}/files"
    assert job.run("doctor", "--prove", "--yes") == 2
    assert "sink.Milvus.url: --prove needs a server" in capsys.readouterr().err
