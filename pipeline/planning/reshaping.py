"""The transforms of a job -> the shape of one collection, and the problems of its transforms. Pure.

Each plugin is applied to the columns that the plugins before it return. A Python function ends a
stage: the columns that it returns are known only after a trial, and the next plugins get them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.jobfile.columns import Columns, Unfit, misnamed
from pipeline.jobfile.extracted_keys import Extract
from pipeline.jobfile.field_schema import FieldSetting
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.settings import Sink
from pipeline.jobfile.target_functions import TargetFunction
from pipeline.jobfile.transform import FieldRename, Python, RowFilter
from pipeline.planning import requested_indexes, requested_schema
from pipeline.planning.needed_fields import reasons_to_keep
from pipeline.planning.requested_indexes import RequestedIndex
from transforms.milvus import field_layout, filters, types
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.field_layout import Slot
from transforms.milvus.schema import Field, Schema
from transforms.reshape.column import Column
from transforms.reshape.dynamic_keys import field_of
from transforms.reshape.reshape import AS_IT_IS, Shape, Stage

Trial = tuple[Field, ...] | str
"""The fields that a function returned for a few rows, or why it cannot be used."""

Tried = Callable[[tuple[Stage, ...], Schema], Trial]
"""Runs the function of the last of these stages on columns of these fields."""


@dataclass(frozen=True)
class Problem:
    """Why a plugin or a field setting cannot be applied to a collection."""

    place: str
    what: str


@dataclass(frozen=True)
class Reshaped:
    """One collection after its transforms.

    Attributes:
        described: the source's collection with the fields of the target.
        shape: how its rows are converted to these fields.
        problems: what cannot be applied; `described` and `shape` leave that out.
        drops_keys: whether the sink drops the dynamic field, with the keys of its rows.
        requested: the indexes of `described` that the job file asks for.
    """

    described: Description
    shape: Shape = AS_IT_IS
    problems: tuple[Problem, ...] = ()
    drops_keys: bool = False
    requested: tuple[RequestedIndex, ...] = ()


def row_filter(plugins: Iterable[Plugin]) -> str:
    """Returns the filter expression of the rows to copy; "" for all rows."""
    return filters.both(*(plugin.expression for plugin in plugins if isinstance(plugin, RowFilter)))


def apply_transforms(
    source: Description, plugins: tuple[Plugin, ...], sink: Sink, tried: Tried
) -> Reshaped:
    """Applies the transforms of a collection in their order, then its field settings."""
    progress = _Progress(source, tried)
    for plugin in plugins:
        progress.apply(plugin)
    progress.take_sources(sink)
    progress.set_dynamic_field(sink.enable_dynamic_field)
    progress.end_stage()
    progress.set_partition_key(sink.partition_key)
    progress.apply_settings(sink)
    progress.add_functions(sink)
    kept = tuple(progress.kept.items()) if progress.stages else ()
    shape = Shape(row_filter(plugins), tuple(progress.stages), kept)
    requested = requested_indexes.requested_indexes(sink, progress.described)
    return Reshaped(
        requested_indexes.with_requested(progress.described, requested),
        shape,
        tuple(progress.problems),
        progress.drops_keys,
        requested,
    )


def recall_trials(trials: Iterable[Trial]) -> Tried:
    """Returns a function that returns these earlier results instead of running functions again."""
    results = iter(trials)

    def tried(stages: tuple[Stage, ...], _: Schema) -> Trial:
        return next(results, f"{stages[-1].function} was not tried.")

    return tried


class _Progress:
    """A collection after the plugins that were applied so far."""

    def __init__(self, source: Description, tried: Tried) -> None:
        self._tried = tried
        self.described: Description
        self._columns: Columns
        self.stages: list[Stage] = []
        self.problems: list[Problem] = []
        self.drops_keys = False
        self.kept = {name: name for name in field_layout.names(source)}
        self._begin(source)

    def take_sources(self, sink: Sink) -> None:
        """Renames fields, and extracts dynamic keys, that `field_schema` names as sources."""
        for setting in sink.field_schema:
            source, name = setting.source_field_name, setting.field_name
            if not source or not setting.applies_to(self.described.name):
                continue
            place = f"field_schema of {name}"
            if source in self._columns.names:
                if source != name:
                    self.apply(FieldRename.model_construct(specific=((source, name),)), place)
            elif any(map(self._columns.is_dynamic, self._columns.columns)):
                try:
                    self.apply(_extraction(setting), place)
                except ValueError as error:
                    self.problems.append(Problem(place, f"{error}."))

    def apply(self, plugin: Plugin, place: str = "") -> None:
        """Applies a plugin; if it does not fit, records a problem and changes nothing."""
        try:
            if isinstance(plugin, Python):
                self._call(plugin.function)
                return
            columns = plugin.apply(self._columns)
            if reasons := [*reasons_to_keep(self.described, [*map(_slot, columns.columns)])]:
                raise Unfit(*reasons)
            self._columns = columns
        except Unfit as error:
            name = place or f"transform.{type(plugin).__name__}"
            self.problems.extend(Problem(name, reason) for reason in error.reasons)

    def set_dynamic_field(self, wanted: bool | None) -> None:
        """Adds an empty dynamic field, or drops it; None keeps the collection as it is."""
        has = types.META in self._columns.names
        if wanted is not None and wanted != has:
            self.drops_keys = has
            columns = requested_schema.with_dynamic_field(self._columns.columns, wanted=wanted)
            self._columns = replace(self._columns, columns=columns)

    def set_partition_key(self, name: str) -> None:
        """Makes the field the partition key; "" keeps the collection as it is."""
        if not name or name == self.described.partition_key:
            return
        if reason := requested_schema.why_no_partition_key(name, copyable_schema(self.described)):
            self.problems.append(Problem("sink.Milvus.partition_key", reason))
        else:
            self.described = requested_schema.with_partition_key(self.described, name)

    def end_stage(self) -> None:
        """Adds a stage with the changes to the columns since the last stage."""
        if self._columns.columns != _all_columns(self.described):
            self.stages.append(self._stage())
            self._lay_out(map(_slot, self._columns.columns), self._settings())

    def apply_settings(self, sink: Sink) -> None:
        """Applies `field_schema`, which uses the names after all transforms."""
        described = self.described
        names = field_layout.names(described)
        for setting in sink.field_schema:
            if not setting.applies_to(described.name) or setting.field_name not in names:
                continue  # It may be for other collections; `field_settings` checks them all.
            reasons = [*_unfit(setting, described), *self._split_settings(setting)]
            try:
                described = field_layout.with_settings(
                    described, {setting.field_name: setting.settings}
                )
            except ValueError as error:
                reasons.append(f"default_value: {error}.")
            place = f"field_schema of {setting.field_name}"
            self.problems.extend(Problem(place, reason) for reason in reasons)
        self.described = described
        self.problems.extend(self._nulls())

    def add_functions(self, sink: Sink) -> None:
        """Adds the functions of the sink, which use the names after all transforms."""
        for function in sink.functions:
            names = field_layout.names(self.described)
            if not function.applies_to(self.described.name) or function.input_field not in names:
                continue  # It may be for other collections; `added_functions` checks them all.
            reasons = [*_unfit_function(function, self.described)]
            place = f"function {function.name}"
            self.problems.extend(Problem(place, reason) for reason in reasons)
            if not reasons:
                self.described = field_layout.with_bm25(
                    self.described,
                    name=function.name,
                    text=function.input_field,
                    output=function.output_field,
                    description=function.description,
                )

    def _split_settings(self, setting: FieldSetting) -> Iterator[str]:
        """Yields a problem if settings of an extracted field are in two places."""
        columns = (column for stage in self.stages for column in stage.columns)
        names = {column.name for column in columns if column.extracted}
        given = (setting.is_nullable, setting.default_value) != (None, None)
        if given and not setting.source_field_name and setting.field_name in names:
            yield (
                "set is_nullable and default_value in `transform.Extract`: they decide which rows "
                "it rejects."
            )

    def _nulls(self) -> Iterator[Problem]:
        """Yields fields that are not nullable, but null in a row of the last function's trial."""
        at = max((n for n, stage in enumerate(self.stages) if stage.function), default=0)
        for stage in self.stages[at : at + 1]:
            names = {field.name for field in stage.returns if field.nullable}
            after = [column for later in self.stages[at + 1 :] for column in later.columns]
            if after:
                names = {column.name for column in after if column.origin in names}
            fields = copyable_schema(self.described).fields
            for name in sorted(names - {field.name for field in fields if field.nullable}):
                what = f"{stage.function} returned null in {name}, which is not nullable. Return "
                what += "a value, or set `is_nullable = true` for it in `sink.Milvus.field_schema`."
                yield Problem("transform.Python", what)

    def _call(self, function: str) -> None:
        stage = self._stage(function)
        described = field_layout.lay_out(self.described, [*map(_slot, self._columns.columns)])
        before = copyable_schema(field_layout.with_settings(described, self._settings()))
        if isinstance(trial := self._tried((*self.stages, stage), before), str):
            raise Unfit(trial)
        slots = [_returned(field, before) for field in trial]
        slots += [Slot(name, name) for name in before.computed]
        reasons = [*reasons_to_keep(described, slots), *_misnamed(slots)]
        if reasons:
            raise Unfit(*(f"{function}: {reason}" for reason in reasons))
        self.stages.append(Stage(stage.columns, stage.key, function, trial))
        self._lay_out(map(_slot, self._columns.columns), self._settings())
        self._lay_out(slots)

    def _stage(self, function: str = "") -> Stage:
        columns = self._columns
        readable = (
            column
            for column in columns.columns
            if not column.origin or column.origin in columns.fields
        )
        return Stage(tuple(readable), columns.key, function)

    def _settings(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of the fields that come from keys of the dynamic field."""
        keys = {column.name: column.extracted for column in self._columns.columns}
        return {
            name: {"nullable": key.nullable}
            | ({} if key.default is None else {"default_value": key.default})
            for name, key in keys.items()
            if key
        }

    def _lay_out(
        self, slots: Iterable[Slot], settings: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        fields = list(slots)
        names = {slot.origin: slot.name for slot in fields if slot.origin and not slot.copied}
        self.kept = {source: names[name] for source, name in self.kept.items() if name in names}
        described = field_layout.lay_out(self.described, fields)
        self._begin(field_layout.with_settings(described, settings or {}))

    def _begin(self, described: Description) -> None:
        """Begins a stage with all fields of a collection."""
        self.described, schema = described, copyable_schema(described)
        fields = {field.name: field for field in schema.fields}
        self._columns = Columns(_all_columns(described), fields, frozenset(schema.computed))


def _extraction(setting: FieldSetting) -> Extract:
    if setting.is_primary_key:
        raise ValueError("a key of the dynamic field cannot become the primary key")
    return setting.extraction()


def _unfit(setting: FieldSetting, described: Description) -> Iterator[str]:
    regular = {field.name for field in described.message.fields}
    fields = {
        field.name: field for field in copyable_schema(described).fields if field.name in regular
    }
    if setting.field_name in fields:
        yield from _invalid_settings(setting, fields[setting.field_name])
    else:
        yield "this field has no settings: the server generates it, or it contains other fields."


def _invalid_settings(setting: FieldSetting, field: Field) -> Iterator[str]:
    """Yields why the settings cannot be applied to the field."""
    kinds = {field.type.name, types.name_of(field.element_type)}
    if setting.max_length and not {"VarChar", "Text"} & kinds:
        yield "max_length applies only to text fields."
    if setting.max_capacity and "Array" not in kinds:
        yield "max_capacity applies only to array fields."
    if setting.is_nullable and field.primary:
        yield "is_nullable: the primary key cannot be null."
    if setting.is_nullable and field.partition_key:
        yield "is_nullable: the partition key cannot be null."
    same = {
        "data_type": field.data_type,
        "element_type": field.element_type,
        "dimension": field.dim,
        "is_primary_key": field.primary,
        "is_partition_key": field.partition_key,
    }
    for name, value in same.items():
        if getattr(setting, name) not in (None, value):
            yield f"{name} is {json.dumps(value)} in the source and cannot be changed."


def _unfit_function(function: TargetFunction, described: Description) -> Iterator[str]:
    """Yields why a BM25 function cannot be added to a collection."""
    output, text = function.output_field, function.input_field
    if function.name in {existing.name for existing in described.message.functions}:
        yield "the collection already has a function with this name."
    if why := misnamed(output):
        yield f"{output} is not a valid field name: {why}"
    if output in field_layout.names(described):
        yield f"its output {output} must be a new field, but the collection already has it."
    for field in described.message.fields:
        if field.name != text:
            continue
        if (kind := types.name_of(field.data_type)) not in ("VarChar", "Text"):
            yield f"its input {text} must be a VarChar, but it is {kind}."
        elif field_layout.params(described, text).get("enable_analyzer") != "true":
            yield (
                f"its input {text} has no analyzer. Add {{ field_name = {text}, enable_analyzer = "
                "true } to `sink.Milvus.field_schema`."
            )


def copyable_schema(described: Description) -> Schema:
    """Returns the schema without the fields whose types cannot be copied."""
    unsupported = {error.field for error in schemas.unsupported(described.message)}
    return schemas.parse(described.message, skip=unsupported)


def _all_columns(described: Description) -> tuple[Column, ...]:
    return tuple(Column(name, name) for name in field_layout.names(described))


def _slot(column: Column) -> Slot:
    if column.extracted:
        return Slot(column.name, typed=field_of(column.name, column.extracted))
    if column.origin:
        return Slot(column.name, column.origin, column.copied)
    kind = types.BY_NAME[column.kind]
    longest = types.MAX_TEXT_BYTES if kind.name == "VarChar" else 0
    return Slot(column.name, typed=Field(column.name, kind.number, max_length=longest))


def _returned(field: Field, before: Schema) -> Slot:
    if field.name not in before.names:
        return Slot(field.name, typed=field)
    same = before.field(field.name) == field
    return Slot(field.name, field.name, typed=None if same else field)


def _misnamed(slots: Collection[Slot]) -> Iterator[str]:
    """Yields why the names of new fields are invalid or taken."""
    old = {slot.name for slot in slots if slot.origin}
    for slot in slots:
        if not slot.origin and (why := misnamed(slot.name)):
            yield f"{slot.name} is not a valid field name: {why}"
        elif not slot.origin and slot.name in old:
            yield f"the server generates {slot.name} itself. Return another name."
