"""Survey and job -> Findings about the target: what it can store, and what already exists there."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.console import formatting
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.spelling import suggestion_sentence
from pipeline.jobfile.transform import TablePathMapper
from pipeline.jobfile.value_types import matching
from pipeline.planning import planner, same_collection
from pipeline.planning.survey import Survey
from transforms.errors import UnsupportedField
from transforms.finding import Finding
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.plan import Plan


def source_as_target(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """Yields target collections that are, or may be, a source collection of the same job."""
    pairs = [(name, config.name_of(name)) for name in survey.chosen]
    if existing:
        pairs = [(plan.name, plan.target) for plan in existing.collections]
    read = {name for name, _ in pairs}
    for name, target in pairs:
        match = survey.matches.get(target)
        if match is None or target not in read:
            continue
        which = "the source collection itself"
        if name != target:
            which = "another source collection of this job"
        what = f"it is {which}: {match.why}."
        remedy = (
            "Set another server or database in `sink.Milvus.url` or `sink.Milvus.database`, or "
            "another name in `sink.Milvus.collection_rename`. Or leave "
            f"{target} out of `source.Milvus.collections`."
        )
        if not match.certain:
            what = f"it may be {which}: {match.why}."
            remedy += (
                " If it is a different collection (a cluster cloned from a snapshot has the same "
                f"ids), rerun with `--accept={same_collection.CODE}`."
            )
        acceptable = not match.certain
        where = f"target collection {target}"
        yield Finding("same-collection", where, what, remedy, acceptable=acceptable)


def collection_names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields names in the target that would clash, and names for collections not in the job."""
    where = f"target {survey.target.url}"
    targets = {name: config.name_of(name) for name in survey.chosen}
    taken: dict[str, str] = {}
    for name, target in targets.items():
        if target in taken:
            what = f"{taken[target]} and {name} would both be named {target}."
            yield Finding("rename-clash", where, what, _CORRECT_RENAME)
        taken[target] = name
        if (owner := survey.target.owners.get(target, target)) != target:
            what = f"{target} is an alias of {owner} in the target, so the name is taken."
            remedy = (
                f"Drop alias {target}, or set another name for {name} in "
                "`sink.Milvus.collection_rename`."
            )
            yield Finding("rename-clash", where, what, remedy)
    for name in survey.chosen:
        for alias in survey.source.described[name].aliases:
            if alias in taken:
                what = f"{alias} would be the name of a collection and an alias of {name}."
                yield Finding("rename-clash", where, what, _CORRECT_RENAME)
    for name in sorted({*_unmatched(config, survey)}):
        what = f"the job file sets a name or description for {name}, which the job does not copy."
        remedy = suggestion_sentence(name, survey.chosen) or "Correct the name, or remove it."
        yield Finding("rename-unknown", where, what, remedy)


_CORRECT_RENAME = "Correct `sink.Milvus.collection_rename`."


def _unmatched(config: JobConfig, survey: Survey) -> Iterator[str]:
    """Yields the names and patterns of the job file that match no collection of the job."""
    for old in config.sink.collection_rename:
        if not any(matching(old, name) for name in survey.chosen):
            yield old
    yield from (name for name in config.sink.collection_description if name not in survey.chosen)
    renamed = {config.sink.renamed(name) for name in survey.chosen}
    for plugin in config.transform:
        if isinstance(plugin, TablePathMapper):
            yield from (name for name in plugin.table_mapper if name not in renamed)


