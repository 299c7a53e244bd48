"""Java programs of a test: child processes on loopback, none of which outlives the block."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from pipeline.engines import processes

STOP_S = 10.0


class Processes:
    """Child processes with a folder of their own, which is gone with them unless one failed."""

    def __init__(self, name: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"kitelift-{name}-"))
        self.logs = self.folder / "logs"
        self.logs.mkdir()
        self._running: list[subprocess.Popen[bytes]] = []
        self._killed: list[subprocess.Popen[bytes]] = []

    def launch(
        self, name: str, command: list[object], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        """Starts a program; the kernel kills it if this process dies."""
        # Only the first of a shell script's processes is bound to us: it must `exec` the program.
        bound = processes.tie_to_parent([*map(str, command)])
        with (self.logs / f"{name}.out").open("ab") as log:
            process = subprocess.Popen(
                bound,
                cwd=self.folder,
                env=os.environ | dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> None:
        """Ends a process with all that it has started."""
        for each in (number, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, each)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_S)
        if process in self._running:
            self._running.remove(process)

    def forget(self, process: subprocess.Popen[bytes]) -> None:
        """Takes notice that a process was killed; what it started is ended at the close."""
        process.wait(STOP_S)
        self._running.remove(process)
        self._killed.append(process)

    def wait(self, ready: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Waits until something is ready.

        Raises:
            RuntimeError: a process has ended instead, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for process in self._running:
                if process.poll() is not None:
                    raise RuntimeError(f"{what} ended with {process.returncode}: see {self.logs}")
            with contextlib.suppress(OSError):
                if ready():
                    return
            time.sleep(0.2)
        raise RuntimeError(f"{what} is not ready after {timeout_s:.0f} s: see {self.logs}")

    def start(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        for process in reversed(self._running[:]):
            self.end(process)
        for process in self._killed:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
