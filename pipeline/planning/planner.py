"""Survey and job -> Plan. Pure: the same survey and job give the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pipeline.jobfile.job import JobConfig
from pipeline.planning.chosen_partitions import DEFAULT_PARTITION
from pipeline.planning.job_view import CollectionView, Drop, JobView, view_job
from pipeline.planning.survey import Survey
from pipeline.planning.target_description import recomputed_fields, temporary_properties
from transforms.finding import Finding
from transforms.milvus import index_types
from transforms.milvus.description import Description, missing_indexes
from transforms.plan import CollectionPlan, Plan

Purpose = Literal["copy", "verify", "compare", "sync", "replay"]


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
    job = view_job(config, survey)
    return Plan(
        job_id=config.job_id,
        plan_id=plan_id,
        made_at=made_at,
        source_url=config.source.url,
        target_url=config.sink.url,
        source_version=str(job.source.version),
        target_version=str(job.target.version),
        collections=tuple(_plan(job, collection, purpose) for collection in job.collections),
        findings=findings,
        settings=config.result_settings(),
        # milvus-lite parses JSON and formats it in its own way.
        json_by_value=job.source.version.lite or job.target.version.lite,
        copies=purpose == "copy",
        databases=survey.databases if config.qualifies else (),
    )


def _plan(job: JobView, collection: CollectionView, purpose: Purpose) -> CollectionPlan:
    source, existing, rows = collection.source, collection.existing, collection.rows
    sink = job.sink
    drop = collection.dropped if purpose == "copy" else ""
    setting = sink.load_collection
    load = source.loaded is not False if setting == "as_source" else bool(setting)
    planned = _planned_description(job, collection, drop)
    before = planned if existing is None or drop == "schema" else existing
    new = existing is None or drop != ""
    changes = temporary_properties(before, sink, job.target.version, new=new) if sink.rows else ()
    return CollectionPlan(
        source=source,
        target=collection.target,
        wanted=replace(planned, loaded=load, replicas=source.replicas if load else 0),
        partitions=_partitions_to_copy(collection, planned) if sink.rows else (),
        rows=rows.count if sink.rows else 0,
        snapshot=rows.snapshot,
        new_ids=sink.enable_auto_id,
        load=load,
        append=sink.data_save_mode == "APPEND_DATA",
        replaces=drop,
        unreadable=rows.unreadable if sink.rows else 0,
        recomputed=recomputed_fields(planned, sink),
        while_writing=changes,
        put_back=tuple(pair for pair in before.properties if pair[0] in dict(changes)),
        shape=collection.reshaped.shape,
        unfiltered=rows.unfiltered if sink.rows else None,
        requested_indexes=tuple(request.index.feature for request in collection.reshaped.requested),
    )


def _planned_description(job: JobView, collection: CollectionView, drop: Drop) -> Description:
    """Returns the description at the end of the job, without aliases that are taken."""
    existing = collection.existing
    if existing is not None and (drop == "data" or job.sink.schema_save_mode == "IGNORE"):
        planned = _with_additions(job, existing, collection.reshaped.described)
    else:
        planned = collection.wanted
    free = (alias for alias in planned.aliases if not job.other_owner(alias, collection.target))
    return replace(planned, aliases=tuple(free))


def _with_additions(job: JobView, existing: Description, source: Description) -> Description:
    """Returns the target's collection with the indexes, aliases and partitions to add."""
    version = job.target.version
    indexes = (index_types.with_current_type(index, version) for index in source.indexes)
    more = missing_indexes(indexes if job.sink.create_index else (), existing.indexes)
    aliases = sorted({*existing.aliases, *source.aliases})
    planned = replace(existing, indexes=(*existing.indexes, *more), aliases=tuple(aliases))
    if existing.partition_key or source.partition_key:
        return planned
    partitions = tuple(dict.fromkeys((*existing.partitions, *source.partitions)))
    return replace(planned, partitions=partitions, partition_count=len(partitions))


def _partitions_to_copy(collection: CollectionView, planned: Description) -> tuple[str, ...]:
    """Returns the partitions to copy one by one, because rows do not contain their partition name.

    Returns ("",) for all rows together. With a partition key the target assigns the partitions, and
    rejects partition names.
    """
    source = collection.source
    by_key = source.partition_key or planned.partition_key
    if by_key or source.partitions == (DEFAULT_PARTITION,):
        return ("",)
    return collection.partitions or source.partitions
