"""Survey -> Findings about collections of the source: whether all of their rows can be read."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.console import formatting
from pipeline.planning.job_view import JobView
from transforms.finding import Finding
from transforms.milvus import index_types
from transforms.milvus.features import TTL, hides_largest_key


def not_loaded(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        where = f"source collection {collection.name}"
        if collection.source.loaded is not False:
            continue
        if unindexed := _fields_without_index(collection.source.unindexed):
            yield Finding(
                "not-indexed",
                where,
                f"Not loaded, and cannot be loaded: {unindexed}.",
                "Create the index and load the collection, or leave it out of "
                "`source.Milvus.collections`.",
            )
        elif not job.source_settings.auto_load:
            yield Finding(
                "not-loaded",
                where,
                "Collection not loaded.",
                "Load it, or set `source.Milvus.auto_load = true`. Kitelift then loads it, copies "
                "it, and releases it.",
            )


def _fields_without_index(fields: tuple[str, ...]) -> str:
    names = ", ".join(f"`{field}`" for field in fields)
    verb = "vector field {} has no index" if len(fields) == 1 else "vector fields {} have no index"
    return verb.format(names) if fields else ""


def unreadable_keys(job: JobView) -> Iterator[Finding]:
    version, new_ids = job.target.version, job.sink.enable_auto_id
    for collection in job.collections:
        name, rows = collection.name, collection.rows
        if rows.unreadable:
            yield Finding(
                "unreadable-key",
                f"source collection {name}",
                f"{_rows_have(rows.unreadable)} the key 9223372036854775807. This server counts "
                "such rows but never returns them.",
                "Give these rows another key, or rerun with `--accept=unreadable-key` to copy the "
                "collection without them.",
                acceptable=True,
            )
        if rows.largest_key and not new_ids and hides_largest_key(version):
            yield Finding(
                "unreadable-key-in-target",
                f"target {job.target.url}",
                f"{_rows_have(rows.largest_key)} the key 9223372036854775807 in source collection "
                f"{name}. Milvus {version} stores and counts such rows but never "
                "returns them, so they cannot be verified or used.",
                "Upgrade the target to 2.6.8 or later, or give these rows another key. Or leave "
                "them out with a `transform.RowFilter`, for example `id < 9223372036854775807`.",
            )


def _rows_have(rows: int) -> str:
    return f"{formatting.plural(rows, 'row')} {'has' if rows == 1 else 'have'}"


def expiring_rows(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        lifetime_s = dict(collection.source.properties).get(TTL, "")
        if lifetime_s.isdigit() and int(lifetime_s) > 0:
            yield Finding(
                "rows-expire",
                f"source collection {collection.name}",
                f"its rows expire {formatting.duration(int(lifetime_s))} after they are "
                "written. Rows that expire during the copy are not verified. In the target, the "
                "age of every row starts at the copy.",
                severity="warning",
            )


def key_names(job: JobView) -> Iterator[Finding]:
    for role, side in (("source", job.source), ("target", job.target)):
        for name, rows in side.rows.items():
            if rows.key_error:
                characters = " ".join(rows.key_error.split())
                yield Finding(
                    "key-name",
                    f"{role} collection {name}",
                    "filter expressions cannot use the name of its primary key, so Kitelift cannot "
                    f'read it by key ranges. The server says: "{characters}".',
                    "Leave the collection out. Milvus cannot rename a field: to copy the rows, "
                    "first put them into a new collection whose key has another name.",
                )


def partly_loaded(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        where = f"source collection {collection.name}"
        shape, unloaded = collection.reshaped.shape, collection.rows.unloaded
        needed = [field for field in unloaded if field in shape.origins or not shape.stages]
        if needed:
            yield Finding(
                "partly-loaded",
                where,
                f"it is loaded without {_fields(needed)}, which cannot be read.",
                "Release it and load it with all of its fields, or drop these fields with "
                "`transform.Filter`.",
            )
        if released := collection.rows.released:
            yield Finding(
                "partly-loaded",
                where,
                f"it is loaded without {formatting.plural(len(released), 'partition')} "
                f"({formatting.listed([*released], most=10)}). Their rows cannot be read.",
                "Load these partitions, or load the whole collection.",
            )


def _fields(names: list[str]) -> str:
    noun = "field" if len(names) == 1 else "fields"
    return f"{noun} {', '.join(f'`{name}`' for name in names)}"


def vectors_in_storage(job: JobView) -> Iterator[Finding]:
    """Yields collections whose vectors are not in memory, so that reading them is slow."""
    if job.source.version.lite or job.source.version.files:
        return
    for collection in job.collections:
        source = collection.source
        indexes = [
            f"`{index.field}` ({dict(index.params)['index_type']})"
            for index in source.indexes
            if index.field in source.vectors and not index_types.keeps_vectors(index)
        ]
        if indexes:
            yield Finding(
                "vectors-in-storage",
                f"source collection {collection.name}",
                f"the index of {', '.join(indexes)} does not keep the vectors in memory: the "
                "source reads them from its disk or object storage, which is slower.",
                "No action needed. To read faster, set `queryNode.cache.warmup = sync` in the "
                "source's milvus.yaml and load the collection again. To protect other users of "
                "the source, set `source.Milvus.rate_limit`.",
                severity="info",
            )


def unfinished_files(job: JobView) -> Iterator[Finding]:
    """Yields collections in files that the job which writes them has not finished."""
    for name, described in job.source.described.items():
        if job.source.version.files and described.loaded is None:
            yield Finding(
                "unfinished-files",
                f"source {job.source.url}/{name}",
                "the files are incomplete: the job that writes them has not finished.",
                "Rerun that job until it finishes, or copy all of its files to this place.",
            )


def uncountable_rows(job: JobView) -> Iterator[Finding]:
    for role, side in (("source", job.source), ("target", job.target)):
        for name, rows in side.rows.items():
            if rows.count_error:
                yield Finding(
                    "not-countable",
                    f"{role} collection {name}",
                    f'the server cannot count its rows. It says: "{rows.count_error}".',
                    "Release the collection and load it again. If that does not help, see the "
                    "server's log.",
                )
