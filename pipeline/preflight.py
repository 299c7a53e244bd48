"""Survey and job -> Findings: everything that can be known before the first row moves.

One function a check. Each finding has a stable code; those that may safely be overridden are, by
``env.accept`` or ``--accept``, all by the same mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from typing import Literal

from pipeline.job import JobConfig
from pipeline.survey import Side, Survey
from transforms.errors import AccessDenied, UnsupportedField
from transforms.milvus import schema as schemas
from transforms.milvus.description import Description
from transforms.milvus.versions import HEAD, Version, release
from transforms.plan import Finding, Plan

OLDEST_SOURCE = release("2.3.7")
"""Older servers page wrongly or crash on some queries (the vendors' own images have this gate)."""


Purpose = Literal["copy", "compare", "sync"]


def examine(
    config: JobConfig, survey: Survey, existing: Plan | None, purpose: Purpose = "copy"
) -> tuple[Finding, ...]:
    """Returns all findings, the most severe first; `existing` is the plan of a job that goes on."""
    problems = [*_problems(survey)]
    checks = [*_CHECKS, _TARGET_CHECK[purpose]]
    findings = problems or [
        finding for check in checks for finding in check(config, survey, existing)
    ]
    accepted = [_accepted(finding, config.env.accept) for finding in findings]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(accepted, key=lambda finding: order[finding.severity]))


def codes() -> dict[str, str]:
    """Returns every code that `accept` takes, and what accepting it means."""
    return {
        "source-version": "copy from a server older than the gate",
        "target-version": "copy into a server older than the source",
        "unreadable-key": "leave rows behind that the source never returns (key 2^63-1)",
    }


def _accepted(finding: Finding, accept: tuple[str, ...]) -> Finding:
    return replace(finding, accepted=finding.acceptable and finding.code in accept)


# -- reaching them ------------------------------------------------------------------------------


def _problems(survey: Survey) -> Iterator[Finding]:
    for role, side in (("source", survey.source), ("target", survey.target)):
        if side.problem is None:
            continue
        where = f"{role} {side.url}"
        if isinstance(side.problem, AccessDenied):
            yield Finding(
                f"{role}-access",
                where,
                f"{side.problem.call}: {side.problem.detail}.",
                f"Check token and database under {_block(role)}.Milvus, and what this user may do.",
            )
        else:
            yield Finding(
                f"{role}-unreachable",
                where,
                f"{side.problem.detail} ({side.problem.call}).",
                f"Check {_block(role)}.Milvus.url, and that the server is up.",
            )


def _block(role: str) -> str:
    return "source" if role == "source" else "sink"


# -- versions -----------------------------------------------------------------------------------


