"""Copies the specimens with the function of `kitelift run`, in this process and without output."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from pipeline.commands.shared.arguments import Arguments
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.settings import ClusterSettings, Sink, Source
from pipeline.reports import report_files
from transforms.errors import MigrationError, PreflightError
from transforms.ledger.ledger import Ledger

WORKERS = 12
"""Small collections mostly wait for their servers to flush and load, so they run in parallel."""


def job(
    config: JobConfig,
    state: Path,
    name: str,
    databases: tuple[str, str],
    collections: Sequence[str],
) -> JobConfig:
    """Returns the job that copies the specimens.

    It has the servers of `config`, with their accepted findings and throughput limits, and defaults
    for everything else.
    """
    source, target = (
        {key: getattr(block, key) for key in ClusterSettings.model_fields} | {"database": database}
        for block, database in zip((config.source, config.sink), databases, strict=True)
    )
    env = config.env.model_copy(
        update={
            "state": str(state),
            "job_name": name,
            "verify": "full",
            "parallelism": max(WORKERS, config.env.parallelism),
            "fail_fast": False,
            "max_rejected": 0,
        }
    )
    return JobConfig(
        env=env,
        source=Source(url=config.source.url).model_copy(
            update={**source, "collections": tuple(collections)}
        ),
        sink=Sink(url=config.sink.url).model_copy(update=target),
    )


def run(config: JobConfig, log: Path) -> dict[str, str]:
    """Runs a job, logs its output to `log`, and returns why each of its collections failed.

    If preflight refuses the whole job, the collections are copied one by one.
    """
    names = config.source.collections or ()
    began = log.stat().st_size if log.exists() else 0
    with log.open("a", encoding="utf-8") as stream, _silence(stream):
        error = _error_of(config)
    if error is None:
        return dict(_failed(config))
    if isinstance(error, PreflightError) and len(names) > 1:
        return {
            collection: why
            for name in names
            for collection, why in run(_only(config, name), log).items()
        }
    findings = _findings(log.read_bytes()[began:].decode())
    return dict.fromkeys(names, findings or _message(error))


def _only(config: JobConfig, name: str) -> JobConfig:
    source = config.source.model_copy(update={"collections": (name,)})
    env = config.env.model_copy(update={"job_name": name})
    return config.model_copy(update={"source": source, "env": env})


def _error_of(config: JobConfig) -> Exception | None:
    """Runs a job; returns the error that ended it before its report, or None."""
    from pipeline.commands import run  # It imports Beam.

    arguments = Arguments(
        command="run",
        config=Path(),
        overrides={},
        runner="DirectRunner",
        restart=False,
        delete=False,
        report=None,
        as_json=False,
        quiet=True,
        verbose=False,
        beam=(),
    )
    try:
        run.run(config, arguments)
    except Exception as error:  # noqa: BLE001 - a bug fails the proof, and is in its result
        return error
    return None


def _message(error: BaseException) -> str:
    """Returns the message of Kitelift's own error, also if Beam has wrapped it."""
    cause, seen = error, {error}
    while not isinstance(cause, MigrationError):
        earlier = cause.__cause__ or cause.__context__
        if earlier is None or earlier in seen:
            return f"{type(error).__name__}: {error}"
        cause = earlier
        seen.add(cause)
    return f"{cause}"


def _findings(output: str) -> str:
    """Returns the findings that stopped a job, from its output as text or as JSON."""
    findings = []
    for line in output.splitlines():
        if line.startswith(_ERROR):
            findings.append(line.removeprefix(_ERROR))
        elif line.startswith("{") and (fact := json.loads(line)).get("level") == "error":
            findings.append(fact["message"])
    return " ".join(findings)


_ERROR = "error  "


def _failed(config: JobConfig) -> Iterator[tuple[str, str]]:
    ledger = Ledger(config.env.state, config.job_id)
    report = report_files.read(ledger)
    outcomes = (
        {collection.name: collection.outcome for collection in report.collections} if report else {}
    )
    failures = report.failures if report else ()
    for name in config.source.collections or ():
        outcome = outcomes.get(name, "missing from the report")
        if outcome != "proven":
            reasons = [failure.reason for failure in failures if failure.collection == name]
            yield name, ": ".join([f"the outcome is {outcome}", *reasons[:1]])


@contextlib.contextmanager
def _silence(stream: TextIO) -> Iterator[None]:
    """Redirects stdout, stderr and log lines to a file."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler)
    ]
    before = [handler.setStream(stream) for handler in handlers]
    try:
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            yield
    finally:
        for handler, earlier in zip(handlers, before, strict=True):
            if earlier is not None:
                handler.setStream(earlier)
