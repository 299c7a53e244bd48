"""The submission of a job, recorded in its ledger until Kitelift has seen its end."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.engines.engine import Remote, Submission
from transforms.errors import EngineError, JobLocked
from transforms.ledger.ledger import Ledger

_NAME = "submission.json"


def record(ledger: Ledger, submission: Submission) -> None:
    """Records the submission that works on a job now."""
    ledger.replace(_NAME, json.dumps(asdict(submission)).encode())


def recorded(ledger: Ledger) -> Submission | None:
    """Returns the last submission of a job if its end was not seen; else None."""
    data = ledger.read(_NAME)
    return None if data is None else Submission(**json.loads(data))


def forget(ledger: Ledger) -> None:
    """Removes the record of a job's submission."""
    ledger.remove(_NAME)


def remote(submission: Submission) -> Remote:
    """Returns the client for a submission's engine."""
    from pipeline.engines import beam_job_service, dataflow, flink

    if submission.speaks == "dataflow":
        return dataflow.DataflowRemote(submission.address, submission.id)
    if submission.speaks == "flink":
        return flink.FlinkRemote(submission.address, submission.id)
    return beam_job_service.ServiceRemote(submission.engine, submission.address, submission.id)


def running(ledger: Ledger) -> Submission | None:
    """Returns the submission that works on a job now without a launcher; None if none does.

    Raises:
        EngineError: its engine does not answer, so its state is unknown.
    """
    submission = recorded(ledger)
    if submission is None or not submission.stays:
        return None
    return submission if remote(submission).state() == "running" else None


def refuse_running(ledger: Ledger) -> None:
    """Checks that no cluster works on a job.

    Raises:
        JobLocked: a cluster does, or it is unknown.
    """
    try:
        submission = running(ledger)
    except EngineError as error:
        unknown = f"{error}. It is unknown whether it still works on this job."
        how = "Start it again. If it no longer exists, run `kitelift cancel --yes`."
        raise JobLocked([f"{unknown} {how}"]) from error
    if submission is not None:
        what = f"{submission} works on this job ({submission.page or submission.address})."
        how = "To watch it, run `kitelift status --follow`. To stop it, run `kitelift cancel`."
        raise JobLocked([f"{what} {how}"])
