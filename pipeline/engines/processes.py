"""Processes of this host."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Becomes the command, after asking the kernel to kill it with its parent. `preexec_fn` would do the
# same by a fork of a process that runs gRPC threads.
_TIE_TO_PARENT = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""


def is_running(pid: int) -> bool:
    """Whether there is a process of this id, whoever started it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def pid_namespace() -> str:
    """Names where a number is that of the same process: containers of one host have each its own.

    "" where the system does not tell.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def tie_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command whose process ends with the thread that starts it, however that ends.

    By the kernel of Linux, so that a SIGKILL counts too; elsewhere the process has to be ended.
    """
    return [sys.executable, "-ISc", _TIE_TO_PARENT, str(os.getpid()), *command]
