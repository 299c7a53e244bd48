"""``kitelift-worker``: how it starts and ends, and how it installs the files of a job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import (
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_runner_api_pb2,
)
from apache_beam.runners.portability import artifact_service
from apache_beam.runners.worker import sdk_worker

from pipeline.engines import worker, worker_harness
from tests import kitelift, sockets


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder with the logs and folders of workers."""
    (tmp_path / "scratch").mkdir()
    return tmp_path


@pytest.fixture
def started(place: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a worker of the engine at an address."""
    running: list[subprocess.Popen[bytes]] = []

    def start(address: str) -> subprocess.Popen[bytes]:
        own = {"KITELIFT_WORKER_LOGS": str(place / "logs"), "TMPDIR": str(place / "scratch")}
        command = [sys.executable, "-m", "pipeline.engines.worker"]
        arguments = ["--id=1-1", f"--provision_endpoint={address}"]
        process = subprocess.Popen(
            [*command, *arguments], env=os.environ | own | {"PYTHONPATH": str(kitelift.ROOT)}
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def wait_for(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < deadline, "not in 20 s"
        time.sleep(0.02)


def test_a_worker_that_gets_a_signal_leaves_a_log_and_nothing_else(
    started: Callable[[str], subprocess.Popen[bytes]], place: Path
) -> None:
    with sockets.silent() as url:
        process = started(url.removeprefix("http://"))
        wait_for((place / "logs" / f"{process.pid}.log").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) != 0
    assert list((place / "scratch").iterdir()) == []


def test_a_worker_removes_the_folders_of_killed_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    prefix = worker._prefix()
    names = [f"{prefix}{ended.pid}-a", f"{prefix}{os.getpid()}-b", "kitelift-worker-elsewhere-1-c"]
    for name in names:
        (tmp_path / name).mkdir()
    worker._sweep()
    assert sorted(folder.name for folder in tmp_path.iterdir()) == sorted(names[1:])


def test_a_worker_that_a_person_starts_is_refused() -> None:
    assert worker.main([]) == 2


def test_packages_of_a_job_are_downloaded_and_installed_into_a_folder(tmp_path: Path) -> None:
    wheel = tmp_path / "cargo-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("cargo.py", "HOLDS = 'kites'\n")
        archive.writestr(
            "cargo-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: cargo\nVersion: 1.0\n"
        )
        archive.writestr(
            "cargo-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr("cargo-1.0.dist-info/RECORD", "")
    artifact = beam_runner_api_pb2.ArtifactInformation(
        type_urn=common_urns.artifact_types.FILE.urn,
        type_payload=beam_runner_api_pb2.ArtifactFilePayload(path=str(wheel)).SerializeToString(),
        role_urn=common_urns.artifact_roles.STAGING_TO.urn,
        role_payload=beam_runner_api_pb2.ArtifactStagingToRolePayload(
            staged_name=wheel.name
        ).SerializeToString(),
    )
    service = artifact_service.ArtifactRetrievalService(
        artifact_service.BeamFilesystemHandler(None).file_reader
    )
    server = grpc.server(ThreadPoolExecutor(2))
    beam_artifact_api_pb2_grpc.add_ArtifactRetrievalServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        info = beam_provision_api_pb2.ProvisionInfo(dependencies=[artifact])
        (tmp_path / "staged").mkdir()
        files = worker_harness._fetch(info, f"127.0.0.1:{port}", "1-1", tmp_path / "staged")
    finally:
        server.stop(0).wait()
    assert [file.name for file in files] == [wheel.name]
    path = worker_harness._install(files, tmp_path).split(os.pathsep)[0]
    assert (Path(path) / "cargo.py").read_text() == "HOLDS = 'kites'\n"


def test_threads_that_end_because_the_engine_disconnects_print_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[BaseException | None] = []
    monkeypatch.setattr(threading, "excepthook", lambda ended: reported.append(ended.exc_value))
    monkeypatch.setattr(sdk_worker, "print", print, raising=False)
    worker_harness.silence_tracebacks()

    def end(error: Exception) -> None:
        raise error

    bug = ValueError("a bug")
    for error in (grpc.RpcError(), bug):
        thread = threading.Thread(target=end, args=[error])
        thread.start()
        thread.join()
    assert reported == [bug]
