"""What a job loads and opens only for itself, in both clusters; and puts back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import replace

from pipeline.console import formatting, logs
from pipeline.jobfile.job import JobConfig
from pipeline.planning.survey import SURVEY
from transforms.errors import LedgerError, MigrationError, PreflightError, Refused
from transforms.finish import load
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.ledger.temporary_changes import LOAD_TIMEOUT_S
from transforms.ledger.worker_limits import Side
from transforms.milvus.channel import Patience
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.snapshot import STRONG
from transforms.plan import CollectionPlan, Plan

logger = logging.getLogger(__name__)


def load_sources(config: JobConfig, plan: Plan, ledger: Ledger) -> Plan:
    """Loads the source collections that are not, where the job may; returns the exact counts.

    Raises:
        PreflightError: the source does not take a filter.
    """
    if not config.source.auto_load:
        return plan
    client = Client(config.source_endpoint)
    try:
        collections = tuple(_loaded(client, ledger, collection) for collection in plan.collections)
        return replace(plan, collections=collections)
    finally:
        client.close()


def _loaded(client: Client, ledger: Ledger, plan: CollectionPlan) -> CollectionPlan:
    if temporary_changes.borrow(ledger, client, "source", plan.name):
        logger.info("loading source collection %s", plan.name)
        client.load(plan.name, timeout_s=LOAD_TIMEOUT_S)
    elif plan.source.loaded is not False:
        return plan
    where = plan.shape.where
    try:
        snapshot = client.snapshot(plan.name)
        rows = client.count(plan.name, where=where, seen=snapshot.consistency or STRONG)
        return replace(plan, rows=rows, snapshot=snapshot)
    except Refused as error:
        what = f"the source does not take the filter {where}: {' '.join(error.detail.split())}."
        raise PreflightError([f"transform.RowFilter, collection {plan.name}: {what}"]) from error


def load_targets(config: JobConfig, plan: Plan, ledger: Ledger) -> None:
    """Loads the target collections that are not loaded, so that they can be compared."""
    client = Client(config.target_endpoint)
    try:
        for collection in plan.collections:
            lent = temporary_changes.borrow(ledger, client, "target", collection.target)
            if lent or client.loaded(collection.target) is False:
                load(client, collection)
    finally:
        client.close()


def open_targets(
    config: JobConfig, plan: Plan, ledger: Ledger, *, new: Collection[str] = ()
) -> None:
    """Lets the targets take what only a copy brings: ids of their own making, and embeddings.

    `new` are those that were made just now. milvus-lite loads them at once, wanted or not.
    """
    client = Client(config.target_endpoint)
    try:
        for collection in plan.collections:
            temporary_changes.open_target(ledger, client, collection)
            if (
                collection.target in new
                and not collection.load
                and client.loaded(collection.target)
            ):
                temporary_changes.record(
                    ledger, temporary_changes.loaded("target", collection.target)
                )
    finally:
        client.close()


def conclude(config: JobConfig, ledger: Ledger) -> None:
    """Puts back what was changed only for this job; the next run changes it again."""
    for side, endpoint in _sides(config).items():
        _give_back(endpoint, ledger, side)


def withdraw(config: JobConfig, ledger: Ledger) -> None:
    """Puts back after an error what can be put back at once, and says what cannot."""
    for side, endpoint in _sides(config).items():
        with contextlib.suppress(MigrationError):
            _give_back(endpoint, ledger, side, SURVEY)
    if left := _on_loan(ledger):
        logs.say(f"not put back yet: {left}. The next run of this job does that.", "warning")


def kept(ledger: Ledger) -> str:
    """Says what a run that is stopped leaves to be put back by the next one; "" for nothing."""
    left = _on_loan(ledger)
    return f" Until then it keeps {left}." if left else ""


def _on_loan(ledger: Ledger) -> str:
    with contextlib.suppress(LedgerError):
        return formatting.listed(
            [str(change) for change in temporary_changes.standing(ledger)], most=5
        )
    return ""


def _sides(config: JobConfig) -> dict[Side, Endpoint]:
    return {"source": config.source_endpoint, "target": config.target_endpoint}


def _give_back(
    endpoint: Endpoint, ledger: Ledger, side: Side, patience: Patience | None = None
) -> None:
    lent = [change for change in temporary_changes.standing(ledger) if change.side == side]
    if not lent:
        return
    client = Client(endpoint, patience)
    try:
        temporary_changes.give_back(ledger, client, lent)
    finally:
        client.close()
