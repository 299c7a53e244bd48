"""What an earlier run of a job has left, and whether another one may go on with it."""

from __future__ import annotations

from pipeline.commands import drift
from pipeline.console import finding_lines, formatting, logs
from pipeline.engines import job_lock
from pipeline.jobfile.job import JobConfig
from pipeline.planning import survey
from pipeline.preflight import examination
from pipeline.reports import archive
from pipeline.reports.outcome import Report
from pipeline.target import check_created
from transforms.errors import JobChanged, PreflightError
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan


def finished(ledger: Ledger) -> Report | None:
    """Returns the report of a job that has come to a good end."""
    done = archive.read(ledger)
    return done if done is not None and done.exit_code == 0 else None


def since(config: JobConfig, existing: Plan, done: Report, ledger: Ledger) -> list[str]:
    """Makes sure that a finished job still is, and returns what has come up since.

    Raises:
        PreflightError: a server cannot be reached.
        JobChanged: what was copied is not there any more, or not from the same source.
    """
    found = survey.survey_clusters(config)
    findings = examination.blocking_problems(found)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    left = check_created.with_recorded(existing, ledger)
    changed = [*drift.of_source(existing, found), *drift.of_target(left, found)]
    refuse_changes(changed, ledger)
    if fewer := list(drift.fewer_rows(left, done, found)):
        raise JobChanged(fewer)
    return list(drift.since_done(existing, found))


def refuse_unsynced(existing: Plan, ledger: Ledger) -> None:
    """What a sync has recorded says what the source holds, and not what was copied.

    Raises:
        PreflightError: the last sync did not come to its end.
    """
    done = archive.read(ledger)
    if not existing.copies and (done is None or done.exit_code):
        why = (
            f"{ledger.location}: the last `sync` or `verify` of this job did not end with "
            "both sides equal. Run `kitelift sync`: it compares anew, and mends what is left."
        )
        raise PreflightError([why])


def refuse_unfinished(made: Plan, ledger: Ledger) -> None:
    """Before its end a copy is not flushed, indexed and loaded, so it cannot be compared.

    Raises:
        PreflightError: a copy, or a sync, did not come to its end.
    """
    ends = {collection.name: ledger.finished(collection.name) for collection in made.collections}
    if waiting := [name for name, end in ends.items() if end is None or end.failed]:
        refuse_unsynced(made, ledger)
        names = formatting.listed(waiting, most=10)
        why = (
            f"{ledger.location}: the copy of {names} has not come to its end, so there is nothing "
            "to verify yet. Run the same command without `verify`: it goes on where the copy "
            "stopped, and proves it."
        )
        raise PreflightError([why])


def refuse_changes(changed: list[str], ledger: Ledger) -> None:
    """Says how a job of which something has changed can go on.

    Raises:
        JobChanged: there are changes.
    """
    if changed:
        raise JobChanged([*changed, _ways_on(ledger)])


def _ways_on(ledger: Ledger) -> str:
    return (
        f"The job in {ledger.location} cannot go on like this. Put it back as it was; or drop the "
        "target collections that it made, as far as they are there, and begin anew with "
        "`kitelift run --restart`."
    )


def set_aside(ledger: Ledger, run_id: str) -> None:
    """Makes place for a new ledger, if there is an earlier one."""
    if not ledger.has_plan:
        return
    with job_lock.Lock(ledger, run_id):
        lent = temporary_changes.list_pending(ledger)
        logs.say(
            f"the ledger and the report of the earlier run are now in {ledger.archive()}. No run "
            "needs them: they are for looking things up, and may be deleted."
        )
        for each in lent:  # The next run gives back what an earlier one could not.
            temporary_changes.record(ledger, each)
