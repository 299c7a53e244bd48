"""Makes in the clusters what the Plan says, before rows move. Done twice, it changes nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace

from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.target import drop
from transforms.errors import (
    AccessDenied,
    PreflightError,
    Refused,
    ServerError,
)
from transforms.finish import (
    FLUSH_TIMEOUT_S,
    Refusals,
    begin_indexes,
    reasons,
)
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Pairs
from transforms.plan import CollectionPlan, Plan


@dataclass(eq=False)
class CreatedTargets:
    """What the target has made of a plan so far.

    Attributes:
        described: each collection of the plan as it is now, by the source's name.
        new: collections that were not there; names of the target, as `gone`.
        gone: those that were dropped to be made anew.
        refused: why an index was not made, by collection and feature.
        database: whether the database was not there either.
        lost: properties that it was given and does not have.
    """

    described: dict[str, Description] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    database: bool = False
    lost: Pairs = ()


def make_targets(config: JobConfig, plan: Plan, *, replaces: bool = False) -> CreatedTargets:
    """Makes the database, collections and partitions that are missing, and describes the result.

    With `replaces`, each collection that the plan replaces is dropped just before it is created
    again: once for a job, before its first row, and after `dry_run.rehearse`.

    Raises:
        PreflightError: the target does not make a collection. What was made is gone again.
    """
    lost = _make_database(config)
    made = CreatedTargets(database=lost is not None, lost=lost or ())
    client = Client(config.target_endpoint)
    try:
        there = set(client.collections())
        for collection in plan.collections:
            try:
                if replaces and collection.replaces and collection.target in there:
                    drop.drop(client, config, plan, collection)
                    there.remove(collection.target)
                    made.gone.append(collection.target)
                if collection.target not in there:
                    client.create_collection(collection.target, collection.created)
                    made.new.append(collection.target)
                made.refused[collection.name] = reasons(furnish(client, config, collection))
                made.described[collection.name] = collection.closed(
                    client.describe(collection.target)
                )
            except (Refused, AccessDenied) as error:
                said = f"target collection {collection.target}: {error.call}: {error.detail}"
                done = undo(config, made)
                raise PreflightError([said, f"the target does not make it so; {done}"]) from error
            except ServerError as error:
                raise _telling_of(made.gone, error) from error
        return made
    finally:
        client.close()


def furnish(client: Client, config: JobConfig, plan: CollectionPlan) -> Refusals:
    """Makes what a collection has before its rows; returns the indexes that the target refuses."""
    _make_partitions(client, plan)
    return begin_indexes(client, plan) if config.sink.create_index == "before" else {}


def _telling_of(gone: list[str], error: ServerError) -> ServerError:
    """Returns the error with the collections that were dropped before it."""
    dropped = f"; dropped before, as the job asks: {', '.join(gone)}" if gone else ""
    return type(error)(error.server, error.call, f"{error.detail}{dropped}", error.code)


def hidden_rows(config: JobConfig, plan: Plan, made: CreatedTargets) -> dict[str, int]:
    """Returns the rows of collections that seemed empty, by the target's names, where there are.

    Of one that is not loaded the server tells only the rows that were flushed.
    """
    client = Client(config.target_endpoint)
    try:
        found = {}
        for collection in plan.collections:
            new = collection.target in made.new or collection.append
            if not new and made.described[collection.name].loaded is False:
                client.flush(collection.target, timeout_s=FLUSH_TIMEOUT_S)
                found[collection.target] = client.stored_rows(collection.target)
        return {name: rows for name, rows in found.items() if rows}
    finally:
        client.close()


def undo(config: JobConfig, made: CreatedTargets) -> str:
    """Drops what was made just now: collections into which nobody has put rows, the database.

    Returns what is to be said of it: what was dropped before does not come back.
    """
    client = Client(config.target_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        left = [name for name in made.new if not _unmade(client, name)]
        if made.database and not client.collections():
            with contextlib.suppress(Refused, AccessDenied):
                default.drop_database(config.sink.database)
    finally:
        client.close()
        default.close()
    but = f" but for {', '.join(left)}" if left else ""
    gone = f" Gone, as the job asks: {', '.join(made.gone)}." if made.gone else ""
    return f"no row was written, what was made is dropped{but}.{gone}"


def _unmade(client: Client, name: str) -> bool:
    """Drops a collection that was made just now; not where somebody writes, or we may not."""
    try:
        client.flush(name, timeout_s=FLUSH_TIMEOUT_S)
        if client.stored_rows(name):
            return False
        client.drop_collection(name)
    except (Refused, AccessDenied):
        return False
    return True


def lacks_database(config: JobConfig) -> bool:
    """Whether the target's database is still to be made."""
    if not config.sink.create_database:
        return False
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        return config.sink.database not in default.databases()
    finally:
        default.close()


def _make_database(config: JobConfig) -> Pairs | None:
    """Makes the database as the source's is; returns the properties that it did not take.

    None where there is nothing to be made.
    """
    if not lacks_database(config):
        return None
    source, target = Client(config.source_endpoint), Client(config.target_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
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
