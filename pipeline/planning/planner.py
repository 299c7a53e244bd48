"""Survey and job -> Plan. Pure: the same survey and job give the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipeline.jobfile.job import JobConfig
from pipeline.planning import reshaping
from pipeline.planning.reshaping import Reshaped
from pipeline.planning.survey import Survey
from transforms.milvus import features, index_types
from transforms.milvus.description import Description, Pairs, lacking
from transforms.milvus.versions import Version
from transforms.plan import CollectionPlan, Finding, Plan

DEFAULT_PARTITION = "_default"

Purpose = Literal["copy", "verify", "compare", "sync", "replay"]
Drop = Literal["", "data", "schema"]


def build_plan(
    config: JobConfig,
    survey: Survey,
    findings: tuple[Finding, ...],
    *,
    plan_id: str,
    made_at: float,
    purpose: Purpose = "copy",
) -> Plan:
    """Returns the plan: what will be created and copied, collection by collection."""
    return Plan(
        job_id=config.job_id,
        plan_id=plan_id,
        made_at=made_at,
        source_url=config.source.url,
        target_url=config.sink.url,
        source_version=str(survey.source.version),
        target_version=str(survey.target.version),
        collections=tuple(_collection(config, survey, name, purpose) for name in survey.chosen),
        findings=findings,
        settings=config.result_settings(),
        # milvus-lite stores JSON parsed, and writes it in its own way.
        json_by_value=survey.source.version.lite or survey.target.version.lite,
        copies=purpose == "copy",
    )


def _collection(config: JobConfig, survey: Survey, name: str, purpose: Purpose) -> CollectionPlan:
    source = survey.source.described[name]
    wish = config.sink.load_collection
    drop = dropped_part(config, survey, name) if purpose == "copy" else ""
    load = source.loaded is not False if wish == "as_source" else bool(wish)
    version = survey.target.version
    made = reshaped(config, survey, name)
    planned = _kept(config, survey, name, drop) or wanted_description(
        made.described, config, version
    )
    target = config.name_of(name)
    free = (alias for alias in planned.aliases if not other_owner(survey, alias, target))
    planned = replace(planned, aliases=tuple(free))
    there = survey.target.described.get(target)
    found = planned if there is None or drop == "schema" else there
    opening = temporary_properties(config, found, version, new=there is None or drop != "")
    return CollectionPlan(
        source=source,
        target=target,
        wanted=replace(planned, loaded=load, replicas=source.replicas if load else 0),
        partitions=_units(source),
        rows=survey.source.rows[name].count,
        snapshot=survey.source.rows[name].snapshot,
        new_ids=config.sink.enable_auto_id,
        load=load,
        append=config.sink.data_save_mode == "APPEND_DATA",
        replaces=drop,
        unreadable=survey.source.rows[name].unreadable,
        recomputed=recomputed_fields(config, planned),
        while_writing=opening,
        put_back=tuple(pair for pair in found.properties if pair[0] in dict(opening)),
        shape=made.shape,
        unfiltered=survey.source.rows[name].unfiltered,
    )


def other_owner(survey: Survey, alias: str, target: str) -> str:
    """Returns the collection, other than `target`, that the alias stands for in the target."""
    owner = survey.target.owners.get(alias, "")
    return "" if owner == target else owner


def reshaped(config: JobConfig, survey: Survey, name: str) -> Reshaped:
    """Returns a collection of the source as the job's transforms make it."""
    source = survey.source.described[name]
    return reshaping.apply_transforms(
        config, source, reshaping.recall_trials(survey.trials.get(name, ()))
    )


def recomputed_fields(config: JobConfig, target: Description) -> tuple[str, ...]:
    """Returns the fields that the target makes itself, beside those that no server shows."""
    return target.outputs if config.sink.function_outputs == "recompute" else ()


