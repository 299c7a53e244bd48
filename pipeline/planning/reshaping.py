"""The transforms of a job -> how one collection is reshaped, and what is wrong with that. Pure.

Each plugin is applied to the columns that those before it have left. A function closes a stage:
what it returns, which only trying it shows, are the columns that the plugins after it see.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from pipeline.console.formatting import number
from pipeline.jobfile.columns import Columns, Unfit, misnamed
from pipeline.jobfile.field_schema import FieldSetting
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.transform import Plugin, Python, RowFilter
from transforms.milvus import filters, layout, types
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.layout import Slot
from transforms.milvus.schema import Field, Schema
from transforms.plan import CollectionPlan
from transforms.reshape.column import Column
from transforms.reshape.reshape import AS_IT_IS, Shape, Stage

Trial = tuple[Field, ...] | str
"""The fields that a function made of a few rows, or why it cannot be used."""

Tried = Callable[[tuple[Stage, ...], Schema], Trial]
"""Tries the function of the last of these stages, which takes columns of these fields."""


@dataclass(frozen=True)
class Problem:
    """Why a plugin, or a setting of a field, cannot be applied to a collection."""

    place: str
    what: str


@dataclass(frozen=True)
class Reshaped:
    """One collection as its transforms make it.

    Attributes:
        described: the source's collection with the fields that it is to have in the target.
        shape: how its rows become those.
        problems: with any, the two others leave out the plugins that they are about.
    """

    described: Description
    shape: Shape = AS_IT_IS
    problems: tuple[Problem, ...] = ()


def row_filter(config: JobConfig, name: str) -> str:
    """Returns the filter expression for the rows of a collection that are copied; "" for all."""
    plugins = config.transforms(name)
    return filters.both(*(plugin.expression for plugin in plugins if isinstance(plugin, RowFilter)))


def apply_transforms(config: JobConfig, source: Description, tried: Tried) -> Reshaped:
    """Applies the transforms of a collection, one after the other."""
    way = _Way(source, tried)
    for plugin in config.transforms(source.name):
        way.take(plugin)
    way.close()
    way.set(config)
    kept = tuple(way.kept.items()) if way.stages else ()
    shape = Shape(row_filter(config, source.name), tuple(way.stages), kept)
    return Reshaped(way.described, shape, tuple(way.problems))


def recall_trials(trials: Iterable[Trial]) -> Tried:
    """Returns what does not try functions again, but tells what was found when they were tried."""
    left = iter(trials)

    def tried(stages: tuple[Stage, ...], _: Schema) -> Trial:
        return next(left, f"{stages[-1].function} was not tried.")

    return tried


def describe_changes(plan: CollectionPlan) -> tuple[str, ...]:
    """Says in what a collection of the target is to differ from the source's by its transforms."""
    return tuple(_words(plan))


def _words(plan: CollectionPlan) -> Iterator[str]:
    shape = plan.shape
    if shape.where:
        of = "" if plan.unfiltered is None else f" of {number(plan.unfiltered)}"
        yield f"only rows with {shape.where}: {number(plan.rows)}{of}"
    columns = [column for stage in shape.stages for column in stage.columns]
    kept = dict(shape.kept)
    gone = [name for name in layout.names(plan.source) if shape.stages and name not in kept]
    lists = {
        "left out": gone,
        "renamed": [f"{old} to {new}" for old, new in shape.kept if old != new],
        "copied": [f"{column.origin} to {column.name}" for column in columns if column.copied],
        "new": [
            f"{column.name} = {json.dumps(column.value)}" for column in columns if not column.origin
        ],
        "replaced in": [column.name for column in columns if column.replacements],
        "through": [stage.function for stage in shape.stages if stage.function],
    }
    for what, items in lists.items():
        if items:
            yield f"{what}: {', '.join(items)}"


