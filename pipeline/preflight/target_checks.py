"""What the target can hold, and what it holds already: the part of preflight that asks of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.transform import TablePathMapper
from pipeline.jobfile.values import matching, suggestion_sentence
from pipeline.planning import planner, reshaping, same_collection
from pipeline.planning.planner import Purpose
from pipeline.planning.survey import Survey
from pipeline.preflight import fidelity_checks, limit_checks
from transforms.errors import UnsupportedField
from transforms.milvus import limits, versions
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.types import BY_NAME, FieldType
from transforms.milvus.versions import Version
from transforms.plan import Finding, Plan

Check = Callable[[JobConfig, Survey, Plan | None], Iterator[Finding]]


def field_types(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """A server may accept a type that it does not know, and never start again (2.3.5, measured)."""
    for name in survey.chosen:
        described = planner.reshaped(config, survey, name).described
        if _knows(survey.target.version, BY_NAME["Text"]):
            yield from _unfinished_texts(described, name, survey.source.version)
        refused = [*schemas.unsupported(described.message)]
        reason = reshaping.why_needed(described, {each.field for each in refused})
        for each in refused:
            yield Finding(
                "unsupported-type",
                f"source field {each.collection}.{each.field}",
                f"type {each.data_type} cannot be copied.",
                f"Leave the collection out: {reason}"
                if reason
                else "Drop the field by transform.Filter, or leave the collection out.",
            )
        if not refused:
            yield from _unknown_to_target(described, name, survey.target.version)


def _unfinished_texts(described: Description, name: str, version: Version) -> Iterator[Finding]:
    """2.6 knows the type Text, but keeps and reads it in full only from 3.0 on."""
    fields = limits.texts(described)
    if fields and version.known and not (version.files or versions.has(version, (3, 0, 0))):
        reason = reshaping.why_needed(described, fields)
        yield Finding(
            "unsupported-type",
            f"source field {name}.{fields[0]}",
            f"type Text of Milvus {version} cannot be copied: it is complete from 3.0.0 on.",
            f"Leave the collection out: {reason}"
            if reason
            else "Drop the field by transform.Filter, or leave the collection out.",
        )


def _unknown_to_target(described: Description, name: str, version: Version) -> Iterator[Finding]:
    unknown = [field for field in described.schema.fields if not _knows(version, field.type)]
    reason = reshaping.why_needed(described, {field.name for field in unknown})
    for field in unknown:
        needs = f"needs Milvus {versions.named(*field.type.releases)}"
        yield Finding(
            "target-type",
            f"source field {name}.{field.name}",
            f"type {field.type.name} {'is not known' if version.lite else needs}; "
            f"the target is {version}.",
            _without(field, reason),
        )


def _without(field: schemas.Field, reason: str) -> str:
    """Says how to do without a field; `reason` is why it cannot be dropped."""
    if not reason:
        return "Use a newer target, or drop the field by transform.Filter."
    if field.type.vector:
        return "Use a newer target, or make another vector of it by transform.Python."
    return f"Use a newer target: {reason}"


def _knows(version: Version, kind: FieldType) -> bool:
    """Whether a server has a type; of a milvus-lite newer than 3.2.2 it is not known."""
    if version.lite:
        return kind.lite or (version.number or (0, 0, 0)) > (3, 2, 2)
    return versions.has(version, *kind.releases)


def source_as_target(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """A collection is never copied into itself, or into another one that the job reads."""
    pairs = [(name, config.name_of(name)) for name in survey.chosen]
    if existing:
        pairs = [(plan.name, plan.target) for plan in existing.collections]
    read = {name for name, _ in pairs}
    for name, target in pairs:
        match = survey.matches.get(target)
        if match is None or target not in read:
            continue
        which = "the source collection itself" if name == target else "a collection to be copied"
        what = f"it is {which}: {match.why}."
        remedy = (
            "Name another place in sink.Milvus.url or sink.Milvus.database, or another name in "
            f"sink.Milvus.collection_rename, or leave {target} out of source.Milvus.collections."
        )
        if not match.certain:
            what = f"it may be {which}: {match.why}."
            remedy += (
                " If it is another collection (a cluster cloned from a snapshot has the same ids), "
                f"rerun with --accept={same_collection.CODE}."
            )
        acceptable = not match.certain
        where = f"target collection {target}"
        yield Finding("same-collection", where, what, remedy, acceptable=acceptable)


def _names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Two collections, or a collection and an alias, cannot have one name."""
    where = f"target {survey.target.url}"
    targets = {name: config.name_of(name) for name in survey.chosen}
    taken: dict[str, str] = {}
    for name, target in targets.items():
        if target in taken:
            what = f"{taken[target]} and {name} would both be named {target}."
            yield Finding("rename-clash", where, what, "Correct sink.Milvus.collection_rename.")
        taken[target] = name
        if (owner := survey.target.owners.get(target, target)) != target:
            what = f"{target} is an alias of {owner} there, so that no collection can be named so."
            remedy = "Drop the alias, or name it otherwise by sink.Milvus.collection_rename."
            yield Finding("rename-clash", where, what, remedy)
    for name in survey.chosen:
        for alias in survey.source.described[name].aliases:
            if alias in taken:
                what = f"{alias} would be the name of a collection and an alias of {name}."
                yield Finding("rename-clash", where, what, "Correct sink.Milvus.collection_rename.")
    for name in sorted({*_unmatched(config, survey)}):
        what = f"{name} is given a name or description, but is not copied."
        remedy = suggestion_sentence(name, survey.chosen) or "Correct the name, or leave it out."
        yield Finding("rename-unknown", where, what, remedy)


