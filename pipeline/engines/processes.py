"""Processes of this host: whether they run, and how they end with their parent."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Asks the kernel to kill this process with its parent, then becomes the command. `preexec_fn` would
# do the same, but by a fork of a process that runs gRPC threads.
_TIE_TO_PARENT = """
import ctypes, os, sys
parent, *command = sys.argv[1:]
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(parent):
    os.execvp(command[0], command)
"""


def is_running(pid: int) -> bool:
    """Whether a process with this id exists, of any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def pid_namespace() -> str:
    """Returns an id of this host's boot and PID namespace: each container has its own PIDs.

    It is "" if the system does not provide it.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def tie_to_parent(command: Sequence[str]) -> list[str]:
    """Returns a command whose process ends when the thread that starts it ends.

    The Linux kernel does it, so it works after a SIGKILL too. On other systems, the caller must end
    the process.
    """
    return [sys.executable, "-ISc", _TIE_TO_PARENT, str(os.getpid()), *command]