def _source_version(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    version = survey.source.version
    where = f"source {survey.source.url}"
    if not version.known:
        yield _unknown_version("source", where, version)
    elif version < OLDEST_SOURCE:
        yield Finding(
            "source-version",
            where,
            f"Milvus {version} is older than {OLDEST_SOURCE}.",
            "Upgrade it, or go on at your own risk with --accept=source-version.",
            acceptable=True,
        )


def _target_version(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    source, target = survey.source.version, survey.target.version
    where = f"target {survey.target.url}"
    if not target.known:
        yield _unknown_version("target", where, target)
    elif source.known and _line(target) < _line(source):
        yield Finding(
            "target-version",
            where,
            f"Milvus {target} is older than the source's {source}.",
            "Upgrade it, or go on at your own risk with --accept=target-version.",
            acceptable=True,
        )


def _line(version: Version) -> tuple[int, ...]:
    major, minor, patch = version.number or (0, 0, 0)
    return (major, minor, patch) if patch != HEAD else (major, minor, HEAD)


def _unknown_version(role: str, where: str, version: Version) -> Finding:
    return Finding(
        f"{role}-version-unknown",
        where,
        f"the server does not say which Milvus it is ({version.text!r}).",
        "Kitelift reads and writes in the most careful way.",
        severity="warning",
    )


# -- databases and collections -------------------------------------------------------------------


def _databases(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    if not survey.source.has_database:
        yield _database_missing("source", survey.source, "Correct source.Milvus.database.")
    if not survey.target.has_database and not config.sink.create_database:
        remedy = "Correct sink.Milvus.database, or set sink.Milvus.create_database = true."
        yield _database_missing("target", survey.target, remedy)


def _database_missing(role: str, side: Side, remedy: str) -> Finding:
    there = ", ".join(side.databases)
    what = f"there is no database {side.database!r}; there are: {there}."
    return Finding(f"{role}-database", f"{role} {side.url}", what, remedy)


def _missing_collections(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    side = survey.source
    if not side.has_database:
        return
    aliases = {alias for each in side.described.values() for alias in each.aliases}
    for name in config.source.collections or ():
        if name not in side.names and name not in aliases:
            near = get_close_matches(name, side.names, n=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else _there_are(side.names)
            yield Finding("no-collection", f"source {side.url}", f"no collection {name!r}.", hint)
    if not survey.chosen and config.source.collections is None:
        yield Finding(
            "no-collection",
            f"source {side.url}",
            f"no collection in database {side.database!r} is loaded.",
            "Load one, or name it in source.Milvus.collections with auto_load = true.",
        )


def _there_are(names: tuple[str, ...]) -> str:
    if not names:
        return "The database is empty."
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"There are: {', '.join(names[:10])}{more}."


def _not_loaded(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        if survey.source.described[name].loaded is False and not config.source.auto_load:
            yield Finding(
                "not-loaded",
                f"source collection {name}",
                "Collection not loaded.",
                "Load it, or set source.Milvus.auto_load = true: Kitelift then loads it, copies "
                "it, and releases it again.",
            )


def _unreadable(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        rows = survey.source.rows[name]
        if rows.unreadable:
            yield Finding(
                "unreadable-key",
                f"source collection {name}",
                f"{rows.unreadable:,} rows have the key 9223372036854775807, which this server "
                "counts but never returns.",
                "Move them to another key, or leave them behind with --accept=unreadable-key.",
                acceptable=True,
            )


# -- what the target can hold ---------------------------------------------------------------------


def _types(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """A server may accept a type that it does not know, and never start again (2.3.5, measured)."""
    for name in survey.chosen:
        message = survey.source.described[name].message
        for refused in schemas.unsupported(message):
            yield Finding(
                "unsupported-type",
                f"source field {refused.collection}.{refused.field}",
                f"type {refused.data_type} cannot be copied.",
                "Leave the collection out, or drop the field in the source.",
            )
        yield from _unknown_to_target(survey, name)


def _unknown_to_target(survey: Survey, name: str) -> Iterator[Finding]:
    version = survey.target.version
    try:
        fields = survey.source.described[name].schema.fields
    except UnsupportedField:
        return
    for field in fields:
        since = field.type.since
        if version.number is not None and not version.lite and version.number < since:
            yield Finding(
                "target-type",
                f"source field {name}.{field.name}",
                f"type {field.type.name} needs Milvus {'.'.join(map(str, since))}; "
                f"the target is {version}.",
                "Use a newer target, or leave the collection out.",
            )


def _target_collections(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    ours = {plan.target for plan in existing.collections} if existing else set()
    for name in survey.chosen:
        there = survey.target.described.get(name)
        if there is None or name in ours:
            continue
        rows = survey.target.rows[name]
        where = f"target collection {name}"
        if rows.count:
            yield Finding(
                "target-not-empty",
                where,
                f"it holds {rows.count:,} rows that this job did not write.",
                "Drop or rename it, or choose another database.",
            )
        elif difference := _shape_differs(survey.source.described[name], there):
            yield Finding(
                "target-schema",
                where,
                f"it is empty, but not like the source: {difference}.",
                "Drop it; Kitelift makes it anew.",
            )


def _target_comparable(
    config: JobConfig, survey: Survey, existing: Plan | None
) -> Iterator[Finding]:
    for name in survey.chosen:
        there = survey.target.described.get(name)
        where = f"target collection {name}"
        if there is None:
            yield Finding("no-target", where, "it does not exist.", "Copy it first, by run.")
        elif there.loaded is False:
            yield Finding("target-not-loaded", where, "Collection not loaded.", "Load it.")
        else:
            yield from _same_shape(survey, name, "Compare collections of one schema only.")


def _target_mendable(config: JobConfig, survey: Survey, existing: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        if name in survey.target.described:
            yield from _same_shape(survey, name, "Drop it; sync makes it anew.")


def _same_shape(survey: Survey, name: str, remedy: str) -> Iterator[Finding]:
    source, target = survey.source.described[name], survey.target.described[name]
    if difference := _shape_differs(source, target):
        what = f"it is not like the source: {difference}."
        yield Finding("target-schema", f"target collection {name}", what, remedy)


def _shape_differs(source: Description, target: Description) -> str:
    """Says in what an empty collection differs from the source's, as far as rows are concerned."""
    left, right = (
        {field.name: field for field in _fields_or_none(each)} for each in (source, target)
    )
    for name in sorted({*left, *right}):
        if name not in right:
            return f"field {name} is missing"
        if name not in left:
            return f"field {name} is not in the source"
        if _essence(left[name]) != _essence(right[name]):
            return f"field {name} has another type"
    if source.partition_key != target.partition_key:
        return "the partition key is another"
    return ""


def _fields_or_none(description: Description) -> tuple[schemas.Field, ...]:
    try:
        return description.schema.fields
    except UnsupportedField:
        return ()


def _essence(field: schemas.Field) -> tuple[object, ...]:
    return field.data_type, field.element_type, field.dim, field.primary, field.nullable


def _ids(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        where = f"collection {name}"
        if config.sink.enable_auto_id:
            yield Finding(
                "new-ids",
                where,
                "the target makes new primary keys; rows can only be compared in sum.",
                severity="warning",
            )
        elif survey.source.described[name].auto_id:
            yield Finding(
                "plain-key",
                where,
                "the source's automatic ids are kept, so the target's key is not automatic.",
                "Set sink.Milvus.enable_auto_id = true to get new ids instead.",
                severity="info",
            )


_CHECKS: list[Callable[[JobConfig, Survey, Plan | None], Iterator[Finding]]] = [
    _source_version,
    _target_version,
    _databases,
    _missing_collections,
    _not_loaded,
    _unreadable,
    _types,
    _ids,
]
_TARGET_CHECK = {
    "copy": _target_collections,
    "compare": _target_comparable,
    "sync": _target_mendable,
}
