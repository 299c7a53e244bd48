"""``kitelift-worker``: starts one worker on a host without Docker.

A TaskManager or an executor calls it (environment PROCESS), or `kitelift worker-pool` does
(EXTERNAL), with the arguments of Beam's container contract. The work is done by a process beside
it (`pipeline.engines.harness`); this one sees to it that whatever that says is in a log file, as
nobody else listens, that it ends when the engine does, and that nothing of it is left behind.

KITELIFT_WORKER_LOGS is the folder of the logs (default: kitelift-worker in the temporary folder).
It imports nothing heavy: an engine starts a worker for each stage of a job.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.engines import processes

GRACE_S = 1.0
"""A harness that was told to end may take so long; an engine kills us after two seconds."""

_POLL_S = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one worker to its end and returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not any(word.startswith("--provision_endpoint") for word in words):
        print("kitelift-worker is called by Flink, Spark or `kitelift worker-pool`: see their docs")
        return 2
    told: list[int] = []  # Not an Event: its lock may be held when a signal comes.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    logs = Path(os.environ.get("KITELIFT_WORKER_LOGS") or _default_logs())
    logs.mkdir(parents=True, exist_ok=True)
    _sweep()
    folder = tempfile.mkdtemp(prefix=f"{_mine()}{os.getpid()}-")
    try:
        with (logs / f"{os.getpid()}.log").open("ab") as log:
            return _run([*words, f"--folder={folder}"], log.fileno(), told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _mine() -> str:
    """How the folders of this host's workers begin; several hosts may share one."""
    return f"kitelift-worker-{socket.gethostname()}-"


def _sweep() -> None:
    """Removes the folders of workers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_mine()}*"):
        pid = folder.name.removeprefix(_mine()).partition("-")[0]
        if pid.isdecimal() and not processes.is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _default_logs() -> Path:
    return Path(tempfile.gettempdir()) / "kitelift-worker"


def _run(words: Sequence[str], output: int, told: Sequence[int]) -> int:
    """Runs the harness; it ends when this process was told to, and with the engine above it."""
    engine = os.getppid()
    harness = subprocess.Popen(
        processes.tie_to_parent([sys.executable, "-m", "pipeline.engines.harness", *words]),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    while harness.poll() is None:
        if told or os.getppid() != engine:
            _end(harness)
        time.sleep(_POLL_S)
    return harness.returncode


def _end(harness: subprocess.Popen[bytes]) -> None:
    harness.terminate()
    try:
        harness.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        harness.kill()
        harness.wait()


if __name__ == "__main__":
    raise SystemExit(main())
