"""Survey and job -> Findings: everything that can be known before the first row moves.

One function a check. Each finding has a stable code; those that may safely be overridden are, by
``env.accept`` or ``--accept``, all by the same mechanism.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from fnmatch import fnmatchcase

from pipeline.console import formatting
from pipeline.jobfile import patterns
from pipeline.jobfile.job import PAGES_HELD, REQUESTS_A_PAGE, JobConfig
from pipeline.jobfile.values import nearest
from pipeline.planning import planner
from pipeline.planning.planner import Purpose
from pipeline.planning.survey import ClusterSurvey, Survey
from pipeline.preflight import reshape_checks, server_checks, target_checks
from pipeline.preflight.server_checks import OLDEST_SOURCE
from transforms.errors import (
    PreflightError,
    UnsupportedField,
)
from transforms.milvus.endpoint import PAGE_BYTES
from transforms.milvus.features import TTL, hides_largest_key, takes_ids
from transforms.milvus.schema import least_row, widest_row
from transforms.milvus.versions import HEAD, Version
from transforms.plan import Finding, Plan


def examine(
    config: JobConfig, survey: Survey, existing: Plan | None, purpose: Purpose = "copy"
) -> tuple[Finding, ...]:
    """Returns all findings, the most severe first; `existing` is the plan of a job that goes on."""
    # What was planned before is not judged again; it only has to be there.
    before = [] if purpose in ("verify", "replay") else _CHECKS
    checks = [target_checks.source_as_target, *before, *target_checks.BY_PURPOSE[purpose]]
    findings = blocking_problems(survey) or [
        finding for check in checks for finding in check(config, survey, existing)
    ]
    found = [mark_accepted(finding, config.env.accept) for finding in findings]
    order = {"error": 0, "warning": 1, "info": 2}
    return tuple(sorted(found, key=lambda finding: order[finding.severity]))


def blocking_problems(survey: Survey) -> tuple[Finding, ...]:
    """Returns what kept the survey from asking further; of each cluster at most one."""
    return tuple(server_checks.problems(survey))


def raise_if_stopped(findings: tuple[Finding, ...], done: str = "nothing was written.") -> None:
    """Ends a job that a finding stops; `done` says what became of what it had begun.

    Raises:
        PreflightError: there is one.
    """
    if many := sum(finding.stops for finding in findings):
        stopped = formatting.plural(many, "finding stops", "findings stop")
        raise PreflightError([f"{stopped} the job; {done}"])


def mark_accepted(finding: Finding, accept: tuple[str, ...]) -> Finding:
    """Marks a finding that may be overridden, and is; ``lost:docs.*`` stands for several."""
    patterns = [code for code in accept if code.startswith("lost:")]
    named = finding.code in accept or any(
        fnmatchcase(finding.code, pattern) for pattern in patterns
    )
    return replace(finding, accepted=finding.acceptable and named)


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
            f"Milvus {version} is older than {OLDEST_SOURCE}, and may page wrongly or fail.",
            "Upgrade it, or go on with --accept=source-version: rows are counted, so that none is "
            "lost unseen.",
            acceptable=True,
        )


def _target_version(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    source, target = survey.source.version, survey.target.version
    where = f"target {survey.target.url}"
    if not target.known:
        yield _unknown_version("target", where, target)
    elif source.files or target.files:
        return  # Files hold all that there is; what a server holds is looked at by features.
    elif source.lite != target.lite:
        return  # milvus-lite's numbers are its own; what it holds is looked at feature by feature.
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
        create = "set sink.Milvus.create_database = true"
        remedy = f"Correct sink.Milvus.database, or {create}."
        if config.inherits_database:
            remedy = (
                "sink.Milvus.database is left out, so rows go to a database of the same name as in "
                f"the source. To create it, {create}; to use another one, set sink.Milvus.database."
            )
        yield _database_missing("target", survey.target, remedy)


def _database_missing(role: str, side: ClusterSurvey, remedy: str) -> Finding:
    there = ", ".join(side.databases)
    what = f"there is no database {side.database!r}; there are: {there}."
    return Finding(f"{role}-database", f"{role} {side.url}", what, remedy)


def _missing_collections(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    side = survey.source
    if not side.has_database:
        return
    aliases = {alias for each in side.described.values() for alias in each.aliases}
    aliases |= {*side.aliases, *side.described}
    wanted = config.source.collections
    for pattern in patterns.unmatched(wanted or (), side.names):
        what = f"no collection matches {pattern!r}."
        yield Finding("no-collection", f"source {side.url}", what, _there_are(side.names))
    for name in patterns.exact_names(wanted or ()):
        if name not in side.names and name not in aliases:
            near = nearest(name, side.names, most=3)
            hint = f"Did you mean {' or '.join(near)}?" if near else _there_are(side.names)
            yield Finding("no-collection", f"source {side.url}", f"no collection {name!r}.", hint)
    if not survey.chosen and (wanted is None or patterns.only_excludes(wanted)):
        yield Finding(
            "no-collection",
            f"source {side.url}",
            f"no collection in database {side.database!r} is loaded.",
            "Load one, or name it in source.Milvus.collections with auto_load = true.",
        )


def _vanished(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    if config.source.collections is None:
        for name in survey.source.vanished:
            yield Finding(
                "collection-vanished",
                f"source collection {name}",
                "it was listed, and dropped before it was described: it is left out.",
                "Nothing, unless the job was to copy it.",
                severity="info",
            )


def _there_are(names: tuple[str, ...]) -> str:
    if not names:
        return "The database is empty."
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return f"There are: {', '.join(names[:10])}{more}."


def _not_loaded(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        described, where = survey.source.described[name], f"source collection {name}"
        if described.loaded is not False:
            continue
        if unindexed := ", ".join(described.unindexed):
            yield Finding(
                "not-indexed",
                where,
                f"Collection not loaded, and not to be loaded: no index on {unindexed}.",
                "Create the index and load the collection, or leave it out.",
            )
        elif not config.source.auto_load:
            yield Finding(
                "not-loaded",
                where,
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
        new_ids = config.sink.enable_auto_id
        if rows.largest_key and not new_ids and hides_largest_key(survey.target.version):
            yield Finding(
                "unreadable-key-in-target",
                f"target {survey.target.url}",
                f"{formatting.plural(rows.largest_key, 'row')} of {name} have the key "
                f"9223372036854775807, which Milvus {survey.target.version} stores and counts but "
                "never returns, so that they could not be proven, nor used.",
                "Upgrade the target to 2.6.8 or later, move them to another key, or leave them out "
                'by a RowFilter, as "id < 9223372036854775807".',
            )


def _expiring(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        lifetime_s = dict(survey.source.described[name].properties).get(TTL, "")
        if lifetime_s.isdigit() and int(lifetime_s) > 0:
            yield Finding(
                "rows-expire",
                f"source collection {name}",
                f"its rows expire {formatting.duration(int(lifetime_s))} after they are "
                "written. Rows that expire during the copy are not proven, and the target counts "
                "the age of all rows from the copy on.",
                severity="warning",
            )


def _key_names(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for role, side in (("source", survey.source), ("target", survey.target)):
        for name, rows in side.rows.items():
            if rows.unnameable:
                characters = " ".join(rows.unnameable.split())
                yield Finding(
                    "key-name",
                    f"{role} collection {name}",
                    f"no filter can name its key, so it cannot be read by ranges: {characters}.",
                    "Leave it out: Milvus renames no fields. A new one needs a key that is no word "
                    "of filter expressions.",
                )


def _partly_loaded(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for name in survey.chosen:
        shape = planner.reshaped(config, survey, name).shape
        unloaded = survey.source.rows[name].unloaded
        if missing := [each for each in unloaded if each in shape.origins or not shape.stages]:
            yield Finding(
                "partly-loaded",
                f"source collection {name}",
                f"loaded without {', '.join(missing)}, so that these cannot be read.",
                "Release it and load it with all of its fields, or drop these by transform.Filter.",
            )
        if released := survey.source.rows[name].released:
            yield Finding(
                "partly-loaded",
                f"source collection {name}",
                f"loaded without {formatting.plural(len(released), 'partition')} "
                f"({formatting.listed([*released], most=10)}), whose rows cannot be read.",
                "Load them, or load the collection as a whole.",
            )


def _unfinished(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Files that another job was to write, and has not yet."""
    for name, each in survey.source.described.items():
        if survey.source.version.files and each.loaded is None:
            yield Finding(
                "unfinished-files",
                f"source {survey.source.url}/{name}",
                "the collection was not written to its end.",
                "Run the job that writes it again, or bring all of its files.",
            )


