"""What a server makes of the schema of a new collection: what it drops, refuses and adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes.fields import is_vector, parameter
from tests.fakes.memory import LEVELS
from tests.fakes.rules import Rules
from tests.fakes.statuses import BAD_NAME, BAD_PARAMETER, BAD_SCHEMA, Refusal, invalid, plain

DEFAULT_PARTITIONS = 16
"""Partitions of a collection whose key decides them, if their number is not given."""

_WORDS = ["in", "like", "exists", "and", "or", "not", "true", "false", "json_contains"]
_WORDS += ["json_contains_all", "json_contains_any", "array_contains", "array_contains_all"]
_WORDS += ["array_contains_any", "array_length"]

_RESERVED = {
    "reserves_words": _WORDS,
    "reserves_text_match": ["text_match"],
    "reserves_random_sample": ["phrase_match", "random_sample"],
    "reserves_null": ["null"],
}
"""Names that a field cannot have, in small letters and in capitals, by the rule (keywords.go)."""

_DROPPED: dict[str, Callable[[schema_pb2.CollectionSchema], None]] = {
    "keeps_structs": lambda schema: schema.ClearField("struct_array_fields"),
    "keeps_functions": lambda schema: schema.ClearField("functions"),
    "keeps_nullable": lambda schema: _clear(schema, "nullable"),
    "keeps_clustering_keys": lambda schema: _clear(schema, "is_clustering_key"),
}
"""What a server whose protocol does not have it drops without a word, by the rule."""


def read_schema(
    rules: Rules, request: milvus_pb2.CreateCollectionRequest
) -> schema_pb2.CollectionSchema:
    """Returns the schema of a request as a server of this release understands it."""
    schema = schema_pb2.CollectionSchema.FromString(request.schema)
    for rule, drop in _DROPPED.items():
        if not getattr(rules, rule):
            drop(schema)
    outputs = {name for made in schema.functions for name in made.output_field_names}
    for field in schema.fields:
        field.is_function_output = field.name in outputs
    return schema


def check_collection(
    rules: Rules,
    schema: schema_pb2.CollectionSchema,
    request: milvus_pb2.CreateCollectionRequest,
) -> None:
    """Refuses a collection that a server of this release would not make."""
    if request.shards_num > rules.shards:
        raise plain(rules, f"maximum shards's number should be limited to {rules.shards}")
    if len(schema.fields) + sum(len(each.fields) for each in schema.struct_array_fields) > (
        rules.fields
    ):
        raise plain(rules, f"maximum field's number should be limited to {rules.fields}")
    _check_vectors(rules, schema)
    _check_names(rules, schema)
    for field in schema.fields:
        _check_field(rules, field)
    _check_functions(rules, schema)
    _check_partitions(rules, schema, request)


def complete(rules: Rules, request: milvus_pb2.CreateCollectionRequest, zone: str) -> None:
    """Adds what a server writes on each collection, and takes out what it uses up."""
    properties = {pair.key: pair.value for pair in request.properties}
    if rules.level_from_property and (level := properties.pop("consistency_level", "")):
        request.consistency_level = LEVELS.index(level) if level in LEVELS else int(level)
    if rules.has_timezone:
        properties.setdefault("timezone", zone)
    del request.properties[:]
    request.properties.extend(
        KeyValuePair(key=key, value=value) for key, value in properties.items()
    )
    request.shards_num = max(1, request.shards_num)


def check_added_field(rules: Rules, field: schema_pb2.FieldSchema) -> None:
    """Refuses a field that cannot be added to a collection that may have rows."""
    if not field.nullable:
        raise invalid(f"added field must be nullable, please check it, field name = {field.name}")
    _check_field(rules, field)


def _check_vectors(rules: Rules, schema: schema_pb2.CollectionSchema) -> None:
    parts = [part for struct in schema.struct_array_fields for part in struct.fields]
    # A 2.3 does not know the newer types for vectors.
    vectors = [
        field.name
        for field in (*schema.fields, *parts)
        if is_vector(field) and rules.knows_type(field.data_type)
    ]
    if not vectors and rules.needs_vector:
        raise invalid("schema does not contain vector field")
    if len(vectors) <= rules.vector_fields:
        return
    if rules.vector_fields == 1:
        named = f"fields name: {vectors[0]}, {vectors[1]}"
        raise plain(rules, f"multiple vector fields is not supported, {named}")
    raise plain(rules, f"maximum vector field's number should be limited to {rules.vector_fields}")


def _check_names(rules: Rules, schema: schema_pb2.CollectionSchema) -> None:
    if len(schema.name) > rules.name_length:
        words = f"The length of a collection name must be less than {rules.name_length} characters"
        raise invalid(f"Invalid collection name: {schema.name}. {words}.")
    if rules.long_descriptions_refused and (
        len(schema.description.encode()) > rules.description_bytes
    ):
        words = "the length of a collection description must not exceed"
        raise invalid(f"{words} {rules.description_bytes} bytes")
    reserved = {word for rule, words in _RESERVED.items() if getattr(rules, rule) for word in words}
    for name in (field.name for field in schema.fields):
        if name.lower() in reserved and name in (name.lower(), name.upper(), name.title()):
            words = f"Invalid field name: {name}. {name} is keyword in milvus."
            raise Refusal(BAD_NAME, f"{words}: field name invalid[field={name}]")


def _check_field(rules: Rules, field: schema_pb2.FieldSchema) -> None:
    if rules.refuses_unknown_types and not rules.knows_type(field.data_type):
        words = f"field data type: {field.data_type} is not supported"
        raise Refusal(BAD_PARAMETER, f"invalid parameter[expected=valid field][actual={words}]")
    if field.nullable and is_vector(field) and not rules.nullable_vectors:
        named = f"type:{DataType.Name(field.data_type)}, name:{field.name}"
        raise invalid(f"vector type not support null, {named}")
    if parameter(field, "dim") > rules.dim:
        raise plain(rules, f"invalid dimension: {parameter(field, 'dim')} of field {field.name}")
    longest = parameter(field, "max_length")
    if field.data_type == DataType.VarChar and longest > rules.text_bytes:
        words = f"the maximum length specified for the field({field.name})"
        raise invalid(f"{words} should be in (0, {rules.text_bytes}], but got {longest} instead")


def _check_functions(rules: Rules, schema: schema_pb2.CollectionSchema) -> None:
    fields = {field.name: field for field in schema.fields}
    for function in schema.functions:
        if function.type != FunctionType.BM25:
            continue
        for name in function.input_field_names:
            params = {pair.key: pair.value for pair in fields[name].type_params}
            if params.get("enable_analyzer") != "true":
                raise plain(rules, "BM25 function input field must set enable_analyzer to true")


def _check_partitions(
    rules: Rules,
    schema: schema_pb2.CollectionSchema,
    request: milvus_pb2.CreateCollectionRequest,
) -> None:
    by_key = any(field.is_partition_key for field in schema.fields)
    if request.num_partitions and not by_key:
        words = "num_partitions should only be specified with partition key field enabled"
        raise plain(rules, words)
    if request.num_partitions > rules.partitions:
        words = f"partition number ({request.num_partitions}) exceeds max configuration"
        raise plain(rules, f"{words} ({rules.partitions})")
    isolated = ("partitionkey.isolation", "true") in [
        (pair.key, pair.value) for pair in request.properties
    ]
    if isolated and not by_key and rules.isolation_needs_key:
        words = "partition key isolation mode is enabled but no partition key field is set"
        raise Refusal(
            BAD_SCHEMA,
            f"{words}. Please set the partition key first: illegal collection schema"
            f"[collection={schema.name}]",
        )


def _clear(schema: schema_pb2.CollectionSchema, name: str) -> Any:
    for field in schema.fields:
        field.ClearField(name)
