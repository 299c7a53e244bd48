"""Writes report.json, report.html and differences.parquet into the ledger, and reads the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from pipeline.reports import differences, report
from pipeline.reports.report_values import Report
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
    """Writes the report of what the ledger contains now. A repeated call writes the same.

    Args:
        settings: settings of the job file that the report shows besides those of the plan.
        accept: the codes of findings that are accepted now.
        again: whether this run compared an earlier copy again.
    """
    evidence = report.gather(ledger, plan, run_id, verify, again=again)
    result = report.compose(plan, evidence, accept=accept)
    result = replace(result, settings={**(settings or {}), **plan.settings})
    if (keys := differences.to_parquet(evidence)) is not None:
        ledger.replace(differences.NAME, keys)
    else:
        ledger.remove(differences.NAME)
    ledger.replace("report.html", report.html(result, evidence).encode())
    ledger.replace("report.json", report.to_json(result))


def read(ledger: Ledger) -> Report | None:
    """Returns the last report, or None if no run of the job has ended yet."""
    return ledger.value(_REPORT, "report.json")
