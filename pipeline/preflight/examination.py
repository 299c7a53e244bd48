"""Survey and job -> Findings: everything that can be known before the first row is copied.

Each check is one function. Each finding has a stable code. Findings that are safe to override are
accepted by their code, in ``env.accept`` or ``--accept``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.console import formatting
from pipeline.jobfile import patterns
from pipeline.jobfile.job import PAGES_PER_WORKER, REQUESTS_PER_PAGE, JobConfig
from pipeline.jobfile.spelling import nearest
from pipeline.planning.cluster_survey import ClusterSurvey
from pipeline.planning.job_view import JobView, view_job
from pipeline.planning.planner import Purpose
from pipeline.planning.survey import Survey
from pipeline.preflight import (
    fidelity_checks,
    index_checks,
    limit_checks,
    partition_checks,
    reshape_checks,
    server_checks,
    source_checks,
    target_checks,
    type_checks,
)
from pipeline.preflight.server_checks import OLDEST_SOURCE
from transforms.errors import PreflightError, UnsupportedField
from transforms.finding import Finding
from transforms.milvus.endpoint import PAGE_BYTES
from transforms.milvus.features import accepts_ids
from transforms.milvus.qualified_names import spellings
from transforms.milvus.schema import least_row, widest_row
from transforms.milvus.versions import HEAD, Version
from transforms.plan import Plan

Check = Callable[[JobView], Iterator[Finding]]


def examine(
    config: JobConfig, survey: Survey, existing: Plan | None, purpose: Purpose = "copy"
) -> tuple[Finding, ...]:
    """Returns all findings, the most severe first; `existing` is the plan of a resumed job."""
    # What is already copied is not checked against the job again; it only has to exist.
    before = [] if purpose in ("verify", "replay") else _CHECKS
    checks = [target_checks.source_as_target, *before, *_BY_PURPOSE[purpose]]
    if not config.sink.rows:
        checks = [check for check in checks if check not in _ABOUT_ROWS]
    findings = blocking_problems(survey)
    if not findings:
        job = view_job(config, survey, existing)
        findings = tuple(finding for check in checks for finding in check(job))
    marked = [mark_accepted(finding, config.env.accept) for finding in findings]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(marked, key=lambda finding: order[finding.severity]))


def blocking_problems(survey: Survey) -> tuple[Finding, ...]:
    """Returns the findings that ended the survey early, at most one for each cluster."""
    return tuple(server_checks.problems(survey))


def raise_if_stopped(findings: tuple[Finding, ...], done: str = "nothing was written.") -> None:
    """Raises an error if a finding stops the job; `done` says what was written or undone.

    Raises:
        PreflightError: at least one finding stops the job.
    """
    if many := sum(finding.stops for finding in findings):
        stopped = formatting.plural(many, "finding stops", "findings stop")
        raise PreflightError([f"{stopped} the job; {done}"])


def mark_accepted(finding: Finding, accept: tuple[str, ...]) -> Finding:
    """Marks a finding as accepted if `accept` names its code; ``lost:docs.*`` names several."""
    losses = [code for code in accept if code.startswith("lost:")]
    named = finding.code in accept or any(fnmatchcase(finding.code, code) for code in losses)
    return replace(finding, accepted=finding.acceptable and named)


# -- versions -----------------------------------------------------------------------------------


def _source_version(job: JobView) -> Iterator[Finding]:
    version = job.source.version
    where = f"source {job.source.url}"
    if not version.known:
        yield _unknown_version("source", where, version)
    elif version < OLDEST_SOURCE:
        yield Finding(
            "source-version",
            where,
            f"Milvus {version} is older than {OLDEST_SOURCE}. It can return wrong pages or fail "
            "on some queries.",
            f"Upgrade the source to {OLDEST_SOURCE} or later, or rerun with "
            "`--accept=source-version`. Kitelift counts the rows and reports any that are lost.",
            acceptable=True,
        )


def _target_version(job: JobView) -> Iterator[Finding]:
    source, target = job.source.version, job.target.version
    where = f"target {job.target.url}"
    if not target.known:
        yield _unknown_version("target", where, target)
    elif source.files or target.files:
        return  # Files store every feature; what a server lacks is checked feature by feature.
    elif source.lite != target.lite:
        return  # milvus-lite has its own version numbers; its features are checked one by one.
    elif source.known and _line(target) < _line(source):
        yield Finding(
            "target-version",
            where,
            f"Milvus {target} is older than the source's {source}. It may lack features that the "
            "source uses.",
            f"Upgrade the target to {source} or later, or rerun with `--accept=target-version`. "
            "`kitelift plan` shows what would be lost.",
            acceptable=True,
        )


def _line(version: Version) -> tuple[int, ...]:
    major, minor, patch = version.number or (0, 0, 0)
    return (major, minor, patch) if patch != HEAD else (major, minor, HEAD)


def _unknown_version(role: str, where: str, version: Version) -> Finding:
    return Finding(
        f"{role}-version-unknown",
        where,
        f"the server does not report a known Milvus version ({version.text!r}).",
        "No action needed. Kitelift uses only what all supported Milvus versions accept.",
        severity="warning",
    )


# -- databases and collections -------------------------------------------------------------------


def _databases(job: JobView) -> Iterator[Finding]:
    if missing := job.source.missing_databases:
        remedy = "Correct `source.Milvus.database`."
        yield _database_missing("source", job.source, missing, remedy)
    yield from _unmatched_databases(job)
    planned = {target for _, target in job.databases}
    missing = tuple(name for name in job.target.missing_databases if name in planned)
    if missing and not job.sink.create_database:
        create = "set `sink.Milvus.create_database = true`"
        remedy = f"Correct `sink.Milvus.database`, or {create}."
        if job.qualifies:
            remedy = f"To create them, {create}. To use others, set `sink.Milvus.database_rename`."
        elif job.inherits_database:
            remedy = (
                "`sink.Milvus.database` is not set, so the job uses the name of the source "
                f"database. To create it, {create}. To use another one, set "
                "`sink.Milvus.database`."
            )
        yield _database_missing("target", job.target, missing, remedy)


def _unmatched_databases(job: JobView) -> Iterator[Finding]:
    wanted, uses = job.source_settings.database, job.source.uses
    if isinstance(wanted, str):
        return
    unmatched = patterns.unmatched(wanted, uses)
    for pattern in unmatched if uses or unmatched else [", ".join(wanted)]:
        existing = ", ".join(job.source.databases)
        what = f"no database matches {pattern!r}. Existing databases: {existing}."
        remedy = "Correct `source.Milvus.database`."
        yield Finding("source-database", f"source {job.source.url}", what, remedy)


def _database_missing(
    role: str, side: ClusterSurvey, missing: tuple[str, ...], remedy: str
) -> Finding:
    existing = ", ".join(side.databases)
    what = f"database {missing[0]!r} does not exist. Existing databases: {existing}."
    if len(missing) > 1:
        names = formatting.listed([*missing], most=10)
        what = f"databases {names} do not exist. Existing databases: {existing}."
    return Finding(f"{role}-database", f"{role} {side.url}", what, remedy)


def _missing_collections(job: JobView) -> Iterator[Finding]:
    side = job.source
    if not side.existing_databases:
        return
    aliases = {
        job.beside(name, alias)
        for name, described in side.described.items()
        for alias in described.aliases
    }
    known = {*side.names, *side.aliases, *side.described, *aliases}
    known = {spelling for name in known for spelling in spellings(name)}
    wanted = job.source_settings.collections
    for pattern in patterns.unmatched(wanted or (), side.names):
        what = f"no collection matches {pattern!r}."
        yield Finding("no-collection", f"source {side.url}", what, _existing(side.names))
    for name in patterns.exact_names(wanted or ()):
        if name not in known:
            near = nearest(name, side.names, most=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else _existing(side.names)
            what = f"collection {name!r} does not exist."
            yield Finding("no-collection", f"source {side.url}", what, hint)
    if not job.collections and patterns.takes_all(wanted):
        databases = formatting.listed([repr(name) for name in side.existing_databases], most=10)
        noun = "databases" if len(side.existing_databases) > 1 else "database"
        yield Finding(
            "no-collection",
            f"source {side.url}",
            f"no collection in {noun} {databases} is loaded.",
            "Load the collections to copy, or name them in `source.Milvus.collections` and set "
            "`source.Milvus.auto_load = true`.",
        )


def _vanished(job: JobView) -> Iterator[Finding]:
    if job.source_settings.collections is None:
        for name in job.source.vanished:
            yield Finding(
                "collection-vanished",
                f"source collection {name}",
                "it was dropped while Kitelift examined the source. The job leaves it out.",
                "No action needed, unless the job should copy it.",
                severity="info",
            )


def _existing(names: tuple[str, ...]) -> str:
    if not names:
        return "The database has no collections. Correct `source.Milvus.database`."
    existing = formatting.listed([*names], most=10)
    return f"Correct `source.Milvus.collections`. Existing collections: {existing}."


def _memory(job: JobView) -> Iterator[Finding]:
    """A worker reads as many rows as its share of the memory allows, but at least one whole row."""
    room, parallelism = job.request_bytes, job.env.parallelism
    workers = formatting.plural(parallelism, "worker")
    for collection in job.collections if job.env.memory else ():
        try:
            schema = collection.source.schema
        except UnsupportedField:
            continue  # `field_types` reports it.
        where = f"source collection {collection.name}"
        least, widest = least_row(schema), widest_row(schema)
        if least > room:
            yield Finding(
                "memory",
                where,
                f"`env.memory` is too small with {workers}: each worker has "
                f"{formatting.size(room)} for a row, and a row needs at least "
                f"{formatting.size(least)}.",
                f"Set `env.memory` to {_enough(parallelism, least)} or more, or reduce "
                "`env.parallelism`.",
            )
        elif widest > room and job.page_bytes < PAGE_BYTES:
            yield Finding(
                "wide-rows",
                where,
                f"with texts of maximum length, a row has {formatting.size(widest)}. With "
                f"{workers}, `env.memory` has room for {formatting.size(room)}.",
                f"Set `env.memory` to {_enough(parallelism, widest)} or more, if it has such rows.",
                severity="warning",
            )


def _enough(parallelism: int, row_bytes: int) -> str:
    """Returns the value of `env.memory` that gives each worker room for such a row."""
    page_bytes = min(REQUESTS_PER_PAGE * row_bytes, PAGE_BYTES)
    return formatting.size(page_bytes * PAGES_PER_WORKER * parallelism)


# -- keys ---------------------------------------------------------------------------------------


def _ids(job: JobView) -> Iterator[Finding]:
    for collection in job.collections:
        where = f"collection {collection.name}"
        if job.sink.enable_auto_id:
            yield Finding(
                "new-ids",
                where,
                "the target generates new primary keys. Kitelift can compare the rows only in "
                "total, not key by key.",
                severity="warning",
            )
        elif collection.source.auto_id and not accepts_ids(job.target.version):
            yield Finding(
                "plain-key",
                where,
                "the copy keeps the source's auto-IDs, so the target's key is a regular key, not "
                "an auto-ID key.",
                "No action needed. To get new ids instead, set `sink.Milvus.enable_auto_id = "
                "true`.",
                severity="info",
            )


def _job_file(job: JobView) -> Iterator[Finding]:
    """Yields keys of the job file that have no effect, or another meaning than in SeaTunnel."""
    for path, what in job.notes:
        yield Finding("job-file", path, f"{what}.", severity="info")


_CHECKS: list[Check] = [
    _job_file,
    _source_version,
    _target_version,
    _databases,
    server_checks.denied_calls,
    _missing_collections,
    _vanished,
    source_checks.not_loaded,
    source_checks.unreadable_keys,
    source_checks.expiring_rows,
    source_checks.key_names,
    source_checks.partly_loaded,
    source_checks.vectors_in_storage,
    source_checks.unfinished_files,
    partition_checks.chosen_partitions,
    source_checks.uncountable_rows,
    _memory,
    reshape_checks.transform_scopes,
    reshape_checks.collection_names,
    reshape_checks.transform_problems,
    reshape_checks.row_filters,
    reshape_checks.dynamic_keys,
    reshape_checks.field_settings,
    reshape_checks.added_functions,
    reshape_checks.schema_losses,
    index_checks.index_keys,
    index_checks.requested_indexes,
    type_checks.field_types,
    _ids,
]

_ABOUT_ROWS = (
    source_checks.not_loaded,
    source_checks.unreadable_keys,
    source_checks.expiring_rows,
    source_checks.key_names,
    source_checks.partly_loaded,
    source_checks.uncountable_rows,
    _memory,
    reshape_checks.row_filters,
    reshape_checks.dynamic_keys,
    reshape_checks.schema_losses,
    fidelity_checks.null_vectors,
    fidelity_checks.generated_values,
    target_checks.unproven,
)
"""The checks that do not matter if no rows are copied."""

_LIMITS = (
    limit_checks.limits_exceeded,
    limit_checks.reserved_names,
    limit_checks.missing_vectors,
    limit_checks.text_storage,
)

_BY_PURPOSE: dict[Purpose, tuple[Check, ...]] = {
    "copy": (
        target_checks.database_names,
        target_checks.collection_names,
        target_checks.partition_number,
        target_checks.targets_in_use,
        target_checks.target_collections,
        fidelity_checks.taken_aliases,
        fidelity_checks.generated_values,
        fidelity_checks.unsupported_collections,
        fidelity_checks.null_vectors,
        fidelity_checks.text_lengths,
        fidelity_checks.lost_features,
        *_LIMITS,
        fidelity_checks.access,
        fidelity_checks.properties,
        target_checks.unproven,
    ),
    "verify": (target_checks.target_exists, target_checks.target_readable),
    "replay": (target_checks.target_exists, target_checks.targets_in_use),
    "compare": (target_checks.collection_names, target_checks.target_comparable),
    "sync": (
        target_checks.database_names,
        target_checks.collection_names,
        target_checks.partition_number,
        target_checks.targets_in_use,
        target_checks.target_syncable,
        fidelity_checks.unsupported_collections,
        fidelity_checks.generated_values,
        fidelity_checks.lost_features,
        *_LIMITS,
    ),
}
