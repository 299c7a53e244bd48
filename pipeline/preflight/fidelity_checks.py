"""What becomes of that which a collection has beside its rows: the part of preflight about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.console.formatting import listed
from pipeline.jobfile.job import JobConfig
from pipeline.planning import fidelity, planner, rbac, reshaping
from pipeline.planning.survey import Survey
from transforms.milvus import features, versions
from transforms.milvus.description import Description, Pairs
from transforms.milvus.features import takes_ids
from transforms.milvus.types import MAX_TEXT_BYTES
from transforms.milvus.versions import Version
from transforms.plan import Finding, Plan


def lost_features(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """What the target's version is known not to hold; what else it drops, only making it shows."""
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
            what = f"needs Milvus {versions.named(*kind.since)}; the target is {version}."
            if version.lite or not kind.since:
                what = f"Milvus {version} does not keep it."
            yield fidelity.lost_feature(name, target, feature, what)


def taken_aliases(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    """Aliases that are in the target already, and of another collection: they stay there."""
    for name in () if existing else survey.chosen:
        target = config.name_of(name)
        for alias in survey.source.described[name].aliases:
            if owner := planner.other_owner(survey, alias, target):
                if owner == name and name in survey.beside:
                    yield _stays(alias, name, target)
                    continue
                what = f"it is an alias of {owner} there, and stays so."
                if owner == alias:
                    what = "it is the name of a collection there."
                yield fidelity.lost_feature(name, target, f"aliases.{alias}", what)


def _stays(alias: str, name: str, target: str) -> Finding:
    """On one server an alias belongs to one collection, and the job leaves the source as it is."""
    return Finding(
        "alias-stays",
        f"target collection {target}",
        f"alias {alias} stays with {name}, which is on the same server.",
        f"To switch applications over, alter the alias to {target} after the copy.",
        severity="warning",
    )


def generated_values(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """What the target would make itself: automatic keys, and the outputs of functions."""
    version = survey.target.version
    for name in survey.chosen:
        source = planner.reshaped(config, survey, name).described
        where = f"collection {name}"
        there = survey.target.described.get(config.name_of(name))
        drops = planner.dropped_part(config, survey, name)
        new = there is None or drops != ""
        if drops == "schema":
            there = None
        target = there or planner.wanted_description(source, config, version)
        if opening := planner.temporary_properties(config, target, version, new=new):
            indexed = (not new and bool(target.indexes)) or config.sink.create_index == "before"
            yield _while_writing(where, opening, target, version, indexed=indexed)
        if there is not None:
            yield from _another_key(config, there, version)
        yield from _outputs(config, target, where, version)


def _while_writing(
    where: str, opening: Pairs, target: Description, version: Version, *, indexed: bool
) -> Finding:
    """Says which properties change while the job writes, and what they are afterwards."""
    keys = " and ".join(key for key, _ in opening)
    then = "then it is as it was."
    isolated = indexed and features.isolation(target.properties)
    if isolated and not features.drops_isolated(version):
        then = (
            f"then it is as it was, or false if it was not set: Milvus {version} removes no "
            f"property of an indexed collection with {features.ISOLATION}."
        )
    what = f"{keys} is true in the target while the job writes; {then}"
    return Finding("while-writing", where, what, severity="info")


def _another_key(config: JobConfig, there: Description, version: Version) -> Iterator[Finding]:
    where = f"target collection {there.name}"
    takes = version.lite or takes_ids(version)
    if there.auto_id and not config.sink.enable_auto_id and not takes:
        what = f"its key is automatic, and Milvus {version} takes no ids for such a key."
        remedy = (
            "Copy into a new collection by sink.Milvus.collection_rename; or, if rows may have new "
            "ids, `run` with sink.Milvus.enable_auto_id = true."
        )
        yield Finding("target-auto-id", where, what, remedy)
    elif config.sink.enable_auto_id and not there.auto_id:
        what, remedy = "its key is not automatic, so it makes no new ids.", "Drop it."
        yield Finding("target-auto-id", where, what, remedy)


def _outputs(
    config: JobConfig, target: Description, where: str, version: Version
) -> Iterator[Finding]:
    made = ", ".join(target.outputs)
    known = features.kind_of("functions.other.any").held_by(version)
    if not made or not known:
        return  # A target that does not know functions has plain fields.
    if config.sink.function_outputs == "recompute":
        what = f"{made}: made anew by the target's function, and not compared."
        remedy = "It needs what the function calls: its provider and credentials."
        yield Finding("recomputed", where, what, remedy, severity="warning")
    elif not features.takes_outputs(version) and version.number is not None:
        what = f"{made}: made by a function, and Milvus {version} takes no values for them."
        remedy = "Set sink.Milvus.function_outputs = recompute, or use Milvus 2.6.3 or later."
        yield Finding("function-outputs", where, what, remedy)


def unsupported_collections(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Collections of Milvus 2.6 and 3.0 whose rows are not where those of others are."""
    for name in survey.chosen:
        described, where = survey.source.described[name], f"source collection {name}"
        message = described.message
        if message.external_source:
            what = f"its rows are outside of Milvus, in {message.external_source}."
            remedy = "Leave it out, and make it in the target from the same files."
            yield Finding("external-collection", where, what, remedy)
        if described.has_namespaces:
            what = "its rows are kept apart by namespaces, which are not carried."
            yield Finding("namespaces", where, what, "Leave it out.")


def null_vectors(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen if survey.source.version.lite else ():
        for feature in features.listed(survey.source.described[name]):
            if feature.endswith(".nullable_vector"):
                what = "milvus-lite keeps a null vector as zeros, and so it is copied."
                where = f"source field {name}.{feature.split('.')[1]}"
                yield Finding("null-vectors", where, what, severity="warning")


def text_lengths(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Texts that fit into milvus-lite, which counts characters, and may not fit into Milvus."""
    source, target = survey.source.version, survey.target.version
    widened = {setting.field_name for setting in config.sink.field_schema if setting.max_length}
    for name in survey.chosen if source.lite and not (target.lite or target.files) else ():
        fields = reshaping.copyable_schema(planner.reshaped(config, survey, name).described).fields
        narrow = [field.name for field in fields if 0 < field.max_length < MAX_TEXT_BYTES]
        if texts := [each for each in narrow if each not in widened]:
            names = listed(texts, most=10)
            what = f"max_length of {names} counts characters in milvus-lite and bytes in Milvus, "
            what += "which refuses longer texts."
            remedy = "Where texts are not ASCII, widen it by sink.Milvus.field_schema."
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
    """What of the properties is left out, and in what a database that is there differs."""
    for name in survey.chosen:
        yield from _left_out(config, f"collection {name}", survey.source.described[name].properties)
    source, target = survey.source, survey.target
    where = f"target database {target.database}"
    if not target.has_database:
        yield from _left_out(config, where, source.properties)
        return
    there = dict(target.properties)
    for key, value in planner.copied_properties(source.properties, config):
        if there.get(key) != value:
            found = there.get(key, "not set")
            what = f"property {key} is {found} there, not {value}; it was there, so it stays."
            remedy = "Set it there if it is wanted."
            yield Finding("database-differs", where, what, remedy, severity="warning")


def _left_out(config: JobConfig, where: str, properties: Pairs) -> Iterator[Finding]:
    limits = ", ".join(key for key, _ in features.rate_limits(properties))
    if limits and not config.sink.copy_rate_limits:
        what = f"{limits}: limits of the source are not copied."
        remedy = "Set sink.Milvus.copy_rate_limits = true to have them."
        yield Finding("rate-limits", where, what, remedy, severity="info")
    if others := ", ".join(key for key, _ in features.of_one_cluster(properties)):
        what = f"{others}: of the source's cluster only, and not copied."
        yield Finding("of-one-cluster", where, what, "Set it there if it is wanted.", "info")
