"""Processes that end with their parent."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.engines import processes
from tests import kitelift

_STARTS_ONE = """
import subprocess, sys, time
from pipeline.engines import processes
below = subprocess.Popen(processes.tie_to_parent(["sleep", "60"]))
print(below.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux does it")
def test_a_process_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE], stdout=subprocess.PIPE, cwd=kitelift.ROOT
    ) as above:
        assert above.stdout is not None
        below = int(above.stdout.readline())
        assert processes.is_running(below)
        above.kill()
        # Both have the write end of the pipe, so its end shows that both have ended.
        assert above.stdout.read() == b""


def test_the_command_becomes_the_process_itself() -> None:
    printed = [sys.executable, "-c", "import os, sys; print(os.getpid(), *sys.argv[1:])"]
    with subprocess.Popen(
        processes.tie_to_parent([*printed, "--and", "a b"]), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read() == f"{process.pid} --and a b\n"
