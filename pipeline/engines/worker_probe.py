"""A small job before the job, which tests whether workers start and reach what they need.

Each worker writes an answer into the ledger. An answer that the launcher sees proves that the
worker started, that both use the same ledger, and that the worker reaches both clusters with its
tokens.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import apache_beam as beam

from pipeline.console import logs
from pipeline.console.formatting import duration
from pipeline.engines import engine as engines
from pipeline.engines import submissions
from pipeline.engines.engine import WORKER_START_OPTIONS, Engine, Remote
from pipeline.jobfile.job import JobConfig
from transforms.errors import MigrationError
from transforms.finding import Finding
from transforms.ledger.ledger import Ledger
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint

OTHERS_S = 60.0
"""How long the other workers may take after the first answer. A worker needs about 5 s to start,
20 s on a busy host; a cluster that pulls an image needs minutes for the first one."""

SAY_EVERY_S = 15.0
"""How often a wait for workers is reported."""

_POLL_S = 0.5
_FOLDER = "probes"


@dataclass(frozen=True)
class Answer:
    """The answer of one worker; `problem` is "" if it reaches everything."""

    host: str
    pid: int
    problem: str = ""


def examine(engine: Engine, config: JobConfig, ledger: Ledger, run_id: str) -> list[Finding]:
    """Runs the probe and returns what is wrong; it removes everything that it wrote."""
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
        state = _wait(engine, remote, ledger, run_id, config.env.worker_timeout)
        if state == "failed":
            raise engines.explain_failure(submission, remote.failure())
        silent_s = config.env.worker_timeout if state == "running" else None
        return list(_findings(engine, ledger, run_id, silent_s))
    finally:
        with contextlib.suppress(MigrationError):
            if remote.state() == "running":
                remote.cancel()
        _clear(ledger, run_id)


def _wait(
    engine: Engine, remote: Remote, ledger: Ledger, run_id: str, timeout_s: float
) -> engines.SubmissionState:
    """Waits until all workers have answered or the time is over; returns the state of the probe."""
    started = said = time.monotonic()
    first = math.inf
    while True:
        state, answers = remote.state(), len(_names(ledger, run_id))
        if state != "running":
            return state
        if answers >= engine.workers:
            return "done"
        now = time.monotonic()
        first = min(first, now) if answers else first
        if now > min(started + timeout_s, first + OTHERS_S):
            return "running"
        if now - said >= SAY_EVERY_S:
            said = now
            logs.say(f"workers of {engine.name}: starting {answers}/{engine.workers}")
        time.sleep(_POLL_S)


def _findings(
    engine: Engine, ledger: Ledger, run_id: str, silent_s: float | None
) -> Iterator[Finding]:
    """Yields what is wrong; `silent_s` is how long Kitelift waited, if the probe still runs."""
    texts = (ledger.read(name) or b"" for name in _names(ledger, run_id))
    answers = [Answer(**json.loads(text)) for text in texts]
    if not answers and silent_s is not None:
        waited = duration(silent_s)
        what = f"no worker answered within {waited}. The workers' log may say why."
        slow = "If the hosts need more time to start workers, raise `env.worker_timeout`."
        yield Finding("worker-silent", engine.name, what, f"{WORKER_START_OPTIONS} {slow}")
    elif not answers:
        yield Finding(
            "ledger-not-shared",
            f"ledger {ledger.location}",
            f"the workers of {engine.name} wrote to it, but this host does not see their files.",
            "Set `env.state` to a location that this host and all workers share: s3://, gs://, or "
            "an absolute path in a shared file system.",
        )
    for host, problem in sorted(
        {(answer.host, answer.problem) for answer in answers if answer.problem}
    ):
        remedy = "Give workers the network access, files and variables that the job file names."
        yield Finding("worker-access", f"worker on {host}", f"{problem}.", remedy)


def _names(ledger: Ledger, run_id: str) -> list[str]:
    """Returns the names of the answers in the ledger."""
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
    """Returns why a worker cannot reach a Milvus; "" if it can."""
    try:
        with contextlib.closing(Client(endpoint, NO_RETRIES)) as client:
            client.version()
    except MigrationError as error:
        return str(error)
    return ""
