"""Survey and job -> Plan. Pure: the same survey and job give the same plan."""

from __future__ import annotations

from dataclasses import replace

from pipeline.job import JobConfig
from pipeline.survey import Survey
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Finding, Plan

DEFAULT_PARTITION = "_default"


def make(
    config: JobConfig,
    survey: Survey,
    findings: tuple[Finding, ...],
    *,
    plan_id: str,
    made_at: float,
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
        collections=tuple(_collection(config, survey, name) for name in survey.chosen),
        findings=findings,
        settings=config.result_settings(),
        # milvus-lite stores JSON parsed, and writes it in its own way.
        json_by_value=survey.source.version.lite or survey.target.version.lite,
    )


def _collection(config: JobConfig, survey: Survey, name: str) -> CollectionPlan:
    source = survey.source.described[name]
    wish = config.sink.load_collection
    return CollectionPlan(
        source=source,
        target=name,
        wanted=wanted(source, new_ids=config.sink.enable_auto_id),
        partitions=_units(source),
        rows=survey.source.rows[name].count,
        new_ids=config.sink.enable_auto_id,
        load=source.loaded is not False if wish == "as_source" else bool(wish),
        release_source=source.loaded is False,
    )


def wanted(source: Description, *, new_ids: bool) -> Description:
    """Returns the collection as it is to stand in the target.

    Kept ids need a key without autoID: a target before 2.5.19 and 2.6.3 takes no ids for one with.
    """
    message = type(source.message)()
    message.CopyFrom(source.message)
    message.autoID = False
    for field in message.fields:
        if field.is_primary_key:
            field.autoID = new_ids
    return replace(source, raw_schema=message.SerializeToString())


def _units(source: Description) -> tuple[str, ...]:
    """The partitions to copy one by one: rows do not carry the name of theirs.

    With a partition key the rows decide, and the server refuses partition names.
    """
    if source.partition_key or source.partitions == (DEFAULT_PARTITION,):
        return ("",)
    return source.partitions
