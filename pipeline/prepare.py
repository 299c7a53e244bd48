"""Makes in the clusters what the Plan says, before rows move. Done twice, it changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from pipeline import dropping, planner
from pipeline.jobfile.job import JobConfig
from transforms.errors import PreflightError, Refused
from transforms.finish import FLUSH_TIMEOUT_S, LOAD_TIMEOUT_S, begin_indexes, load
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Pairs
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan

logger = logging.getLogger(__name__)


def load_sources(config: JobConfig, plan: Plan) -> Plan:
    """Loads the source collections that are to be loaded for this job; returns the exact counts."""
    client = Client(config.source_endpoint)
    try:
        return replace(plan, collections=tuple(_loaded(client, each) for each in plan.collections))
    finally:
        client.close()


def _loaded(client: Client, plan: CollectionPlan) -> CollectionPlan:
    if not plan.release_source:
        return plan
    logger.info("loading source collection %s", plan.name)
    client.load(plan.name, timeout_s=LOAD_TIMEOUT_S)
    where = plan.shape.where
    try:
        return replace(plan, rows=client.count(plan.name, where=where))
    except Refused as error:
        client.release(plan.name)
        what = f"the source does not take the filter {where}: {' '.join(error.detail.split())}."
        raise PreflightError([f"transform.RowFilter, collection {plan.name}: {what}"]) from error


def load_targets(config: JobConfig, plan: Plan) -> None:
    """Loads the target collections that were not left loaded, so that they can be compared."""
    client = Client(config.target_endpoint)
    try:
        for each in plan.collections:
            if client.loaded(each.target) is False:
                load(client, each)
    finally:
        client.close()


def release_sources(config: JobConfig, plan: Plan) -> None:
    """Releases the source collections that were loaded only for this job."""
    _release(config.source_endpoint, [p.name for p in plan.collections if p.release_source])


def conclude(config: JobConfig, plan: Plan) -> None:
    """Puts back what was changed only for this job.

    The source is released that was loaded to be read, and the target that was loaded to be proven.
    """
    release_sources(config, plan)
    _release(config.target_endpoint, [p.target for p in plan.collections if not p.load])
    if opened := [each for each in plan.collections if each.while_writing]:
        client = Client(config.target_endpoint)
        try:
            for each in opened:
                _close(client, each)
        finally:
            client.close()


def open_targets(config: JobConfig, plan: Plan) -> None:
    """Lets the targets take what only a copy brings: ids of their own making, and embeddings."""
    client = Client(config.target_endpoint)
    try:
        for each in plan.collections:
            client.set_properties(each.target, each.while_writing)
    finally:
        client.close()


def _close(client: Client, plan: CollectionPlan) -> None:
    """Puts the properties back that the target has only as long as it is written."""
    there = client.describe(plan.target)
    now, before = dict(there.properties), dict(plan.closed(there).properties)
    back = tuple(pair for pair in before.items() if pair[0] in now and pair not in now.items())
    client.set_properties(plan.target, back, drop=now.keys() - before.keys())


def _release(endpoint: Endpoint, names: list[str]) -> None:
    if not names:
        return
    client = Client(endpoint)
    try:
        for name in names:
            client.release(name)
    finally:
        client.close()


@dataclass(frozen=True)
class Made:
    """What the target made of each collection of a plan; `new` are those that were not there.

    `database` is whether the database was not there either; `lost` are properties that it was given
    and does not have.
    """

    described: dict[str, Description]
    new: tuple[str, ...]
    database: bool = False
    lost: Pairs = ()


def make_targets(config: JobConfig, plan: Plan, *, drop: bool = False) -> Made:
    """Makes the database, collections and partitions that are missing, and describes the result.

    With `drop`, what the plan replaces is dropped first: once for a job, before its first row.

    Raises:
        PreflightError: the target does not make a collection. What was made is gone again.
    """
    lost = _make_database(config)
    client = Client(config.target_endpoint)
    try:
        there = set(client.collections())
        for each in plan.collections:
            if drop and each.replaces and each.target in there:
                dropping.drop(client, config, plan, each)
                there.remove(each.target)
        described, new = {}, list[str]()
        for each in plan.collections:
            try:
                if each.target not in there:
                    client.create_collection(each.target, each.wanted)
                    new.append(each.target)
                _make_partitions(client, each)
                if config.sink.create_index == "before":
                    begin_indexes(client, each)
            except Refused as error:
                unmake_targets(config, Made({}, tuple(new), lost is not None))
                raise _not_made(each, error) from error
            described[each.name] = each.closed(client.describe(each.target))
        return Made(described, tuple(new), lost is not None, lost or ())
    finally:
        client.close()


def _not_made(plan: CollectionPlan, error: Refused) -> PreflightError:
    said = f"target collection {plan.target}: {error.call}: {error.detail}"
    return PreflightError(
        [said, "the target does not make it so; no row was written, what was made is dropped."]
    )


def hidden_rows(config: JobConfig, plan: Plan, made: Made) -> dict[str, int]:
    """Returns the rows of collections that seemed empty, by the target's names, where there are.

    Of one that is not loaded the server tells only the rows that were flushed.
    """
    client = Client(config.target_endpoint)
    try:
        found = {}
        for each in plan.collections:
            new = each.target in made.new or each.append
            if not new and made.described[each.name].loaded is False:
                client.flush(each.target, timeout_s=FLUSH_TIMEOUT_S)
                found[each.target] = client.stored_rows(each.target)
        return {name: rows for name, rows in found.items() if rows}
    finally:
        client.close()


def unmake_targets(config: JobConfig, made: Made) -> None:
    """Drops what was made just now: collections into which nobody has put rows, the database."""
    client = Client(config.target_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        for name in made.new:
            client.flush(name, timeout_s=FLUSH_TIMEOUT_S)
            if not client.stored_rows(name):
                client.drop_collection(name)
        if made.database and not client.collections():
            default.drop_database(config.sink.database)
    finally:
        client.close()
        default.close()


def _make_database(config: JobConfig) -> Pairs | None:
    """Makes the database as the source's is; returns the properties that it did not take.

    None where there is nothing to be made.
    """
    if not config.sink.create_database:
        return None
    source, target = Client(config.source_endpoint), Client(config.target_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        if config.sink.database in default.databases():
            return None
        wanted = planner.copied_properties(source.database_properties(), config)
        default.create_database(config.sink.database, wanted)
        there = target.database_properties()
        return tuple(pair for pair in wanted if pair not in there)
    finally:
        for client in (source, target, default):
            client.close()


def _make_partitions(client: Client, plan: CollectionPlan) -> None:
    if plan.source.partition_key:
        return  # The server makes them, as many as the collection was created with.
    there = set(client.partitions(plan.target))
    # One that is emptied keeps those that the source does not have.
    for partition in sorted({*plan.source.partitions, *plan.wanted.partitions} - there):
        try:
            client.create_partition(plan.target, partition)
        except Refused:
            if partition not in client.partitions(plan.target):
                raise
