"""The description of one collection by its Milvus, as frozen values."""

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
"""Milvus' key-value parameters, in the server's order."""


@dataclass(frozen=True)
class Index:
    """One index with its exact parameters."""

    field: str
    name: str
    params: Pairs

    @property
    def feature(self) -> str:
        """The feature name of the index, as in `accept` and the report."""
        return f"indexes.{self.name or self.field}"

    @property
    def place(self) -> tuple[str, Pairs]:
        """Where only one index can exist: a field, or one path in a JSON field."""
        return self.field, self.params if self.on_path else ()

    @property
    def on_path(self) -> bool:
        """Whether it is on one path in a JSON field."""
        return any("json_path" in key or "json_path" in value for key, value in self.params)


def missing_indexes(wanted: Iterable[Index], existing: Collection[Index]) -> tuple[Index, ...]:
    """Returns the wanted indexes of which neither the name nor the place exists.

    milvus-lite names an index after its field, whatever the request says.

    >>> flat = Index("vector", "flat", (("index_type", "FLAT"),))
    >>> missing_indexes([flat], []) == (flat,)
    True
    >>> missing_indexes([flat], [Index("vector", "vector", flat.params)])
    ()
    """
    names, places = {index.name for index in existing}, {index.place for index in existing}
    return tuple(index for index in wanted if index.name not in names and index.place not in places)


@dataclass(frozen=True)
class Description:
    """One collection as its server describes it.

    `raw_schema` is the server's serialized CollectionSchema, so that settings unknown to this
    version of Kitelift are copied too. `loaded` is None if the server does not say it. `replicas`
    is the number of replicas in memory; 0 if it is not loaded, or the server does not say it.
    `marks` are the aliases of jobs that write to it (`job_mark`); they are not in `aliases`.
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
    marks: tuple[str, ...] = ()

    @cached_property
    def message(self) -> schema_pb2.CollectionSchema:
        """The schema as Milvus' protobuf message."""
        return schema_pb2.CollectionSchema.FromString(self.raw_schema)

    @cached_property
    def schema(self) -> Schema:
        """The fields that are copied.

        Raises:
            UnsupportedField: a field has a type that cannot be copied.
        """
        return schemas.parse(self.message)

    def columns(self, names: Collection[str]) -> Schema:
        """Returns the schema of these fields, in this order; the types of the others do not matter.

        Raises:
            UnsupportedField: one of these fields has a type that cannot be copied.
        """
        fields = (*self.message.fields, *self.message.struct_array_fields)
        others = {field.name for field in fields if field.name not in names}
        return schemas.parse(self.message, skip=others).select(names)

    @property
    def has_namespaces(self) -> bool:
        """Whether rows belong to namespaces: a flag in 3.0, a system field in 2.6."""
        fields = (field.name for field in self.message.fields)
        return self.message.enable_namespace or types.NAMESPACE in fields

    @property
    def partition_key(self) -> str:
        """The partition key field, or ""."""
        return next((field.name for field in self.message.fields if field.is_partition_key), "")

    @property
    def vectors(self) -> tuple[str, ...]:
        """The vector fields, with the names that indexes use: `struct[sub]` in a struct array."""
        message = self.message
        named = [(field.name, field) for field in message.fields]
        for struct in message.struct_array_fields:
            named += [(f"{struct.name}[{sub_name(sub.name)}]", sub) for sub in struct.fields]
        return tuple(name for name, field in named if types.is_vector(field.data_type))

    @property
    def added(self) -> tuple[str, ...]:
        """The fields that were added later to a collection with a dynamic field.

        Fields are numbered. `$meta`, which no server lists, is the last field at creation.
        """
        fields = (*self.message.fields, *self.message.struct_array_fields)
        subs = (sub for struct in self.message.struct_array_fields for sub in struct.fields)
        numbers = {field.fieldID for field in (*fields, *subs)}
        gap = next((n for n in range(min(numbers), max(numbers)) if n not in numbers), None)
        return tuple(field.name for field in fields if gap is not None and field.fieldID > gap)

    @property
    def unindexed(self) -> tuple[str, ...]:
        """The vector fields without an index; Milvus does not load a collection that has one."""
        indexed = {index.field for index in self.indexes}
        return tuple(name for name in self.vectors if name not in indexed)

    @property
    def computed(self) -> tuple[str, ...]:
        """The output fields of BM25 functions, which no client can read."""
        functions = (
            function for function in self.message.functions if function.type == FunctionType.BM25
        )
        return tuple(name for function in functions for name in function.output_field_names)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The readable output fields of functions: all but those of BM25."""
        functions = (
            function for function in self.message.functions if function.type != FunctionType.BM25
        )
        return tuple(name for function in functions for name in function.output_field_names)

    @property
    def auto_id(self) -> bool:
        """Whether the server creates the primary keys."""
        return self.message.autoID or any(field.autoID for field in self.message.fields)

    def __getstate__(self) -> dict[str, Any]:
        # The receiver derives the cached values again.
        return {key: self.__dict__[key] for key in self.__dataclass_fields__}
