"""Runs Kitelift on a real engine as its users do, and reads from its ledger who did what."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests import kitelift
from tests.cluster.flink import Flink
from tests.cluster.spark import Spark
from tests.kitelift import Ended, Running
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipt, Receipts


def process() -> list[str]:
    """The options with which an engine starts workers of this very installation."""
    command = str(Path(sys.executable).parent / "kitelift-worker")
    return [
        "--environment_type=PROCESS",
        f"--environment_config={json.dumps({'command': command})}",
    ]


def external(pool: str) -> list[str]:
    """The options with which the service at an address starts workers."""
    return ["--environment_type=EXTERNAL", f"--environment_config={pool}"]


LOOPBACK = ["--environment_type=LOOPBACK"]
"""Workers are threads of the launcher."""


def options(engine: Flink | Spark) -> list[str]:
    """The options with which a job finds an engine."""
    if isinstance(engine, Flink):
        master = [f"--flink_master={engine.master}", f"--flink_job_server_jar={engine.runner}"]
        # Two cores are soon busy with the start of processes: one a TaskManager, for all its slots.
        return ["--runner=FlinkRunner", *master, "--sdk_worker_parallelism=1"]
    jar = f"--spark_job_server_jar={engine.runner}"
    properties = {
        "spark.executor.memory": "512m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
    }
    java = [f"--job_server_jvm_property=-D{key}={value}" for key, value in properties.items()]
    master = [f"--spark_master_url={engine.master}", jar]
    return ["--runner=SparkRunner", *master, *java]


def start(
    engine: Flink | Spark, conf: Path, *arguments: str, workers: Sequence[str] = ()
) -> Running:
    """Starts a job on an engine; unless `workers` says otherwise, it starts them as processes."""
    how = workers or process()
    arguments = (*arguments, *options(engine), *how, f"--config={conf}")
    return Running(conf, *arguments)


def run(engine: Flink | Spark, conf: Path, *arguments: str, workers: Sequence[str] = ()) -> Ended:
    """Runs a job on an engine to its end."""
    return start(engine, conf, *arguments, workers=workers).wait(timeout_s=420)


def receipts(folder: Path) -> list[Receipt]:
    """All receipts of the one job in a folder."""
    [plan] = kitelift.state(folder).glob("*/plan.json")
    return list(Receipts(Ledger(str(plan.parent.parent), plan.parent.name)).news())


def wait_for_receipts(folder: Path, workers: int, timeout_s: float = 420) -> None:
    """Waits until so many workers of the one job in a folder have had something acknowledged.

    Of several, two must have been at work at the same moment.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        begun = list(kitelift.state(folder).glob("*/plan.json"))
        found = spans(receipts(folder)) if begun else []
        if len(found) >= workers and most_at_once(found) >= min(workers, 2):
            return
        time.sleep(0.2)
    said = kitelift.said(folder)
    raise AssertionError(f"no receipts of {workers} workers after {timeout_s:.0f} s\n{said}")


@dataclass(frozen=True)
class Span:
    """When a worker got its first and its last acknowledgement."""

    worker: str
    first: float
    last: float


def spans(found: Sequence[Receipt]) -> list[Span]:
    """By worker, when it worked."""
    times: dict[str, list[float]] = {}
    for each in found:
        times.setdefault(each.worker, []).append(each.at)
    return [Span(worker, min(at), max(at)) for worker, at in times.items()]


def most_at_once(found: Sequence[Span]) -> int:
    """How many workers were at work at the same moment."""
    return max(sum(each.first <= at.first <= each.last for each in found) for at in found)
