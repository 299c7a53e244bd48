"""Survey and job -> Plan. Pure: the same survey and job give the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipeline.jobfile.job import JobConfig
from pipeline.planning import reshaping
from pipeline.planning.reshaping import Reshaped
from pipeline.planning.survey import Survey
from transforms.finding import Finding
from transforms.milvus import features, index_types
from transforms.milvus.description import Description, Pairs, missing_indexes
from transforms.milvus.versions import Version
from transforms.plan import CollectionPlan, Plan

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
    """Returns the plan: what the job creates and copies, by collection."""
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
        # milvus-lite parses JSON and formats it in its own way.
        json_by_value=survey.source.version.lite or survey.target.version.lite,
        copies=purpose == "copy",
    )


def _collection(config: JobConfig, survey: Survey, name: str, purpose: Purpose) -> CollectionPlan:
    source = survey.source.described[name]
    setting = config.sink.load_collection
    drop = dropped_part(config, survey, name) if purpose == "copy" else ""
    load = source.loaded is not False if setting == "as_source" else bool(setting)
    version = survey.target.version
    result = reshaped(config, survey, name)
    planned = _existing_with_additions(config, survey, name, drop)
    planned = planned or wanted_description(result.described, config, version)
    target = config.name_of(name)
    free = (alias for alias in planned.aliases if not other_owner(survey, alias, target))
    planned = replace(planned, aliases=tuple(free))
    existing = survey.target.described.get(target)
    before = planned if existing is None or drop == "schema" else existing
    changes = temporary_properties(config, before, version, new=existing is None or drop != "")
    return CollectionPlan(
        source=source,
        target=target,
        wanted=replace(planned, loaded=load, replicas=source.replicas if load else 0),
        partitions=_partitions_to_copy(source),
        rows=survey.source.rows[name].count,
        snapshot=survey.source.rows[name].snapshot,
        new_ids=config.sink.enable_auto_id,
        load=load,
        append=config.sink.data_save_mode == "APPEND_DATA",
        replaces=drop,
        unreadable=survey.source.rows[name].unreadable,
        recomputed=recomputed_fields(config, planned),
        while_writing=changes,
        put_back=tuple(pair for pair in before.properties if pair[0] in dict(changes)),
        shape=result.shape,
        unfiltered=survey.source.rows[name].unfiltered,
    )


def other_owner(survey: Survey, alias: str, target: str) -> str:
    """Returns the collection, other than `target`, that has the alias in the target; else ""."""
    owner = survey.target.owners.get(alias, "")
    return "" if owner == target else owner


def reshaped(config: JobConfig, survey: Survey, name: str) -> Reshaped:
    """Returns a collection of the source after the job's transforms."""
    source = survey.source.described[name]
    return reshaping.apply_transforms(
        config, source, reshaping.recall_trials(survey.trials.get(name, ()))
    )


def recomputed_fields(config: JobConfig, target: Description) -> tuple[str, ...]:
    """Returns the function outputs that the target computes itself and that can be read."""
    return target.outputs if config.sink.function_outputs == "recompute" else ()


def temporary_properties(
    config: JobConfig, target: Description, version: Version, *, new: bool
) -> Pairs:
    """Returns the properties that make the target accept auto-IDs and function outputs.

    A `new` collection can then also be created without the providers of its functions.
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
    """Returns what a copy drops of an existing target collection."""
    target = config.name_of(name)
    if target not in survey.target.described:
        return ""
    if config.sink.schema_save_mode == "RECREATE_SCHEMA":
        return "schema"
    rows = survey.target.rows[target]
    has_rows = rows.count > 0 or not rows.exact  # If it is not loaded, the count may be too low.
    return "data" if config.sink.data_save_mode == "DROP_DATA" and has_rows else ""


def _existing_with_additions(
    config: JobConfig, survey: Survey, name: str, drop: Drop
) -> Description | None:
    """Returns the target's collection with the indexes and aliases to add.

    None if there is no such collection, or if the job does not keep its schema.
    """
    existing = survey.target.described.get(config.name_of(name))
    if existing is None or not (drop == "data" or config.sink.schema_save_mode == "IGNORE"):
        return None
    source = reshaped(config, survey, name).described
    version = survey.target.version
    indexes = (index_types.with_current_type(index, version) for index in source.indexes)
    more = missing_indexes(indexes if config.sink.create_index else (), existing.indexes)
    aliases = sorted({*existing.aliases, *source.aliases})
    return replace(existing, indexes=(*existing.indexes, *more), aliases=tuple(aliases))


def copied_properties(properties: Pairs, config: JobConfig) -> Pairs:
    """Returns the properties of a collection or database that are copied to the target."""
    limits = () if config.sink.copy_rate_limits else features.rate_limits(properties)
    left_out = {*limits, *features.of_one_cluster(properties)}
    return tuple(
        pair for pair in properties if pair not in left_out and pair[0] not in features.BOOKKEEPING
    )


def wanted_description(source: Description, config: JobConfig, target: Version) -> Description:
    """Returns the description of the collection in the target.

    The key is an auto-ID key only if ids are new, or if the target accepts explicit IDs for it.
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
            index_types.with_current_type(index, target)
            for index in (source.indexes if sink.create_index else ())
            if features.supports_index(index, target)
        ),
    )


def _partitions_to_copy(source: Description) -> tuple[str, ...]:
    """Returns the partitions to copy one by one, because rows do not contain their partition name.

    Returns ("",) for all rows together. With a partition key the server assigns the partitions, and
    rejects partition names.
    """
    if source.partition_key or source.partitions == (DEFAULT_PARTITION,):
        return ("",)
    return source.partitions
