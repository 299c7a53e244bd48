"""Reports beside the ledger: report.json and report.html, written and read back."""

from __future__ import annotations

from pydantic import TypeAdapter

from pipeline import report
from pipeline.outcome import Report
from transforms.ledger import Ledger
from transforms.plan import Plan, Verify

_REPORT = TypeAdapter(Report)


def write(ledger: Ledger, plan: Plan, run_id: str, verify: Verify, *, copied: bool = True) -> None:
    """Writes the report of what the ledger holds now; done twice, it says the same."""
    evidence = report.gather(ledger, plan, run_id, verify, copied=copied)
    made = report.compose(plan, evidence)
    ledger.replace("report.html", report.html(made, evidence).encode())
    ledger.replace("report.json", report.to_json(made))


def read(ledger: Ledger) -> Report | None:
    """Returns the last report, or None if the job has not come to its end yet."""
    data = ledger.read("report.json")
    return None if data is None else _REPORT.validate_json(data)
