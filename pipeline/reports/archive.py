"""Reports beside the ledger: report.json and report.html, written and read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from pipeline.reports import differences, report
from pipeline.reports.outcome import Report
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan, VerifyMethod

_REPORT = TypeAdapter(Report)


def write(
    ledger: Ledger,
    plan: Plan,
    run_id: str,
    verify: VerifyMethod,
    *,
    settings: Mapping[str, Any] | None = None,
    accept: tuple[str, ...] = (),
    again: bool = False,
) -> None:
    """Writes the report of what the ledger holds now; done twice, it says the same.

    `settings` are those of the job file that the report shows beside the ones of the plan;
    `accept` are the codes of findings that are accepted now.
    `again` is whether an earlier copy was compared once more.
    """
    evidence = report.gather(ledger, plan, run_id, verify, again=again)
    made = report.compose(plan, evidence, accept=accept)
    made = replace(made, settings={**(settings or {}), **plan.settings})
    if (named := differences.to_parquet(evidence)) is not None:
        ledger.replace(differences.NAME, named)
    else:
        ledger.remove(differences.NAME)
    ledger.replace("report.html", report.html(made, evidence).encode())
    ledger.replace("report.json", report.to_json(made))


def read(ledger: Ledger) -> Report | None:
    """Returns the last report, or None if the job has not come to its end yet."""
    return ledger.value(_REPORT, "report.json")
