"""A real Flink session cluster on loopback: one JobManager, and TaskManagers that may be killed.

with Flink(managers=2, slots=2) as flink:
    flink.master                 # 127.0.0.1:23411, where its web page is, too
    flink.kill_manager()         # SIGKILL, as a crash does
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.request
from typing import Any

from tests import ports
from tests.cluster import packages
from tests.cluster.processes import Processes

START_S = 60.0


class Flink(Processes):
    """A cluster of `managers` TaskManagers with `slots` each."""

    def __init__(self, *, managers: int = 1, slots: int = 2, **settings: object) -> None:
        self._home, self.runner = packages.flink(), packages.flink_runner()
        super().__init__("flink")
        self._managers_wanted, self._slots, self._settings = managers, slots, settings
        self._guard, (self._rest, self._rpc, self._blob, *_) = ports.reserve()
        self.master = f"127.0.0.1:{self._rest}"
        self.managers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._environment = self._configured()
        self.launch("jobmanager", self._program("jobmanager"), self._environment)
        for _ in range(self._managers_wanted):
            self.add_manager()
        self.wait_for_slots()

    def close(self) -> None:
        super().close()
        self._guard.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_manager(self) -> None:
        """Starts one more TaskManager."""
        name = f"taskmanager-{len(self.managers)}"
        self.managers.append(self.launch(name, self._program("taskmanager"), self._environment))

    def kill_manager(self) -> None:
        """SIGKILL for a TaskManager; the workers that it has started must end by themselves."""
        process = self.managers.pop(0)
        os.kill(process.pid, signal.SIGKILL)
        self.forget(process)

    def wait_for_slots(self) -> None:
        """Waits until all slots are there and free."""
        wanted = self._managers_wanted * self._slots
        ready = lambda: self.ask("/overview")["slots-available"] >= wanted  # noqa: E731
        self.wait(ready, START_S, "Flink")

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://{self.master}{path}", timeout=10) as answer:
            return json.loads(answer.read())

    def _program(self, name: str) -> list[object]:
        return [self._home / "bin" / f"{name}.sh", "start-foreground"]

    def _configured(self) -> dict[str, str]:
        folder = self.folder / "conf"
        shutil.copytree(self._home / "conf", folder)
        (self.folder / "io").mkdir()
        settings: dict[str, object] = {
            "jobmanager.rpc.address": "127.0.0.1",
            "jobmanager.rpc.port": self._rpc,
            "jobmanager.bind-host": "127.0.0.1",
            "blob.server.port": self._blob,
            "rest.address": "127.0.0.1",
            "rest.bind-address": "127.0.0.1",
            "rest.port": self._rest,
            "taskmanager.host": "127.0.0.1",
            "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.numberOfTaskSlots": self._slots,
            "jobmanager.memory.process.size": "768m",
            "taskmanager.memory.process.size": "1152m",
            "taskmanager.memory.managed.size": "128m",
            # With 64m, exchanges on disk run out of buffers from parallelism 4 on.
            "taskmanager.memory.network.min": "128m",
            "taskmanager.memory.network.max": "128m",
            # Without a strategy, one lost TaskManager ends the job.
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 3,
            "restart-strategy.fixed-delay.delay": "1 s",
            # A dead TaskManager is missed after so long, and not after 50 s.
            "heartbeat.timeout": "10000",
            "heartbeat.interval": "2000",
            "web.tmpdir": self.folder / "web",
            "io.tmp.dirs": self.folder / "io",
            **self._settings,
        }
        path = folder / "config.yaml"
        path.write_text(_java_options(path.read_text()) + _flat(settings))
        return {
            "FLINK_CONF_DIR": str(folder),
            "FLINK_LOG_DIR": str(self.logs),
            "FLINK_PID_DIR": str(self.folder),
            "KITELIFT_WORKER_LOGS": str(self.logs / "workers"),
            "TMPDIR": str(self.folder),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }


def _java_options(text: str) -> str:
    """The part of Flink's own configuration that opens packages of Java 17 to it."""
    kept, keeps = [], False
    for line in text.splitlines():
        if line and not line[0].isspace():
            keeps = line.startswith("env:")
        if keeps:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _flat(settings: dict[str, object]) -> str:
    return "".join(f"{key}: {value}\n" for key, value in settings.items())