def partition_number(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        if config.sink.partition_num and not survey.source.described[name].partition_key:
            yield Finding(
                "partition-number",
                f"collection {name}",
                "it has no partition key. `partition_num` applies only to collections with one.",
                "Remove `sink.Milvus.partition_num`, or copy this collection with a separate job.",
            )


def target_collections(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    ours = {plan.target for plan in existing.collections} if existing else set()
    for name in survey.chosen:
        if name in ours:
            continue
        target = config.name_of(name)
        if (match := survey.matches.get(target)) and match.certain:
            continue  # `source_as_target` reports it.
        if target in survey.target.described:
            yield from _existing_target(config, survey, name)
        elif config.sink.schema_save_mode in ("ERROR_WHEN_SCHEMA_NOT_EXIST", "IGNORE"):
            mode = config.sink.schema_save_mode
            what = f"it does not exist, and schema_save_mode is {mode}."
            remedy = (
                "Create it. Or set `sink.Milvus.schema_save_mode = CREATE_SCHEMA_WHEN_NOT_EXIST`, "
                "so that Kitelift creates it."
            )
            yield Finding("no-target", f"target collection {target}", what, remedy)


def _existing_target(config: JobConfig, survey: Survey, name: str) -> Iterator[Finding]:
    """Yields the findings about an existing collection that this job did not create."""
    target_name = config.name_of(name)
    where, rows = f"target collection {target_name}", survey.target.rows[target_name]
    dropped = planner.dropped_part(config, survey, name)
    if dropped:
        yield from _drop(config, survey, name, dropped)
    elif rows.count and config.sink.data_save_mode == "ERROR_WHEN_DATA_EXISTS":
        yield not_empty(target_name, rows.count)
        return
    target = survey.target.described[target_name]
    source = planner.reshaped(config, survey, name).described
    difference = "" if dropped == "schema" else _schema_difference(source, target)
    if difference:
        yield Finding(
            "target-schema",
            where,
            f"its schema differs from the source: {difference}.",
            "Drop the collection, or set `sink.Milvus.schema_save_mode = RECREATE_SCHEMA`, so that "
            "Kitelift drops and recreates it.",
        )


def not_empty(name: str, rows: int) -> Finding:
    """Returns the finding about a target collection with rows that the job did not write."""
    return Finding(
        "target-not-empty",
        f"target collection {name}",
        f"it contains {rows:,} rows that this job did not write.",
        "If another job has copied it, leave it out of `source.Milvus.collections`. Otherwise drop "
        "or rename it, or set another `sink.Milvus.database`. Or set `sink.Milvus.data_save_mode` "
        "to APPEND_DATA or DROP_DATA.",
    )


def _drop(config: JobConfig, survey: Survey, name: str, dropped: planner.Drop) -> Iterator[Finding]:
    target = config.name_of(name)
    rows = survey.target.rows[target]
    where = f"target collection {target}"
    if name not in (config.source.collections or ()):
        what = "the job would drop its data, but the job file does not name the collection."
        remedy = f"Name {name} in `source.Milvus.collections`."
        yield Finding("drop-unnamed", where, what, remedy)
    what = "drops and recreates it" if dropped == "schema" else "deletes all of its rows"
    count = formatting.plural(rows.count, "row")
    if not rows.exact:
        count = f"at least {count} (not counted, because it is not loaded)"
    yield Finding("drop", where, f"Kitelift {what}. It contains {count}.", severity="warning")


def target_exists(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    for plan in existing.collections if existing else ():
        if plan.target not in survey.target.names:
            what, remedy = "it no longer exists.", "Copy it again: `kitelift run --restart`."
            yield Finding("no-target", f"target collection {plan.target}", what, remedy)


def target_readable(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """With `create_index = false` the user creates the indexes before `kitelift verify`."""
    for plan in existing.collections if existing else ():
        target = survey.target.described.get(plan.target)
        if target is not None and (unindexed := target.unindexed):
            yield Finding(
                "target-not-indexed",
                f"target collection {plan.target}",
                f"no index on {', '.join(unindexed)}, so it cannot be loaded and compared.",
                "Create the index, then rerun `kitelift verify`.",
            )


def unproven(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    if not config.sink.create_index and config.env.verify != "none":
        yield Finding(
            "not-proven",
            f"target {survey.target.url}",
            "with `create_index = false` the target cannot be loaded, so nothing is compared.",
            "Create the indexes in the target after the copy, then run `kitelift verify`.",
            severity="warning",
        )
    elif config.env.verify != "none":
        yield from _unloadable(config, survey)


def _unloadable(config: JobConfig, survey: Survey) -> Iterator[Finding]:
    """Yields collections with a new vector field, or with an index that the target cannot build."""
    for name in survey.chosen:
        target = config.name_of(name)
        if target in survey.target.described:
            continue
        reshaped = planner.reshaped(config, survey, name).described
        wanted = planner.wanted_description(reshaped, config, survey.target.version)
        before = survey.source.described[name].unindexed
        if new := [field for field in wanted.unindexed if field not in before]:
            yield Finding(
                "not-proven",
                f"target collection {target}",
                f"the copy creates no index on {', '.join(new)}, so it cannot be loaded and "
                "compared.",
                "Create the index in the target after the copy, then run `kitelift verify`.",
                severity="warning",
            )


def target_comparable(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    for name in survey.chosen:
        target = config.name_of(name)
        existing_target = survey.target.described.get(target)
        where = f"target collection {target}"
        if existing_target is None:
            yield Finding("no-target", where, "it does not exist.", "Copy it with `kitelift run`.")
        elif existing_target.loaded is False:
            yield Finding("target-not-loaded", where, "Collection not loaded.", "Load it.")
        else:
            remedy = "Leave it out: only collections with the same schema can be compared."
            yield from _same_schema(config, survey, name, remedy)


def target_syncable(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    remedy = "Drop the collection and rerun `kitelift sync`, which recreates it."
    for name in survey.chosen:
        if config.name_of(name) in survey.target.described:
            yield from _same_schema(config, survey, name, remedy)


def _same_schema(config: JobConfig, survey: Survey, name: str, remedy: str) -> Iterator[Finding]:
    target_name = config.name_of(name)
    source = planner.reshaped(config, survey, name).described
    target = survey.target.described[target_name]
    if difference := _schema_difference(source, target):
        what = f"its schema differs from the source: {difference}."
        yield Finding("target-schema", f"target collection {target_name}", what, remedy)


def _schema_difference(source: Description, target: Description) -> str:
    """Returns the first difference that matters to rows; "" if there is none."""
    left, right = ({field.name: field for field in _fields(side)} for side in (source, target))
    for name in sorted({*left, *right}):
        if name not in right:
            return f"field {name} is missing"
        if name not in left:
            return f"field {name} is not in the source"
        if _type_of(left[name]) != _type_of(right[name]):
            return f"field {name} has another type"
    if source.partition_key != target.partition_key:
        return "it has another partition key"
    return ""


def _fields(description: Description) -> tuple[schemas.Field, ...]:
    try:
        return description.schema.fields
    except UnsupportedField:
        return ()


def _type_of(field: schemas.Field) -> tuple[object, ...]:
    parts = tuple(sorted((child.name, _type_of(child)) for child in field.children))
    return field.data_type, field.element_type, field.dim, field.primary, field.nullable, parts
