"""Survey and job -> Findings about transforms, field settings and new names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.console.formatting import listed, number, plural
from pipeline.jobfile.columns import NAME
from pipeline.jobfile.field_schema import FieldSetting
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.spelling import suggestion_sentence
from pipeline.jobfile.target_functions import TargetFunction
from pipeline.jobfile.transform import TablePathMapper, TableRename
from pipeline.planning import reshaping
from pipeline.planning.job_view import CollectionView, JobView
from transforms.finding import Finding
from transforms.milvus import features, field_layout
from transforms.milvus.filters import with_key
from transforms.milvus.qualified_names import join, spellings
from transforms.milvus.schema import Field
from transforms.milvus.versions import release


def transform_problems(job: JobView) -> Iterator[Finding]:
    """Yields the transforms and field settings that cannot be applied to their collection."""
    for collection in job.collections:
        for problem in collection.reshaped.problems:
            where = f"{problem.place}, collection {collection.name}"
            remedy = "Correct it, or limit it to other collections with its key `collections`."
            if problem.place.startswith("sink."):
                remedy = "Correct it, or copy this collection with a separate job."
            yield Finding("reshape", where, problem.what, remedy)


def row_filters(job: JobView) -> Iterator[Finding]:
    """Yields the row filters that the source rejects, cannot try yet, or that match no row."""
    for collection in job.collections:
        rows, where = collection.rows, f"transform.RowFilter, collection {collection.name}"
        expression = collection.reshaped.shape.where
        if rows.filter_error:
            words = " ".join(
                rows.filter_error.split()
            )  # Some servers mark the place on a second line.
            what = f'the source rejects the filter `{expression}`: "{words}".'
            remedy = "Correct the expression. It must use the field names of the source."
            yield Finding("row-filter", where, what, remedy)
        elif expression and not rows.exact:
            what = f"the filter `{expression}` is not tested, because the collection is not loaded."
            yield Finding("row-filter", where, what, severity="warning")
        elif rows.unfiltered and not rows.count:
            what = f"the filter `{expression}` matches none of {number(rows.unfiltered)} rows."
            yield Finding("row-filter", where, what, severity="warning")


def transform_scopes(job: JobView) -> Iterator[Finding]:
    """Yields the transforms that apply to no collection of the job."""
    names = job.chosen
    known = {spelling for name in names for spelling in spellings(name)}
    for plugin in job.transforms:
        where = f"transform.{type(plugin).__name__}"
        unknown = [name for name in plugin.collections or () if name not in known]
        for name in unknown:
            hint = suggestion_sentence(name, names)
            what = f"its key `collections` names {name}, which the job does not copy."
            yield Finding("reshape", where, what, hint or _CORRECT)
        qualified = (name if job.qualifies else join(job.source.database, name) for name in names)
        if names and not unknown and not any(map(plugin.applies_to, qualified)):
            what = f"table_match_regex `{plugin.table_match_regex}` matches no collection."
            remedy = f"Correct it. The job copies: {listed([*names], most=10)}."
            yield Finding("reshape", where, what, remedy)


_CORRECT = "Correct the name, or remove it."


def collection_names(job: JobView) -> Iterator[Finding]:
    """Yields the new names of collections that Milvus does not allow."""
    for collection in job.collections:
        name, target = collection.name, spellings(collection.target)[-1]
        if target != spellings(name)[-1] and not NAME.fullmatch(target):
            what = f"its new name {target} is not a valid Milvus collection name."
            remedy = "Use only letters, digits and _, with at most 255 characters."
            yield Finding(
                "reshape", f"{_renaming(job.transforms)}, collection {name}", what, remedy
            )


def _renaming(transforms: tuple[Plugin, ...]) -> str:
    """Returns the block of the job file that renames collections."""
    for plugin in transforms:
        if isinstance(plugin, TableRename | TablePathMapper):
            return f"transform.{type(plugin).__name__}"
    return "sink.Milvus"


def dynamic_keys(job: JobView) -> Iterator[Finding]:
    """Yields the keys in the dynamic field of rows that are also fields of the target."""
    for collection in job.collections:
        for key, rows in collection.rows.clashes:
            yield Finding(
                "dynamic-key",
                f"source collection {collection.name}",
                f"the dynamic field of {plural(rows, 'row')} has the key `{key}`, and the target "
                f"has a field `{key}`. The target rejects such rows.",
                f"Give the field another name, or leave the rows out with `transform.RowFilter` "
                f"(`not {with_key(key)}`), or remove the key with `transform.Python`.",
                severity="warning" if rows <= job.env.max_rejected else "error",
            )


def field_settings(job: JobView) -> Iterator[Finding]:
    """Yields the entries of `field_schema` that match no field, or that rows may not fit."""
    for setting in job.sink.field_schema:
        fields = {
            collection: field_layout.names(collection.reshaped.described)
            for collection in job.collections
            if setting.applies_to(collection.name)
        }
        matching = [
            collection for collection, names in fields.items() if setting.field_name in names
        ]
        if job.collections and not matching:
            known = sorted({name for names in fields.values() for name in names})
            hint = suggestion_sentence(setting.field_name, known)
            what = f"no collection of the job has a field {setting.field_name} in the target."
            where = f"sink.Milvus.field_schema of {setting.field_name}"
            yield Finding("reshape", where, what, hint or _CORRECT)
        for collection in matching:
            name, source = collection.name, collection.source
            origin = collection.reshaped.shape.origin_of(setting.field_name)
            for field in reshaping.copyable_schema(source).fields:
                if field.name == origin:
                    yield from _narrower(name, setting, field, field_layout.params(source, origin))


def added_functions(job: JobView) -> Iterator[Finding]:
    """Yields the functions of the sink that the target does not support or does not get."""
    version = job.target.version
    for function in job.sink.functions:
        where, matching = f"sink.Milvus.functions, {function.name}", False
        if not features.kind_of(f"functions.bm25.{function.name}").supported_by(version):
            what = f"BM25 functions need Milvus 2.5 or later; the target is {version}."
            yield Finding("reshape", where, what, "Remove it, or use a newer target.")
            continue
        for collection in job.collections:
            reshaped = collection.reshaped.described
            named = function.input_field in field_layout.names(reshaped)
            if named and function.applies_to(collection.name):
                matching = True
                yield from _added_function(job, collection, function)
        if job.collections and not matching:
            what = f"no collection of the job has its input {function.input_field} in the target."
            yield Finding("reshape", where, what, _CORRECT)


def _added_function(
    job: JobView, collection: CollectionView, function: TargetFunction
) -> Iterator[Finding]:
    version, text = job.target.version, function.input_field
    fields = collection.reshaped.described.message.fields
    is_nullable = any(field.name == text and field.nullable for field in fields)
    if is_nullable and version.known and version < _NULLABLE_INPUTS:
        where = f"sink.Milvus.functions, {function.name}, collection {collection.name}"
        what = f"its input {text} is nullable. Milvus {version} does not create such a function."
        remedy = f"Add {{ field_name = {text}, is_nullable = false }} to `field_schema`."
        yield Finding("reshape", where, what, remedy)
    if collection.existing is not None and not collection.is_created:
        existing = {existing.name for existing in collection.existing.message.functions}
        if function.name not in existing:
            where = f"target collection {collection.target}"
            what = f"it exists and has no function {function.name}."
            remedy = "Let Kitelift create it (`schema_save_mode`), or remove the function."
            yield Finding("target-schema", where, what, remedy)


_NULLABLE_INPUTS = release("3.0.0")
"""The first release whose functions accept a nullable input."""


def schema_losses(job: JobView) -> Iterator[Finding]:
    """Yields what the sink's keys about the schema leave out: partitions, and dynamic keys."""
    for collection in job.collections:
        source, reshaped = collection.source, collection.reshaped.described
        if reshaped.partition_key and not source.partition_key and len(source.partitions) > 1:
            what = (
                f"its rows are in the partitions {listed([*source.partitions], most=10)}. With the "
                f"partition key {reshaped.partition_key}, the target assigns the partitions itself."
            )
            yield _left_out(collection.name, "partitions", what, "`partition_key`")
        may_have = collection.rows.count > 0 or not collection.rows.exact
        if job.sink.enable_dynamic_field is False and collection.reshaped.drops_keys and may_have:
            what = "its rows are copied without the keys of its dynamic field."
            yield _left_out(collection.name, "dynamic_field", what, "`enable_dynamic_field`")


