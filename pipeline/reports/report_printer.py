"""What a job prints at its end, or if an earlier run has completed it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console

from pipeline.console.wrapping import say
from pipeline.reports import plan_listing, report_files
from pipeline.reports.report_values import Report
from pipeline.reports.summary_table import SummaryTable
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan

FILE_COLUMNS = 120


def show(ledger: Ledger) -> int:
    """Prints the report of a job that has ended and returns its exit code."""
    done = report_files.read(ledger)
    if done is None:
        raise AssertionError("the pipeline ended without a report")
    _report(done, ledger)
    return done.exit_code


def _report(done: Report, ledger: Ledger) -> None:
    """Prints the summary table, and where the report is."""
    # A file has no width, unless COLUMNS sets one.
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS
    # A word that is too long for a line, such as a path, is not cut.
    Console(highlight=False, width=wide).print(SummaryTable(done), crop=False)
    say(f"report: {ledger.location}/report.html")


def show_finished(
    plan: Plan, done: Report, ledger: Ledger, since: Sequence[str], *, as_json: bool
) -> None:
    """Prints the plan of a job that an earlier run has completed."""
    if as_json:
        print(plan_listing.as_json(plan, finished=True))
        return
    plan_listing.show(plan, ledger, verb="has copied")
    show_nothing_to_do(done, ledger, since)


def show_nothing_to_do(done: Report, ledger: Ledger, since: Sequence[str]) -> None:
    """Prints that an earlier run has completed the job, and what has changed since."""
    say(f"Nothing to do: this job ended as {done.outcome} on {done.ended:%Y-%m-%d %H:%M} UTC.")
    say(done.verdict)
    for change in since:
        say(f"Since then: {change}.")
    # The steps of then are valid only if nothing has changed.
    for step in () if since else done.next:
        say(f"Next: {step}")
    restart = (
        "To start over, drop what it created in the target, then run `kitelift run --restart`."
    )
    say(f"report: {ledger.location}/report.html")
    say(restart)
