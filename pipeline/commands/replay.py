"""`kitelift replay`: resends rows that the target rejected."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from pipeline.commands.shared import job_ledger, job_run, steps
from pipeline.commands.shared.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.jobfile.job import JobConfig
from pipeline.target import create_and_check, temporary_changes
from transforms import fingerprint
from transforms.delivery import Delivery
from transforms.errors import PreflightError
from transforms.ledger import rejected_rows, worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged, Receipt, ReceiptWriter
from transforms.milvus.client import Client
from transforms.plan import CollectionPlan, Plan


def replay(config: JobConfig, arguments: Arguments) -> int:
    """Resends the rows that the target rejected, and verifies the result."""
    ledger = job_ledger.find(config)
    plan = ledger.plan()
    if plan is None:
        why = "this job has not copied anything yet. Run `kitelift run` first."
        raise PreflightError([f"{ledger.location}: {why}"])
    run = job_run.JobRun(config, arguments, ledger)
    steps.examine_again(config, plan, "replay", ledger)
    with run.hold():
        created = create_and_check.with_recorded(plan, ledger)
        create_and_check.mark_targets(config, created, ledger)
        temporary_changes.set_write_properties(config.target_endpoint, created, ledger)
        accepted, rejected = _resend(config, ledger, plan)
        result = f"the target accepted {accepted:,}, and rejected {rejected:,} again"
        say(f"Resent rejected rows: {result}.")
        return run.execute(created, "replay")


def _resend(config: JobConfig, ledger: Ledger, plan: Plan) -> tuple[int, int]:
    """Sends every rejected row of a job; returns how many the target accepted and rejected.

    An accepted row moves from the rejected rows into the receipt of its interval.
    """
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    client = worker_limits.connect(config.target_endpoint, ledger, "target")
    receipts = ReceiptWriter(ledger)
    accepted = still_rejected = 0
    try:
        for collection in plan.collections:
            for planned in ledger.frozen(collection.name) or []:
                for receipt in acknowledged.of(planned):
                    if receipt.rejected:
                        after = _resend_interval(client, ledger, plan, collection, receipt)
                        receipts.add(after)
                        receipts.flush()
                        # Only now: a replay that is killed before starts again from these rows.
                        rejected_rows.forget(ledger, receipt.covered, but=after.rejected)
                        accepted += receipt.rejected - after.rejected
                        still_rejected += after.rejected
    finally:
        client.close()
    return accepted, still_rejected


def _resend_interval(
    client: Client, ledger: Ledger, plan: Plan, collection: CollectionPlan, receipt: Receipt
) -> Receipt:
    """Sends the rejected rows of one interval and returns its new receipt.

    Rows that Kitelift refused itself stay rejected: only the source can have better values.
    """
    stored = rejected_rows.load(ledger, receipt.covered, receipt.rejected)
    if stored is None:
        return receipt
    rows = rejected_rows.rows_of(stored)
    partition = receipt.covered.partition
    delivery = Delivery(
        client, collection, partition, upsert=True, most_rejected=lambda: rows.num_rows
    )
    delivery.deliver(rows, rejected_rows.refusals_of(stored), first_time=False)
    total = fingerprint.add(
        fingerprint.from_text(receipt.fingerprint),
        fingerprint.of(rows, json_by_value=plan.json_by_value),
    )
    if delivery.rejected:
        rejected = rejected_rows.with_reasons(delivery.rejected)
        rejected_rows.save(ledger, receipt.covered, rejected)
        part = fingerprint.of(rejected_rows.rows_of(rejected), json_by_value=plan.json_by_value)
        total = fingerprint.subtract(total, part)
    return replace(
        receipt,
        rows=receipt.rows + rows.num_rows - len(delivery.rejected),
        fingerprint=fingerprint.to_text(total),
        rejected=len(delivery.rejected),
        at=max(
            time.time(), math.nextafter(receipt.at, math.inf)
        ),  # Later than the old receipt, even if clocks differ.
    )
