"""Temporary changes to both clusters for the duration of a job, and their restoration."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from dataclasses import replace

from pipeline.console import formatting, logs
from pipeline.jobfile.job import JobConfig
from pipeline.planning.survey import SURVEY
from transforms.completion import load
from transforms.errors import LedgerError, MigrationError, PreflightError, Refused
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.ledger.worker_limits import Side
from transforms.milvus.channel import Patience
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.row_counts import count_rows
from transforms.milvus.snapshot import STRONG
from transforms.plan import CollectionPlan, Plan

logger = logging.getLogger(__name__)


def load_sources(source: Endpoint, plan: Plan, ledger: Ledger) -> Plan:
    """Loads the source collections; returns the plan with exact row counts.

    Raises:
        PreflightError: the source refuses a filter.
    """
    client = Client(source)
    try:
        collections = tuple(_loaded(client, ledger, collection) for collection in plan.collections)
        return replace(plan, collections=collections)
    finally:
        client.close()


def _loaded(client: Client, ledger: Ledger, plan: CollectionPlan) -> CollectionPlan:
    if not plan.has_rows:
        return plan
    if temporary_changes.record_load(ledger, client, "source", plan.name):
        logger.info("loading source collection %s", plan.name)
        client.load(plan.name)
    elif plan.source.loaded is not False:
        return plan
    where = plan.shape.where
    try:
        snapshot = client.snapshot(plan.name)
        seen = snapshot.consistency or STRONG
        rows = count_rows(client, plan.source, plan.chosen_partitions, where, seen=seen)
        return replace(plan, rows=rows, snapshot=snapshot)
    except Refused as error:
        words = " ".join(error.detail.split())  # Some servers use a second line.
        what = f'the source rejects the filter `{where}`: "{words}".'
        raise PreflightError([f"transform.RowFilter, collection {plan.name}: {what}"]) from error


def load_targets(target: Endpoint, plan: Plan, ledger: Ledger) -> None:
    """Loads the target collections that are not loaded, so that they can be compared.

    Those that do not stay loaded are loaded later, one after the other (`VerifyInTurn`).
    """
    client = Client(target)
    everything = [collection.name for collection in plan.collections]
    names = [name for name in everything if name not in plan.proven_in_turn]
    try:
        for collection in (plan[name] for name in names):
            ours = temporary_changes.record_load(ledger, client, "target", collection.target)
            if ours or client.loaded(collection.target) is False:
                load(client, collection)
    finally:
        client.close()


def set_write_properties(
    target: Endpoint, plan: Plan, ledger: Ledger, *, new: Collection[str] = ()
) -> None:
    """Sets the target properties that only the copy needs: explicit auto-IDs, function outputs.

    `new` are collections that were created just now. milvus-lite loads new collections by itself.
    """
    client = Client(target)
    try:
        for collection in plan.collections:
            temporary_changes.set_write_properties(ledger, client, collection)
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


def restore_all(config: JobConfig, ledger: Ledger) -> None:
    """Restores every temporary change; the next run makes the changes again."""
    for side, endpoint in _sides(config).items():
        _restore(endpoint, ledger, side)


def restore_after_error(config: JobConfig, ledger: Ledger) -> None:
    """Restores what can be restored at once, and logs the rest."""
    for side, endpoint in _sides(config).items():
        with contextlib.suppress(MigrationError):
            _restore(endpoint, ledger, side, SURVEY)
    if pending := _list_pending(ledger):
        logs.say(f"not restored yet: {pending}. The next run of this job restores this.", "warning")


def describe_pending(ledger: Ledger) -> str:
    """Returns a sentence about the changes that the next run restores; "" if there are none."""
    pending = _list_pending(ledger)
    return f" Until then, these temporary changes remain: {pending}." if pending else ""


def _list_pending(ledger: Ledger) -> str:
    with contextlib.suppress(LedgerError):
        return formatting.listed(
            [str(change) for change in temporary_changes.list_pending(ledger)], most=5
        )
    return ""


def _sides(config: JobConfig) -> dict[Side, Endpoint]:
    return {"source": config.source_endpoint, "target": config.target_endpoint}


def _restore(
    endpoint: Endpoint, ledger: Ledger, side: Side, patience: Patience | None = None
) -> None:
    pending = [change for change in temporary_changes.list_pending(ledger) if change.side == side]
    if not pending:
        return
    client = Client(endpoint, patience)
    try:
        temporary_changes.restore(ledger, client, pending)
    finally:
        client.close()
