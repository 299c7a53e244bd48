"""Temporary changes for the duration of the job: collections loaded or marked, properties set.

    loans/SIDE-KIND-COLLECTION.json

A change is recorded in the ledger before it is made. So a worker or the launcher can restore the
collection at the end of the job, and after a crash the next run can. A collection that was already
loaded, or already had the properties, is not recorded and stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from pydantic import TypeAdapter

from transforms.errors import AccessDenied, DataError, Refused, ServerError
from transforms.ledger.ledger import Ledger, file_name
from transforms.ledger.worker_limits import Side
from transforms.milvus import features, qualified_names
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Pairs
from transforms.plan import CollectionPlan

_FOLDER = "loans"


@dataclass(frozen=True)
class TemporaryChange:
    """A change to one collection that is restored at the end of the job.

    Attributes:
        kind: "loaded"; "marked", if it has an alias that marks it as in use by this job; or
            "opened", if it has properties that a copy needs to write.
        before: the earlier values of these properties; None for a property that was not set.
        mark: that alias (`job_mark`).
    """

    side: Side
    kind: Literal["loaded", "marked", "opened"]
    collection: str
    before: dict[str, str | None] = field(default_factory=dict)
    mark: str = ""

    def __str__(self) -> str:
        state = f"with {', '.join(self.before)}" if self.before else self.kind
        state = "marked as in use" if self.mark else state
        return f"{self.side} collection {self.collection} {state}"

    @property
    def path(self) -> str:
        """The name of the object in the ledger."""
        return f"{_FOLDER}/{self.side}-{self.kind}-{file_name(self.collection)}.json"


_CHANGE = TypeAdapter(TemporaryChange)


def list_pending(ledger: Ledger) -> list[TemporaryChange]:
    """Returns the changes that are not restored yet."""
    changes = (ledger.value(_CHANGE, f"{_FOLDER}/{name}") for name in ledger.names(_FOLDER))
    return [change for change in changes if change is not None]


def record(ledger: Ledger, change: TemporaryChange) -> None:
    """Records a change that is about to be made."""
    ledger.replace(change.path, _CHANGE.dump_json(change))


def forget(ledger: Ledger, change: TemporaryChange) -> None:
    """Removes a change from the ledger: the collection stays as it is now."""
    ledger.remove(change.path)


def restore(ledger: Ledger, client: Client, changes: Iterable[TemporaryChange]) -> None:
    """Restores collections of one side; idempotent."""
    changes = list(changes)
    names = (change.collection for change in changes)
    existing = client.collections(qualified_names.databases_of(names))
    for change in changes:
        if change.mark:
            # Also if the collection was dropped: 2.3 keeps aliases.
            client.drop_alias(client.beside(change.collection, change.mark))
        elif change.collection in existing:
            _undo(client, change)
        forget(ledger, change)


def _undo(client: Client, change: TemporaryChange) -> None:
    if change.kind == "loaded":
        client.release(change.collection)
        return
    now = client.properties(change.collection)
    values = dict(now)
    changed = {
        key: value for key, value in change.before.items() if values.get(key, value) != value
    }
    old = tuple((key, value) for key, value in changed.items() if value is not None)
    _set_properties(client, change.collection, old, now)
    unset = [key for key, value in changed.items() if value is None]
    try:
        client.set_properties(change.collection, (), drop=unset)
    except Refused as error:
        # This server removes no property from a collection with isolated partition keys. All
        # properties that Kitelift sets default to false.
        if error.code != _ISOLATED:
            raise
        _set_properties(client, change.collection, tuple((key, "false") for key in unset), now)


_ISOLATED = 702
"""Servers before 2.6.13 reject a change of properties with this code: see `features.isolation`."""


def _set_properties(client: Client, collection: str, new: Pairs, existing: Pairs) -> None:
    """Sets properties of a collection that has the properties `existing`."""
    client.set_properties(collection, (*new, *features.isolation(existing)) if new else ())


# -- loading --------------------------------------------------------------------------------------


def loaded(side: Side, collection: str) -> TemporaryChange:
    """Returns the change of a collection that is loaded for the job."""
    return TemporaryChange(side, "loaded", collection)


def is_recorded(ledger: Ledger, change: TemporaryChange) -> bool:
    """Returns whether a change is recorded and not restored yet."""
    return ledger.read(change.path) is not None


def record_load(ledger: Ledger, client: Client, side: Side, collection: str) -> bool:
    """Records that a collection is about to be loaded for the job; returns whether it is recorded.

    It is not recorded if another client has loaded it or is loading it.
    """
    change = loaded(side, collection)
    if _released(client, collection):
        record(ledger, change)
        return True
    return is_recorded(ledger, change)


def ensure_source_readable(
    ledger: Ledger, source: Client, collection: str, *, may_load: bool
) -> None:
    """Ensures that the rows of a collection can be read; with `may_load` loads it for the job.

    Raises:
        DataError: the collection is not loaded and `may_load` is false.
    """
    if not may_load and not readable(source, collection):
        what = f"source collection {collection} is not loaded."
        remedy = "Load it, or set `source.Milvus.auto_load = true`. Then verify again."
        raise DataError(f"{what} {remedy}")
    if may_load and record_load(ledger, source, "source", collection):
        source.load(collection)


def readable(client: Client, collection: str) -> bool:
    """Returns whether the rows of a collection can be read; rows in files always can."""
    return bool(client.endpoint.folder) or not _released(client, collection)


def _released(client: Client, collection: str) -> bool:
    """Returns whether a collection is neither loaded nor being loaded.

    If this user may not read the load state, the result of a query shows it.
    """
    if (released := client.released(collection)) is not None:
        return released
    quick = Client(client.endpoint, NO_RETRIES)
    try:
        quick.count(collection)
    except ServerError as error:
        return "not loaded" in error.detail
    finally:
        quick.close()
    return False


# -- marks ----------------------------------------------------------------------------------------


def marked(collection: str, mark: str) -> TemporaryChange:
    """Returns the change of a target that has the mark of this job."""
    return TemporaryChange("target", "marked", collection, mark=mark)


def own_mark(ledger: Ledger, collection: str) -> str:
    """Returns the mark that this job has recorded for a target collection; "" if there is none."""
    change = ledger.value(_CHANGE, marked(collection, "").path)
    return change.mark if change else ""


def own_marks(ledger: Ledger) -> frozenset[str]:
    """Returns the marks that this job has recorded."""
    return frozenset(change.mark for change in list_pending(ledger) if change.mark)


# -- writing --------------------------------------------------------------------------------------


def set_write_properties(ledger: Ledger, client: Client, plan: CollectionPlan) -> None:
    """Sets the properties with which a target accepts explicit IDs and copied embeddings."""
    change = _write_properties(plan)
    if change.before:
        record(ledger, change)
        existing = client.properties(plan.target)
        _set_properties(client, plan.target, plan.while_writing, existing)
    elif plan.replaces:
        forget(ledger, change)  # The collection that an earlier run had changed is dropped.


def restore_isolated(ledger: Ledger, client: Client, plan: CollectionPlan) -> None:
    """Restores a target with isolated partition keys before it gets an index on a vector.

    With such an index, servers before 2.6.13 remove no property. A change that the server rejects
    here is restored at the end of the job.
    """
    change = ledger.value(_CHANGE, _write_properties(plan).path)
    if change and features.isolation(plan.wanted.properties):
        with suppress(Refused, AccessDenied):
            restore(ledger, client, [change])


def _write_properties(plan: CollectionPlan) -> TemporaryChange:
    """Returns the change of a target that has the properties of `plan.while_writing`."""
    before = dict(plan.put_back)
    return TemporaryChange(
        "target", "opened", plan.target, {key: before.get(key) for key, _ in plan.while_writing}
    )
