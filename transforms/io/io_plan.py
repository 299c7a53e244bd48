"""What reading and writing need of a job, in a pipeline that is none of ours."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from transforms.errors import DataError, RangeFailed
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Finished, Ledger
from transforms.milvus.channel import UNEXPLAINED_SHORT_S, Patience
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.snapshot import STRONG
from transforms.milvus.versions import Version
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange
from transforms.reshape.column import Column
from transforms.reshape.reshape import Shape, Stage

DESCRIBE = Patience(outage_s=20.0, timeout_s=60.0, unexplained_s=UNEXPLAINED_SHORT_S)
"""A pipeline that is being built should not hang, but a busy server is waited for."""


class NoLedger(Ledger):
    """Keeps nothing: there is no second run, and what is tried again is up to Beam.

    So it cannot tell whether a range is written for the first time; `certain` is what it says.
    """

    def __init__(self, *, certain: bool = False) -> None:
        super().__init__("", "")
        self._certain = certain

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_certain": self._certain}

    def freeze(
        self, plan_id: str, collection: str, cut: Iterable[KeyRange], *, seconds: float = 0.0
    ) -> list[KeyRange]:
        """Returns the ranges as they were cut just now."""
        return list(cut)

    def finish(self, finished: Finished) -> None:
        """Fails for a collection that could not be cut: nobody else would ever hear of it.

        Raises:
            RangeFailed: always.
        """
        raise RangeFailed(finished.collection, finished.failed)

    def read(self, name: str) -> bytes | None:
        """Finds nothing."""
        return None

    def names(self, folder: str) -> list[str]:
        """Finds nothing."""
        return []

    def write_once(self, name: str, data: bytes) -> bool:
        """Keeps nothing."""
        return self._certain

    def replace(self, name: str, data: bytes) -> None:
        """Keeps nothing."""

    def remove(self, name: str) -> None:
        """Has nothing to remove."""


def plan_to_read(
    endpoint: Endpoint, collection: str, *, partition: str, where: str, columns: Sequence[str]
) -> Plan:
    """Asks the server for a collection, and returns the plan of one that is only read.

    Raises:
        ServerError: it does not answer, or has no such collection.
        DataError: a column is not there, or the collection is not loaded.
    """
    client = Client(endpoint, DESCRIBE)
    try:
        found, version = client.describe(collection), client.version()
        if not temporary_changes.readable(client, found.name):
            raise DataError(f"{found.name} is not loaded in {endpoint.url}; load it first")
        if unknown := sorted({*columns} - {*found.schema.names}):
            there = f"there are: {', '.join(found.schema.names)}"
            raise DataError(f"{found.name}.{unknown[0]}: there is no such field; {there}")
        snapshot = client.snapshot(found.name)
        seen = snapshot.consistency or STRONG
        plan = CollectionPlan(
            source=found,
            target=found.name,
            wanted=found,
            partitions=(partition,),
            rows=client.count(found.name, partition=partition, where=where, seen=seen),
            snapshot=snapshot,
            shape=Shape(where=where, stages=_only(found, columns)),
        )
        return _plan(endpoint, version, plan)
    finally:
        client.close()


def plan_to_write(endpoint: Endpoint, collection: str) -> Plan:
    """Asks the server for a collection, and returns the plan of one that is only written.

    Raises:
        ServerError: it does not answer, or has no such collection.
    """
    client = Client(endpoint, DESCRIBE)
    try:
        found = client.describe(collection)
        plan = CollectionPlan(
            source=found,
            target=found.name,
            wanted=found,
            partitions=("",),
            rows=0,
            new_ids=found.auto_id,
            recomputed=found.outputs,
        )
        return _plan(endpoint, client.version(), plan)
    finally:
        client.close()


def _only(found: Description, columns: Sequence[str]) -> tuple[Stage, ...]:
    """Chooses columns in the collection's order; the key, by which pages go, is among them."""
    key = found.schema.primary.name
    chosen = [name for name in found.schema.names if name in {key, *columns}]
    stage = Stage(tuple(Column(name, origin=name) for name in chosen), key)
    return (stage,) if columns else ()


def _plan(endpoint: Endpoint, version: Version, plan: CollectionPlan) -> Plan:
    return Plan(
        job_id="",
        plan_id="",
        made_at=time.time(),
        source_url=endpoint.url,
        target_url=endpoint.url,
        source_version=str(version),
        target_version=str(version),
        collections=(plan,),
        # milvus-lite stores JSON parsed, and writes it in its own way.
        json_by_value=version.lite,
    )
