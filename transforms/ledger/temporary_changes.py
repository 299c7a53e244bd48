"""What a job changes only for itself, and gives back: loaded collections, opened targets.

    loans/SIDE-KIND-COLLECTION.json

A loan is in the ledger before it is taken. So whoever ends the job gives it back, a worker or the
launcher, and after a crash the next run. What was so before the job came is no loan, and stays.
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
from transforms.milvus import features
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Pairs
from transforms.plan import CollectionPlan

LOAD_TIMEOUT_S = 24 * 3600.0
"""Loading takes what it takes; it ends early only when the server says that it failed."""

_FOLDER = "loans"


@dataclass(frozen=True)
class TemporaryChange:
    """One collection that is otherwise than it was, as long as a job needs it so.

    Attributes:
        kind: "loaded"; or "opened", with properties that let it be written.
        before: the values that these properties had; None for one that was not there.
    """

    side: Side
    kind: Literal["loaded", "opened"]
    collection: str
    before: dict[str, str | None] = field(default_factory=dict)

    def __str__(self) -> str:
        how = f"with {', '.join(self.before)}" if self.before else self.kind
        return f"{self.side} collection {self.collection} {how}"

    @property
    def path(self) -> str:
        """What it is called in the ledger."""
        return f"{_FOLDER}/{self.side}-{self.kind}-{file_name(self.collection)}.json"


_LOAN = TypeAdapter(TemporaryChange)


def list_pending(ledger: Ledger) -> list[TemporaryChange]:
    """Returns what was not given back yet."""
    found = (ledger.value(_LOAN, f"{_FOLDER}/{name}") for name in ledger.names(_FOLDER))
    return [loan for loan in found if loan is not None]


def record(ledger: Ledger, loan: TemporaryChange) -> None:
    """Records a loan that is about to be taken."""
    ledger.replace(loan.path, _LOAN.dump_json(loan))


def forget(ledger: Ledger, loan: TemporaryChange) -> None:
    """Makes no loan of it, or no longer: it stays as it is."""
    ledger.remove(loan.path)


def restore(ledger: Ledger, client: Client, lent: Iterable[TemporaryChange]) -> None:
    """Puts collections of one side back as they were; done twice, it changes nothing."""
    there = client.collections()
    for loan in lent:
        if loan.collection in there:
            _undo(client, loan)
        forget(ledger, loan)


def _undo(client: Client, loan: TemporaryChange) -> None:
    if loan.kind == "loaded":
        client.release(loan.collection)
        return
    now = client.properties(loan.collection)
    found = dict(now)
    changed = {key: value for key, value in loan.before.items() if found.get(key, value) != value}
    back = tuple((key, value) for key, value in changed.items() if value is not None)
    _set_properties(client, loan.collection, back, now)
    gone = [key for key, value in changed.items() if value is None]
    try:
        client.set_properties(loan.collection, (), drop=gone)
    except Refused as error:
        # A property cannot be removed while isolation cannot be named beside it; all of ours are
        # false where they are not set.
        if error.code != _ISOLATED:
            raise
        _set_properties(client, loan.collection, tuple((key, "false") for key in gone), now)


_ISOLATED = 702
"""The code with which servers before 2.6.13 refuse a change of properties: see `isolation`."""


def _set_properties(client: Client, collection: str, new: Pairs, there: Pairs) -> None:
    """Sets properties of a collection that has those that are `there`."""
    client.set_properties(collection, (*new, *features.isolation(there)) if new else ())


# -- loading --------------------------------------------------------------------------------------


def loaded(side: Side, collection: str) -> TemporaryChange:
    """Returns the loan of a collection in memory."""
    return TemporaryChange(side, "loaded", collection)


def is_recorded(ledger: Ledger, loan: TemporaryChange) -> bool:
    """Whether a loan was taken and not given back yet."""
    return ledger.read(loan.path) is not None


def record_load(ledger: Ledger, client: Client, side: Side, collection: str) -> bool:
    """Records that a collection is about to be loaded for the job; returns whether it is on loan.

    It is none where somebody else has loaded it, or is about to.
    """
    loan = loaded(side, collection)
    if _released(client, collection):
        record(ledger, loan)
        return True
    return is_recorded(ledger, loan)


def ensure_readable(
    ledger: Ledger, client: Client, side: Side, collection: str, *, may_load: bool
) -> None:
    """Makes sure that the rows of a collection can be read; loads it for the job if it may.

    Raises:
        DataError: it is not loaded.
    """
    if not may_load and not readable(client, collection):
        where = f"{side} collection {collection}"
        remedy = f"Load it, or set {side}.Milvus.auto_load = true, and verify again."
        raise DataError(f"{where} is not loaded. {remedy}")
    if may_load and record_load(ledger, client, side, collection):
        client.load(collection, timeout_s=LOAD_TIMEOUT_S)


def readable(client: Client, collection: str) -> bool:
    """Whether the rows of a collection can be read; those in files always can."""
    return bool(client.endpoint.folder) or not _released(client, collection)


def _released(client: Client, collection: str) -> bool:
    """Whether a collection is neither in memory nor on its way there.

    A user who may not ask for the load state learns it from what becomes of a query.
    """
    if (told := client.released(collection)) is not None:
        return told
    quick = Client(client.endpoint, NO_RETRIES)
    try:
        quick.count(collection)
    except ServerError as error:
        return "not loaded" in error.detail
    finally:
        quick.close()
    return False


# -- writing --------------------------------------------------------------------------------------


def set_write_properties(ledger: Ledger, client: Client, plan: CollectionPlan) -> None:
    """Lets a target take what only a copy brings: ids of its own making, and embeddings."""
    loan = _write_properties(plan)
    if loan.before:
        record(ledger, loan)
        there = client.properties(plan.target)
        _set_properties(client, plan.target, plan.while_writing, there)
    elif plan.replaces:
        forget(ledger, loan)  # What an earlier run had opened was dropped.


def restore_isolated(ledger: Ledger, client: Client, plan: CollectionPlan) -> None:
    """Restores a target with isolated partition keys while it has no index on a vector.

    Once it has one, servers before 2.6.13 remove no property any more. What is refused here is
    restored at the end of the job.
    """
    taken = ledger.value(_LOAN, _write_properties(plan).path)
    if taken and features.isolation(plan.wanted.properties):
        with suppress(Refused, AccessDenied):
            restore(ledger, client, [taken])


def _write_properties(plan: CollectionPlan) -> TemporaryChange:
    """Returns the loan of a target with the properties by which it is written."""
    before = dict(plan.put_back)
    return TemporaryChange(
        "target", "opened", plan.target, {key: before.get(key) for key, _ in plan.while_writing}
    )
