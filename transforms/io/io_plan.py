"""Plan and ledger for a read or write in a pipeline other than a Kitelift job."""

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
"""The build of a pipeline should not hang, but it waits for a busy server."""


class NoLedger(Ledger):
    """A ledger that records nothing: there is no second run, and Beam does the retries.

    It cannot know whether a range is written for the first time; `certain` is its answer.
    """

    def __init__(self, *, certain: bool = False) -> None:
        super().__init__("", "")
        self._certain = certain

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_certain": self._certain}

    def freeze(
        self, plan_id: str, collection: str, cut: Iterable[KeyRange], *, seconds: float = 0.0
    ) -> list[KeyRange]:
        """Returns the ranges unchanged."""
        return list(cut)

    def finish(self, finished: Finished) -> None:
        """Fails the pipeline if a collection could not be cut, because there is no report.

        Raises:
            RangeFailed: always.
        """
        raise RangeFailed(finished.collection, finished.failed)

    def read(self, name: str) -> bytes | None:
        """Returns None."""
        return None

    def names(self, folder: str) -> list[str]:
        """Returns no names."""
        return []

    def write_once(self, name: str, data: bytes) -> bool:
        """Records nothing; returns `certain`."""
        return self._certain

    def replace(self, name: str, data: bytes) -> None:
        """Records nothing."""

    def remove(self, name: str) -> None:
        """Removes nothing."""


def plan_to_read(
    endpoint: Endpoint, collection: str, *, partition: str, where: str, columns: Sequence[str]
) -> Plan:
    """Reads the description of a collection from the server and returns the plan to read it.

    Raises:
        ServerError: the server does not answer, or has no such collection.
        DataError: the collection has no such column, or is not loaded.
    """
    client = Client(endpoint, DESCRIBE)
    try:
        existing, version = client.describe(collection), client.version()
        if not temporary_changes.readable(client, existing.name):
            raise DataError(f"{existing.name} is not loaded in {endpoint.url}; load it first")
        if unknown := sorted({*columns} - {*existing.schema.names}):
            known = f"the fields are: {', '.join(existing.schema.names)}"
            raise DataError(f"{existing.name}.{unknown[0]}: there is no such field; {known}")
        snapshot = client.snapshot(existing.name)
        seen = snapshot.consistency or STRONG
        plan = CollectionPlan(
            source=existing,
            target=existing.name,
            wanted=existing,
            partitions=(partition,),
            rows=client.count(existing.name, partition=partition, where=where, seen=seen),
            snapshot=snapshot,
            shape=Shape(where=where, stages=_only(existing, columns)),
        )
        return _plan(endpoint, version, plan)
    finally:
        client.close()


def plan_to_write(endpoint: Endpoint, collection: str) -> Plan:
    """Reads the description of a collection from the server and returns the plan to write it.

    Raises:
        ServerError: the server does not answer, or has no such collection.
    """
    client = Client(endpoint, DESCRIBE)
    try:
        existing = client.describe(collection)
        plan = CollectionPlan(
            source=existing,
            target=existing.name,
            wanted=existing,
            partitions=("",),
            rows=0,
            new_ids=existing.auto_id,
            recomputed=existing.outputs,
        )
        return _plan(endpoint, client.version(), plan)
    finally:
        client.close()


def _only(existing: Description, columns: Sequence[str]) -> tuple[Stage, ...]:
    """Returns a stage with the chosen columns and the key, which pages need; () for all."""
    key = existing.schema.primary.name
    chosen = [name for name in existing.schema.names if name in {key, *columns}]
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
        # milvus-lite stores JSON parsed and returns it in another notation.
        json_by_value=version.lite,
    )