def _unmatched(config: JobConfig, survey: Survey) -> Iterator[str]:
    """Yields the names and patterns of the job file that are those of no collection."""
    for old in config.sink.collection_rename:
        if not any(matching(old, name) for name in survey.chosen):
            yield old
    yield from (each for each in config.sink.collection_description if each not in survey.chosen)
    named = {config.sink.renamed(each) for each in survey.chosen}
    for plugin in config.transform:
        if isinstance(plugin, TablePathMapper):
            yield from (each for each in plugin.table_mapper if each not in named)


def _partition_number(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        if config.sink.partition_num and not survey.source.described[name].partition_key:
            yield Finding(
                "partition-number",
                f"collection {name}",
                "it has no partition key, so that its partitions have names and no number.",
                "Remove sink.Milvus.partition_num, or copy the collection by a job of its own.",
            )


def _target_collections(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    ours = {plan.target for plan in existing.collections} if existing else set()
    for name in survey.chosen:
        if name in ours:
            continue
        target = config.name_of(name)
        if (match := survey.matches.get(target)) and match.certain:
            continue  # A finding of its own.
        if target in survey.target.described:
            yield from _there(config, survey, name)
        elif config.sink.schema_save_mode in ("ERROR_WHEN_SCHEMA_NOT_EXIST", "IGNORE"):
            mode = config.sink.schema_save_mode
            what = f"it does not exist, and schema_save_mode is {mode}."
            remedy = "Make it, or let Kitelift make it by CREATE_SCHEMA_WHEN_NOT_EXIST."
            yield Finding("no-target", f"target collection {target}", what, remedy)


def _there(config: JobConfig, survey: Survey, name: str) -> Iterator[Finding]:
    """What is found about a collection that was not made by this job."""
    name_there = config.name_of(name)
    where, rows = f"target collection {name_there}", survey.target.rows[name_there]
    drops = planner.dropped_part(config, survey, name)
    if drops:
        yield from _dropped(config, survey, name, drops)
    elif rows.count and config.sink.data_save_mode == "ERROR_WHEN_DATA_EXISTS":
        yield not_empty(name_there, rows.count)
        return
    target = survey.target.described[name_there]
    source = planner.reshaped(config, survey, name).described
    difference = "" if drops == "schema" else _shape_differs(source, target)
    if difference:
        yield Finding(
            "target-schema",
            where,
            f"it is not like the source: {difference}.",
            "Drop it, or set sink.Milvus.schema_save_mode = RECREATE_SCHEMA: Kitelift makes it "
            "anew.",
        )


def not_empty(name: str, rows: int) -> Finding:
    """Returns what is said of a target with rows of others."""
    return Finding(
        "target-not-empty",
        f"target collection {name}",
        f"it holds {rows:,} rows that this job did not write.",
        "If another job has copied it, leave it out of source.Milvus.collections; else drop or "
        "rename it, or choose another database, or set sink.Milvus.data_save_mode to APPEND_DATA "
        "or DROP_DATA.",
    )


def _dropped(
    config: JobConfig, survey: Survey, name: str, drops: planner.Drop
) -> Iterator[Finding]:
    name_there = config.name_of(name)
    rows = survey.target.rows[name_there]
    where = f"target collection {name_there}"
    if name not in (config.source.collections or ()):
        what = "dropping it needs its name in the job file."
        yield Finding("drop-unnamed", where, what, "Name it in source.Milvus.collections.")
    what = "is dropped and made anew" if drops == "schema" else "is emptied"
    held = (
        f"{rows.count:,} rows" if rows.exact else f"{rows.count:,} rows or more: it is not loaded"
    )
    yield Finding("drop", where, f"it {what}; it holds {held}.", severity="warning")


def _target_exists(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    for plan in existing.collections if existing else ():
        if plan.target not in survey.target.names:
            what, remedy = "it is no longer there.", "Copy it anew, by `kitelift run --restart`."
            yield Finding("no-target", f"target collection {plan.target}", what, remedy)


def _target_readable(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """With `create_index = false` the indexes are somebody else's to make, before `verify`."""
    for plan in existing.collections if existing else ():
        there = survey.target.described.get(plan.target)
        if there is not None and (unindexed := there.unindexed):
            yield Finding(
                "target-not-indexed",
                f"target collection {plan.target}",
                f"no index on {', '.join(unindexed)}, so it cannot be loaded and compared.",
                "Create the index, then verify again.",
            )


def _unproven(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    if not config.sink.create_index and config.env.verify != "none":
        yield Finding(
            "not-proven",
            f"target {survey.target.url}",
            "with create_index = false the target cannot be loaded, so nothing is compared.",
            "Create the indexes there after the copy, then run `kitelift verify`.",
            severity="warning",
        )
    elif config.env.verify != "none":
        yield from _unloadable(config, survey)


def _unloadable(config: JobConfig, survey: Survey) -> Iterator[Finding]:
    """Collections with a vector that is new, or whose index the target does not build."""
    for name in survey.chosen:
        target = config.name_of(name)
        if target in survey.target.described:
            continue
        made = planner.reshaped(config, survey, name).described
        wanted = planner.wanted_description(made, config, survey.target.version)
        before = survey.source.described[name].unindexed
        if new := [each for each in wanted.unindexed if each not in before]:
            yield Finding(
                "not-proven",
                f"target collection {target}",
                f"it gets no index on {', '.join(new)}, so it cannot be loaded and compared.",
                "Create the index there after the copy, then run `kitelift verify`.",
                severity="warning",
            )


def _target_comparable(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    for name in survey.chosen:
        target = config.name_of(name)
        there = survey.target.described.get(target)
        where = f"target collection {target}"
        if there is None:
            yield Finding("no-target", where, "it does not exist.", "Copy it first, by run.")
        elif there.loaded is False:
            yield Finding("target-not-loaded", where, "Collection not loaded.", "Load it.")
        else:
            yield from _same_shape(config, survey, name, "Compare collections of one schema only.")


def _target_mendable(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        if config.name_of(name) in survey.target.described:
            yield from _same_shape(config, survey, name, "Drop it; sync makes it anew.")


def _same_shape(config: JobConfig, survey: Survey, name: str, remedy: str) -> Iterator[Finding]:
    name_there = config.name_of(name)
    source = planner.reshaped(config, survey, name).described
    target = survey.target.described[name_there]
    if difference := _shape_differs(source, target):
        what = f"it is not like the source: {difference}."
        yield Finding("target-schema", f"target collection {name_there}", what, remedy)


def _shape_differs(source: Description, target: Description) -> str:
    """Says in what an empty collection differs from the source's, as far as rows are concerned."""
    left, right = (
        {field.name: field for field in _fields_or_none(each)} for each in (source, target)
    )
    for name in sorted({*left, *right}):
        if name not in right:
            return f"field {name} is missing"
        if name not in left:
            return f"field {name} is not in the source"
        if _essence(left[name]) != _essence(right[name]):
            return f"field {name} has another type"
    if source.partition_key != target.partition_key:
        return "the partition key is another"
    return ""


def _fields_or_none(description: Description) -> tuple[schemas.Field, ...]:
    try:
        return description.schema.fields
    except UnsupportedField:
        return ()


def _essence(field: schemas.Field) -> tuple[object, ...]:
    parts = tuple(sorted((child.name, _essence(child)) for child in field.children))
    return field.data_type, field.element_type, field.dim, field.primary, field.nullable, parts


_LIMITS = (
    limit_checks.limits_exceeded,
    limit_checks.reserved_names,
    limit_checks.missing_vectors,
    limit_checks.text_storage,
)

BY_PURPOSE: dict[Purpose, tuple[Check, ...]] = {
    "copy": (
        _names,
        _partition_number,
        _target_collections,
        fidelity_checks.taken_aliases,
        fidelity_checks.generated_values,
        fidelity_checks.unsupported_collections,
        fidelity_checks.null_vectors,
        fidelity_checks.text_lengths,
        fidelity_checks.lost_features,
        *_LIMITS,
        fidelity_checks.access,
        fidelity_checks.properties,
        _unproven,
    ),
    "verify": (_target_exists, _target_readable),
    "replay": (_target_exists,),
    "compare": (_names, _target_comparable),
    "sync": (
        _names,
        _partition_number,
        _target_mendable,
        fidelity_checks.unsupported_collections,
        fidelity_checks.generated_values,
        fidelity_checks.lost_features,
        *_LIMITS,
    ),
}
