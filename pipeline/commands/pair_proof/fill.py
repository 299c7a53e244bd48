"""Creates a specimen in the source as a user would, with pymilvus' ordinary client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymilvus import MilvusClient

from pipeline.commands.pair_proof.scratch_area import TIMEOUT_S
from pipeline.commands.pair_proof.specimen import (
    Delete,
    Insert,
    Specimen,
    SpecimenStep,
    Upsert,
    WantedIndex,
)
from transforms.milvus.versions import Version


def fill(client: MilvusClient, tag: str, specimen: Specimen, versions: Sequence[Version]) -> None:
    """Creates the collection with its rows, indexes and aliases, and loads it.

    It builds only indexes that servers of all `versions` support.

    Raises:
        MilvusException: the server refuses a call.
    """
    name = name_of(tag, specimen)
    client.create_collection(name, schema=specimen.schema(), timeout=TIMEOUT_S, **specimen.creation)
    for partition in specimen.partitions:
        client.create_partition(name, partition, timeout=TIMEOUT_S)
    for index in specimen.indexes_for(versions):
        _build(client, name, index)  # Before the rows: pymilvus waits until it is built.
    for step in specimen.written():
        _write(client, name, step)
    client.load_collection(name, timeout=TIMEOUT_S)
    for alias in specimen.aliases:
        client.create_alias(name, f"{tag}_{alias}", timeout=TIMEOUT_S)


def name_of(tag: str, specimen: Specimen) -> str:
    """Returns the name of a specimen's collection on both sides."""
    return f"{tag}_{specimen.name}"


def _write(client: MilvusClient, name: str, step: SpecimenStep) -> None:
    match step:
        case Insert(rows, partition, flush):
            named = {"partition_name": partition} if partition else {}
            client.insert(name, list(rows), timeout=TIMEOUT_S, **named)
            if flush:
                client.flush(name, timeout=TIMEOUT_S)
        case Delete(keys):
            client.delete(name, ids=list(keys), timeout=TIMEOUT_S)
        case Upsert(rows):
            client.upsert(name, list(rows), timeout=TIMEOUT_S)


def _build(client: MilvusClient, name: str, index: WantedIndex) -> None:
    wanted = MilvusClient.prepare_index_params()
    settings: dict[str, Any] = {"metric_type": index.metric} if index.metric else {}
    if index.params:
        settings["params"] = dict(index.params)
    named = index.name or f"{index.field.strip(']').replace('[', '_')}_index"
    wanted.add_index(index.field, index_type=index.kind, index_name=named, **settings)
    client.create_index(name, wanted, timeout=TIMEOUT_S)
