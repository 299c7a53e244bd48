"""What was submitted for a job, remembered in its ledger until its end was seen."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.engines.engine import Remote, Submission
from transforms.errors import EngineError, JobLocked
from transforms.ledger.ledger import Ledger

_NAME = "submission.json"


def record(ledger: Ledger, submission: Submission) -> None:
    """Remembers the submission that works on a job now."""
    ledger.replace(_NAME, json.dumps(asdict(submission)).encode())


def recorded(ledger: Ledger) -> Submission | None:
    """Returns the submission that worked on a job last, if its end was not seen."""
    data = ledger.read(_NAME)
    return None if data is None else Submission(**json.loads(data))


def forget(ledger: Ledger) -> None:
    """Ends what `record` began."""
    ledger.remove(_NAME)


def remote(submission: Submission) -> Remote:
    """Returns whom to ask about a submission."""
    from pipeline.engines import dataflow, flink, service

    if submission.speaks == "dataflow":
        return dataflow.DataflowRemote(submission.address, submission.id)
    if submission.speaks == "flink":
        return flink.FlinkRemote(submission.address, submission.id)
    return service.ServiceRemote(submission.engine, submission.address, submission.id)


def running(ledger: Ledger) -> Submission | None:
    """Returns the submission that works on a job now without a launcher.

    Raises:
        EngineError: its engine does not answer, so nobody knows.
    """
    submission = recorded(ledger)
    if submission is None or not submission.stays:
        return None
    return submission if remote(submission).state() == "running" else None


def refuse_running(ledger: Ledger) -> None:
    """Makes sure that no cluster works on a job.

    Raises:
        JobLocked: one does, or nobody knows.
    """
    try:
        found = running(ledger)
    except EngineError as error:
        unknown = f"{error}: so nobody knows whether it still works on this job."
        how = "Bring it back, or, if it is gone for good, say so by `kitelift cancel --yes`."
        raise JobLocked([f"{unknown} {how}"]) from error
    if found is not None:
        what = f"{found} works on this job ({found.page or found.address})."
        how = "`kitelift status --follow` follows it, `kitelift cancel` stops it."
        raise JobLocked([f"{what} {how}"])
