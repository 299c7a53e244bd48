"""Survey and job -> Findings about what a collection has beside its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.console.formatting import listed
from pipeline.jobfile.settings import Sink
from pipeline.planning import fidelity, rbac, reshaping
from pipeline.planning.job_view import JobView
from pipeline.planning.target_description import copied_properties, temporary_properties
from transforms.finding import Finding
from transforms.milvus import features, versions
from transforms.milvus.description import Description, Pairs
from transforms.milvus.features import accepts_ids
from transforms.milvus.types import MAX_TEXT_BYTES
from transforms.milvus.versions import Version


def lost_features(job: JobView) -> Iterator[Finding]:
    """Yields the features that the target's version is known to lack.

    If a server silently drops other features, only creating the collection shows it.
    """
    version = job.target.version
    for collection in job.collections:
        if collection.existing is not None and collection.dropped != "schema":
            continue
        wanted = collection.wanted
        if job.sink.create_index:
            requested = {request.index for request in collection.reshaped.requested}
            indexes = collection.reshaped.described.indexes
            # `index_checks` reports indexes on request that the target does not build.
            wanted = replace(
                wanted, indexes=tuple(index for index in indexes if index not in requested)
            )
        for feature, kind in features.lost_by(wanted, version):
            what = f"it needs Milvus {versions.named(*kind.since)}; the target is {version}."
            if version.lite or not kind.since:
                what = f"the target, Milvus {version}, does not store it."
            yield fidelity.lost_feature(collection.name, collection.target, feature, what)


def taken_aliases(job: JobView) -> Iterator[Finding]:
    """Yields aliases that the target already has for another collection; they are left alone."""
    for collection in () if job.plan else job.collections:
        name, target = collection.name, collection.target
        for alias in collection.source.aliases:
            if owner := job.other_owner(alias, target):
                if owner == name and collection.beside:
                    yield _alias_stays(alias, name, target)
                    continue
                what = f"it is an alias of {owner} in the target. Kitelift leaves it alone."
                if owner == job.beside(target, alias):
                    what = "it is the name of a collection in the target."
                yield fidelity.lost_feature(name, target, f"aliases.{alias}", what)


def _alias_stays(alias: str, name: str, target: str) -> Finding:
    """On one server an alias belongs to one collection, and the job does not change the source."""
    return Finding(
        "alias-stays",
        f"target collection {target}",
        f"alias {alias} stays with source collection {name}, which is on the same server.",
        f"To switch applications to the copy, alter alias {alias} to {target} after the copy.",
        severity="warning",
    )


def generated_values(job: JobView) -> Iterator[Finding]:
    """Yields findings about values that the target generates: auto-IDs and function outputs."""
    version, sink = job.target.version, job.sink
    for collection in job.collections:
        where, new = f"collection {collection.name}", collection.is_created
        existing = None if collection.dropped == "schema" else collection.existing
        target = existing or collection.wanted
        if changes := temporary_properties(target, sink, version, new=new):
            indexed = (not new and bool(target.indexes)) or sink.create_index == "before"
            yield _while_writing(where, changes, target, version, indexed=indexed)
        if existing is not None:
            yield from _another_key(existing, version, new_ids=sink.enable_auto_id)
        yield from _outputs(target, where, version, recomputed=sink.function_outputs == "recompute")


def _while_writing(
    where: str, changes: Pairs, target: Description, version: Version, *, indexed: bool
) -> Finding:
    """Says which properties change while the job writes, and what they are afterwards."""
    keys = " and ".join(f"`{key}`" for key, _ in changes)
    what = (
        f"while the job writes, Kitelift sets {keys} to true in the target. "
        "It restores the previous setting afterwards."
    )
    isolated = indexed and features.isolation(target.properties)
    if isolated and not features.drops_isolated(version):
        what += (
            f" If a property was not set before, it becomes false: Milvus {version} cannot remove "
            f"a property of an indexed collection with `{features.ISOLATION}`."
        )
    return Finding("while-writing", where, what, severity="info")


def _another_key(existing: Description, version: Version, *, new_ids: bool) -> Iterator[Finding]:
    """Yields why an existing target collection cannot store the source's ids, or new ones."""
    where = f"target collection {existing.name}"
    accepts = version.lite or accepts_ids(version)
    if existing.auto_id and not new_ids and not accepts:
        what = f"it has an auto-ID key. Milvus {version} does not accept the source's ids for it."
        remedy = (
            "Set another name in `sink.Milvus.collection_rename` to copy into a new collection. "
            "Or, if rows may get new ids, use `kitelift run` with "
            "`sink.Milvus.enable_auto_id = true`."
        )
        yield Finding("target-auto-id", where, what, remedy)
    elif new_ids and not existing.auto_id:
        what = "it has no auto-ID key, so it cannot generate new ids."
        remedy = "Drop the collection, or set `sink.Milvus.enable_auto_id = false`."
        yield Finding("target-auto-id", where, what, remedy)