class _Way:
    """A collection on its way through the plugins."""

    def __init__(self, source: Description, tried: Tried) -> None:
        self._tried = tried
        self.described: Description
        self._columns: Columns
        self.stages: list[Stage] = []
        self.problems: list[Problem] = []
        self.kept = {name: name for name in layout.names(source)}
        self._begin(source)

    def take(self, plugin: Plugin) -> None:
        """Applies a plugin; one that does not fit is a problem, and changes nothing."""
        try:
            if isinstance(plugin, Python):
                self._call(plugin.function)
                return
            columns = plugin.apply(self._columns)
            if reasons := [*_missed(self.described, [*map(_slot, columns.columns)])]:
                raise Unfit(*reasons)
            self._columns = columns
        except Unfit as error:
            name = f"transform.{type(plugin).__name__}"
            self.problems.extend(Problem(name, reason) for reason in error.reasons)

    def close(self) -> None:
        """Makes a stage of what was done to the columns since the last one."""
        if self._columns.columns != _all_columns(self.described):
            self.stages.append(self._stage())
            self._lay_out(map(_slot, self._columns.columns))

    def set(self, config: JobConfig) -> None:
        """Applies `field_schema`, which names fields as they are in the end."""
        described = self.described
        names = layout.names(described)
        for setting in config.sink.field_schema:
            if not setting.applies_to(described.name) or setting.field_name not in names:
                continue  # It may be meant for other collections; preflight looks at all.
            reasons = [*_unfit(setting, described)]
            try:
                described = layout.with_settings(described, {setting.field_name: setting.settings})
            except ValueError as error:
                reasons.append(f"default_value: {error}.")
            place = f"field_schema of {setting.field_name}"
            self.problems.extend(Problem(place, reason) for reason in reasons)
        self.described = described
        self.problems.extend(self._nulls())

    def _nulls(self) -> Iterator[Problem]:
        """Tells of nulls that the last function made of a few rows, in fields that take none."""
        at = max((n for n, stage in enumerate(self.stages) if stage.function), default=0)
        for stage in self.stages[at : at + 1]:
            given = {field.name for field in stage.returns if field.nullable}
            after = [column for later in self.stages[at + 1 :] for column in later.columns]
            names = {each.name for each in after if each.origin in given} if after else given
            taking = {
                field.name for field in copyable_schema(self.described).fields if field.nullable
            }
            for name in sorted(names - taking):
                what = f"{stage.function}: returned {name} with null, and the field takes none; "
                what += "fill it, or set is_nullable for it by sink.Milvus.field_schema."
                yield Problem("transform.Python", what)

    def _call(self, function: str) -> None:
        stage = self._stage(function)
        there = layout.lay_out(self.described, [*map(_slot, self._columns.columns)])
        before = copyable_schema(there)
        if isinstance(found := self._tried((*self.stages, stage), before), str):
            raise Unfit(found)
        slots = [_returned(field, before) for field in found]
        slots += [Slot(name, name) for name in before.computed]
        reasons = [*_missed(there, slots), *_misnamed(slots)]
        if reasons:
            raise Unfit(*(f"{function}: {reason}" for reason in reasons))
        self.stages.append(Stage(stage.columns, stage.key, function, found))
        self._lay_out(map(_slot, self._columns.columns))
        self._lay_out(slots)

    def _stage(self, function: str = "") -> Stage:
        columns = self._columns
        shown = (
            column
            for column in columns.columns
            if not column.origin or column.origin in columns.fields
        )
        return Stage(tuple(shown), columns.key, function)

    def _lay_out(self, given: Iterable[Slot]) -> None:
        slots = list(given)
        names = {slot.origin: slot.name for slot in slots if slot.origin and not slot.copied}
        self.kept = {source: names[name] for source, name in self.kept.items() if name in names}
        self._begin(layout.lay_out(self.described, slots))

    def _begin(self, described: Description) -> None:
        """Begins a stage with all fields of a collection."""
        self.described, schema = described, copyable_schema(described)
        fields = {field.name: field for field in schema.fields}
        self._columns = Columns(_all_columns(described), fields, frozenset(schema.computed))


