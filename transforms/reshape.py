"""Gives rows other columns: chosen, renamed, copied, replaced, constant, or from a function.

A Shape says how, in stages: first the columns of a stage, each from a column before it, and then a
Python function that takes them all. What is not touched stays a view on what was read. Rows are
never filtered here: `where` is asked of the source.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from transforms.errors import FunctionFailed, UnsupportedField
from transforms.milvus import types
from transforms.milvus.schema import Field, Schema

Value = bool | int | float | str
Function = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True)
class Replacement:
    r"""What is replaced in texts; a `regex` is RE2's, its groups are `\1` in the replacement."""

    pattern: str
    replacement: str
    regex: bool = False
    first: bool = False

    def of(self, texts: pa.Array) -> pa.Array:
        """Returns the texts with the pattern replaced; null stays null."""
        replaced = pc.replace_substring_regex if self.regex else pc.replace_substring
        most = 1 if self.first else None
        return replaced(texts, self.pattern, self.replacement, max_replacements=most)

    def of_text(self, text: str) -> str:
        """Returns one text with the pattern replaced."""
        found: str = self.of(pa.array([text]))[0].as_py()
        return found

    def problem(self) -> str:
        """Says why it cannot be done; "" if it can."""
        try:
            self.of_text("a")
        except pa.ArrowException as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Column:
    """One column of a stage.

    Attributes:
        name: what it is called.
        origin: the column before it that it is taken from; "" for a constant.
        copied: whether it is a second one of its origin.
        replacements: what is replaced in its texts, one after the other.
        value: of a constant, whose Milvus type is named `kind`.
    """

    name: str
    origin: str = ""
    copied: bool = False
    replacements: tuple[Replacement, ...] = ()
    value: Value | None = None
    kind: str = ""

    def of(self, rows: pa.RecordBatch) -> pa.Array:
        """Returns the column."""
        if not self.origin:
            value = self.value.encode() if self.kind == "JSON" else self.value  # type: ignore[union-attr]
            return pa.repeat(pa.scalar(value, types.BY_NAME[self.kind].arrow), rows.num_rows)
        found = rows.column(self.origin)
        for each in self.replacements:
            found = each.of(found)
        return found

    def field(self, before: pa.Schema) -> pa.Field:
        """Returns its Arrow field, which names the Milvus type."""
        if self.origin:
            return before.field(self.origin).with_name(self.name)
        metadata = {types.TYPE_KEY: self.kind.encode()}
        arrow = types.BY_NAME[self.kind].arrow
        return pa.field(self.name, arrow, nullable=False, metadata=metadata)