def _left_out(name: str, feature: str, what: str, key: str) -> Finding:
    code = f"lost:{name}.{feature}"
    remedy = f"Remove {key} from `sink.Milvus`, or rerun with `--accept={code}`."
    return Finding(code, f"source collection {name}", what, remedy, acceptable=True)


def _narrower(
    name: str, setting: FieldSetting, field: Field, before: Mapping[str, str]
) -> Iterator[Finding]:
    """Yields what the new setting of a field may reject."""
    where = f"sink.Milvus.field_schema of {setting.field_name}, collection {name}"
    for key, values in (("max_length", "texts"), ("max_capacity", "arrays")):
        most, source = getattr(setting, key), int(before.get(key, 0))
        if most and most < source:
            what = (
                f"{key} is {most}, but {source} in the source. The target rejects longer {values}."
            )
            yield Finding("narrower-field", where, what, _REJECTED, severity="warning")
    if field.nullable and setting.is_nullable is False:
        what = "is_nullable is false, but true in the source. The target rejects rows with null."
        yield Finding("narrower-field", where, what, _REJECTED, severity="warning")
    if field.nullable and setting.default_value is not None:
        what = "the target stores default_value instead of null, so rows with null will differ."
        yield Finding("narrower-field", where, what, severity="warning")


_REJECTED = (
    "If the source has such rows, set `env.max_rejected` to allow their number. Otherwise their "
    "key ranges fail."
)
