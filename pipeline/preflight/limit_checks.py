"""Survey and job -> Findings about the target's limits and reserved names."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.planning.job_view import CollectionView, JobView
from transforms.finding import Finding
from transforms.milvus import limits, versions
from transforms.milvus.types import BY_NAME


def _created(job: JobView) -> Iterator[CollectionView]:
    """Yields the collections that the job creates."""
    version = job.target.version
    if version.lite or version.files:
        return  # They have limits of their own.
    yield from (collection for collection in job.collections if collection.is_created)


def limits_exceeded(job: JobView) -> Iterator[Finding]:
    """Yields what exceeds the default limits of the target's release."""
    for collection in _created(job):
        for limit, many, most in limits.exceeded(collection.wanted, job.target.version):
            yield Finding(
                "over-limit",
                f"target collection {collection.target}",
                f"it has {many:,} {limit.words}; Milvus {job.target.version} allows {most:,}.",
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


def reserved_names(job: JobView) -> Iterator[Finding]:
    """Yields fields with names that the target reserves."""
    for collection in _created(job):
        for name in limits.reserved(collection.wanted, job.target.version):
            yield Finding(
                "reserved-name",
                f"target field {collection.target}.{name}",
                f"Milvus {job.target.version} reserves the name `{name}` and rejects the field.",
                "Rename the field with `transform.FieldRename`, or drop it with "
                "`transform.Filter`.",
            )


def missing_vectors(job: JobView) -> Iterator[Finding]:
    """Yields collections without a vector field, which newer servers do not create."""
    for collection in _created(job):
        if limits.lacks_vector(collection.wanted, job.target.version):
            yield Finding(
                "no-vector",
                f"target collection {collection.target}",
                f"Milvus {job.target.version} rejects a collection without a vector field.",
                "Add a vector with `transform.Python`, or leave the collection out of "
                "`source.Milvus.collections`.",
            )


def text_storage(job: JobView) -> Iterator[Finding]:
    """Yields Text fields: the target accepts them only with a setting that no call shows."""
    for collection in _created(job):
        fields = ", ".join(f"`{field}`" for field in limits.texts(collection.wanted))
        if fields and versions.has(job.target.version, *BY_NAME["Text"].releases):
            yield Finding(
                "text-storage",
                f"target collection {collection.target}",
                f"{fields}: type Text. Milvus 3.0 creates and loads such a field only with "
                "`common.storage.useLoonFFI = true`, which is not the default.",
                "Set `common.storage.useLoonFFI = true` in the target's configuration.",
                severity="warning",
            )