def temporary_properties(
    config: JobConfig, target: Description, version: Version, *, new: bool
) -> Pairs:
    """Returns the properties that let the target take what it would otherwise make itself.

    A collection that is `new` is also created without the providers of its functions.
    """
    needed: list[tuple[str, str]] = []
    if target.auto_id and not config.sink.enable_auto_id and features.accepts_ids(version):
        needed.append(features.INSERT_IDS)
    if (
        target.outputs
        and config.sink.function_outputs == "copy"
        and features.accepts_outputs(version)
    ):
        needed.append(features.INSERT_OUTPUTS)
        if new and features.creates_functions_unchecked(version):
            needed.append(features.NO_FUNCTION_CHECK)
    return tuple(pair for pair in needed if pair not in target.properties)


def dropped_part(config: JobConfig, survey: Survey, name: str) -> Drop:
    """Returns what a copy drops of the collection that the target has."""
    target = config.name_of(name)
    if target not in survey.target.described:
        return ""
    if config.sink.schema_save_mode == "RECREATE_SCHEMA":
        return "schema"
    rows = survey.target.rows[target]
    has_rows = rows.count > 0 or not rows.exact  # Of one that is not loaded, some may not show.
    return "data" if config.sink.data_save_mode == "DROP_DATA" and has_rows else ""


def _kept(config: JobConfig, survey: Survey, name: str, drop: Drop) -> Description | None:
    """Returns the target's collection where it is to stay as it is, with what is to be added."""
    there = survey.target.described.get(config.name_of(name))
    if there is None or not (drop == "data" or config.sink.schema_save_mode == "IGNORE"):
        return None
    source = reshaped(config, survey, name).described
    version = survey.target.version
    indexes = (index_types.translated(index, version) for index in source.indexes)
    more = lacking(indexes if config.sink.create_index else (), there.indexes)
    aliases = sorted({*there.aliases, *source.aliases})
    return replace(there, indexes=(*there.indexes, *more), aliases=tuple(aliases))


def copied_properties(properties: Pairs, config: JobConfig) -> Pairs:
    """Returns the properties, of a collection or a database, that the target is to have too."""
    limits = () if config.sink.copy_rate_limits else features.rate_limits(properties)
    left_out = {*limits, *features.of_one_cluster(properties)}
    return tuple(
        pair for pair in properties if pair not in left_out and pair[0] not in features.BOOKKEEPING
    )


def wanted_description(source: Description, config: JobConfig, target: Version) -> Description:
    """Returns the collection as it is to stand in the target.

    Kept ids need a key without autoID where the target takes no ids for one with.
    """
    keeps_automatic = source.auto_id and features.accepts_ids(target)
    message = type(source.message)()
    message.CopyFrom(source.message)
    message.autoID = False
    pairs = tuple((pair.key, pair.value) for pair in message.properties)
    del message.properties[:]
    for key, value in copied_properties(pairs, config):
        message.properties.add(key=key, value=value)
    for field in message.fields:
        if field.is_primary_key:
            field.autoID = config.sink.enable_auto_id or keeps_automatic
    sink = config.sink
    message.description = sink.collection_description.get(source.name, message.description)
    level = source.consistency_level
    if sink.consistency_level is not None:
        level = features.CONSISTENCY.index(sink.consistency_level)
    return replace(
        source,
        raw_schema=message.SerializeToString(),
        properties=copied_properties(source.properties, config),
        shards=sink.shard_num or source.shards,
        partition_count=sink.partition_num or source.partition_count,
        consistency_level=level,
        indexes=tuple(
            index_types.translated(index, target)
            for index in (source.indexes if sink.create_index else ())
            if features.supports_index(index, target)
        ),
    )


def _units(source: Description) -> tuple[str, ...]:
    """The partitions to copy one by one: rows do not carry the name of theirs.

    With a partition key the rows decide, and the server refuses partition names.
    """
    if source.partition_key or source.partitions == (DEFAULT_PARTITION,):
        return ("",)
    return source.partitions
