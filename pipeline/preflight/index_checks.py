"""Survey and job -> Findings about the indexes that the job file asks for."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.jobfile.index_requests import matches
from pipeline.jobfile.spelling import nearest
from pipeline.planning.job_view import JobView
from pipeline.planning.requested_indexes import CREATE_INDEX, RequestedIndex, field_types
from transforms.finding import Finding
from transforms.milvus import features, index_rules, index_types, versions
from transforms.milvus.versions import Version


def index_keys(job: JobView) -> Iterator[Finding]:
    """Yields the keys of `index` that name no field of the job."""
    fields = {
        (collection.name, field): field in collection.reshaped.described.vectors
        for collection in job.collections
        for field in field_types(collection.reshaped.described)
    }
    names = [".".join(names) for names in fields]
    for key in job.sink.index if fields else ():
        if not any(matches(key, *names, vector=vector) for names, vector in fields.items()):
            near = " or ".join(nearest(key, names, most=3))
            yield Finding(
                "index-request",
                f"sink.Milvus.index of {key}",
                "no collection of the job has such a field. Write the name of the collection in "
                "the source and the name of the field in the target. A pattern applies to vector "
                "fields.",
                f"Did you mean {near}?" if near else "Correct the key.",
            )


def requested_indexes(job: JobView) -> Iterator[Finding]:
    """Yields the requested indexes that the field cannot have, or that the target cannot build."""
    for collection in job.collections:
        for request in collection.reshaped.requested:
            where = f"sink.Milvus.index of {request.key}, collection {collection.name}"
            if request.key == CREATE_INDEX:
                where = f"sink.Milvus.create_index, collection {collection.name}"
            for problem in _problems(request, job.target.version):
                what = f"{request.index_type} on {request.index.field}: {problem}"
                yield Finding("index-request", where, what, "Correct it, or remove the key.")


def _problems(request: RequestedIndex, version: Version) -> Iterator[str]:
    kind, field_type = request.index_type, request.kind
    if problem := index_rules.type_problem(kind, field_type):
        yield problem
        return
    if problem := index_rules.metric_problem(request.metric, field_type):
        yield problem
    since = index_types.SINCE.get(kind.upper(), ()) or index_rules.since(kind, field_type)
    if version.lite and not features.supports_index(request.index, version):
        yield f"the target, Milvus {version}, does not build it."
    elif since and not version.lite and not versions.has(version, *since):
        yield f"it needs Milvus {versions.named(*since)}; the target is {version}."
    needs_all = not (version.lite or version.files or versions.has(version, (2, 5, 0)))
    vector = field_type in index_rules.USUAL_METRIC
    yield from index_rules.param_problems(kind, request.params, vector=vector, needs_all=needs_all)
