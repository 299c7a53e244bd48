"""Describes a collection with changed fields: selected, renamed, copied, new, or with new settings.

Everything that belongs to a field follows it: its role as a key, its indexes, and the functions
that read or compute it. Without the field, it is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymilvus.grpc_gen import common_pb2, schema_pb2

from transforms.milvus import types
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.schema import Field

_ANALYZERS, _BY = "multi_analyzer_params", "by_field"
"""The setting of a text field with several analyzers, and its entry that names another field."""

_TTL_FIELD = "ttl_field"
"""The property that names the field with the expiry time of a row (3.0)."""

DEFAULT_CAPACITY = 4_096
"""``max_capacity`` of a new array: the maximum of Milvus."""


@dataclass(frozen=True)
class Slot:
    """One field of the new description.

    Attributes:
        name: the new name.
        origin: the source field; "" if the field is new.
        copied: whether it is a copy beside its origin, and so not a key.
        typed: the field's type, if it is new or differs from its origin.
    """

    name: str
    origin: str = ""
    copied: bool = False
    typed: Field | None = None


def names(described: Description) -> tuple[str, ...]:
    """Returns the names of all fields, including outputs of functions and `$meta`."""
    message = described.message
    fields = [field.name for field in (*message.fields, *message.struct_array_fields)]
    return (*fields, *([types.META] if message.enable_dynamic_field else []))


def params(described: Description, name: str) -> dict[str, str]:
    """Returns the type settings of a field, such as ``max_length``; empty for an unknown field."""
    fields = (field for field in described.message.fields if field.name == name)
    return {pair.key: pair.value for field in fields for pair in field.type_params}


def lay_out(described: Description, slots: Sequence[Slot]) -> Description:
    """Returns the collection with these fields, in this order."""
    message = schema_pb2.CollectionSchema()
    message.CopyFrom(described.message)
    del message.fields[:], message.struct_array_fields[:], message.functions[:]
    structs = {field.name: field for field in described.message.struct_array_fields}
    for slot in slots:
        if slot.origin in structs:
            message.struct_array_fields.add().CopyFrom(structs[slot.origin])
            message.struct_array_fields[-1].name = slot.name
        elif slot.name != types.META:
            message.fields.append(_field(described.message, slot))
    message.enable_dynamic_field = any(slot.name == types.META for slot in slots)
    renamed = {slot.origin: slot.name for slot in slots if slot.origin and not slot.copied}
    message.functions.extend(_functions(described.message, renamed))
    _rename_in_analyzers(message, renamed)
    pairs = tuple((pair.key, pair.value) for pair in message.properties)
    del message.properties[:]
    message.properties.extend(
        common_pb2.KeyValuePair(key=key, value=value) for key, value in _properties(pairs, renamed)
    )
    return replace(
        described,
        raw_schema=message.SerializeToString(),
        properties=tuple(_properties(described.properties, renamed)),
        indexes=tuple(_indexes(described, slots)),
    )


def language_field(field: schema_pb2.FieldSchema) -> str:
    """Returns the field whose value selects the analyzer of a text in each row; "" for none."""
    params = {pair.key: pair.value for pair in field.type_params}
    return str(_json(params.get(_ANALYZERS, "")).get(_BY, ""))


def with_partition_key(described: Description, name: str) -> Description:
    """Returns the collection with this field as its partition key, in place of another one."""
    message = schema_pb2.CollectionSchema()
    message.CopyFrom(described.message)
    for field in message.fields:
        field.is_partition_key = field.name == name
    return replace(described, raw_schema=message.SerializeToString())


def with_settings(described: Description, settings: Mapping[str, Mapping[str, Any]]) -> Description:
    """Returns the collection with changed settings: field name -> settings.

    The settings are ``nullable``, ``default_value`` and ``description``; all others are parameters
    of the type, such as ``max_length``.

    Raises:
        ValueError: a default value does not have the field's type.
    """
    message = schema_pb2.CollectionSchema()
    message.CopyFrom(described.message)
    for field in message.fields:
        for key, value in settings.get(field.name, {}).items():
            _set(field, key, value)
    return replace(described, raw_schema=message.SerializeToString())


def with_bm25(
    described: Description, *, name: str, text: str, output: str, description: str = ""
) -> Description:
    """Returns the collection with a BM25 function from a text field to a new indexed field."""
    message = schema_pb2.CollectionSchema()
    message.CopyFrom(described.message)
    message.fields.add(
        name=output, data_type=schema_pb2.DataType.SparseFloatVector, is_function_output=True
    )
    message.functions.add(
        name=name,
        description=description,
        type=schema_pb2.FunctionType.BM25,
        input_field_names=[text],
        output_field_names=[output],
    )
    taken = {index.name for index in described.indexes}
    index = Index(output, f"{output}_index" if output in taken else output, _BM25_INDEX)
    return replace(
        described,
        raw_schema=message.SerializeToString(),
        indexes=(*described.indexes, index),
    )


_BM25_INDEX = (("index_type", "SPARSE_INVERTED_INDEX"), ("metric_type", "BM25"))


def _set(field: schema_pb2.FieldSchema, key: str, value: Any) -> None:
    if key == "nullable":
        field.nullable = value
    elif key == "description":
        field.description = value
    elif key == "default_value":
        _set_default(field, value)
    else:
        others = [pair for pair in field.type_params if pair.key != key]
        del field.type_params[:]
        field.type_params.extend(others)
        text = value if isinstance(value, str) else json.dumps(value)
        field.type_params.add(key=key, value=text)


_DEFAULTS: dict[str, tuple[str, type | tuple[type, ...]]] = {
    "Bool": ("bool_data", bool),
    "Int8": ("int_data", int),
    "Int16": ("int_data", int),
    "Int32": ("int_data", int),
    "Int64": ("long_data", int),
    "Float": ("float_data", (int, float)),
    "Double": ("double_data", (int, float)),
    "VarChar": ("string_data", str),
    "Timestamptz": ("string_data", str),
}


def _set_default(field: schema_pb2.FieldSchema, value: Any) -> None:
    kind = types.name_of(field.data_type)
    if kind not in _DEFAULTS:
        raise ValueError(f"a {kind} cannot have a default value")
    member, of = _DEFAULTS[kind]
    if not isinstance(value, of) or (isinstance(value, bool) and of is not bool):
        raise ValueError(f"{json.dumps(value)} is not a {kind}")
    setattr(field.default_value, member, value)


def _field(message: schema_pb2.CollectionSchema, slot: Slot) -> schema_pb2.FieldSchema:
    field = schema_pb2.FieldSchema()
    for original in message.fields:
        if original.name == slot.origin:
            field.CopyFrom(original)
    field.name = slot.name
    if slot.copied:
        field.is_primary_key = field.is_partition_key = field.autoID = False
        field.is_clustering_key = field.is_function_output = False
    if slot.typed:
        _set_type(field, slot.typed)
    return field


def _set_type(field: schema_pb2.FieldSchema, typed: Field) -> None:
    """Gives a field the type of another; keeps its other settings."""
    field.data_type, field.element_type = typed.data_type, typed.element_type
    existing = {pair.key for pair in field.type_params}
    if typed.dim and not typed.type.sparse:
        _set(field, "dim", str(typed.dim))
    if typed.max_length and "max_length" not in existing:
        _set(field, "max_length", str(typed.max_length))
    if typed.type.name == "Array" and "max_capacity" not in existing:
        _set(field, "max_capacity", str(typed.max_capacity or DEFAULT_CAPACITY))


def _functions(
    message: schema_pb2.CollectionSchema, renamed: Mapping[str, str]
) -> Iterator[schema_pb2.FunctionSchema]:
    """Yields the functions whose outputs all exist, with the new field names."""
    for function in message.functions:
        if all(name in renamed for name in function.output_field_names):
            copy = schema_pb2.FunctionSchema()
            copy.CopyFrom(function)
            copy.input_field_names[:] = _all_renamed(function.input_field_names, renamed)
            copy.output_field_names[:] = _all_renamed(function.output_field_names, renamed)
            yield copy


def _rename_in_analyzers(message: schema_pb2.CollectionSchema, renamed: Mapping[str, str]) -> None:
    """If another field selects the analyzer of a text, replaces its name by the new one."""
    for field in message.fields:
        by = language_field(field)
        if renamed.get(by, by) != by:
            [params] = [pair.value for pair in field.type_params if pair.key == _ANALYZERS]
            _set(field, _ANALYZERS, json.dumps(_json(params) | {_BY: renamed[by]}))


def _json(text: str) -> dict[str, Any]:
    """Returns settings from a JSON object; none if the server accepted something else."""
    try:
        settings = json.loads(text or "{}")
    except ValueError:
        return {}
    return settings if isinstance(settings, dict) else {}


def _properties(pairs: Pairs, renamed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yields the properties; one that names a field gets its new name, or is left out with it."""
    for key, value in pairs:
        if key != _TTL_FIELD:
            yield key, value
        elif value in renamed:
            yield key, renamed[value]


def _all_renamed(names: Iterable[str], renamed: Mapping[str, str]) -> list[str]:
    return [renamed.get(name, name) for name in names]


def _indexes(described: Description, slots: Sequence[Slot]) -> Iterator[Index]:
    """Yields the indexes of the existing fields; a copied vector gets those of its origin."""
    taken = {index.name for index in described.indexes}
    for index in described.indexes:
        of, bracket, sub = index.field.partition("[")  # A vector in a struct array: `struct[sub]`.
        for slot in slots:
            if slot.origin != of:
                continue
            field = f"{slot.name}{bracket}{sub}"
            if not slot.copied:
                yield _index(index, field, index.name)
            elif index.field in described.vectors:
                name = f"{slot.name}_{sub[:-1]}" if sub else slot.name
                yield _index(index, field, f"{name}_index" if name in taken else name)


def _index(index: Index, field: str, name: str) -> Index:
    """Returns an index on another field; an index path in JSON starts with the field's name."""
    before = f"{index.field}["
    params = (
        (key, field + value.removeprefix(index.field))
        if key == "json_path" and value.startswith(before)
        else (key, value)
        for key, value in index.params
    )
    return Index(field, name, tuple(params))
