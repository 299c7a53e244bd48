"""Survey and job -> Findings about the target's limits and reserved names."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.planning.survey import Survey
from transforms.finding import Finding
from transforms.milvus import limits, versions
from transforms.milvus.description import Description
from transforms.milvus.types import BY_NAME
from transforms.plan import Plan


def _created(config: JobConfig, survey: Survey) -> Iterator[tuple[str, Description]]:
    """Yields the collections that the job creates: the name in the target, and the description."""
    version = survey.target.version
    if version.lite or version.files:
        return  # They have limits of their own.
    for name in survey.chosen:
        target = config.name_of(name)
        if target not in survey.target.described or planner.dropped_part(config, survey, name):
            reshaped = planner.reshaped(config, survey, name).described
            yield target, planner.wanted_description(reshaped, config, version)


def limits_exceeded(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields what exceeds the default limits of the target's release."""
    for target, wanted in _created(config, survey):
        for limit, many, most in limits.exceeded(wanted, survey.target.version):
            yield Finding(
                "over-limit",
                f"target collection {target}",
                f"it has {many:,} {limit.words}; Milvus {survey.target.version} allows {most:,}.",
                f"{_REDUCED[limit.words]} If the target's configuration raises "
                f"`{limit.setting}`, rerun with `--accept=over-limit`.",
                acceptable=True,
            )


_REDUCED = {
    "shards": "Set fewer shards in `sink.Milvus.shard_num`.",
    "partitions": "With a partition key, set fewer partitions in `sink.Milvus.partition_num`. "
    "Otherwise merge partitions in the source.",
    "fields": "Drop fields with `transform.Filter`.",
    "vector fields": "Drop vector fields with `transform.Filter`.",
    "bytes in the description": "Set a shorter one in `sink.Milvus.collection_description`.",
}


def reserved_names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields fields with names that the target reserves."""
    for target, wanted in _created(config, survey):
        for name in limits.reserved(wanted, survey.target.version):
            yield Finding(
                "reserved-name",
                f"target field {target}.{name}",
                f"Milvus {survey.target.version} reserves the name `{name}` and rejects the field.",
                "Rename the field with `transform.FieldRename`, or drop it with "
                "`transform.Filter`.",
            )


def missing_vectors(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields collections without a vector field, which newer servers do not create."""
    for target, wanted in _created(config, survey):
        if limits.lacks_vector(wanted, survey.target.version):
            yield Finding(
                "no-vector",
                f"target collection {target}",
                f"Milvus {survey.target.version} rejects a collection without a vector field.",
                "Add a vector with `transform.Python`, or leave the collection out of "
                "`source.Milvus.collections`.",
            )


def text_storage(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Yields Text fields: the target accepts them only with a setting that no call shows."""
    for target, wanted in _created(config, survey):
        fields = ", ".join(f"`{field}`" for field in limits.texts(wanted))
        if fields and versions.has(survey.target.version, *BY_NAME["Text"].releases):
            yield Finding(
                "text-storage",
                f"target collection {target}",
                f"{fields}: type Text. Milvus 3.0 creates and loads such a field only with "
                "`common.storage.useLoonFFI = true`, which is not the default.",
                "Set `common.storage.useLoonFFI = true` in the target's configuration.",
                severity="warning",
            )