def _outputs(
    target: Description, where: str, version: Version, *, recomputed: bool
) -> Iterator[Finding]:
    outputs = ", ".join(f"`{field}`" for field in target.outputs)
    known = features.kind_of("functions.other.any").supported_by(version)
    if not outputs or not known:
        return  # A target that does not know functions has regular fields.
    if recomputed:
        what = f"the target's function recomputes {outputs}. Kitelift does not compare the values."
        remedy = "Make sure that the target has the function's provider and its credentials."
        yield Finding("recomputed", where, what, remedy, severity="warning")
    elif not features.accepts_outputs(version) and version.number is not None:
        what = f"a function computes {outputs}. Milvus {version} does not accept its outputs."
        remedy = (
            'Set `sink.Milvus.function_outputs = "recompute"`, or use a target with Milvus 2.6.3 '
            "or later."
        )
        yield Finding("function-outputs", where, what, remedy)


def unsupported_collections(job: JobView) -> Iterator[Finding]:
    """Yields collections of Milvus 2.6 and 3.0 with external files or namespaces."""
    for collection in job.collections:
        where = f"source collection {collection.name}"
        if files := collection.source.message.external_source:
            what = f"its rows are in files outside Milvus, in {files}."
            remedy = f"{_LEAVE_OUT}, and create it in the target from the same files."
            yield Finding("external-collection", where, what, remedy)
        if collection.source.has_namespaces:
            what = "its rows belong to namespaces, which Kitelift cannot copy."
            yield Finding("namespaces", where, what, f"{_LEAVE_OUT}.")


_LEAVE_OUT = "Leave the collection out of `source.Milvus.collections`"


def null_vectors(job: JobView) -> Iterator[Finding]:
    for collection in job.collections if job.source.version.lite else ():
        for feature in features.listed(collection.source):
            if feature.endswith(".nullable_vector"):
                what = "milvus-lite stores a null vector as zeros, so the target gets zeros."
                where = f"source field {collection.name}.{feature.split('.')[1]}"
                yield Finding("null-vectors", where, what, severity="warning")


def text_lengths(job: JobView) -> Iterator[Finding]:
    """Yields fields whose texts fit in milvus-lite (counts characters) but may not in Milvus."""
    source, target = job.source.version, job.target.version
    widened = {setting.field_name for setting in job.sink.field_schema if setting.max_length}
    for collection in job.collections if source.lite and not (target.lite or target.files) else ():
        fields = reshaping.copyable_schema(collection.reshaped.described).fields
        narrow = [field.name for field in fields if 0 < field.max_length < MAX_TEXT_BYTES]
        if texts := [field for field in narrow if field not in widened]:
            names = listed(texts, most=10)
            what = f"max_length of {names} counts characters in milvus-lite and bytes in Milvus. "
            what += "Milvus rejects longer texts."
            remedy = "If texts are not ASCII, raise max_length in `sink.Milvus.field_schema`."
            where = f"collection {collection.name}"
            yield Finding("text-length", where, what, remedy, severity="info")


def access(job: JobView) -> Iterator[Finding]:
    if not job.sink.rbac:
        return
    source, target = job.source.access, job.target.access
    unknown = [
        rbac.unknown_access(role, access)
        for role, access in (("source", source), ("target", target))
        if access.problem
    ]
    yield from unknown or rbac.findings(rbac.missing_access(source, target, job.target_names))


def properties(job: JobView) -> Iterator[Finding]:
    """Yields properties that are not copied, and those that differ in existing databases."""
    for collection in job.collections:
        where = f"collection {collection.name}"
        yield from _left_out(collection.source.properties, where, job.sink)
    for source, target in job.databases:
        yield from _database_properties(job, source, target)


def _database_properties(job: JobView, source: str, target: str) -> Iterator[Finding]:
    where, properties = f"target database {target}", job.source.properties.get(source, ())
    if target in job.target.missing_databases:
        yield from _left_out(properties, where, job.sink)
        return
    existing = dict(job.target.properties.get(target, ()))
    for key, value in copied_properties(properties, job.sink):
        if existing.get(key) != value:
            current = existing.get(key, "not set")
            what = (
                f"property {key} is {current} in the target and {value} in the source. Kitelift "
                "does not change an existing database."
            )
            remedy = f"If you want it, set {key} = {value} in the target's database."
            yield Finding("database-differs", where, what, remedy, severity="warning")


def _left_out(properties: Pairs, where: str, sink: Sink) -> Iterator[Finding]:
    limits = ", ".join(key for key, _ in features.rate_limits(properties))
    if limits and not sink.copy_rate_limits:
        what = f"the source's rate limits are not copied: {limits}."
        remedy = "To copy them, set `sink.Milvus.copy_rate_limits = true`."
        yield Finding("rate-limits", where, what, remedy, severity="info")
    if others := ", ".join(key for key, _ in features.of_one_cluster(properties)):
        what = f"properties that apply only to the source's cluster are not copied: {others}."
        remedy = "If the target needs them, set them there."
        yield Finding("of-one-cluster", where, what, remedy, severity="info")
