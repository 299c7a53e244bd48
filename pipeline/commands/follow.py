"""Follows what works on a job, wherever it was started."""

from __future__ import annotations

import contextlib
import time

from pipeline.commands import cluster_job
from pipeline.display import progress
from pipeline.engines import job_lock, submissions
from pipeline.engines.engine import Submission
from pipeline.planning.planner import Purpose
from pipeline.reports import archive, report_printer
from transforms.errors import Interrupted, PreflightError
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan


def follow(ledger: Ledger, *, quiet: bool) -> int:
    """Shows progress of what runs for a job until it ends; returns the job's exit code.

    Raises:
        PreflightError: nothing runs, and nothing has come to its end.
        MigrationError: what ran did not end well.
    """
    run_id = _launched(ledger)
    if run_id:
        _attend(ledger, run_id, quiet=quiet)
    submission, plan = _submission(ledger, run_id), ledger.plan()
    if submission is not None and plan is not None:
        shown = progress.following(
            ledger, plan, submission.run_id, quiet=quiet, purpose=submission.purpose
        )
        cluster_job.watch(ledger, submission, shown)
    done = archive.read(ledger)
    if run_id and (done is None or done.run != run_id):
        why = "The run ended without a report; its own output says why."
        raise Interrupted(f"{why} Run the same command again to go on.")
    if done is None:
        raise PreflightError([f"{ledger.location}: nothing works on this job."])
    return report_printer.show(ledger)


def _launched(ledger: Ledger) -> str:
    """The run that holds a job and is alive; "" if none does."""
    holder = job_lock.holder_of(ledger)
    return holder.run_id if holder is not None and holder.alive() else ""


def _submission(ledger: Ledger, run_id: str) -> Submission | None:
    """The submission of a run; without one, that which works on the job without a launcher."""
    found = submissions.recorded(ledger)
    if found is None or (found.run_id != run_id if run_id else not found.stays):
        return None  # What ended with its launcher is not asked about: nobody would answer.
    return found


def _attend(ledger: Ledger, run_id: str, *, quiet: bool) -> None:
    """Shows progress of a run until its launcher has ended, or given the job to a cluster."""
    with contextlib.ExitStack() as shown:
        plan = None
        while _launched(ledger) == run_id and _submission(ledger, run_id) is None:
            if plan is None and (plan := ledger.plan()) is not None:
                purpose = _purpose(ledger, plan)
                shown.enter_context(
                    progress.following(ledger, plan, run_id, quiet=quiet, purpose=purpose)
                )
            time.sleep(cluster_job.POLL_S)


def _purpose(ledger: Ledger, plan: Plan) -> Purpose:
    """What a run is for, as far as its ledger shows it."""
    ends = [ledger.finished(collection.name) for collection in plan.collections]
    if all(end is not None and not end.failed for end in ends):
        return "verify"
    return "copy" if plan.copies else "sync"
