"""Jobs on a cluster without a cluster: Beam's own job service, and workers in processes apart.

The job service is Python and runs the pipeline in this process; what the launcher sees of it is
what it sees of Flink's and Spark's. The workers are those of ``kitelift worker-pool``.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.local_job_service import LocalJobServicer

from pipeline.commands.shared import cluster_job
from pipeline.engines import submissions, worker_probe
from tests import kitelift, sockets
from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, rows, writes
from tests.fakes.flink import FakeFlink
from tests.fakes.script import Fault
from transforms.ledger.ledger import Ledger

pytestmark = pytest.mark.slow

TOKEN = "root:Sesame-4711"
Run = Callable[..., int]


class Service(LocalJobServicer):
    """Keeps what was submitted."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.submitted: list[tuple[Any, Any]] = []

    def create_beam_job(self, number: str, name: str, pipeline: Any, options: Any) -> Any:
        self.submitted.append((pipeline, options))
        return super().create_beam_job(number, name, pipeline, options)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    made = Service(tmp_path / "staged")
    made.port = made.start_grpc_server()
    yield made
    made.stop()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return tmp_path / "worker-logs"


def pool(folder: Path, **environment: str) -> subprocess.Popen[str]:
    """``kitelift worker-pool``, with nothing in its environment but what it needs."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ours = {"KITELIFT_WORKER_LOGS": str(folder), "TMPDIR": str(folder.parent)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline", "worker-pool", "--listen=127.0.0.1:0"],
        cwd=kitelift.ROOT,
        env=kept | ours | {"PYTHONPATH": str(kitelift.ROOT)} | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


class Workers:
    """Starts pools; calling it returns the address of one."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: list[subprocess.Popen[str]] = []

    def __call__(self, **environment: str) -> str:
        self._running.append(pool(self._logs, **environment))
        assert self._running[-1].stdout is not None
        line = self._running[-1].stdout.readline()
        found = re.search(r"at (\S+);", line)
        assert found
        return found[1]

    def end(self) -> None:
        while self._running:
            process = self._running.pop()
            process.terminate()
            process.communicate(timeout=30)
            assert process.returncode == 0


@pytest.fixture
def workers(logs: Path) -> Iterator[Workers]:
    made = Workers(logs)
    yield made
    made.end()


