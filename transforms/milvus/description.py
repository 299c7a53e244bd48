"""What a Milvus says of one collection: facts, frozen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pymilvus.grpc_gen import schema_pb2

from transforms.milvus import schema as schemas
from transforms.milvus.schema import Schema

Pairs = tuple[tuple[str, str], ...]
"""Milvus' key-value parameters, in the order in which the server gave them."""


@dataclass(frozen=True)
class Index:
    """One index with its exact parameters."""

    field: str
    name: str
    params: Pairs


@dataclass(frozen=True)
class Description:
    """One collection as its server describes it.

    `raw_schema` is the serialized CollectionSchema as it came, so that what this version of
    Kitelift does not know is carried too. `loaded` is None where the server does not tell.
    """

    name: str
    collection_id: int
    raw_schema: bytes
    shards: int
    consistency_level: int
    partition_count: int
    properties: Pairs = ()
    aliases: tuple[str, ...] = ()
    partitions: tuple[str, ...] = ()
    indexes: tuple[Index, ...] = ()
    loaded: bool | None = None

    @cached_property
    def message(self) -> schema_pb2.CollectionSchema:
        """The schema as Milvus' own message."""
        return schema_pb2.CollectionSchema.FromString(self.raw_schema)

    @cached_property
    def schema(self) -> Schema:
        """The fields that are copied.

        Raises:
            UnsupportedField: a field has a type that cannot be carried.
        """
        return schemas.parse(self.message)

    @property
    def partition_key(self) -> str:
        """The field that decides the partition, or ""."""
        return next((field.name for field in self.message.fields if field.is_partition_key), "")

    @property
    def auto_id(self) -> bool:
        """Whether the server makes the primary keys."""
        return self.message.autoID or any(field.autoID for field in self.message.fields)

    def __getstate__(self) -> dict[str, Any]:
        # What is derived is derived again where it arrives.
        return {key: self.__dict__[key] for key in self.__dataclass_fields__}
