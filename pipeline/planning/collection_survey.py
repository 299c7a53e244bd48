"""Asks one cluster about one collection: what it is, and how many rows can be read of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.planning import reshaping
from transforms.errors import Busy, CallDenied, MigrationError, Refused, ServerError
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.faults import is_gone
from transforms.milvus.filters import MAX_INT64, both, literal
from transforms.milvus.snapshot import BOUNDED, NO_TIMESTAMP, STRONG, Snapshot
from transforms.milvus.versions import Version, release


@dataclass(frozen=True)
class Rows:
    """The rows of one collection: `count(*)` where it is loaded, else the server's statistics.

    With a row filter `count` is what it finds of `unfiltered` rows; `refused` is why the source
    does not take it, as the server says it.
    `snapshot` is when the rows of a source were counted, and will be read.
    `unreadable` counts rows with key 2^63-1, which servers before 2.6.8 count but never return;
    `largest_key` those that this server returns.
    `unnameable` is why no filter can name the key, as the server says it.
    `unloaded` are fields that a loaded collection has left out of memory, `released` partitions,
    whose rows are not counted. `problem` is why a loaded collection cannot be counted, as the
    server says it. `shadowing` are fields of the target that rows have in their dynamic field too,
    with how many rows that are.
    """

    count: int
    exact: bool
    snapshot: Snapshot = NO_TIMESTAMP
    unreadable: int = 0
    largest_key: int = 0
    unnameable: str = ""
    unloaded: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    problem: str = ""
    unfiltered: int | None = None
    refused: str = ""
    shadowing: tuple[tuple[str, int], ...] = ()


def survey_collection(
    quick: Client,
    client: Client,
    version: Version,
    where: Callable[[str], str],
    name: str,
    *,
    read: bool,
) -> tuple[Description, Rows] | None:
    """Returns what a collection is and what is in it; None if it was dropped meanwhile."""
    try:
        described = _whether_loaded(quick, client.describe(name))
        rows = _rows(client, version, described, where(name), read=read)
        if rows.problem and not client.resolve(name):
            return None  # What becomes of a query says so in other words.
        return described, rows
    except Refused as error:
        if is_gone(error):
            return None
        raise


def _whether_loaded(quick: Client, described: Description) -> Description:
    """A user who may not ask for the load state learns it from what becomes of a query."""
    if described.loaded is not None:
        return described
    try:
        quick.count(described.name)
    except (Refused, Busy) as error:
        _raise_if_no_rows_are_meant(error)
        unloaded = "not loaded" in error.detail
        return replace(described, loaded=False) if unloaded else described
    return replace(described, loaded=True)


def _rows(
    client: Client, version: Version, described: Description, where: str, *, read: bool
) -> Rows:
    name = described.name
    if described.loaded is False:
        return Rows(client.stored_rows(name), exact=False)
    try:
        snapshot = client.snapshot(name) if read else NO_TIMESTAMP
        seen = snapshot.consistency or STRONG
        count = client.count(name, seen=seen)
    except (Refused, Busy) as error:
        _raise_if_no_rows_are_meant(error)
        problem = error.detail if described.loaded else ""
        return Rows(client.stored_rows(name), exact=False, problem=problem)
    found = Rows(
        count,
        exact=True,
        snapshot=snapshot,
        unloaded=_unloaded(client, described, version),
        released=_released(client, described, version),
    )
    if where:
        try:
            count = client.count(name, where=where, seen=seen)
        except (Refused, Busy) as error:
            _raise_if_no_rows_are_meant(error)
            return replace(found, refused=error.detail)
        found = replace(found, count=count, unfiltered=found.count)
    return _of_key(client, described, where, found)


def _raise_if_no_rows_are_meant(error: ServerError) -> None:
    """Raises an error that says nothing of rows: the call is denied, or the collection is gone."""
    if isinstance(error, CallDenied) or is_gone(error):
        raise error


def _unloaded(client: Client, described: Description, version: Version) -> tuple[str, ...]:
    if version.lite or (version.known and version < release("2.5.0")):
        return ()  # Fields are loaded one by one from 2.5 on.
    return client.unloaded_fields(described.name, reshaping.copyable_schema(described).names)


def _released(client: Client, described: Description, version: Version) -> tuple[str, ...]:
    if version.files or described.partition_key or len(described.partitions) < 2:
        return ()  # What rows are dealt out to by a key is loaded as a whole.
    found = (
        partition
        for partition in described.partitions
        if client.loaded(described.name, partition) is False
    )
    return tuple(found)


def _of_key(client: Client, described: Description, where: str, found: Rows) -> Rows:
    """Learns whether a filter can name the key: Milvus takes any name for a field, `in` too."""
    try:
        schema = described.schema
    except MigrationError:
        return found  # A type that cannot be carried; preflight says so.
    primary, seen = schema.primary, found.snapshot.consistency or BOUNDED
    is_number = primary.type.name == "Int64"
    last = both(f"{primary.name} == {literal(MAX_INT64 if is_number else '')}", where)
    try:
        count = client.count(described.name, where=last, seen=seen)
        if not count or not is_number:
            return found
        key = schema.select([primary.name])
        shown, _ = client.page(described.name, key, rows=1, where=last, seen=seen)
    except (Refused, Busy) as error:
        _raise_if_no_rows_are_meant(error)
        return replace(found, unnameable=error.detail)
    if shown.num_rows:
        return replace(found, largest_key=count)
    return replace(found, unreadable=count)