def _uncountable(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    for role, side in (("source", survey.source), ("target", survey.target)):
        for name, rows in side.rows.items():
            if rows.problem:
                yield Finding(
                    "not-countable",
                    f"{role} collection {name}",
                    f"the server does not count its rows: {rows.problem}.",
                    "Release it and load it again, or look into the server's log.",
                )


def _memory(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """What one worker holds is cut to its part of the memory, but a row cannot be cut."""
    room = config.request_bytes
    workers = formatting.plural(config.env.parallelism, "worker")
    for name in survey.chosen if config.env.memory else ():
        try:
            schema = survey.source.described[name].schema
        except UnsupportedField:
            continue  # A finding of its own.
        least, widest = least_row(schema), widest_row(schema)
        if least > room:
            yield Finding(
                "memory",
                f"source collection {name}",
                f"env.memory is too small for its rows, of {formatting.size(least)} at least, with "
                f"{workers}.",
                f"Set it to {_enough(config, least)} or more, or take fewer workers.",
            )
        elif widest > room and config.page_bytes < PAGE_BYTES:
            yield Finding(
                "wide-rows",
                f"source collection {name}",
                f"its texts may make rows of {formatting.size(widest)}; env.memory has room for "
                f"{formatting.size(room)} with {workers}.",
                f"Set it to {_enough(config, widest)} or more, unless its texts are shorter.",
                severity="warning",
            )


def _enough(config: JobConfig, row_bytes: int) -> str:
    """Returns the memory in which each worker has room for such a row."""
    page_bytes = min(REQUESTS_A_PAGE * row_bytes, PAGE_BYTES)
    return formatting.size(page_bytes * PAGES_HELD * config.env.parallelism)


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
        elif survey.source.described[name].auto_id and not takes_ids(survey.target.version):
            yield Finding(
                "plain-key",
                where,
                "the source's automatic ids are kept, so the target's key is not automatic.",
                "Set sink.Milvus.enable_auto_id = true to get new ids instead.",
                severity="info",
            )


def _job_file(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """What the job file says that has no effect, or another meaning than elsewhere."""
    for path, what in config.notes:
        yield Finding("job-file", path, f"{what}.", severity="info")


_CHECKS: list[Callable[[JobConfig, Survey, Plan | None], Iterator[Finding]]] = [
    _job_file,
    _source_version,
    _target_version,
    _databases,
    server_checks.denied_calls,
    _missing_collections,
    _vanished,
    _not_loaded,
    _unreadable,
    _expiring,
    _key_names,
    _partly_loaded,
    _unfinished,
    _uncountable,
    _memory,
    reshape_checks.transform_scopes,
    reshape_checks.collection_names,
    reshape_checks.transform_problems,
    reshape_checks.row_filters,
    reshape_checks.dynamic_keys,
    reshape_checks.field_settings,
    reshape_checks.schema_keys,
    target_checks.field_types,
    _ids,
]
