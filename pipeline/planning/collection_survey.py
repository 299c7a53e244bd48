"""Reads the description of one collection, and counts the rows that can be read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.planning import reshaping
from transforms.errors import Busy, CallDenied, MigrationError, Refused, ServerError
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.faults import is_gone
from transforms.milvus.filters import MAX_INT64, both, literal
from transforms.milvus.row_counts import count_rows
from transforms.milvus.snapshot import BOUNDED, NO_TIMESTAMP, STRONG, Snapshot
from transforms.milvus.versions import Version, release


@dataclass(frozen=True)
class Rows:
    """The rows of one collection: `count(*)` if it is loaded, else the server's statistics.

    Attributes:
        count: the rows; with a row filter, those that it matches.
        exact: whether they were counted with `count(*)`.
        snapshot: the timestamp at which the rows are counted; those of a source are read at it.
        unreadable: rows with key 2^63-1, which servers before 2.6.8 count but never return.
        largest_key: rows with that key, on a server that returns them.
        key_error: why filter expressions cannot use the name of the key; the server's words.
        unloaded: fields that are not loaded, of a loaded collection.
        released: partitions that are not loaded; their rows are not counted.
        count_error: why a loaded collection cannot be counted; the server's words.
        unfiltered: with a row filter, all rows; else None.
        filter_error: why the source rejects the row filter; the server's words.
        clashes: fields of the target that are also keys in the dynamic field, each with the
            number of rows that have the key.
    """

    count: int
    exact: bool
    snapshot: Snapshot = NO_TIMESTAMP
    unreadable: int = 0
    largest_key: int = 0
    key_error: str = ""
    unloaded: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    count_error: str = ""
    unfiltered: int | None = None
    filter_error: str = ""
    clashes: tuple[tuple[str, int], ...] = ()


_SHARED_S = 2.0


class SharedSnapshot:
    """A snapshot of a server for the collections that are counted next: only the first one waits.

    It is taken anew every two seconds. Between the snapshot of a collection and its first count,
    compaction could remove rows that were replaced since.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._lock = client, threading.Lock()
        self._taken: Snapshot | None = None
        self._until = 0.0

    def take(self, collection: str) -> Snapshot:
        """Returns the snapshot; a server that pins reads takes it by a query of a collection."""
        with self._lock:
            if self._taken is None or time.monotonic() > self._until:
                self._until = time.monotonic() + _SHARED_S
                self._taken = self._client.snapshot(collection)
            return self._taken


def survey_collection(
    quick: Client,
    client: Client,
    version: Version,
    snapshot: SharedSnapshot,
    where: Callable[[str], str],
    name: str,
    *,
    partitions: Callable[[Description], tuple[str, ...]],
) -> tuple[Description, Rows] | None:
    """Returns the description and the rows of a collection; None if it was dropped meanwhile.

    Only rows of the chosen `partitions` are counted; () for all.
    """
    try:
        described = _with_load_state(quick, client.describe(name))
        chosen = partitions(described)
        rows = _rows(client, version, snapshot, described, chosen, where(name))
        if rows.count_error and not client.resolve(name):
            return None  # The error of a query does not always say that it was dropped.
        return described, rows
    except Refused as error:
        if is_gone(error):
            return None
        raise


def _with_load_state(quick: Client, described: Description) -> Description:
    """Adds the load state; without the privilege to read it, a query shows it."""
    if described.loaded is not None:
        return described
    try:
        quick.count(described.name)
    except (Refused, Busy) as error:
        _raise_unless_about_rows(error)
        unloaded = "not loaded" in error.detail
        return replace(described, loaded=False) if unloaded else described
    return replace(described, loaded=True)


def _rows(
    client: Client,
    version: Version,
    snapshot: SharedSnapshot,
    described: Description,
    partitions: tuple[str, ...],
    where: str,
) -> Rows:
    name = described.name
    if described.loaded is False:
        return Rows(client.stored_rows(name), exact=False)
    try:
        taken = snapshot.take(name)
        seen = taken.consistency or STRONG
        count = count_rows(client, described, partitions, seen=seen)
    except (Refused, Busy) as error:
        _raise_unless_about_rows(error)
        count_error = error.detail if described.loaded else ""
        return Rows(client.stored_rows(name), exact=False, count_error=count_error)
    rows = Rows(
        count,
        exact=True,
        snapshot=taken,
        unloaded=_unloaded(client, described, version),
        released=_released(client, described, partitions, version),
    )
    if where:
        try:
            count = count_rows(client, described, partitions, where, seen=seen)
        except (Refused, Busy) as error:
            _raise_unless_about_rows(error)
            return replace(rows, filter_error=error.detail)
        rows = replace(rows, count=count, unfiltered=rows.count)
    return _check_key(client, described, partitions, where, rows)


def _raise_unless_about_rows(error: ServerError) -> None:
    """Raises the error if the call is denied or the collection was dropped."""
    if isinstance(error, CallDenied) or is_gone(error):
        raise error


def _unloaded(client: Client, described: Description, version: Version) -> tuple[str, ...]:
    if version.lite or (version.known and version < release("2.5.0")):
        return ()  # From 2.5 on, fields can be loaded one by one.
    return client.unloaded_fields(described.name, reshaping.copyable_schema(described).names)


def _released(
    client: Client, described: Description, partitions: tuple[str, ...], version: Version
) -> tuple[str, ...]:
    if version.files or described.partition_key or len(described.partitions) < 2:
        return ()  # The partitions of a partition key are always loaded together.
    return tuple(
        partition
        for partition in partitions or described.partitions
        if client.loaded(described.name, partition) is False
    )


def _check_key(
    client: Client, described: Description, partitions: tuple[str, ...], where: str, rows: Rows
) -> Rows:
    """Checks whether a filter can name the key: Milvus allows any field name, also `in`."""
    try:
        schema = described.schema
    except MigrationError:
        return rows  # A type that cannot be copied; preflight reports it.
    primary, seen = schema.primary, rows.snapshot.consistency or BOUNDED
    is_number = primary.type.name == "Int64"
    last = both(f"{primary.name} == {literal(MAX_INT64 if is_number else '')}", where)
    try:
        count = count_rows(client, described, partitions, last, seen=seen)
        if not count or not is_number:
            return rows
        key = schema.select([primary.name])
        pages = (
            client.page(described.name, key, rows=1, partition=partition, where=last, seen=seen)
            for partition in partitions or ("",)
        )
        returned = any(page.num_rows for page, _ in pages)
    except (Refused, Busy) as error:
        _raise_unless_about_rows(error)
        return replace(rows, key_error=error.detail)
    if returned:
        return replace(rows, largest_key=count)
    return replace(rows, unreadable=count)
