"""Runs Kitelift as its users do: a job file, and the command line in a process of its own.

conf = kitelift.write_job(tmp_path, source.url, target.url, ["docs"])
ended = kitelift.run(conf)                  # python -m pipeline --runner=DirectRunner --config=…
assert ended.code == 0
assert ended.report["outcome"] == "proven"
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parent.parent

# The servers of the tests are 2.3.5, and Kitelift's gate is 2.3.7.
ACCEPTED = ("source-version",)

OUT, ERR = "stdout.txt", "stderr.txt"


def write_job(
    folder: Path,
    source_url: str,
    target_url: str,
    collections: Sequence[str] | None = None,
    *,
    env: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
    sink: Mapping[str, Any] | None = None,
    transform: str = "",
) -> Path:
    """Writes ``migration.conf`` with the keys given beside the ones that every job has.

    `transform` is the inside of that block, as text.
    """
    named = {} if collections is None else {"collections": list(collections)}
    blocks = {
        "env": {"job.mode": "BATCH", "accept": ACCEPTED, **(env or {})},
        "source": {"Milvus": {"url": source_url, **named, **(source or {})}},
        "sink": {"Milvus": {"url": target_url, **(sink or {})}},
    }
    text = "\n".join(f"{name} {_hocon(keys)}" for name, keys in blocks.items())
    return write(folder, f"{text}\ntransform {{\n{transform}\n}}")


def write(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    conf = folder / "migration.conf"
    conf.write_text(text + "\n")
    return conf


@dataclass(frozen=True)
class Ended:
    """How one command ended, and what it left behind."""

    code: int
    out: str
    err: str
    seconds: float
    folder: Path

    @property
    def text(self) -> str:
        """All that the user sees."""
        return f"{self.out}\n{self.err}"

    @property
    def report(self) -> dict[str, Any]:
        """The newest report.json in the default place, ``kitelift-state``."""
        reports = sorted(state(self.folder).rglob("report.json"), key=lambda p: p.stat().st_mtime)
        assert reports, f"no report.json under {state(self.folder)}\n{self.text}"
        report: dict[str, Any] = json.loads(reports[-1].read_text())
        return report

    def collection(self, name: str) -> dict[str, Any]:
        """What the report says about one collection."""
        found: list[dict[str, Any]] = self.report["collections"]
        return next(entry for entry in found if entry["name"] == name)


class Running:
    """A command that runs; `wait` for its end, or `kill` it."""

    def __init__(self, conf: Path, *arguments: str, environment: Mapping[str, str] | None = None):
        self.folder = conf.parent
        self._started = time.monotonic()
        with (self.folder / OUT).open("wb") as out, (self.folder / ERR).open("wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *arguments],
                cwd=self.folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)} | dict(environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:
            self._process.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def limit_files(self, size_bytes: int) -> None:
        """Lets no file that it writes from now on grow beyond a size, as a full disk would."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size_bytes, size_bytes))

    def kill(self) -> Ended:
        """SIGKILL: no handler runs."""
        self._process.kill()
        return self.wait(timeout_s=30)

    def interrupt(self) -> Ended:
        """Ctrl-C."""
        self.signal(signal.SIGINT)
        return self.wait(timeout_s=60)

    def wait(self, timeout_s: float = 240) -> Ended:
        """Waits; a command that takes longer is killed, and its output is in the failure."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(
                f"still running after {timeout_s} s\n{said(self.folder)}"
            ) from None
        seconds = time.monotonic() - self._started
        out, err = ((self.folder / name).read_text() for name in (OUT, ERR))
        return Ended(code, out, err, seconds, self.folder)


def start(conf: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> Running:
    """Starts ``python -m pipeline <arguments> --runner=DirectRunner --config=<conf>``."""
    where = ["--runner=DirectRunner", f"--config={conf}"]
    return Running(conf, *arguments, *where, environment=environment)


def run(conf: Path, *arguments: str, timeout_s: float = 240) -> Ended:
    """Starts the command in the folder of the job file, and waits for its end."""
    return start(conf, *arguments).wait(timeout_s)


def said(folder: Path) -> str:
    """All that the last command in a folder has told its user so far."""
    return "\n".join((folder / name).read_text() for name in (OUT, ERR))


def state(folder: Path) -> Path:
    """Where ledgers and reports are, if the job file says nothing."""
    return folder / "kitelift-state"


def _hocon(keys: Mapping[str, Any]) -> str:
    named = ((f'"{name}"' if "*" in name else name, value) for name, value in keys.items())
    lines = (f"  {name} = {_value(value)}" for name, value in named)
    return "\n".join(["{", *lines, "}"])


def _value(value: Any) -> str:
    # HOCON is a superset of JSON.
    return _hocon(value) if isinstance(value, Mapping) else json.dumps(value)
