"""Survey and job -> Findings about the types of fields."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.planning import needed_fields
from pipeline.planning.job_view import JobView
from transforms.finding import Finding
from transforms.milvus import limits, versions
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.types import BY_NAME, FieldType
from transforms.milvus.versions import Version


def field_types(job: JobView) -> Iterator[Finding]:
    """Yields fields whose types cannot be copied, or that the target does not know.

    A server may accept a type that it does not know, and then never start again (2.3.5, measured).
    """
    for collection in job.collections:
        name, described = collection.name, collection.reshaped.described
        if _knows(job.target.version, BY_NAME["Text"]):
            yield from _unfinished_texts(described, name, job.source.version)
        unsupported = [*schemas.unsupported(described.message)]
        reason = needed_fields.why_needed(described, {error.field for error in unsupported})
        for error in unsupported:
            yield Finding(
                "unsupported-type",
                f"source field {error.collection}.{error.field}",
                f"Kitelift cannot copy type {error.data_type}.",
                _drop_or_leave_out(reason),
            )
        if not unsupported:
            yield from _unknown_to_target(described, name, job.target.version)


def _drop_or_leave_out(reason: str) -> str:
    """Returns the remedy for a field; `reason` is why it cannot be dropped, "" if it can."""
    if reason:
        return f"Leave the collection out of `source.Milvus.collections`: {reason}"
    return "Drop the field with `transform.Filter`, or leave the collection out."


def _unfinished_texts(described: Description, name: str, version: Version) -> Iterator[Finding]:
    """Milvus 2.6 knows the type Text, but stores and reads it completely only from 3.0 on."""
    fields = limits.texts(described)
    if fields and version.known and not (version.files or versions.has(version, (3, 0, 0))):
        reason = needed_fields.why_needed(described, fields)
        yield Finding(
            "unsupported-type",
            f"source field {name}.{fields[0]}",
            f"Kitelift cannot copy type Text from Milvus {version}. Milvus supports this type "
            "completely only from 3.0.0 on.",
            _drop_or_leave_out(reason),
        )


def _unknown_to_target(described: Description, name: str, version: Version) -> Iterator[Finding]:
    unknown = [field for field in described.schema.fields if not _knows(version, field.type)]
    reason = needed_fields.why_needed(described, {field.name for field in unknown})
    for field in unknown:
        needs = versions.named(*field.type.releases)
        what = f"type {field.type.name} needs Milvus {needs}; the target is {version}."
        if version.lite:
            what = f"the target, {version}, does not know type {field.type.name}."
        where = f"source field {name}.{field.name}"
        yield Finding("target-type", where, what, _without(field, reason))


def _without(field: schemas.Field, reason: str) -> str:
    """Returns the remedy for a field; `reason` is why it cannot be dropped, "" if it can."""
    if not reason:
        return "Use a newer target, or drop the field with `transform.Filter`."
    if field.type.vector:
        return "Use a newer target, or convert it to another vector with `transform.Python`."
    return f"Use a newer target: {reason}"


def _knows(version: Version, kind: FieldType) -> bool:
    """Whether a server has a type; a milvus-lite newer than 3.2.2 is taken to have all types."""
    if version.lite:
        return kind.lite or (version.number or (0, 0, 0)) > (3, 2, 2)
    return versions.has(version, *kind.releases)
