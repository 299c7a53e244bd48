"""Counts the rows of a collection, or of some of its partitions."""

from __future__ import annotations

from collections.abc import Collection

from transforms.milvus import filters
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.schema import Field
from transforms.milvus.snapshot import STRONG, Consistency


def count_rows(
    client: Client,
    described: Description,
    partitions: Collection[str] = (),
    where: str = "",
    *,
    collection: str = "",
    seen: Consistency = STRONG,
) -> int:
    """Returns ``count(*)`` of a collection, or of these partitions together.

    `collection` is its name on the server, if `described` is its description on another one.
    """
    name = collection or described.name
    if not partitions:
        return client.count(name, where=where, seen=seen)
    key = next(field for field in described.message.fields if field.is_primary_key)
    # Without a filter, milvus-lite would count all rows.
    where = where or filters.anything(Field(key.name, key.data_type))
    return sum(
        client.count(name, partition=partition, where=where, seen=seen) for partition in partitions
    )
