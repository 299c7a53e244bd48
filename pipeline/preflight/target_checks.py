"""Survey and job -> Findings about the target: what it can store, and what already exists there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.console import formatting
from pipeline.jobfile.patterns import fits, matching
from pipeline.jobfile.spelling import suggestion_sentence
from pipeline.jobfile.transform import TablePathMapper
from pipeline.planning import same_collection
from pipeline.planning.collection_survey import Rows
from pipeline.planning.job_view import CollectionView, JobView
from pipeline.preflight import partition_checks
from transforms.errors import UnsupportedField
from transforms.finding import Finding
from transforms.milvus import job_mark
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.qualified_names import spellings


def source_as_target(job: JobView) -> Iterator[Finding]:
    """Yields target collections that are, or may be, a source collection of the same job."""
    collections = job.plan.collections if job.plan else job.collections
    pairs = [(collection.name, collection.target) for collection in collections]
    read = {name for name, _ in pairs}
    for name, target in pairs:
        match = job.matches.get(target)
        if match is None or target not in read:
            continue
        which = "the source collection itself"
        if name != target:
            which = "another source collection of this job"
        what = f"it is {which}: {match.why}."
        key = "database_rename" if job.qualifies else "database"
        remedy = (
            f"Set another server or database in `sink.Milvus.url` or `sink.Milvus.{key}`, or "
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


def database_names(job: JobView) -> Iterator[Finding]:
    """Yields databases that would become one, and names for databases not in the job."""
    where, remedy = f"target {job.target.url}", "Correct `sink.Milvus.database_rename`."
    taken: dict[str, str] = {}
    for name, target in job.databases:
        if target in taken:
            what = f"databases {taken[target]} and {name} would both be named {target}."
            yield Finding("rename-clash", where, what, remedy)
        taken[target] = name
    for old in job.sink.database_rename:
        if not any(matching(old, name) for name, _ in job.databases):
            what = f"the job file renames database {old}, which the job does not copy."
            yield Finding("rename-unknown", where, what, remedy)


def collection_names(job: JobView) -> Iterator[Finding]:
    """Yields names in the target that would clash, and names for collections not in the job."""
    where = f"target {job.target.url}"
    taken: dict[str, str] = {}
    for collection in job.collections:
        name, target = collection.name, collection.target
        if target in taken:
            what = f"{taken[target]} and {name} would both be named {target}."
            yield Finding("rename-clash", where, what, _CORRECT_RENAME)
        taken[target] = name
        if owner := job.other_owner(target, target):
            what = f"{target} is an alias of {owner} in the target, so the name is taken."
            remedy = (
                f"Drop alias {target}, or set another name for {name} in "
                "`sink.Milvus.collection_rename`."
            )
            yield Finding("rename-clash", where, what, remedy)
    for collection in job.collections:
        for alias in collection.source.aliases:
            if (alias := job.beside(collection.target, alias)) in taken:
                name = collection.name
                what = f"{alias} would be the name of a collection and an alias of {name}."
                yield Finding("rename-clash", where, what, _CORRECT_RENAME)
    for name in sorted({*_unmatched(job)}):
        what = f"the job file sets a name or description for {name}, which the job does not copy."
        remedy = suggestion_sentence(name, job.chosen) or "Correct the name, or remove it."
        yield Finding("rename-unknown", where, what, remedy)


_CORRECT_RENAME = "Correct `sink.Milvus.collection_rename`."


def _unmatched(job: JobView) -> Iterator[str]:
    """Yields the names and patterns of the job file that match no collection of the job."""
    chosen, sink = job.chosen, job.sink
    for old in sink.collection_rename:
        if not any(fits(old, name) for name in chosen):
            yield old
    known = {spelling for name in chosen for spelling in spellings(name)}
    yield from (name for name in sink.collection_description if name not in known)
    renamed = {sink.renamed(*spellings(name)) for name in chosen}
    for plugin in job.transforms:
        if isinstance(plugin, TablePathMapper):
            yield from (name for name in plugin.table_mapper if name not in renamed)


def partition_number(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        if job.sink.partition_num and not collection.reshaped.described.partition_key:
            yield Finding(
                "partition-number",
                f"collection {collection.name}",
                "it has no partition key. `partition_num` applies only to collections with one.",
                "Remove `sink.Milvus.partition_num`, set `sink.Milvus.partition_key`, or copy this "
                "collection with a separate job.",
            )


def target_collections(job: JobView) -> Iterator[Finding]:
    ours = {plan.target for plan in job.plan.collections} if job.plan else set()
    mode = job.sink.schema_save_mode
    for collection in job.collections:
        if collection.target in ours:
            continue
        if (match := job.matches.get(collection.target)) and match.certain:
            continue  # `source_as_target` reports it.
        existing, rows = collection.existing, collection.existing_rows
        if existing is not None and rows is not None:
            yield from _existing_target(job, collection, existing, rows)
        elif mode in ("ERROR_WHEN_SCHEMA_NOT_EXIST", "IGNORE"):
            what = f"it does not exist, and schema_save_mode is {mode}."
            remedy = (
                "Create it. Or set `sink.Milvus.schema_save_mode = CREATE_SCHEMA_WHEN_NOT_EXIST`, "
                "so that Kitelift creates it."
            )
            yield Finding("no-target", f"target collection {collection.target}", what, remedy)


def _existing_target(
    job: JobView, collection: CollectionView, existing: Description, rows: Rows
) -> Iterator[Finding]:
    """Yields the findings about an existing collection that this job did not create."""
    if collection.dropped:
        named = {*spellings(collection.name)} & {*(job.source_settings.collections or ())}
        yield from _drop(collection, rows, named=bool(named))
        yield from partition_checks.dropped_partitions(job, collection, existing)
    elif rows.count and job.sink.data_save_mode == "ERROR_WHEN_DATA_EXISTS":
        yield not_empty(collection.target, rows.count)
        return
    if collection.dropped == "schema":
        return
    if difference := _schema_difference(collection.reshaped.described, existing):
        yield Finding(
            "target-schema",
            f"target collection {collection.target}",
            f"its schema differs from the source: {difference}.",
            "Drop the collection, or set `sink.Milvus.schema_save_mode = RECREATE_SCHEMA`, so that "
            "Kitelift drops and recreates it.",
        )


IN_USE = "target-in-use"


def targets_in_use(job: JobView) -> Iterator[Finding]:
    """Yields target collections to which another unfinished job writes."""
    for collection in job.collections:
        if collection.existing is not None:
            yield from in_use(collection.target, collection.existing.marks, job.job_id)


def in_use(target: str, marks: Iterable[str], job_id: str) -> Iterator[Finding]:
    """Yields a finding for each mark of another job on a target collection."""
    for mark in map(job_mark.parse, marks):
        ledger = " with another ledger (`env.state`)" if mark.job == job_id else ""
        yield Finding(
            "target-in-use",
            f"target collection {target}",
            f"another unfinished job writes to it: {mark}{ledger}.",
            "Wait until that job is finished; if it was stopped, resume it there with the same "
            "command. If nobody will resume it, rerun this one with "
            f"`--accept={IN_USE}`: it removes the mark.",
            acceptable=True,
        )


def not_empty(name: str, rows: int) -> Finding:
    """Returns the finding about a target collection with rows that the job did not write."""
    key = "database_rename" if "." in name else "database"
    return Finding(
        "target-not-empty",
        f"target collection {name}",
        f"it contains {rows:,} rows that this job did not write.",
        "If another job has copied it, leave it out of `source.Milvus.collections`. Otherwise drop "
        f"or rename it, or set another `sink.Milvus.{key}`. Or set `sink.Milvus.data_save_mode` "
        "to APPEND_DATA or DROP_DATA.",
    )


def _drop(collection: CollectionView, rows: Rows, *, named: bool) -> Iterator[Finding]:
    """Yields what a copy drops; only a collection that the job file names can be dropped."""
    where = f"target collection {collection.target}"
    if not named:
        what = "the job would drop its data, but the job file does not name the collection."
        remedy = f"Name {collection.name} in `source.Milvus.collections`."
        yield Finding("drop-unnamed", where, what, remedy)
    recreates = collection.dropped == "schema"
    what = "drops and recreates it" if recreates else "deletes all of its rows"
    count = formatting.plural(rows.count, "row")
    if not rows.exact:
        count = f"at least {count} (not counted, because it is not loaded)"
    yield Finding("drop", where, f"Kitelift {what}. It contains {count}.", severity="warning")


def target_exists(job: JobView) -> Iterator[Finding]:
    for plan in job.plan.collections if job.plan else ():
        if plan.target not in job.target.names:
            what, remedy = "it no longer exists.", "Copy it again: `kitelift run --restart`."
            yield Finding("no-target", f"target collection {plan.target}", what, remedy)


def target_readable(job: JobView) -> Iterator[Finding]:
    """Yields target collections that lack an index, so that they cannot be loaded and compared.

    With `create_index = false` the user creates the indexes before `kitelift verify`.
    """
    for plan in job.plan.collections if job.plan else ():
        target = job.target.described.get(plan.target)
        if target is not None and (unindexed := target.unindexed):
            yield Finding(
                "target-not-indexed",
                f"target collection {plan.target}",
                f"no index on {', '.join(unindexed)}, so it cannot be loaded and compared.",
                "Create the index, then rerun `kitelift verify`.",
            )


def unproven(job: JobView) -> Iterator[Finding]:
    if not job.sink.create_index and job.env.verify != "none":
        yield Finding(
            "not-proven",
            f"target {job.target.url}",
            "with `create_index = false` the target cannot be loaded, so nothing is compared.",
            "Create the indexes in the target after the copy, then run `kitelift verify`.",
            severity="warning",
        )
    elif job.env.verify != "none":
        yield from _unloadable(job.collections)


def _unloadable(collections: Iterable[CollectionView]) -> Iterator[Finding]:
    """Yields collections with a new vector field, or with an index that the target cannot build."""
    for collection in collections:
        if collection.existing is not None:
            continue
        before = collection.source.unindexed
        if new := [field for field in collection.wanted.unindexed if field not in before]:
            yield Finding(
                "not-proven",
                f"target collection {collection.target}",
                f"the copy creates no index on {', '.join(new)}, so it cannot be loaded and "
                "compared.",
                "Create the index in the target after the copy, then run `kitelift verify`.",
                severity="warning",
            )


def target_comparable(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        where, existing = f"target collection {collection.target}", collection.existing
        if existing is None:
            yield Finding("no-target", where, "it does not exist.", "Copy it with `kitelift run`.")
        elif existing.loaded is False:
            yield Finding("target-not-loaded", where, "Collection not loaded.", "Load it.")
        else:
            remedy = "Leave it out: only collections with the same schema can be compared."
            yield from _same_schema(collection, existing, remedy)


def target_syncable(job: JobView) -> Iterator[Finding]:
    remedy = "Drop the collection and rerun `kitelift sync`, which recreates it."
    for collection in job.collections:
        if collection.existing is not None:
            yield from _same_schema(collection, collection.existing, remedy)


def _same_schema(
    collection: CollectionView, existing: Description, remedy: str
) -> Iterator[Finding]:
    """Yields the finding about a target collection whose schema differs from the source's."""
    if difference := _schema_difference(collection.reshaped.described, existing):
        what = f"its schema differs from the source: {difference}."
        yield Finding("target-schema", f"target collection {collection.target}", what, remedy)


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
