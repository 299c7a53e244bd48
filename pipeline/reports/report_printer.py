"""What a job prints at its end, and when it was done before."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from pipeline.console.wrapping import say
from pipeline.reports import archive, plan_listing
from pipeline.reports import report as reports
from pipeline.reports.outcome import Report
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan

FILE_COLUMNS = 120


def show(ledger: Ledger) -> int:
    """Prints the report of a job that has ended and returns its exit code."""
    done = archive.read(ledger)
    if done is None:
        raise AssertionError("the pipeline ended without a report")
    _report(done, ledger)
    return done.exit_code


def _report(done: Report, ledger: Ledger) -> None:
    """Prints the closing table, and where the report is."""
    # What is written into a file has no width of its own; only COLUMNS can say one.
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS
    # What is too long for a line, a path for one, is not cut.
    Console(highlight=False, width=wide).print(reports.table(done), crop=False)
    say(f"report: {ledger.location}/report.html")


def show_finished(
    made: Plan, done: Report, ledger: Ledger, since: Sequence[str], *, as_json: bool
) -> None:
    """Prints the plan of a job that was done before."""
    if as_json:
        print(plan_listing.as_json(made, finished=True))
        return
    plan_listing.show(made, ledger, verb="has copied")
    show_nothing_to_do(done, ledger, since)


def show_nothing_to_do(done: Report, ledger: Ledger, since: Sequence[str]) -> None:
    """Says that the job was done before, and what has come up since."""
    say(f"Nothing to do: this job ended as {done.outcome} on {done.ended:%Y-%m-%d %H:%M} UTC.")
    say(done.verdict)
    for each in since:
        say(f"Since then: {each}.")
    # What was to do then leaves nothing to do only if nothing has come up.
    for step in () if since else done.next:
        say(f"Next: {step}")
    anew = "to copy anew: drop what it made in the target, then `kitelift run --restart`"
    say(f"report: {ledger.location}/report.html; {anew}")
