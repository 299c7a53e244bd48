"""Creates in the target what the plan says, before rows are copied. Running it twice is safe."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from pipeline.jobfile.job import JobConfig
from pipeline.planning import target_description
from pipeline.target import drop
from transforms.completion import Refusals, create_indexes, reasons
from transforms.errors import (
    AccessDenied,
    PreflightError,
    Refused,
    ServerError,
)
from transforms.finish import FLUSH_TIMEOUT_S
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Pairs
from transforms.plan import CollectionPlan, Plan


@dataclass(eq=False)
class CreatedTargets:
    """What the target has created of a plan so far.

    Attributes:
        described: each collection of the plan as it is now, by its name in the source.
        new: collections that did not exist, by their names in the target.
        dropped: collections that were dropped to be recreated, by their names in the target.
        refused: why an index was not created, by collection and feature.
        databases: by a database that was created, its properties that the target did not store.
        own_marks: the marks of this job on its collections.
    """

    described: dict[str, Description] = field(default_factory=dict)
    new: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refused: dict[str, dict[str, str]] = field(default_factory=dict)
    databases: dict[str, Pairs] = field(default_factory=dict)
    own_marks: Collection[str] = ()


def create_all(
    config: JobConfig, plan: Plan, *, replaces: bool = False, own_marks: Collection[str] = ()
) -> CreatedTargets:
    """Creates the missing databases, collections and partitions, and describes the result.

    With `replaces`, each collection that the plan replaces is dropped just before it is created
    again: once for a job, before its first row, and after `dry_run.try_creation`.

    Raises:
        PreflightError: the target refuses to create a collection, or another job writes to one that
            the plan replaces. What was created is dropped.
    """
    created = CreatedTargets(own_marks=own_marks)
    _create_databases(config, plan, created)
    client = Client(config.target_endpoint)
    try:
        existing = existing_targets(client, plan)
        for collection in plan.collections:
            try:
                if replaces and collection.replaces and collection.target in existing:
                    drop.drop(client, config, plan, collection, own_marks)
                    existing.remove(collection.target)
                    created.dropped.append(collection.target)
                if collection.target not in existing:
                    client.create_collection(collection.target, collection.created)
                    created.new.append(collection.target)
                refusals = create_partitions_and_indexes(client, config, collection)
                created.refused[collection.name] = reasons(refusals)
                described = client.describe(collection.target)
                created.described[collection.name] = collection.closed(described)
            except (Refused, AccessDenied) as error:
                said = f"target collection {collection.target}: {error.call}: {error.detail}"
                result = drop_created(config, created)
                why = f"the target does not create this collection; {result}"
                raise PreflightError([said, why]) from error
            except ServerError as error:
                raise _with_dropped(created.dropped, error) from error
        return created
    finally:
        client.close()


def create_partitions_and_indexes(
    client: Client, config: JobConfig, plan: CollectionPlan
) -> Refusals:
    """Creates what a collection has before its rows; returns the indexes that the target refuses.

    Indexes are created here only with `create_index = before`.
    """
    _create_partitions(client, plan)
    return create_indexes(client, plan) if config.sink.create_index == "before" else {}


def _with_dropped(dropped: list[str], error: ServerError) -> ServerError:
    """Returns the error with the collections that were dropped before it."""
    names = f"; dropped earlier, as the job file requires: {', '.join(dropped)}" if dropped else ""
    return type(error)(error.server, error.call, f"{error.detail}{names}", error.code)


def unflushed_rows(config: JobConfig, plan: Plan, created: CreatedTargets) -> dict[str, int]:
    """Returns row counts of collections that seemed empty and are not, by their target names.

    Another job may have written since the survey. And for a collection that is not loaded, the
    server reports only rows that were flushed.
    """
    client = Client(config.target_endpoint)
    try:
        counts = {}
        for collection in plan.collections:
            if collection.target in created.new or collection.append or not collection.has_rows:
                continue
            loaded = created.described[collection.name].loaded
            if loaded:
                counts[collection.target] = client.count(collection.target)
            elif loaded is False:
                client.flush(collection.target, timeout_s=FLUSH_TIMEOUT_S)
                counts[collection.target] = client.stored_rows(collection.target)
        return {name: rows for name, rows in counts.items() if rows}
    finally:
        client.close()


def drop_created(config: JobConfig, created: CreatedTargets) -> str:
    """Drops what was created just now: collections that still have no rows, and databases.

    A collection to which another job writes is kept. Collections that were dropped earlier are not
    restored. Returns a message for the user.
    """
    client = Client(config.target_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        kept = [name for name in created.new if not _drop_if_empty(client, name, created.own_marks)]
        for database in created.databases:
            if not client.collections([database]):
                with contextlib.suppress(Refused, AccessDenied):
                    default.drop_database(database)
    finally:
        client.close()
        default.close()
    but = f", except {', '.join(kept)}" if kept else ""
    message = f"no row was written; everything that this run created was dropped again{but}."
    if created.dropped:
        message += f" Dropped as the job file requires: {', '.join(created.dropped)}."
    return message


def _drop_if_empty(client: Client, name: str, own_marks: Collection[str]) -> bool:
    """Drops a new collection; returns False if it has rows by now, or the target refuses."""
    try:
        client.flush(name, timeout_s=FLUSH_TIMEOUT_S)
        marks = client.marks(name)
        if client.stored_rows(name) or not {*marks}.issubset(own_marks):
            return False
        for mark in marks:
            client.drop_alias(client.beside(name, mark))
        client.drop_collection(name)
    except (Refused, AccessDenied):
        return False
    return True


def existing_targets(client: Client, plan: Plan) -> set[str]:
    """Returns the collections that exist in the databases of the target."""
    return set(client.collections([database for _, database in plan.databases]))


def missing_databases(config: JobConfig, plan: Plan) -> Pairs:
    """Returns the databases that must still be created in the target; their names in the source."""
    if not config.sink.create_database:
        return ()
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        existing = default.databases()
        return tuple(pair for pair in config.databases(plan) if pair[1] not in existing)
    finally:
        default.close()


def _create_databases(config: JobConfig, plan: Plan, created: CreatedTargets) -> None:
    """Creates the missing databases like those of the source; adds them to `created`.

    Raises:
        PreflightError: the target refuses to create one. What was created is dropped.
    """
    missing = missing_databases(config, plan)
    if not missing:
        return
    source = Client(config.source_endpoint)
    default = Client(replace(config.target_endpoint, database="default"))
    try:
        for old, new in missing:
            properties = source.database_properties(old)
            wanted = target_description.copied_properties(properties, config.sink)
            try:
                default.create_database(new, wanted)
            except (Refused, AccessDenied) as error:
                if not created.databases:
                    raise
                said = f"target database {new}: {error.call}: {error.detail}"
                raise PreflightError([said, drop_created(config, created)]) from error
            created.databases[new] = ()
            actual = _properties(config, new)
            created.databases[new] = tuple(pair for pair in wanted if pair not in actual)
    finally:
        source.close()
        default.close()


def _properties(config: JobConfig, database: str) -> Pairs:
    client = Client(replace(config.target_endpoint, database=database))
    try:
        return client.database_properties(database)
    finally:
        client.close()


def _create_partitions(client: Client, plan: CollectionPlan) -> None:
    if plan.wanted.partition_key:
        return  # The server creates them: the number is a setting of the collection.
    existing = set(client.partitions(plan.target))
    # A collection that is emptied (DROP_DATA) keeps partitions that the source does not have.
    for partition in sorted({*filter(None, plan.partitions), *plan.wanted.partitions} - existing):
        try:
            client.create_partition(plan.target, partition)
        except Refused:
            if partition not in client.partitions(plan.target):
                raise
