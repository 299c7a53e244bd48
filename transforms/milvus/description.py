"""What a Milvus says of one collection: facts, frozen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import FunctionType

from transforms.milvus import schema as schemas
from transforms.milvus import types
from transforms.milvus.schema import Schema, sub_name

Pairs = tuple[tuple[str, str], ...]
"""Milvus' key-value parameters, in the order in which the server gave them."""


@dataclass(frozen=True)
class Index:
    """One index with its exact parameters."""

    field: str
    name: str
    params: Pairs

    @property
    def feature(self) -> str:
        """What `accept` and the report call it."""
        return f"indexes.{self.name or self.field}"

    @property
    def place(self) -> tuple[str, Pairs]:
        """What there can be only one index on: a field, or one path in a field of JSON."""
        return self.field, self.params if self.on_path else ()

    @property
    def on_path(self) -> bool:
        """Whether it is on one path in a field of JSON."""
        return any("json_path" in key or "json_path" in value for key, value in self.params)


def lacking(wanted: Iterable[Index], there: Collection[Index]) -> tuple[Index, ...]:
    """Returns the indexes that are not there, under their name or, in their place, another.

    milvus-lite names an index after its field, whatever it is told.

    >>> flat = Index("vector", "flat", (("index_type", "FLAT"),))
    >>> lacking([flat], []) == (flat,), lacking([flat], [Index("vector", "vector", flat.params)])
    (True, ())
    """
    names, places = {each.name for each in there}, {each.place for each in there}
    return tuple(each for each in wanted if each.name not in names and each.place not in places)


@dataclass(frozen=True)
class Description:
    """One collection as its server describes it.

    `raw_schema` is the serialized CollectionSchema as it came, so that what this version of
    Kitelift does not know is carried too. `loaded` is None where the server does not tell;
    `replicas` is how often it is in memory, 0 where it is not, or the server does not tell.
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
    replicas: int = 0

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

    def columns(self, names: Collection[str]) -> Schema:
        """The schema of these fields only, in this order, whatever types the others have.

        Raises:
            UnsupportedField: one of them has a type that cannot be carried.
        """
        fields = (*self.message.fields, *self.message.struct_array_fields)
        others = {field.name for field in fields if field.name not in names}
        return schemas.parse(self.message, skip=others).select(names)

    @property
    def has_namespaces(self) -> bool:
        """Whether rows belong to namespaces: a flag in 3.0, a field of the server's own in 2.6."""
        fields = (field.name for field in self.message.fields)
        return self.message.enable_namespace or types.NAMESPACE in fields

    @property
    def partition_key(self) -> str:
        """The field that decides the partition, or ""."""
        return next((field.name for field in self.message.fields if field.is_partition_key), "")

    @property
    def vectors(self) -> tuple[str, ...]:
        """The fields that are vectors, as indexes name them: in a struct array, `struct[sub]`."""
        message = self.message
        named = [(field.name, field) for field in message.fields]
        for struct in message.struct_array_fields:
            named += [(f"{struct.name}[{sub_name(sub.name)}]", sub) for sub in struct.fields]
        return tuple(name for name, each in named if types.is_vector(each.data_type))

    @property
    def added(self) -> tuple[str, ...]:
        """The fields that were added when the collection was there; of one with a dynamic field.

        Fields are numbered, and `$meta`, which no server lists, is the last one of the beginning.
        """
        fields = (*self.message.fields, *self.message.struct_array_fields)
        subs = (sub for struct in self.message.struct_array_fields for sub in struct.fields)
        numbers = {field.fieldID for field in (*fields, *subs)}
        gap = next((n for n in range(min(numbers), max(numbers)) if n not in numbers), None)
        return tuple(field.name for field in fields if gap is not None and field.fieldID > gap)

    @property
    def unindexed(self) -> tuple[str, ...]:
        """The vectors without an index; while there is one, Milvus loads no collection."""
        indexed = {index.field for index in self.indexes}
        return tuple(name for name in self.vectors if name not in indexed)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The fields that a function makes and that can be read: all but those of BM25."""
        makers = (
            function for function in self.message.functions if function.type != FunctionType.BM25
        )
        return tuple(name for maker in makers for name in maker.output_field_names)

    @property
    def auto_id(self) -> bool:
        """Whether the server makes the primary keys."""
        return self.message.autoID or any(field.autoID for field in self.message.fields)

    def __getstate__(self) -> dict[str, Any]:
        # What is derived is derived again where it arrives.
        return {key: self.__dict__[key] for key in self.__dataclass_fields__}
