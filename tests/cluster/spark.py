"""A real Spark standalone cluster on loopback: one master, and workers that may be killed.

with Spark(workers=2, cores=1) as spark:
    spark.master                 # spark://127.0.0.1:23411
    spark.page                   # http://127.0.0.1:23412, the master's web page
"""

from __future__ import annotations

import contextlib
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


class Spark(Processes):
    """A cluster of `workers` with `cores` each."""

    def __init__(self, *, workers: int = 2, cores: int = 1) -> None:
        self._home, self.runner = packages.spark(), packages.spark_runner()
        super().__init__("spark")
        self._workers_wanted, self._cores = workers, cores
        self._guard, (self._port, self._ui, *_) = ports.reserve()
        self.master = f"spark://127.0.0.1:{self._port}"
        self.page = f"http://127.0.0.1:{self._ui}"
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._environment = {
            "SPARK_HOME": str(self._home),
            "SPARK_CONF_DIR": str(self.folder),
            "SPARK_LOCAL_DIRS": str(self.folder / "local"),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "SPARK_DAEMON_MEMORY": "256m",
            "KITELIFT_WORKER_LOGS": str(self.logs / "workers"),
            "TMPDIR": str(self.folder),
        }
        listen = ["--host", "127.0.0.1", "--port", self._port, "--webui-port", self._ui]
        self._launch("master", "Master", [*listen])
        for _ in range(self._workers_wanted):
            self.add_worker()
        wanted = self._workers_wanted
        self.wait(lambda: self.ask()["aliveworkers"] >= wanted, START_S, "Spark")

    def close(self) -> None:
        super().close()
        self._guard.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_worker(self) -> None:
        """Starts one more worker."""
        name = f"worker-{len(self.workers)}"
        sizes = ["--host", "127.0.0.1", "--cores", self._cores, "--memory", "1g"]
        where = ["--webui-port", "0", "--work-dir", self.folder / "work", self.master]
        self.workers.append(self._launch(name, "Worker", [*sizes, *where]))

    def kill_worker(self) -> None:
        """SIGKILL for a worker and its executors, as when a host is lost."""
        process = self.workers.pop(0)
        for pid in [process.pid, *_children(process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.forget(process)

    def ask(self) -> Any:
        """What the master's page knows.

        Raises:
            OSError: it does not answer yet; or with the page for people, as Spark does until
                it has attached the one for programs.
        """
        with urllib.request.urlopen(f"{self.page}/json/", timeout=10) as answer:
            if answer.headers.get_content_type() == "text/html":
                raise OSError(f"{self.page}/json/ is not attached yet")
            return json.loads(answer.read())

    def _launch(self, name: str, kind: str, arguments: list[object]) -> subprocess.Popen[bytes]:
        program = f"org.apache.spark.deploy.{kind.lower()}.{kind}"
        command = [self._home / "bin" / "spark-class", program, *arguments]
        return self.launch(name, command, self._environment)


def _children(pid: int) -> list[int]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], check=False, capture_output=True, text=True
    )
    direct = [int(each) for each in found.stdout.split()]
    return [*direct, *(below for each in direct for below in _children(each))]
