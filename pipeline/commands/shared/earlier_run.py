"""What an earlier run of a job left, and whether another run may resume it."""

from __future__ import annotations

from pipeline.commands.shared import drift
from pipeline.console import finding_lines, formatting, logs
from pipeline.engines import job_lock
from pipeline.jobfile.job import JobConfig
from pipeline.planning.survey import survey_clusters
from pipeline.preflight import examination
from pipeline.reports import report_files
from pipeline.reports.report_values import Report
from pipeline.target import create_and_check
from transforms.errors import JobChanged, PreflightError
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan


def finished_report(ledger: Ledger) -> Report | None:
    """Returns the report of a job that finished with exit code 0, else None."""
    done = report_files.read(ledger)
    return done if done is not None and done.exit_code == 0 else None


def check_finished(config: JobConfig, existing: Plan, done: Report, ledger: Ledger) -> list[str]:
    """Checks that a finished job is still valid, and returns what changed in the source since.

    Raises:
        PreflightError: a server cannot be reached.
        JobChanged: copied rows are missing in the target, or the source is not the same.
    """
    survey = survey_clusters(config)
    findings = examination.blocking_problems(survey)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    created = create_and_check.with_recorded(existing, ledger)
    changed = [*drift.compare_source(existing, survey), *drift.compare_target(created, survey)]
    require_unchanged(changed, ledger)
    if missing := list(drift.missing_rows(created, done, survey)):
        raise JobChanged(missing)
    return list(drift.source_changes(existing, survey))


def require_synced(existing: Plan, ledger: Ledger) -> None:
    """Checks that the last sync finished: its receipts say what the source has, not the target.

    Raises:
        PreflightError: the last sync did not finish.
    """
    done = report_files.read(ledger)
    if not existing.copies and (done is None or done.exit_code):
        why = (
            f"{ledger.location}: the last `sync` or `verify` of this job did not end with "
            "both sides equal. Run `kitelift sync`: it compares again and copies what differs."
        )
        raise PreflightError([why])


def require_finished(plan: Plan, ledger: Ledger) -> None:
    """Checks that the copy finished: until then it is not flushed, indexed and loaded.

    Raises:
        PreflightError: a copy, or a sync, did not finish.
    """
    ends = {collection.name: ledger.finished(collection.name) for collection in plan.collections}
    if waiting := [name for name, end in ends.items() if end is None or end.failed]:
        require_synced(plan, ledger)
        names = formatting.listed(waiting, most=10)
        why = (
            f"{ledger.location}: the copy of {names} is not finished, so it cannot be verified "
            "yet. Run the same command without `verify`: it resumes the copy and proves it."
        )
        raise PreflightError([why])


def require_unchanged(changed: list[str], ledger: Ledger) -> None:
    """Stops a job if something changed since it started, and says how to continue.

    Raises:
        JobChanged: there are changes.
    """
    if changed:
        raise JobChanged([*changed, _remedy(ledger)])


def _remedy(ledger: Ledger) -> str:
    return (
        f"The job in {ledger.location} cannot resume. Undo the change. Or drop the target "
        "collections that this job created, and start over with `kitelift run --restart`."
    )


def archive_ledger(ledger: Ledger, run_id: str) -> None:
    """Archives the ledger of an earlier run, if there is one, so that a new one can start."""
    if not ledger.has_plan:
        return
    with job_lock.Lock(ledger, run_id):
        pending = temporary_changes.list_pending(ledger)
        logs.say(
            f"archived the ledger and the report of the earlier run in {ledger.archive()}. No run "
            "needs them; you may delete them."
        )
        for change in pending:  # The next run restores what an earlier run could not.
            temporary_changes.record(ledger, change)
