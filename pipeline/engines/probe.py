"""A small job before the job: do workers start, and do they reach what they need?

Each worker writes an answer into the ledger. What the launcher sees there proves that the worker
started, that both have the same ledger, and that the worker reaches both clusters with its tokens.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import apache_beam as beam

from pipeline.engines import engine as engines
from pipeline.engines import submissions
from pipeline.engines.engine import WORKER_START_OPTIONS, Engine, Remote
from pipeline.jobfile.job import JobConfig
from transforms.errors import ConfigError, MigrationError
from transforms.ledger.ledger import Ledger
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import Finding

TIMEOUT_S = 60.0
"""A worker takes some 5 s to start, 20 s on a busy host. One that cannot start is never told of;
where hosts are slower still, the variable says how long to wait."""

_TIMEOUT = "KITELIFT_WORKER_TIMEOUT_S"

_POLL_S = 0.5
_FOLDER = "probes"


@dataclass(frozen=True)
class Answer:
    """What one worker found."""

    host: str
    pid: int
    problem: str = ""


def examine(engine: Engine, config: JobConfig, ledger: Ledger, run_id: str) -> list[Finding]:
    """Runs the probe and tells what is wrong; it leaves nothing behind."""
    place = f"{_FOLDER}/{run_id}"
    pipeline = engine.pipeline(f"kitelift-probe-{ledger.job_id}")
    endpoints = (config.source_endpoint, config.target_endpoint)
    _ = (
        pipeline
        | "Workers" >> beam.Create(range(engine.workers), reshuffle=False)
        | "Spread" >> beam.Reshuffle()
        | "Answer" >> beam.ParDo(_AnswerProbe(ledger, place, endpoints))
    )
    submission = engine.submit(pipeline)
    remote = submissions.remote(submission)
    try:
        state = _ended(remote, ledger, run_id, engine.workers)
        if state == "failed":
            raise engines.explain_failure(submission, remote.failure())
        return list(_findings(engine, ledger, run_id, silent=state == "running"))
    finally:
        with contextlib.suppress(MigrationError):
            if remote.state() == "running":
                remote.cancel()
        _clear(ledger, run_id)


def _ended(remote: Remote, ledger: Ledger, run_id: str, workers: int) -> engines.SubmissionState:
    """Waits until all have answered, or the time is over."""
    deadline = time.monotonic() + _timeout_s()
    while time.monotonic() < deadline:
        state = remote.state()
        if state != "running" or len(_names(ledger, run_id)) >= workers:
            return "done" if state == "running" else state
        time.sleep(_POLL_S)
    return "running"


def _timeout_s() -> float:
    given = os.environ.get(_TIMEOUT, "")
    try:
        return float(given or TIMEOUT_S)
    except ValueError:
        raise ConfigError([f"{_TIMEOUT}={given}: must be a number of seconds"]) from None


def _findings(engine: Engine, ledger: Ledger, run_id: str, *, silent: bool) -> Iterator[Finding]:
    found = (ledger.read(name) or b"" for name in _names(ledger, run_id))
    answers = [Answer(**json.loads(data)) for data in found]
    if not answers and silent:
        what = f"no worker has answered within {_timeout_s():.0f} s. Its log may say why."
        slow = f"Where hosts are slow, give them longer: {_TIMEOUT}=300."
        yield Finding("worker-silent", engine.name, what, f"{WORKER_START_OPTIONS} {slow}")
    elif not answers:
        yield Finding(
            "ledger-not-shared",
            f"ledger {ledger.location}",
            f"the workers of {engine.name} wrote to it, and it cannot be seen here.",
            "Give env.state a place that this host and all workers share: s3://, gs://, or the "
            "absolute path of a shared file system.",
        )
    for host, problem in sorted(
        {(answer.host, answer.problem) for answer in answers if answer.problem}
    ):
        remedy = "Workers need the network, the files and the variables that the job file names."
        yield Finding("worker-access", f"worker on {host}", f"{problem}.", remedy)


def _names(ledger: Ledger, run_id: str) -> list[str]:
    """The objects that hold answers."""
    return [f"{_FOLDER}/{name}" for name in ledger.names(_FOLDER) if name.startswith(run_id)]


def _clear(ledger: Ledger, run_id: str) -> None:
    with contextlib.suppress(MigrationError):
        for name in _names(ledger, run_id):
            ledger.remove(name)


class _AnswerProbe(beam.DoFn):
    def __init__(self, ledger: Ledger, place: str, endpoints: tuple[Endpoint, Endpoint]) -> None:
        self._ledger, self._place, self._endpoints = ledger, place, endpoints

    def process(self, number: int) -> None:
        problem = next(filter(None, map(_problem, self._endpoints)), "")
        answer = Answer(socket.gethostname(), os.getpid(), problem)
        name = f"{self._place}-{number}-{uuid.uuid4().hex[:8]}.json"
        self._ledger.replace(name, json.dumps(asdict(answer)).encode())


def _problem(endpoint: Endpoint) -> str:
    """Why a worker cannot reach a Milvus; "" if it can."""
    try:
        with contextlib.closing(Client(endpoint, NO_RETRIES)) as client:
            client.version()
    except MigrationError as error:
        return str(error)
    return ""
