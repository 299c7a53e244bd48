"""Survey and job -> Findings: everything that can be known before the first row moves.

One function a check. Each finding has a stable code; those that may safely be overridden are, by
``env.accept`` or ``--accept``, all by the same mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from pipeline import target_checks
from pipeline.job import JobConfig
from pipeline.planner import Purpose
from pipeline.survey import Side, Survey
from transforms.errors import AccessDenied
from transforms.milvus.versions import HEAD, Version, release
from transforms.plan import Finding, Plan

OLDEST_SOURCE = release("2.3.7")
"""Older servers page wrongly or crash on some queries (the vendors' own images have this gate)."""


def examine(
    config: JobConfig, survey: Survey, existing: Plan | None, purpose: Purpose = "copy"
) -> tuple[Finding, ...]:
    """Returns all findings, the most severe first; `existing` is the plan of a job that goes on."""
    problems = [*_problems(survey)]
    # What was planned before is not judged again; it only has to be there.
    before = [] if purpose in ("verify", "replay") else _CHECKS
    checks = [*before, *target_checks.BY_PURPOSE[purpose]]
    findings = problems or [
        finding for check in checks for finding in check(config, survey, existing)
    ]
    found = [accepted(finding, config.env.accept) for finding in findings]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def codes() -> dict[str, str]:
    """Returns every code that `accept` takes, and what accepting it means."""
    return {
        "source-version": "copy from a server older than the gate",
        "target-version": "copy into a server older than the source",
        "unreadable-key": "leave rows behind that the source never returns (key 2^63-1)",
        "lost:COLLECTION.FEATURE": "go on without what the target cannot hold; * stands for any",
    }


def accepted(finding: Finding, accept: tuple[str, ...]) -> Finding:
    """Marks a finding that may be overridden, and is; ``lost:docs.*`` stands for several."""
    patterns = [code for code in accept if code.startswith("lost:")]
    named = finding.code in accept or any(fnmatchcase(finding.code, each) for each in patterns)
    return replace(finding, accepted=finding.acceptable and named)


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


# -- keys ---------------------------------------------------------------------------------------


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
    target_checks.types,
    _ids,
]
