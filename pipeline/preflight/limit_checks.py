"""What the job creates, against the target's limits and reserved names: a part of preflight."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.planning.survey import Survey
from transforms.milvus import limits, versions
from transforms.milvus.description import Description
from transforms.milvus.types import BY_NAME
from transforms.plan import Finding, Plan


def _created(config: JobConfig, survey: Survey) -> Iterator[tuple[str, Description]]:
    """Yields the collections that the job creates, as they are wanted, with their new names."""
    version = survey.target.version
    if version.lite or version.files:
        return  # Their limits are their own.
    for name in survey.chosen:
        target = config.name_of(name)
        if target not in survey.target.described or planner.dropped_part(config, survey, name):
            made = planner.reshaped(config, survey, name).described
            yield target, planner.wanted_description(made, config, version)


def limits_exceeded(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """What is more than the target takes by default."""
    for target, wanted in _created(config, survey):
        for limit, many, most in limits.exceeded(wanted, survey.target.version):
            yield Finding(
                "over-limit",
                f"target collection {target}",
                f"{many:,} {limit.words}; Milvus {survey.target.version} allows {most:,}.",
                f"{_REDUCED[limit.words]} If `{limit.setting}` is raised in the target's "
                "configuration, continue with --accept=over-limit.",
                acceptable=True,
            )


_REDUCED = {
    "shards": "Set sink.Milvus.shard_num.",
    "partitions": "With a partition key, set sink.Milvus.partition_num; otherwise merge partitions "
    "in the source.",
    "fields": "Drop fields by transform.Filter.",
    "vector fields": "Drop vector fields by transform.Filter.",
    "bytes in the description": "Set a shorter one in sink.Milvus.collection_description.",
}


def reserved_names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Fields with names that the target reserves."""
    for target, wanted in _created(config, survey):
        for name in limits.reserved(wanted, survey.target.version):
            yield Finding(
                "reserved-name",
                f"target field {target}.{name}",
                f"Milvus {survey.target.version} reserves the name {name} and refuses the field.",
                "Rename the field by transform.FieldRename, or drop it by transform.Filter.",
            )


def missing_vectors(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Collections without a vector, which newer servers do not create."""
    for target, wanted in _created(config, survey):
        if limits.lacks_vector(wanted, survey.target.version):
            yield Finding(
                "no-vector",
                f"target collection {target}",
                f"Milvus {survey.target.version} refuses a collection without a vector field.",
                "Add a vector by transform.Python, or leave the collection out.",
            )


def text_storage(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Text fields, which the target takes only with a setting that no call shows."""
    for target, wanted in _created(config, survey):
        fields = ", ".join(limits.texts(wanted))
        if fields and versions.has(survey.target.version, *BY_NAME["Text"].releases):
            yield Finding(
                "text-storage",
                f"target collection {target}",
                f"{fields}: type Text; Milvus 3.0 creates and loads such a field only with "
                "`common.storage.useLoonFFI = true`, which is not the default.",
                "Set it in the target's configuration.",
                severity="warning",
            )
