"""Survey and job -> Findings about the partitions that the job file chooses."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.console.formatting import listed
from pipeline.jobfile.partitions import partitions_of
from pipeline.jobfile.patterns import fits
from pipeline.jobfile.spelling import suggestion_sentence
from pipeline.planning.job_view import CollectionView, JobView
from transforms.finding import Finding


def chosen_partitions(job: JobView) -> Iterator[Finding]:
    """Yields what `partitions` names and does not exist, or cannot be chosen."""
    partitions = job.source_settings.partitions
    for key in partitions if job.collections else ():
        if not any(fits(key, name) for name in job.chosen):
            what = f"its key {key} matches no collection of the job."
            hint = suggestion_sentence(key, job.chosen) or "Correct the name, or remove it."
            yield Finding("partitions", "source.Milvus.partitions", what, hint)
    for collection in job.collections:
        if named := partitions_of(partitions, collection.name):
            yield from _problems(job, collection, named)


def _problems(
    job: JobView, collection: CollectionView, named: tuple[str, ...]
) -> Iterator[Finding]:
    where = f"source.Milvus.partitions, collection {collection.name}"
    existing = collection.source.partitions
    if key := collection.source.partition_key:
        what = f"it has the partition key {key}, so its partitions cannot be chosen."
        remedy = "Choose rows with `transform.RowFilter`, or leave the collection out of the key."
        yield Finding("partitions", where, what, remedy)
    elif missing := [name for name in named if name not in existing]:
        hint = suggestion_sentence(missing[0], existing)
        what = f"it has no partition {', '.join(missing)}. It has: {listed([*existing], most=10)}."
        yield Finding("partitions", where, what, hint or "Correct the names.")
    elif collection.reshaped.described.partition_key and {*named} != {*existing}:
        what = "partitions cannot be chosen for a collection that gets a partition key."
        remedy = "Remove `partitions`, or `sink.Milvus.partition_key`."
        yield Finding("partitions", where, what, remedy)
