"""Survey and job -> Plan. Pure: the same survey and job give the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipeline.job import JobConfig
from pipeline.survey import Survey
from transforms.milvus import features
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Finding, Plan

DEFAULT_PARTITION = "_default"

Purpose = Literal["copy", "verify", "compare", "sync", "replay"]
Drop = Literal["", "data", "schema"]


def make(
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
    )


def _collection(config: JobConfig, survey: Survey, name: str, purpose: Purpose) -> CollectionPlan:
    source = survey.source.described[name]
    wish = config.sink.load_collection
    drop = replaces(config, survey, name) if purpose == "copy" else ""
    return CollectionPlan(
        source=source,
        target=config.sink.name_of(name),
        wanted=_kept(config, survey, name, drop) or wanted(source, config),
        partitions=_units(source),
        rows=survey.source.rows[name].count,
        new_ids=config.sink.enable_auto_id,
        load=source.loaded is not False if wish == "as_source" else bool(wish),
        release_source=source.loaded is False,
        append=config.sink.data_save_mode == "APPEND_DATA",
        replaces=drop,
        unreadable=survey.source.rows[name].unreadable,
    )


def replaces(config: JobConfig, survey: Survey, name: str) -> Drop:
    """Returns what a copy drops of the collection that the target has."""
    target = config.sink.name_of(name)
    if target not in survey.target.described:
        return ""
    if config.sink.schema_save_mode == "RECREATE_SCHEMA":
        return "schema"
    has_rows = survey.target.rows[target].count > 0
    return "data" if config.sink.data_save_mode == "DROP_DATA" and has_rows else ""


def _kept(config: JobConfig, survey: Survey, name: str, drop: Drop) -> Description | None:
    """Returns the target's collection where it is to stay as it is, with what is to be added."""
    there = survey.target.described.get(config.sink.name_of(name))
    if there is None or not (drop == "data" or config.sink.schema_save_mode == "IGNORE"):
        return None
    source = survey.source.described[name]
    names = {each.name for each in there.indexes}
    more = (each for each in source.indexes if each.name not in names)
    aliases = sorted({*there.aliases, *source.aliases})
    return replace(there, indexes=(*there.indexes, *more), aliases=tuple(aliases))


def wanted(source: Description, config: JobConfig) -> Description:
    """Returns the collection as it is to stand in the target.

    Kept ids need a key without autoID: a target before 2.5.19 and 2.6.3 takes no ids for one with.
    """
    message = type(source.message)()
    message.CopyFrom(source.message)
    message.autoID = False
    for field in message.fields:
        if field.is_primary_key:
            field.autoID = config.sink.enable_auto_id
    left_out = () if config.sink.copy_rate_limits else features.rate_limits(source.properties)
    properties = tuple(pair for pair in source.properties if pair not in left_out)
    sink = config.sink
    message.description = sink.collection_description.get(source.name, message.description)
    level = source.consistency_level
    if sink.consistency_level is not None:
        level = features.CONSISTENCY.index(sink.consistency_level)
    return replace(
        source,
        raw_schema=message.SerializeToString(),
        properties=properties,
        shards=sink.shard_num or source.shards,
        partition_count=sink.partition_num or source.partition_count,
        consistency_level=level,
    )


def _units(source: Description) -> tuple[str, ...]:
    """The partitions to copy one by one: rows do not carry the name of theirs.

    With a partition key the rows decide, and the server refuses partition names.
    """
    if source.partition_key or source.partitions == (DEFAULT_PARTITION,):
        return ("",)
    return source.partitions
