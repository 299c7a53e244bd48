"""What the transforms ask for and cannot have: the part of preflight that is about reshaping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.console.formatting import number, plural
from pipeline.jobfile.columns import NAME
from pipeline.jobfile.field_schema import FieldSetting
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.transform import TablePathMapper, TableRename
from pipeline.jobfile.values import suggestion_sentence
from pipeline.planning import planner, reshaping
from pipeline.planning.survey import Survey
from transforms.milvus import layout
from transforms.milvus.filters import with_key
from transforms.milvus.schema import Field
from transforms.plan import Finding, Plan


def transform_problems(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether each transform can be applied to each collection that it is meant for."""
    for name in survey.chosen:
        for problem in planner.reshaped(config, survey, name).problems:
            where = f"{problem.place}, collection {name}"
            remedy = "Correct it, or limit it to other collections by its key collections."
            yield Finding("reshape", where, problem.what, remedy)


def row_filters(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether the source takes the row filters, in its own words."""
    for name in survey.chosen:
        rows, where = survey.source.rows[name], f"transform.RowFilter, collection {name}"
        expression = reshaping.row_filter(config, name)
        if rows.refused:
            words = " ".join(rows.refused.split())  # Some servers draw a picture of the place.
            what = f"the source does not take the filter {expression}: {words}."
            remedy = "Correct the expression; it names fields as the source does."
            yield Finding("row-filter", where, what, remedy)
        elif expression and not rows.exact:
            what = f"{expression}: it is not loaded, so the filter cannot be tried before it is."
            yield Finding("row-filter", where, what, severity="warning")
        elif rows.unfiltered and not rows.count:
            what = f"{expression}: it finds none of {number(rows.unfiltered)} rows."
            yield Finding("row-filter", where, what, severity="warning")


def transform_scopes(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether each transform is meant for a collection that is copied."""
    database, names = config.source.database, survey.chosen
    for plugin in config.transform:
        where = f"transform.{type(plugin).__name__}"
        unknown = [collection for collection in plugin.collections or () if collection not in names]
        for each in unknown:
            hint = suggestion_sentence(each, names)
            what = f"it is limited to collection {each}, which is not copied."
            yield Finding("reshape", where, what, hint or "Correct the name, or leave it out.")
        if names and not unknown and not any(plugin.applies_to(database, name) for name in names):
            what = f"table_match_regex matches none of the collections: {plugin.table_match_regex}."
            yield Finding("reshape", where, what, f"There are: {', '.join(names[:10])}.")


def collection_names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether the names that collections get are names."""
    for name in survey.chosen:
        target = config.name_of(name)
        if target != name and not NAME.fullmatch(target):
            what = f"it would be named {target}, which Milvus takes as no name."
            remedy = "Use letters, digits and _, in at most 255 characters."
            yield Finding("reshape", f"{_renaming(config)}, collection {name}", what, remedy)


def _renaming(config: JobConfig) -> str:
    """What gives collections their names."""
    plugins = (each for each in config.transform if isinstance(each, TableRename | TablePathMapper))
    return next((f"transform.{type(plugin).__name__}" for plugin in plugins), "sink.Milvus")


def dynamic_keys(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Rows whose dynamic field has a key of the name that a field of the target has."""
    for name in survey.chosen:
        for key, rows in survey.source.rows[name].shadowing:
            yield Finding(
                "dynamic-key",
                f"source collection {name}",
                f"{plural(rows, 'row')} with a key {key} in the dynamic field, and the target has "
                "a field of that name; servers refuse such rows.",
                f"Give the field another name, leave the rows out by transform.RowFilter (not "
                f"{with_key(key)}), or take the key out by transform.Python.",
                severity="warning" if rows <= config.env.max_rejected else "error",
            )


def field_settings(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether each entry of `field_schema` is about a field, and may not hold what is there."""
    for setting in config.sink.field_schema:
        names = [name for name in survey.chosen if setting.applies_to(name)]
        made = {name: planner.reshaped(config, survey, name) for name in names}
        fields = {name: layout.names(found.described) for name, found in made.items()}
        having = [name for name in names if setting.field_name in fields[name]]
        if survey.chosen and not having:
            known = sorted({field for listed in fields.values() for field in listed})
            hint = suggestion_sentence(setting.field_name, known)
            what = "no collection that is copied has such a field in the target."
            where = f"sink.Milvus.field_schema of {setting.field_name}"
            yield Finding("reshape", where, what, hint or "Correct the name, or leave it out.")
        for name in having:
            origin = made[name].shape.origin_of(setting.field_name)
            source = survey.source.described[name]
            for field in reshaping.copyable_schema(source).fields:
                if field.name == origin:
                    yield from _narrower(name, setting, field, layout.params(source, origin))


def schema_keys(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Whether the sink's keys about the schema say what the target is going to have."""
    for name in survey.chosen:
        made = planner.reshaped(config, survey, name).described
        has = "true" if made.message.enable_dynamic_field else "false"
        wanted = config.sink.enable_dynamic_field
        if wanted is not None and str(wanted).lower() != has:
            what = f"enable_dynamic_field is {str(wanted).lower()}, and in the source it is {has}."
            yield _differs("enable_dynamic_field", name, what)
        key = config.sink.partition_key
        if key and key != made.partition_key:
            there = f"{made.partition_key}" if made.partition_key else "no field"
            what = f"partition_key is {key}, and in the source it is {there}."
            yield _differs("partition_key", name, what)


def _differs(key: str, name: str, what: str) -> Finding:
    remedy = "The schema is copied as it is: remove the key, or copy the collection by another job."
    return Finding(
        "schema-key-differs", f"sink.Milvus.{key}, source collection {name}", what, remedy
    )


def _narrower(
    name: str, setting: FieldSetting, field: Field, before: Mapping[str, str]
) -> Iterator[Finding]:
    """What of a field's values its new setting may not hold."""
    where = f"sink.Milvus.field_schema of {setting.field_name}, collection {name}"
    for key, values in (("max_length", "texts"), ("max_capacity", "arrays")):
        most, source = getattr(setting, key), int(before.get(key, 0))
        if most and most < source:
            what = f"{key} is {most}, in the source {source}; longer {values} are refused."
            yield Finding("narrower-field", where, what, _SET_ASIDE, severity="warning")
    if field.nullable and setting.is_nullable is False:
        what = "is_nullable is false, in the source it is true; rows with null fail."
        yield Finding("narrower-field", where, what, _SET_ASIDE, severity="warning")
    if field.nullable and setting.default_value is not None:
        what = "a server stores default_value in place of null, so such rows will differ."
        yield Finding("narrower-field", where, what, severity="warning")


_SET_ASIDE = "Their key range fails, unless env.max_rejected allows them to be set aside."
