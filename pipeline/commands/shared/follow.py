"""Follows a running job, on whatever host it was started."""

from __future__ import annotations

import contextlib
import time

from pipeline.commands.shared import cluster_job
from pipeline.display import progress
from pipeline.engines import job_lock, submissions
from pipeline.engines.engine import Submission
from pipeline.planning.planner import Purpose
from pipeline.reports import report_files, report_printer
from transforms.errors import Interrupted, PreflightError
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan


def follow(ledger: Ledger, *, quiet: bool) -> int:
    """Shows the progress of a job until it ends; returns its exit code.

    Raises:
        PreflightError: the job does not run, and has no report.
        MigrationError: the run failed.
    """
    run_id = _launched(ledger)
    if run_id:
        _follow_launcher(ledger, run_id, quiet=quiet)
    submission, plan = _submission(ledger, run_id), ledger.plan()
    if submission is not None and plan is not None:
        shown = progress.show_progress(
            ledger, plan, submission.run_id, quiet=quiet, purpose=submission.purpose
        )
        cluster_job.watch(ledger, submission, shown)
    done = report_files.read(ledger)
    if run_id and (done is None or done.run != run_id):
        why = "The run ended without a report; its own output says why."
        raise Interrupted(f"{why} Run the same command again to resume.")
    if done is None:
        raise PreflightError([f"{ledger.location}: this job is not running."])
    return report_printer.show(ledger)


def _launched(ledger: Ledger) -> str:
    """Returns the id of the run that holds the lock and is alive; "" if there is none."""
    holder = job_lock.holder_of(ledger)
    return holder.run_id if holder is not None and holder.alive() else ""


def _submission(ledger: Ledger, run_id: str) -> Submission | None:
    """Returns the submission of a run; without a run, one that runs without its launcher."""
    submission = submissions.recorded(ledger)
    if submission is None or (submission.run_id != run_id if run_id else not submission.stays):
        return None  # It ended with its launcher, and its engine cannot be asked any more.
    return submission


def _follow_launcher(ledger: Ledger, run_id: str, *, quiet: bool) -> None:
    """Shows progress of a run until its launcher ends, or has submitted the job to a cluster."""
    with contextlib.ExitStack() as shown:
        plan = None
        while _launched(ledger) == run_id and _submission(ledger, run_id) is None:
            if plan is None and (plan := ledger.plan()) is not None:
                purpose = _purpose(ledger, plan)
                shown.enter_context(
                    progress.show_progress(ledger, plan, run_id, quiet=quiet, purpose=purpose)
                )
            time.sleep(cluster_job.POLL_S)


def _purpose(ledger: Ledger, plan: Plan) -> Purpose:
    """Returns the purpose of a run, derived from its ledger."""
    ends = [ledger.finished(collection.name) for collection in plan.collections]
    if all(end is not None and not end.failed for end in ends):
        return "verify"
    return "copy" if plan.copies else "sync"
