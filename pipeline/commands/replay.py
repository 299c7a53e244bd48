"""`kitelift replay`: resends rows that the target rejected."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from pipeline.commands import job_ledger, job_run, steps
from pipeline.commands.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.jobfile.job import JobConfig
from pipeline.target import check_created, temporary_changes
from transforms import fingerprint
from transforms.delivery import Delivery
from transforms.errors import PreflightError
from transforms.ledger import rejected_rows, worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged, Receipt, ReceiptWriter
from transforms.milvus.client import Client
from transforms.plan import CollectionPlan, Plan


def replay(config: JobConfig, arguments: Arguments) -> int:
    """Sends the rows again that the target has refused, and proves what it took."""
    ledger = job_ledger.find(config)
    made = ledger.plan()
    if made is None:
        raise PreflightError([f"{ledger.location}: this job has not copied anything yet; use run"])
    run = job_run.JobRun(config, arguments, ledger)
    steps.examine_again(config, made, "replay")
    with run.hold():
        temporary_changes.set_write_properties(config, check_created.with_recorded(made, ledger), ledger)
        taken, left = _resend(config, ledger, made)
        say(f"{taken:,} rejected rows were taken by the target now, {left:,} were refused again.")
        return run.execute(check_created.with_recorded(made, ledger), "replay")


def _resend(config: JobConfig, ledger: Ledger, plan: Plan) -> tuple[int, int]:
    """Sends every rejected row of a job; returns how many the target took, and how many not.

    A row that it takes moves from the rejected ones into the receipt of its interval.
    """
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    client = worker_limits.connect(config.target_endpoint, ledger, "target")
    receipts = ReceiptWriter(ledger)
    taken = left = 0
    try:
        for collection in plan.collections:
            for planned in ledger.frozen(collection.name) or []:
                for receipt in acknowledged.of(planned):
                    if receipt.rejected:
                        after = _again(client, ledger, plan, collection, receipt)
                        receipts.add(after)
                        receipts.flush()
                        # Not before the receipt is safe: a killed replay is done again from these.
                        rejected_rows.forget(ledger, receipt.covered, but=after.rejected)
                        taken += receipt.rejected - after.rejected
                        left += after.rejected
    finally:
        client.close()
    return taken, left


def _again(
    client: Client, ledger: Ledger, plan: Plan, collection: CollectionPlan, receipt: Receipt
) -> Receipt:
    """Sends the rejected rows of one interval and returns its receipt as it is afterwards."""
    kept = rejected_rows.load(ledger, receipt.covered, receipt.rejected)
    if kept is None:
        return receipt
    rows = rejected_rows.rows_of(kept)
    partition = receipt.covered.partition
    delivery = Delivery(
        client, collection, partition, upsert=True, most_rejected=lambda: rows.num_rows
    )
    delivery.send(rows, first_time=False)
    total = fingerprint.add(
        fingerprint.from_text(receipt.fingerprint),
        fingerprint.of(rows, json_by_value=plan.json_by_value),
    )
    if delivery.rejected:
        refused = rejected_rows.with_reasons(delivery.rejected)
        rejected_rows.save(ledger, receipt.covered, refused)
        part = fingerprint.of(rejected_rows.rows_of(refused), json_by_value=plan.json_by_value)
        total = fingerprint.subtract(total, part)
    return replace(
        receipt,
        rows=receipt.rows + rows.num_rows - len(delivery.rejected),
        fingerprint=fingerprint.to_text(total),
        rejected=len(delivery.rejected),
        at=max(time.time(), math.nextafter(receipt.at, math.inf)),  # Whatever the clocks say.
    )