def _unfit(setting: FieldSetting, described: Description) -> Iterator[str]:
    plain = {each.name for each in described.message.fields}
    fields = {
        field.name: field for field in copyable_schema(described).fields if field.name in plain
    }
    if setting.field_name in fields:
        yield from _unlike(setting, fields[setting.field_name])
    else:
        yield "it has no settings of its own: the server makes it, or it holds other fields."


def _unlike(setting: FieldSetting, field: Field) -> Iterator[str]:
    """Says what a setting asks of a field that cannot be."""
    kinds = {field.type.name, types.name_of(field.element_type)}
    if setting.max_length and not {"VarChar", "Text"} & kinds:
        yield "max_length is for texts, and it is none."
    if setting.max_capacity and "Array" not in kinds:
        yield "max_capacity is for arrays, and it is none."
    if setting.is_nullable and field.primary:
        yield "is_nullable: it is the primary key, which is never null."
    if setting.is_nullable and field.partition_key:
        yield "is_nullable: it is the partition key, which is never null."
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


def copyable_schema(described: Description) -> Schema:
    """Returns the schema without the fields whose types cannot be carried."""
    refused = {error.field for error in schemas.unsupported(described.message)}
    return schemas.parse(described.message, skip=refused)


def _all_columns(described: Description) -> tuple[Column, ...]:
    return tuple(Column(name, name) for name in layout.names(described))


def _slot(column: Column) -> Slot:
    if column.origin:
        return Slot(column.name, column.origin, column.copied)
    kind = types.BY_NAME[column.kind]
    longest = types.MAX_TEXT_BYTES if kind.name == "VarChar" else 0
    return Slot(column.name, made=Field(column.name, kind.number, max_length=longest))


def _returned(field: Field, before: Schema) -> Slot:
    if field.name not in before.names:
        return Slot(field.name, made=field)
    same = before.field(field.name) == field
    return Slot(field.name, field.name, made=None if same else field)


def why_needed(described: Description, names: Collection[str]) -> str:
    """Says why fields cannot be dropped together; "" if they can."""
    slots = [Slot(name, name) for name in layout.names(described) if name not in names]
    return next(_missed(described, slots), "")


def _misnamed(slots: Collection[Slot]) -> Iterator[str]:
    """Says which new fields have names that Milvus does not take, or that are taken."""
    old = {slot.name for slot in slots if slot.origin}
    for slot in slots:
        if not slot.origin and (why := misnamed(slot.name)):
            yield f"{slot.name} is no name of a field: {why}"
        elif not slot.origin and slot.name in old:
            yield f"{slot.name} is made by the server itself; return another name."


def _missed(described: Description, slots: Collection[Slot]) -> Iterator[str]:
    """Says what is dropped of a collection, where these are its fields, that it needs."""
    kept = {slot.origin for slot in slots if slot.origin and not slot.copied}
    message = described.message
    for field in message.fields:
        if field.name not in kept and (field.is_primary_key or field.is_partition_key):
            what = "primary key" if field.is_primary_key else "partition key"
            yield f"{field.name} is the {what} and cannot be dropped."
        by = layout.language_field(field)
        if by and field.name in kept and by not in kept:
            yield f"{by} cannot be dropped: it chooses the analyzer of {field.name}; drop both."
    vectors = {vector.partition("[")[0] for vector in described.vectors}
    new = any(slot.made and slot.made.type.vector for slot in slots)
    if vectors and not new and not any(slot.origin in vectors for slot in slots):
        yield f"{', '.join(sorted(vectors))}: Milvus needs one vector field; keep one."
    for function in message.functions:
        outputs, inputs = set(function.output_field_names), set(function.input_field_names)
        missing = sorted((outputs | inputs) - kept)
        if outputs & kept and missing:
            yield (
                f"{', '.join(missing)} cannot be dropped while function {function.name} is kept; "
                f"drop {', '.join(sorted(outputs))} too, and the function goes with it."
            )
