"""Survey and job -> Findings about what a collection has beside its rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.console.formatting import listed
from pipeline.jobfile.job import JobConfig
from pipeline.planning import fidelity, planner, rbac, reshaping
from pipeline.planning.survey import Survey
from transforms.finding import Finding
from transforms.milvus import features, versions
from transforms.milvus.description import Description, Pairs
from transforms.milvus.features import accepts_ids
from transforms.milvus.types import MAX_TEXT_BYTES
from transforms.milvus.versions import Version
from transforms.plan import Plan


def lost_features(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """Yields the features that the target's version is known to lack.

    If a server silently drops other features, only creating the collection shows it.
    """
    version = survey.target.version
    for name in survey.chosen:
        target = config.name_of(name)
        if (
            target in survey.target.described
            and planner.dropped_part(config, survey, name) != "schema"
        ):
            continue
        source = planner.reshaped(config, survey, name).described
        wanted = planner.wanted_description(source, config, version)
        if config.sink.create_index:
            wanted = replace(wanted, indexes=source.indexes)
        for feature, kind in features.lost_by(wanted, version):
            what = f"it needs Milvus {versions.named(*kind.since)}; the target is {version}."
            if version.lite or not kind.since:
                what = f"the target, Milvus {version}, does not store it."
            yield fidelity.lost_feature(name, target, feature, what)


def taken_aliases(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """Yields aliases that the target already has for another collection; they are left alone."""
    for name in () if existing else survey.chosen:
        target = config.name_of(name)
        for alias in survey.source.described[name].aliases:
            if owner := planner.other_owner(survey, alias, target):
                if owner == name and name in survey.beside:
                    yield _alias_stays(alias, name, target)
                    continue
                what = f"it is an alias of {owner} in the target. Kitelift leaves it alone."
                if owner == alias:
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


def generated_values(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields findings about values that the target generates: auto-IDs and function outputs."""
    version = survey.target.version
    for name in survey.chosen:
        source = planner.reshaped(config, survey, name).described
        where = f"collection {name}"
        existing = survey.target.described.get(config.name_of(name))
        dropped = planner.dropped_part(config, survey, name)
        new = existing is None or dropped != ""
        if dropped == "schema":
            existing = None
        target = existing or planner.wanted_description(source, config, version)
        if changes := planner.temporary_properties(config, target, version, new=new):
            indexed = (not new and bool(target.indexes)) or config.sink.create_index == "before"
            yield _while_writing(where, changes, target, version, indexed=indexed)
        if existing is not None:
            yield from _another_key(config, existing, version)
        yield from _outputs(config, target, where, version)


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


def _another_key(config: JobConfig, existing: Description, version: Version) -> Iterator[Finding]:
    where = f"target collection {existing.name}"
    accepts = version.lite or accepts_ids(version)
    if existing.auto_id and not config.sink.enable_auto_id and not accepts:
        what = f"it has an auto-ID key. Milvus {version} does not accept the source's ids for it."
        remedy = (
            "Set another name in `sink.Milvus.collection_rename` to copy into a new collection. "
            "Or, if rows may get new ids, use `kitelift run` with "
            "`sink.Milvus.enable_auto_id = true`."
        )
        yield Finding("target-auto-id", where, what, remedy)
    elif config.sink.enable_auto_id and not existing.auto_id:
        what = "it has no auto-ID key, so it cannot generate new ids."
        remedy = "Drop the collection, or set `sink.Milvus.enable_auto_id = false`."
        yield Finding("target-auto-id", where, what, remedy)


def _outputs(
    config: JobConfig, target: Description, where: str, version: Version
) -> Iterator[Finding]:
    outputs = ", ".join(f"`{field}`" for field in target.outputs)
    known = features.kind_of("functions.other.any").supported_by(version)
    if not outputs or not known:
        return  # A target that does not know functions has regular fields.
    if config.sink.function_outputs == "recompute":
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


def unsupported_collections(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields collections of Milvus 2.6 and 3.0 with external files or namespaces."""
    for name in survey.chosen:
        described, where = survey.source.described[name], f"source collection {name}"
        message = described.message
        if message.external_source:
            what = f"its rows are in files outside Milvus, in {message.external_source}."
            remedy = f"{_LEAVE_OUT}, and create it in the target from the same files."
            yield Finding("external-collection", where, what, remedy)
        if described.has_namespaces:
            what = "its rows belong to namespaces, which Kitelift cannot copy."
            yield Finding("namespaces", where, what, f"{_LEAVE_OUT}.")


_LEAVE_OUT = "Leave the collection out of `source.Milvus.collections`"


def null_vectors(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen if survey.source.version.lite else ():
        for feature in features.listed(survey.source.described[name]):
            if feature.endswith(".nullable_vector"):
                what = "milvus-lite stores a null vector as zeros, so the target gets zeros."
                where = f"source field {name}.{feature.split('.')[1]}"
                yield Finding("null-vectors", where, what, severity="warning")


def text_lengths(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields fields whose texts fit in milvus-lite (counts characters) but may not in Milvus."""
    source, target = survey.source.version, survey.target.version
    widened = {setting.field_name for setting in config.sink.field_schema if setting.max_length}
    for name in survey.chosen if source.lite and not (target.lite or target.files) else ():
        fields = reshaping.copyable_schema(planner.reshaped(config, survey, name).described).fields
        narrow = [field.name for field in fields if 0 < field.max_length < MAX_TEXT_BYTES]
        if texts := [field for field in narrow if field not in widened]:
            names = listed(texts, most=10)
            what = f"max_length of {names} counts characters in milvus-lite and bytes in Milvus. "
            what += "Milvus rejects longer texts."
            remedy = "If texts are not ASCII, raise max_length in `sink.Milvus.field_schema`."
            yield Finding("text-length", f"collection {name}", what, remedy, severity="info")


def access(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    if not config.sink.rbac:
        return
    source, target = survey.source.access, survey.target.access
    unknown = [
        rbac.unknown_access(role, access)
        for role, access in (("source", source), ("target", target))
        if access.problem
    ]
    yield from unknown or rbac.findings(rbac.missing_access(source, target, config, survey.chosen))


def properties(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields properties that are not copied, and those that differ in an existing database."""
    for name in survey.chosen:
        yield from _left_out(config, f"collection {name}", survey.source.described[name].properties)
    source, target = survey.source, survey.target
    where = f"target database {target.database}"
    if not target.has_database:
        yield from _left_out(config, where, source.properties)
        return
    existing = dict(target.properties)
    for key, value in planner.copied_properties(source.properties, config):
        if existing.get(key) != value:
            current = existing.get(key, "not set")
            what = (
                f"property {key} is {current} in the target and {value} in the source. Kitelift "
                "does not change an existing database."
            )
            remedy = f"If you want it, set {key} = {value} in the target's database."
            yield Finding("database-differs", where, what, remedy, severity="warning")


def _left_out(config: JobConfig, where: str, properties: Pairs) -> Iterator[Finding]:
    limits = ", ".join(key for key, _ in features.rate_limits(properties))
    if limits and not config.sink.copy_rate_limits:
        what = f"the source's rate limits are not copied: {limits}."
        remedy = "To copy them, set `sink.Milvus.copy_rate_limits = true`."
        yield Finding("rate-limits", where, what, remedy, severity="info")
    if others := ", ".join(key for key, _ in features.of_one_cluster(properties)):
        what = f"properties that apply only to the source's cluster are not copied: {others}."
        remedy = "If the target needs them, set them there."
        yield Finding("of-one-cluster", where, what, remedy, severity="info")
