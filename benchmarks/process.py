"""Runs one command and returns its time, CPU time and memory as the system reports them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Starts the command and measures it. The bench itself cannot: a process inherits the peak memory of
# the process that forked it, and the bench is larger than the command.
LAUNCHER = """
import json, os, sys, threading, time

place, *command = sys.argv[1:]
began = time.monotonic()
pid = os.spawnv(os.P_NOWAIT, command[0], command)
resident = []

def watch():
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    while True:
        try:
            with open(f"/proc/{pid}/statm") as stream:
                resident.append((time.time(), page_bytes * int(stream.read().split()[1])))
        except OSError:
            return
        time.sleep(0.5)

threading.Thread(target=watch, daemon=True).start()
_, status, usage = os.wait4(pid, 0)
seconds = time.monotonic() - began
peak_bytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
account = {
    "seconds": seconds,
    "cpu_s": usage.ru_utime + usage.ru_stime,
    "peak_bytes": peak_bytes,
    "resident": resident,
}
with open(place, "w") as stream:
    json.dump(account, stream)
sys.exit(os.waitstatus_to_exitcode(status) & 255)
"""


@dataclass(frozen=True)
class Ended:
    """The result of a command; `cpu_s` is user and system time.

    `resident` has samples of its resident set size on Linux: Unix time and bytes.
    """

    out: str
    seconds: float
    cpu_s: float
    peak_bytes: int
    resident: list[tuple[float, int]]


def run(module: str, arguments: Sequence[str], *, folder: Path) -> Ended:
    """Runs ``python -m module`` in a folder and waits until it ends.

    Raises:
        RuntimeError: its exit code is not 0; the error has its output.
    """
    with tempfile.TemporaryDirectory() as scratch:
        account = Path(scratch) / "account.json"
        command = [sys.executable, "-m", module, *arguments]
        with subprocess.Popen(
            [sys.executable, "-ISc", LAUNCHER, str(account), *command],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise RuntimeError(f"{module} ended with {process.returncode}\n{output}")
        return Ended(output, **json.loads(account.read_text()))