@dataclass(frozen=True)
class Stage:
    """Columns, and what a function makes of them.

    Attributes:
        key: which of the columns is the primary key.
        function: `package.module:function`; "" for none.
        returns: the fields that the function returns.
    """

    columns: tuple[Column, ...]
    key: str
    function: str = ""
    returns: tuple[Field, ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """The names of the columns that it takes, each once."""
        return tuple(dict.fromkeys(each.origin for each in self.columns if each.origin))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that it gives."""
        return tuple(each.name for each in (self.returns if self.function else self.columns))


@dataclass(frozen=True)
class Shape:
    """How a collection's rows become those of the target; without stages, they stay as they are.

    Attributes:
        where: the filter expression that chooses the rows; "" for all.
        kept: the fields of the source that are not dropped, each with its name in the target; those
            too that the server makes itself and that are no columns.
    """

    where: str = ""
    stages: tuple[Stage, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    @property
    def origins(self) -> tuple[str, ...]:
        """The fields of the source that its columns are taken from, each once."""
        return self.stages[0].origins if self.stages else ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that it gives; none where they stay as they are."""
        return self.stages[-1].names if self.stages else ()

    def origin_of(self, name: str) -> str:
        """Returns the field of the source that a field of the target was; "" where it is new."""
        if not self.stages:
            return name
        return next((old for old, new in self.kept if new == name), "")


AS_IT_IS = Shape()
"""The shape of rows that stay as they are."""


def reshape(rows: pa.RecordBatch, shape: Shape) -> pa.RecordBatch:
    """Returns the rows in another shape; as many of them, with the same keys.

    Raises:
        FunctionFailed: a function failed, or returned something else than when it was tried.
    """
    for stage in shape.stages:
        rows = _chosen(rows, stage.columns)
        if stage.function:
            rows = _conformed(_called(rows, stage), stage) if rows.num_rows else _none(stage)
    return rows


def try_out(rows: pa.RecordBatch, stages: Iterable[Stage], before: Schema) -> tuple[Field, ...]:
    """Returns the fields that the function of the last stage makes of these rows.

    Args:
        before: the fields of the columns that it takes.

    Raises:
        FunctionFailed: it cannot be imported, failed, or did not return such rows.
    """
    *done, last = stages
    made = _called(_chosen(reshape(rows, Shape(stages=tuple(done))), last.columns), last)
    known = {field.name: field for field in before.fields}
    return tuple(
        _field(last.function, field, column, known.get(field.name))
        for field, column in zip(made.schema, made.columns, strict=True)
    )


def constant_problem(kind: str, value: Value) -> str:
    """Says why a value is none of a Milvus type; "" if it is one."""
    arrow = types.BY_NAME[kind].arrow
    if kind == "JSON":
        return "" if _is_json(value) else f"{value!r} is no JSON"
    try:
        made = pa.scalar(value, arrow)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return f"{value!r} is no {kind}"
    same = made.as_py() == value or pa.types.is_floating(arrow)
    return "" if same and isinstance(value, bool) == (kind == "Bool") else f"{value!r} is no {kind}"


def _is_json(value: Value) -> bool:
    try:
        json.loads(str(value))
    except ValueError:
        return False
    return isinstance(value, str)


@cache
def function_of(name: str) -> Function:
    """Imports a function by its name, `package.module:function`.

    Raises:
        FunctionFailed: it cannot be imported.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except Exception as error:
        raise FunctionFailed(name, f"{module} cannot be imported: {_words(error)}") from error
    if not callable(found):
        raise FunctionFailed(name, f"{module} has no function {function}")
    return found  # type: ignore[no-any-return]


def _chosen(rows: pa.RecordBatch, columns: tuple[Column, ...]) -> pa.RecordBatch:
    schema = pa.schema([each.field(rows.schema) for each in columns])
    return pa.RecordBatch.from_arrays([each.of(rows) for each in columns], schema=schema)


def _called(rows: pa.RecordBatch, stage: Stage) -> pa.RecordBatch:
    function = function_of(stage.function)
    try:
        made = function(rows)
    except Exception as error:
        raise FunctionFailed(stage.function, f"raised {_words(error)}") from error
    if reason := _unlike(rows, made, stage.key):
        raise FunctionFailed(stage.function, reason)
    return made


def _unlike(rows: pa.RecordBatch, made: object, key: str) -> str:
    """Says why what a function returned are not the same rows; "" if they are."""
    if not isinstance(made, pa.RecordBatch):
        return f"returned {type(made).__name__}, not a pyarrow.RecordBatch"
    if made.num_rows != rows.num_rows:
        return f"returned {made.num_rows:,} rows for {rows.num_rows:,}"
    if twice := sorted({name for name in made.schema.names if made.schema.names.count(name) > 1}):
        return f"returned two columns {twice[0]}"
    if key not in made.schema.names:
        return f"returned no column {key}, which is the primary key"
    if not made.column(key).equals(rows.column(key)):
        return f"returned other keys: {key} must stay as it is, in the same order"
    return ""


def _conformed(made: pa.RecordBatch, stage: Stage) -> pa.RecordBatch:
    """Returns what a function made in the types that were found when it was tried."""
    if set(made.schema.names) != set(stage.names):
        reason = f"returned the columns {_listed(made.schema.names)}, not {_listed(stage.names)}"
        raise FunctionFailed(stage.function, reason)
    schema = _schema(stage)
    columns = [
        _cast(stage.function, made.column(field.name), field.name, field.type) for field in schema
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
    """Returns the Milvus field of a column that a function made."""
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
        made = types.milvus_type(arrow)
        element = types.BY_ARROW[kind.value_type].number if pa.types.is_list(kind) else 0
    except (UnsupportedField, KeyError) as error:
        reason = f"returned {arrow.name} as {kind}, for which Milvus has no type"
        raise FunctionFailed(function, reason) from error
    text = "VarChar" in (made.name, element and types.name_of(element))
    longest = types.MAX_TEXT_BYTES if text else 0
    return Field(arrow.name, made.number, element_type=element, max_length=longest)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
