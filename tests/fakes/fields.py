"""What the fields of a collection say about the values in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes import times
from tests.fakes.columns import Field, column
from tests.fakes.rules import Rules

META = "$meta"


def is_vector(field: schema_pb2.FieldSchema) -> bool:
    """Whether a field is one of the vectors, whose numbers begin at 100."""
    return field.data_type >= 100


def is_struct(field: Field) -> bool:
    """Whether a field is a struct array."""
    return isinstance(field, schema_pb2.StructArrayFieldSchema)


def parameter(field: Field, name: str) -> int:
    """Returns a number among the type parameters; 0 if it is not there."""
    return next((int(pair.value) for pair in field.type_params if pair.key == name), 0)


def may_be_left_out(field: Field) -> bool:
    """Whether an insert need not bring a field."""
    if is_struct(field):
        return bool(field.nullable)
    return bool(field.nullable or field.is_dynamic or field.HasField("default_value"))


def default_of(field: Field) -> Any:
    """Returns what a row has where nothing was given: the default, else null."""
    if is_struct(field):
        return None
    if field.is_dynamic:
        return b"{}"
    kind = field.default_value.WhichOneof("data")
    return getattr(field.default_value, kind) if kind else None


def answered(field: Field, values: Sequence[Any], rules: Rules, zone: str) -> schema_pb2.FieldData:
    """Writes a column as an answer has it; times are shown in `zone`."""
    if is_struct(field) or field.data_type != DataType.Timestamptz:
        return column(field, values)
    if not values and rules.empty_timestamptz_is_long:
        data = schema_pb2.FieldData(field_name=field.name, type=field.data_type)
        data.scalars.long_data.SetInParent()
        return data
    made = column(field, values)
    when = [times.EPOCH if text is None else times.moment(text, zone) for text in values]
    made.scalars.string_data.data[:] = [times.shown(each, zone) for each in when]
    return made
