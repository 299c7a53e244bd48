"""Writes report.json, report.html and differences.parquet into the ledger, and reads the report.

differences.parquet has every key that differs, for scripts and notebooks:

| column | content |
|---|---|
| ``sign`` | ``+`` only in the target, ``-`` missing there, ``*`` differs, ``#`` more than once |
| ``collection`` | its name in the source |
| ``key`` | the primary key as text, also if it is a number |
| ``field`` | with ``*``: a field that differs, one row per field; else null |
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from pipeline.reports import ledger_facts, page, report
from pipeline.reports.report_values import KeyDifference, Report
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan, VerifyMethod

_REPORT = TypeAdapter(Report)
_DIFFERENCES = "differences.parquet"
_SCHEMA = pa.schema(
    [
        pa.field("sign", pa.string(), nullable=False),
        pa.field("collection", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("field", pa.string()),
    ]
)


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
    evidence = ledger_facts.gather(ledger, plan, run_id, verify, again=again)
    result = report.compose(plan, evidence, accept=accept)
    result = replace(result, settings={**(settings or {}), **plan.settings})
    if keys := _to_parquet(report.key_differences(evidence)):
        ledger.replace(_DIFFERENCES, keys)
    else:
        ledger.remove(_DIFFERENCES)
    ledger.replace("report.html", page.write(result, evidence).encode())
    ledger.replace("report.json", report.to_json(result))


def read(ledger: Ledger) -> Report | None:
    """Returns the last report, or None if no run of the job has ended yet."""
    return ledger.value(_REPORT, "report.json")


def _to_parquet(differences: Iterable[KeyDifference]) -> bytes:
    """Returns the file with all keys that differ; no bytes if there are none."""
    rows = [
        (difference.sign, difference.collection, str(difference.key), field)
        for difference in differences
        for field in difference.fields or (None,)
    ]
    if not rows:
        return b""
    stream = io.BytesIO()
    named = [dict(zip(_SCHEMA.names, row, strict=True)) for row in rows]
    pq.write_table(pa.Table.from_pylist(named, _SCHEMA), stream)
    return stream.getvalue()
