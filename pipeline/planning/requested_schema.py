"""The partition key that the job file asks for, and why a field cannot be one. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.jobfile.spelling import suggestion_sentence
from transforms.milvus import field_layout, types
from transforms.milvus.description import Description
from transforms.milvus.schema import Schema
from transforms.reshape.column import Column

PARTITIONS_OF_NEW_KEY = 16
"""Partitions of a collection that gets a partition key: what Milvus 2.4 and later choose. An older
release would choose 64."""

_PARTITION_KEY_TYPES = ("Int64", "VarChar")


EMPTY_DYNAMIC_FIELD = Column(types.META, value="{}", kind="JSON")
"""The dynamic field of rows that have no dynamic keys."""


def with_dynamic_field(columns: tuple[Column, ...], *, wanted: bool) -> tuple[Column, ...]:
    """Returns the columns with an empty dynamic field, or without one."""
    others = tuple(column for column in columns if column.name != types.META)
    return (*others, EMPTY_DYNAMIC_FIELD) if wanted else others


def with_partition_key(described: Description, name: str) -> Description:
    """Returns the collection with a partition key, in place of another one or of partitions."""
    if not described.partition_key:
        described = replace(described, partitions=(), partition_count=PARTITIONS_OF_NEW_KEY)
    return field_layout.with_partition_key(described, name)


def why_no_partition_key(name: str, schema: Schema) -> str:
    """Returns why a field cannot be the partition key; "" if it can."""
    fields = {field.name: field for field in schema.fields if not field.dynamic}
    if name not in fields:
        hint = suggestion_sentence(name, fields)
        return f"there is no field {name} in the target.{f' {hint}' if hint else ''}"
    field = fields[name]
    if field.primary:
        return f"{name} is the primary key. Milvus does not allow it as the partition key."
    if field.type.name not in _PARTITION_KEY_TYPES:
        return f"{name} is a {field.type.name}. A partition key is an Int64 or a VarChar."
    if field.nullable:
        return f"{name} may be null. Milvus does not allow null in a partition key."
    return ""
