"""Survey and job -> Findings about the partitions that the job file chooses."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.console.formatting import listed
from pipeline.jobfile.partitions import partitions_of
from pipeline.jobfile.patterns import fits
from pipeline.jobfile.spelling import suggestion_sentence
from pipeline.planning.job_view import CollectionView, JobView
from transforms.finding import Finding
from transforms.milvus.description import Description


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


def dropped_partitions(
    job: JobView, collection: CollectionView, existing: Description
) -> Iterator[Finding]:
    """Yields the partitions of the target that the job does not copy, if it drops their rows.

    `DROP_DATA` drops the whole collection. That a partition is empty is not known here.
    """
    named = partitions_of(job.source_settings.partitions, collection.name)
    others = [name for name in existing.partitions if name not in named]
    if collection.dropped == "data" and named and others and not existing.partition_key:
        names = listed(others, most=10)
        what = f"the job would also drop the rows of {names}, which `partitions` does not name."
        remedy = (
            "To replace the rows of the chosen partitions only, use `kitelift sync --delete`. To "
            "drop the others too, set `sink.Milvus.schema_save_mode = RECREATE_SCHEMA`."
        )
        yield Finding("partitions", f"target collection {collection.target}", what, remedy)


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
