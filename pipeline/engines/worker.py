"""``kitelift-worker``: starts one worker on a host without Docker.

A TaskManager or an executor calls it (environment PROCESS), or `kitelift worker-pool` does
(EXTERNAL), with the arguments of Beam's container contract. A child process does the work
(`pipeline.engines.worker_harness`). This one writes the child's output to a log file, because
nobody else reads it; ends the child when the engine ends; and removes its folder.

KITELIFT_WORKER_LOGS is the folder of the logs (default: kitelift-worker in the temporary folder).
This module imports nothing heavy: an engine starts a worker for each stage of a job.
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
"""How long a harness may take to end; an engine kills this process after two seconds."""

_POLL_S = 0.2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one worker to its end and returns its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if not any(word.startswith("--provision_endpoint") for word in words):
        print(
            "Do not start kitelift-worker yourself: Flink, Spark or `kitelift worker-pool` starts "
            "it. See docs/cluster.md."
        )
        return 2
    signals: list[int] = []  # Not an Event: its lock may be taken when a signal arrives.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: signals.append(number))
    logs = Path(os.environ.get("KITELIFT_WORKER_LOGS") or _default_logs())
    logs.mkdir(parents=True, exist_ok=True)
    _sweep()
    folder = tempfile.mkdtemp(prefix=f"{_prefix()}{os.getpid()}-")
    try:
        with (logs / f"{os.getpid()}.log").open("ab") as log:
            return _run([*words, f"--folder={folder}"], log.fileno(), signals)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prefix() -> str:
    """Returns the prefix of the folders of this host's workers; hosts may share a folder."""
    return f"kitelift-worker-{socket.gethostname()}-"


def _sweep() -> None:
    """Removes the folders of workers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_prefix()}*"):
        pid = folder.name.removeprefix(_prefix()).partition("-")[0]
        if pid.isdecimal() and not processes.is_running(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _default_logs() -> Path:
    return Path(tempfile.gettempdir()) / "kitelift-worker"


def _run(words: Sequence[str], output: int, signals: Sequence[int]) -> int:
    """Runs the harness until it ends, a signal arrives, or the engine ends; returns its code."""
    engine = os.getppid()
    harness = subprocess.Popen(
        processes.tie_to_parent([sys.executable, "-m", "pipeline.engines.worker_harness", *words]),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    while harness.poll() is None:
        if signals or os.getppid() != engine:
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
