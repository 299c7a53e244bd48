"""Reshapes rows: selects, renames, copies and replaces columns, adds constants, calls functions.

A Shape describes this in stages. A stage takes each of its columns from the stage before, and then
passes all of them to a Python function. Untouched columns stay views of the rows that were read.
Rows are never filtered here: the source applies the filter `where`. A row whose dynamic field does
not fit is marked as refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pyarrow as pa

from transforms.errors import FunctionFailed, UnsupportedField
from transforms.milvus import types
from transforms.milvus.schema import Field, Schema
from transforms.reshape import texts
from transforms.reshape.column import Column
from transforms.reshape.dynamic_keys import extract, field_of, first_of
from transforms.reshape.functions import function_of


@dataclass(frozen=True)
class Stage:
    """Columns, and a function that is called with them.

    Attributes:
        key: the name of the primary key column.
        function: `package.module:function`; "" for none.
        returns: the fields that the function returns.
    """

    columns: tuple[Column, ...]
    key: str
    function: str = ""
    returns: tuple[Field, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """The names of its input columns, each once."""
        return tuple(dict.fromkeys(column.origin for column in self.columns if column.origin))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its output columns."""
        outputs = self.returns if self.function else self.columns
        return tuple(output.name for output in outputs)


@dataclass(frozen=True)
class Shape:
    """How rows of the source become rows of the target; without stages, they are unchanged.

    Attributes:
        where: the filter expression that selects the rows; "" for all.
        kept: the fields of the source that are not dropped, each with its name in the target,
            including those that the server makes itself.
    """

    where: str = ""
    stages: tuple[Stage, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """The fields of the source that its columns need, each once."""
        return self.stages[0].origins if self.stages else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its output columns; () if rows are unchanged."""
        return self.stages[-1].names if self.stages else ()

    def origin_of(self, name: str) -> str:
        """Returns the source field of a field of the target; "" if it is new."""
        if not self.stages:
            return name
        return next((old for old, new in self.kept if new == name), "")


AS_IT_IS = Shape()
"""The shape of rows that are unchanged."""


@dataclass(frozen=True)
class ReshapedRows:
    """Rows in the shape of the target.

    `refusals` is why a row cannot be written, or null; None if all rows can be written.
    """

    rows: pa.RecordBatch
    refusals: pa.StringArray | None = None


def reshape(rows: pa.RecordBatch, shape: Shape) -> ReshapedRows:
    """Returns the reshaped rows: the same number, with the same keys.

    Raises:
        FunctionFailed: a function failed, or returned other columns or types than in its test call.
    """
    refusals = None
    for stage in shape.stages:
        chosen = _chosen(rows, stage.columns)
        rows, refusals = chosen.rows, first_of([refusals, chosen.refusals])
        if stage.function:
            rows = _conformed(_called(rows, stage), stage) if rows.num_rows else _none(stage)
    return ReshapedRows(rows, refusals)


def try_function(
    rows: pa.RecordBatch, stages: Iterable[Stage], before: Schema, *, made_up: bool = False
) -> tuple[Field, ...]:
    """Calls the function of the last stage with these rows and returns the fields of its result.

    A field is nullable if the function returned a null in it. The result for made-up rows does not
    show this.

    Args:
        before: the fields of its input columns.

    Raises:
        FunctionFailed: it cannot be imported, it failed, or it returned something invalid.
    """
    *earlier, last = stages
    before_last = reshape(rows, Shape(stages=tuple(earlier))).rows
    returned = _called(_chosen(before_last, last.columns).rows, last)
    known = {field.name: field for field in before.fields}
    fields = (
        _field(last.function, field, column, known.get(field.name))
        for field, column in zip(returned.schema, returned.columns, strict=True)
    )
    return tuple(
        replace(field, nullable=True) if column.null_count and not made_up else field
        for field, column in zip(fields, returned.columns, strict=True)
    )


def sample_row(schema: Schema) -> pa.RecordBatch:
    """Returns one row of zeros and empty texts, to test a function if there are no rows."""
    row = {field.name: _blank(field) for field in schema.fields}
    return pa.RecordBatch.from_pylist([row], schema=schema.arrow())


_BLANKS = {
    "Bool": False,
    "JSON": b"{}",
    "Geometry": "POINT (0 0)",
    "Timestamptz": "1970-01-01T00:00:00Z",
}


def _blank(field: Field) -> object:
    arrow = field.arrow().type
    if field.type.name in _BLANKS:
        return _BLANKS[field.type.name]
    if field.children:
        return {child.name: [] for child in field.children}
    if pa.types.is_fixed_size_list(arrow):
        return [0.0] * arrow.list_size
    if pa.types.is_fixed_size_binary(arrow):
        return bytes(arrow.byte_width)
    if pa.types.is_list(arrow):
        return []
    return 0 if field.type.fixed else "" if pa.types.is_string(arrow) else b""


def _chosen(rows: pa.RecordBatch, columns: tuple[Column, ...]) -> ReshapedRows:
    schema = pa.schema([_kind(column, rows.schema) for column in columns])
    extracted, refusals = _extracted(rows, columns)
    arrays = [_values(column, rows, extracted) for column in columns]
    return ReshapedRows(pa.RecordBatch.from_arrays(arrays, schema=schema), refusals)


def _extracted(
    rows: pa.RecordBatch, columns: tuple[Column, ...]
) -> tuple[dict[str, pa.Array], pa.StringArray | None]:
    """Returns the columns that change with the dynamic field, and why rows are rejected."""
    origin = next((column.origin for column in columns if column.extracted or column.removed), "")
    if not origin:
        return {}, None
    removed = next((column.removed for column in columns if column.removed), ())
    extracted = extract(rows.column(origin), columns, removed)
    rest = {column.name: extracted.rest for column in columns if column.removed}
    return extracted.values | rest, extracted.refusals


def _values(column: Column, rows: pa.RecordBatch, extracted: dict[str, pa.Array]) -> pa.Array:
    if not column.origin:
        value = column.value.encode() if column.kind == "JSON" else column.value  # type: ignore[union-attr]
        return pa.repeat(pa.scalar(value, types.BY_NAME[column.kind].arrow), rows.num_rows)
    values = extracted[column.name] if column.name in extracted else rows.column(column.origin)
    for replacement in column.replacements:
        values = texts.replaced(values, replacement)
    return values


def _kind(column: Column, before: pa.Schema) -> pa.Field:
    """Returns the Arrow field of a column, which names the Milvus type."""
    if column.extracted:
        return field_of(column.name, column.extracted).arrow()
    if column.origin:
        return before.field(column.origin).with_name(column.name)
    kind = types.BY_NAME[column.kind]
    metadata = {types.TYPE_KEY: kind.name.encode()}
    return pa.field(column.name, kind.arrow, nullable=False, metadata=metadata)


def _called(rows: pa.RecordBatch, stage: Stage) -> pa.RecordBatch:
    function = function_of(stage.function)
    try:
        returned = function(rows)
    except (Exception, SystemExit) as error:
        raise FunctionFailed(stage.function, f"raised {_words(error)}") from error
    if reason := _mismatch(rows, returned, stage.key):
        raise FunctionFailed(stage.function, reason)
    return returned


def _mismatch(rows: pa.RecordBatch, returned: object, key: str) -> str:
    """Returns why the result of a function is not the same rows; "" if it is."""
    if not isinstance(returned, pa.RecordBatch):
        return f"returned {type(returned).__name__}, not a pyarrow.RecordBatch"
    if returned.num_rows != rows.num_rows:
        return f"returned {returned.num_rows:,} rows for {rows.num_rows:,}"
    names = returned.schema.names
    if duplicates := sorted({name for name in names if names.count(name) > 1}):
        return f"returned two columns {duplicates[0]}"
    if key not in names:
        return f"returned no column {key}, which is the primary key"
    if not _same(returned.column(key), rows.column(key)):
        return f"returned other keys: it must not change {key} or the order of rows"
    for name, column in zip(names, returned.columns, strict=True):
        if _has_inner_null(column):
            return f"returned {name} with a null inside a list or vector; Milvus does not allow it"
    return ""


def _same(returned: pa.Array, keys: pa.Array) -> bool:
    """Returns whether keys are equal; other libraries may use other Arrow types for texts."""
    try:
        return bool(returned.cast(keys.type).equals(keys))
    except pa.ArrowException:
        return False


def _has_inner_null(column: pa.Array) -> bool:
    """Returns whether any value contains a null; a value itself may be null."""
    if pa.types.is_struct(column.type):
        return any(map(_has_inner_null, column.flatten()))
    if not (pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type)):
        return False
    items = column.flatten()  # Without the items of null values.
    return bool(items.null_count) or _has_inner_null(items)


def _conformed(returned: pa.RecordBatch, stage: Stage) -> pa.RecordBatch:
    """Returns the result of a function with the column types of its test call."""
    if set(returned.schema.names) != set(stage.names):
        reason = (
            f"returned the columns {_listed(returned.schema.names)}, not {_listed(stage.names)}"
        )
        raise FunctionFailed(stage.function, reason)
    schema = _schema(stage)
    columns = [
        _cast(stage.function, returned.column(field.name), field.name, field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _cast(function: str, column: pa.Array, name: str, expected: pa.DataType) -> pa.Array:
    if column.type == expected:
        return column
    try:
        return column.cast(expected)
    except pa.ArrowException as error:
        reason = f"returned {name} as {column.type}, not {expected}: {error}"
        raise FunctionFailed(function, reason) from error


def _none(stage: Stage) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=_schema(stage))


def _schema(stage: Stage) -> pa.Schema:
    return pa.schema([field.arrow() for field in stage.returns])


def _field(function: str, arrow: pa.Field, column: pa.Array, before: Field | None) -> Field:
    """Returns the Milvus field of a column that a function returned."""
    kind = arrow.type
    if before is not None:
        if kind == before.arrow().type:
            return before
        if before.type.name == "FloatVector" and pa.types.is_fixed_size_list(kind):
            return replace(before, dim=kind.list_size)
        if before.type.bits and pa.types.is_fixed_size_binary(kind):
            return replace(before, dim=kind.byte_width * 8 // before.type.bits)
        _cast(function, column, arrow.name, before.arrow().type)
        return before
    if pa.types.is_fixed_size_list(kind) and pa.types.is_floating(kind.value_type):
        return Field(arrow.name, types.BY_NAME["FloatVector"].number, dim=kind.list_size)
    try:
        milvus_type = types.milvus_type(arrow.with_type(_PLAIN.get(kind, kind)))
        element = types.BY_ARROW[kind.value_type].number if pa.types.is_list(kind) else 0
    except (UnsupportedField, KeyError) as error:
        reason = f"returned {arrow.name} as {kind}, for which Milvus has no type"
        raise FunctionFailed(function, reason) from error
    text = "VarChar" in (milvus_type.name, element and types.name_of(element))
    longest = types.MAX_TEXT_BYTES if text else 0
    return Field(arrow.name, milvus_type.number, element_type=element, max_length=longest)


_PLAIN = {
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}
"""Arrow types of texts and bytes that other libraries use, and the types used here."""


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