@pytest.fixture
def on_cluster(job: Job, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a job on a cluster: the command, the address of a pool, more arguments."""
    with _cluster(job, service, monkeypatch, hosts=2) as run:
        yield lambda command, pool, *arguments: run(
            command, "--environment_type=EXTERNAL", f"--environment_config={pool}", *arguments
        )


@pytest.fixture
def inside(job: Job, service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """The same, with workers that are threads of the launcher."""
    with _cluster(job, service, monkeypatch, hosts=1) as run:
        yield run


@contextlib.contextmanager
def _cluster(
    job: Job, service: Service, monkeypatch: pytest.MonkeyPatch, *, hosts: int
) -> Iterator[Run]:
    monkeypatch.setattr(cluster_job, "POLL_S", 0.1)
    job.env["parallelism"] = 2
    with FakeFlink(managers=[("127.0.0.1", 2, 2)] * hosts) as flink:
        place = [f"--flink_master={flink.address}", f"--job_endpoint=localhost:{service.port}"]
        yield lambda command, *more: job.run(command, "--runner=FlinkRunner", *place, *more)


def everything(message: beam_runner_api_pb2.Pipeline) -> bytes:
    """A pipeline's bytes, with all that was packed into it unpacked."""
    found = message.SerializeToString()
    for packed in re.findall(rb"[A-Za-z0-9+/=]{40,}", found):
        for start in range(4):
            try:
                found += bz2.decompress(base64.b64decode(packed[start:] + b"=="))
            except (ValueError, OSError):
                continue
    return found


def test_workers_of_a_pool_do_a_job_and_a_token_by_reference_goes_nowhere(
    job: Job,
    on_cluster: Run,
    workers: Workers,
    service: Service,
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    monkeypatch.chdir(job.folder)
    job.from_source["token"] = job.to_sink["token"] = "env:SECRET"
    job.source.create(schema(), rows(60))

    assert on_cluster("run", workers(SECRET=TOKEN), "--state=./here") == 0
    assert '"outcome":"proven"' in (job.folder / "here/job/report.json").read_text().replace(
        " ", ""
    )
    left = Ledger(str(job.folder / "here"), "job")
    assert left.names("probes") == []
    assert submissions.recorded(left) is None

    needle = TOKEN.encode()
    for submitted, options in service.submitted:
        assert b"env:SECRET" in everything(submitted), "the search does not see what is packed"
        assert needle not in everything(submitted)
        assert needle not in options.SerializeToString()
    assert list(logs.glob("*.log"))
    kept = [path for path in job.folder.rglob("*") if path.is_file()]
    assert [path for path in [*kept, *logs.glob("*")] if needle in path.read_bytes()] == []
    said = capfd.readouterr()
    assert TOKEN not in said.out + said.err
    assert "token-in-graph" not in said.err

    workers.end()
    assert not list(logs.parent.glob("kitelift-worker-*")), "a worker left its folder behind"


def test_a_literal_token_is_in_the_graph_alone_and_warned_of(
    job: Job, inside: Run, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    job.to_sink["token"] = TOKEN
    job.source.create(schema(), rows(20))
    assert inside("run") == 0
    needle = TOKEN.encode()
    [(submitted, options)] = service.submitted
    assert needle in everything(submitted)
    assert needle not in options.SerializeToString()
    state = [path for path in (job.folder / "state").rglob("*") if path.is_file()]
    assert [path for path in state if needle in path.read_bytes()] == []
    said = capfd.readouterr()
    assert "[token-in-graph] sink.Milvus.token: " in said.err
    assert TOKEN not in said.out + said.err


def test_a_worker_that_lacks_a_token_is_found_before_anything_is_made(
    job: Job,
    on_cluster: Run,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SECRET", TOKEN)
    job.to_sink["token"] = "env:SECRET"
    job.source.create(schema(), rows(20))
    assert on_cluster("run", workers()) == 3
    assert "the environment variable SECRET is not set" in capsys.readouterr().err
    assert changing(job.target) == set()
    assert job.ledger.plan() is None


def test_workers_whose_ledger_is_another_are_found(
    job: Job,
    on_cluster: Run,
    workers: Workers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job.source.create(schema(), rows(20))
    elsewhere = Ledger(str(job.folder / "elsewhere"), "job")
    monkeypatch.setattr(cluster_job, "_absolute", lambda ledger: ledger)
    monkeypatch.setattr(
        worker_probe._AnswerProbe,
        "__getstate__",
        lambda self: self.__dict__ | {"_ledger": elsewhere},
    )
    assert on_cluster("run", workers()) == 3
    assert "[ledger-not-shared]" in capsys.readouterr().err


def test_a_failure_in_a_worker_is_told_in_one_line(
    job: Job, inside: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    job.env["fail_fast"] = True
    job.source.create(schema(), rows(20)).loaded = False
    job.from_source |= {"collections": ["docs"], "auto_load": True}
    refused = Fault(code=1100, text="no such thing")
    job.target.fails("Insert", refused, times=None, when=writes(7))
    assert inside("run") == 4
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("kitelift: Flink job ")
    assert "no such thing" in said[-1]
    assert len([line for line in said if line.startswith("kitelift: ")]) == 2  # and its page
    assert not job.source["docs"].loaded


def test_a_detached_job_ends_complete_and_is_followed_by_status(
    job: Job, on_cluster: Run, workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20)).loaded = False
    job.from_source |= {"collections": ["docs"], "auto_load": True}
    job.to_sink["load_collection"] = False
    assert on_cluster("run", workers(), "--detach") == 0
    submission = submissions.recorded(job.ledger)
    assert capsys.readouterr().out.splitlines()[-1] == (submission and submission.id)
    assert job.run("status", "--follow") == 0
    assert job.report["outcome"] == "proven"
    assert "Proven" in capsys.readouterr().out
    assert (job.source["docs"].loaded, job.target["docs"].loaded) == (False, False)


def test_ctrl_c_ends_the_launcher_and_the_job_goes_on(
    job: Job, service: Service, workers: Workers
) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", Fault(delay_s=0.5), times=None)
    conf = kitelift.write_job(
        job.folder,
        job.source.url,
        job.target.url,
        env={"job.name": "job", "state": str(job.folder / "state"), "parallelism": 2},
        source=job.from_source,
        sink=job.to_sink,
    )
    pool = ["--environment_type=EXTERNAL", f"--environment_config={workers()}"]
    with FakeFlink(managers=[("127.0.0.1", 1, 1)] * 2) as flink:
        place = [f"--flink_master={flink.address}", f"--job_endpoint=localhost:{service.port}"]
        running = kitelift.Running(conf, "--runner=FlinkRunner", *place, *pool, f"--config={conf}")
        wait_until(lambda: bool(job.ledger.names("receipts")))
        ended = running.interrupt()
        assert ended.code == 5, ended.text
        assert re.search(r"kitelift: Flink job \S+ keeps running\.", ended.err)
        assert job.run("status") == 0
        job.target.heal()
        wait_until(lambda: job.ledger.read("report.json") is not None)
    assert job.report["outcome"] == "proven"


def test_a_job_on_spark_goes_through_a_job_server(
    job: Job, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_job, "POLL_S", 0.1)
    job.env["parallelism"] = 2
    job.source.create(schema(), rows(40))
    with sockets.silent() as url:
        master = f"--spark_master_url={url.replace('http', 'spark')}"
        place = ["--runner=SparkRunner", master, f"--job_endpoint=localhost:{service.port}"]
        assert job.run("run", *place) == 0
    assert job.report["outcome"] == "proven"


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not ready():
        assert time.monotonic() < deadline, "not in 60 s"
        time.sleep(0.1)
