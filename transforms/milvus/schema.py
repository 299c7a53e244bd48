"""The part of a collection's schema that reading, converting and writing rows need.

It consists of plain values that pickle. A collection is created from the server's schema message,
not from this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
from pymilvus.grpc_gen import schema_pb2

from transforms.errors import UnsupportedField
from transforms.milvus import types


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `data_type` and `element_type` are numbers of Milvus' DataType; 0 is none.

    A struct array has its sub-fields as `children`: each is a separate array, or array of vectors,
    as Milvus stores them.
    """

    name: str
    data_type: int
    element_type: int = 0
    dim: int = 0
    max_length: int = 0
    nullable: bool = False
    primary: bool = False
    auto_id: bool = False
    partition_key: bool = False
    has_default: bool = False
    dynamic: bool = False
    function_output: bool = False
    children: tuple[Field, ...] = ()
    max_capacity: int = 0

    @property
    def type(self) -> types.FieldType:
        """The field's row in the table of types."""
        return types.of(self.data_type, field=self.name)

    def arrow(self) -> pa.Field:
        """Returns the Arrow field; its metadata names the Milvus type."""
        if self.children:
            arrow = pa.struct([child.arrow() for child in self.children])
        else:
            arrow = types.arrow_type(self.data_type, dim=self.dim, element=self.element_type)
        metadata = {types.TYPE_KEY: self.type.name.encode()}
        return pa.field(self.name, arrow, nullable=self.nullable, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Schema:
    """The copied fields of a collection, in the order of a batch's columns.

    `computed` are the fields that the server computes, and neither returns nor accepts.
    """

    collection: str
    fields: tuple[Field, ...]
    computed: tuple[str, ...] = ()

    @property
    def primary(self) -> Field:
        """The primary key."""
        return next(field for field in self.fields if field.primary)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the copied fields: the output fields of a query."""
        return tuple(field.name for field in self.fields)

    @property
    def dynamic(self) -> bool:
        """Whether rows have fields that the schema does not name."""
        return any(field.dynamic for field in self.fields)

    def field(self, name: str) -> Field:
        """Returns the field with this name.

        Raises:
            KeyError: there is none.
        """
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    def arrow(self) -> pa.Schema:
        """Returns the schema of a batch."""
        return pa.schema([field.arrow() for field in self.fields])

    def select(self, names: Iterable[str]) -> Schema:
        """Returns the schema of these fields only, in this order."""
        return replace(self, fields=tuple(self.field(name) for name in names))


_NUMBER_BYTES = 8
"""The maximum size of a number in memory."""


def least_row(schema: Schema) -> int:
    """Returns the minimum bytes of a row: those of its dense vectors and numbers."""
    return sum(
        field.type.width(field.dim) or (_NUMBER_BYTES if field.type.fixed else 0)
        for field in schema.fields
    )


def widest_row(schema: Schema) -> int:
    """Returns the maximum bytes of a row, without JSON, which the schema does not limit."""
    return least_row(schema) + sum(field.max_length for field in schema.fields)


def parse(message: schema_pb2.CollectionSchema, *, skip: Collection[str] = ()) -> Schema:
    """Reads a collection's schema from the server's message, without the fields in `skip`.

    Raises:
        UnsupportedField: the first field whose type cannot be copied.
    """
    for error in unsupported(message, skip=skip):
        raise error
    computed = _computed(message)
    left_out = {*computed, *skip}
    fields = [_top_field(message, field) for field in message.fields if field.name not in left_out]
    fields += [
        _struct(field) for field in message.struct_array_fields if field.name not in left_out
    ]
    if message.enable_dynamic_field and types.META not in {*skip, *(f.name for f in fields)}:
        fields.append(Field(types.META, schema_pb2.DataType.JSON, dynamic=True))
    return Schema(message.name, tuple(fields), computed)


def unsupported(
    message: schema_pb2.CollectionSchema, *, skip: Collection[str] = ()
) -> Iterator[UnsupportedField]:
    """Yields an error for each field that cannot be copied."""
    left_out = {*_computed(message), *skip}
    for name, field in _all_fields(message):
        if name not in left_out and not types.can_copy(field.data_type, field.element_type):
            yield UnsupportedField(message.name, name, _type_name(field))


def _all_fields(
    message: schema_pb2.CollectionSchema,
) -> Iterator[tuple[str, schema_pb2.FieldSchema]]:
    """Yields (field name, field); for a sub-field, the name of its struct array."""
    for field in message.fields:
        yield field.name, field
    for struct in message.struct_array_fields:
        for sub_field in struct.fields:
            yield struct.name, sub_field


def _computed(message: schema_pb2.CollectionSchema) -> tuple[str, ...]:
    bm25 = [f for f in message.functions if f.type == schema_pb2.FunctionType.BM25]
    return tuple(name for function in bm25 for name in function.output_field_names)


def _top_field(message: schema_pb2.CollectionSchema, field: schema_pb2.FieldSchema) -> Field:
    outputs = [name for function in message.functions for name in function.output_field_names]
    return replace(
        _field(field),
        auto_id=field.autoID or (field.is_primary_key and message.autoID),
        function_output=field.is_function_output or field.name in outputs,
    )


def _field(field: schema_pb2.FieldSchema) -> Field:
    params = {pair.key: pair.value for pair in field.type_params}
    return Field(
        name=field.name,
        data_type=field.data_type,
        element_type=field.element_type,
        dim=int(params.get("dim", 0)),
        max_length=int(params.get("max_length", 0)),
        nullable=field.nullable,
        primary=field.is_primary_key,
        auto_id=field.autoID,
        partition_key=field.is_partition_key,
        has_default=field.HasField("default_value"),
        dynamic=field.is_dynamic,
        max_capacity=int(params.get("max_capacity", 0)),
    )


def _struct(struct: schema_pb2.StructArrayFieldSchema) -> Field:
    children = [
        replace(
            _field(field), name=sub_name(field.name), nullable=struct.nullable or field.nullable
        )
        for field in struct.fields
    ]
    return Field(
        name=struct.name,
        data_type=schema_pb2.DataType.ArrayOfStruct,
        nullable=any(child.nullable for child in children),
        children=tuple(children),
    )


def sub_name(name: str) -> str:
    """Returns the name of a sub-field: servers write `sub` or `struct[sub]`.

    >>> sub_name("sub"), sub_name("struct[sub]")
    ('sub', 'sub')
    """
    return name[name.index("[") + 1 : -1] if name.endswith("]") and "[" in name else name


def _type_name(field: schema_pb2.FieldSchema) -> str:
    kind = types.name_of(field.data_type)
    return f"{kind} of {types.name_of(field.element_type)}" if field.element_type else kind
