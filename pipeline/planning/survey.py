"""Asks both clusters what is there. Writes nothing; what could not be learned is a fact as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from pipeline.jobfile import patterns
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.transform import Python
from pipeline.planning import collection_survey, dynamic_key_clashes, reshaping, same_collection
from pipeline.planning.collection_survey import Rows
from pipeline.planning.reshaping import Trial
from pipeline.planning.same_collection import Match
from transforms.errors import (
    CallDenied,
    FunctionFailed,
    PrivilegeMissing,
    Refused,
    ServerError,
)
from transforms.milvus.access import Access, AccessClient
from transforms.milvus.channel import NO_RETRIES, UNEXPLAINED_SHORT_S, Patience
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Pairs
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import is_gone
from transforms.milvus.schema import Schema
from transforms.milvus.versions import Version, release
from transforms.reshape import reshape
from transforms.reshape.reshape import Stage

SURVEY = Patience(outage_s=20.0, timeout_s=60.0, unexplained_s=UNEXPLAINED_SHORT_S)
"""Once a server has answered at all, it may be busy for a while."""

OLDEST_READABLE = release("2.3.0")
"""Older servers know no ``count(*)``, without which nothing can be proven."""

_SINCE = {
    "DescribeDatabase": release("2.4.3"),
    "ListAliases": release("2.3.17"),
    "DescribeAlias": release("2.3.17"),
}
"""The release from which on a server knows a call; all others are known to every Milvus."""

TRIED_ROWS = 10
"""Rows on which a function is tried: what its columns are shows on any."""


@dataclass(frozen=True)
class ClusterSurvey:
    """One cluster, as far as it could be asked; `problem` is why it could not be asked further.

    `properties` are those of the database. `access` is known only where the job copies users and
    roles. `owners` are, by the names that the job gives, the collections that have them already, be
    it as an alias. `aliases` are the collections of those names in the job file that are aliases.
    `vanished` are collections that were dropped while they were looked at, `denied` the optional
    calls that the server denies.
    """

    url: str
    database: str
    problem: ServerError | None = None
    version: Version = field(default_factory=lambda: Version(""))
    databases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    described: Mapping[str, Description] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)
    properties: Pairs = ()
    owners: Mapping[str, str] = field(default_factory=dict)
    access: Access = field(default_factory=Access)
    aliases: Mapping[str, str] = field(default_factory=dict)
    vanished: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def is_too_old(self) -> bool:
        """Whether the server is one that Kitelift can neither read nor prove."""
        version = self.version
        is_milvus = version.known and not version.lite and not version.files
        return is_milvus and version < OLDEST_READABLE

    @property
    def has_database(self) -> bool:
        """Whether the database is there."""
        return self.database in self.databases


@dataclass(frozen=True)
class Survey:
    """Both clusters at one moment.

    Attributes:
        chosen: the collections to copy, of those that exist.
        trials: by collection, what each of its Python functions made of a few rows.
        matches: the collections of the target that are, or may be, those to copy; by name.
        beside: those to copy, of those with aliases, that are in the target's database themselves.
    """

    source: ClusterSurvey
    target: ClusterSurvey
    chosen: tuple[str, ...]
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    matches: Mapping[str, Match] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


def survey_clusters(config: JobConfig) -> Survey:
    """Asks both clusters, at the same time.

    A cluster that cannot be reached, or refuses the credentials, is told by its `problem`.
    """
    with ThreadPoolExecutor(2) as pool:
        source = pool.submit(
            _ask,
            config.source_endpoint,
            lambda names: _wanted(config, names),
            lambda name: reshaping.row_filter(config, name),
            read=True,
        )
        target = pool.submit(
            _ask,
            config.target_endpoint,
            lambda names: set(names).intersection(
                config.name_of(name) for name in _chosen(config, source.result())
            ),
            given=lambda: _given(config, source.result()),
        )
        chosen = _chosen(config, source.result())
        trials = _trials(config, source.result(), chosen)
        rows = _with_shadowing(config, source.result(), chosen, trials)
        return Survey(
            _with_access(config, config.source_endpoint, replace(source.result(), rows=rows)),
            _with_access(config, config.target_endpoint, target.result()),
            chosen,
            trials,
            same_collection.find_matches(config, source.result(), target.result(), chosen),
            same_collection.find_beside(config, source.result(), target.result(), chosen),
        )


def _with_access(config: JobConfig, endpoint: Endpoint, side: ClusterSurvey) -> ClusterSurvey:
    """Learns who may do what; in a database that is still to be made, nobody may do anything."""
    if side.problem or not config.sink.rbac:
        return side
    there = endpoint if side.has_database else replace(endpoint, database="default")
    client = AccessClient(there, SURVEY)
    try:
        return replace(side, access=client.access())
    except ServerError as error:
        return replace(side, problem=error)
    finally:
        client.close()


def _given(config: JobConfig, source: ClusterSurvey) -> Iterator[str]:
    """Yields the names, of collections and aliases, that the target is to have."""
    for name in _chosen(config, source):
        yield config.name_of(name)
        yield from source.described[name].aliases


def _chosen(config: JobConfig, source: ClusterSurvey) -> tuple[str, ...]:
    wanted, described = config.source.collections, source.described
    names = list(described) if wanted is None else patterns.select(wanted, described)
    if wanted is None or patterns.only_excludes(wanted):
        chosen = [name for name in names if described[name].loaded is not False]
    else:
        chosen = [_resolved(source, name) for name in names]
    return tuple(dict.fromkeys(name for name in chosen if name))


def _resolved(source: ClusterSurvey, wanted: str) -> str:
    """Returns the collection of that name, or of that alias, or ""."""
    if wanted in source.described:
        return wanted
    if wanted in source.aliases:
        return source.aliases[wanted]
    return next((n for n, each in source.described.items() if wanted in each.aliases), "")


def _wanted(config: JobConfig, names: list[str]) -> list[str]:
    """Returns the collections and aliases to look at; to find what is loaded, that is all."""
    named = config.source.collections
    return names if named is None else list(patterns.select(named, names))


def _ask(
    endpoint: Endpoint,
    choose: Callable[[list[str]], Iterable[str]],
    where: Callable[[str], str] = lambda name: "",
    given: Callable[[], Iterable[str]] = tuple,
    *,
    read: bool = False,
) -> ClusterSurvey:
    """Learns what one cluster has; stops at the first answer without which no other makes sense.

    If it will be `read`, its rows are counted at the snapshot of the reading.
    """
    side = ClusterSurvey(endpoint.url, endpoint.database)
    quick = Client(endpoint, NO_RETRIES)
    client = Client(endpoint, SURVEY)
    try:
        side = replace(side, version=quick.version(), databases=tuple(quick.databases()))
        if side.is_too_old or not side.has_database:
            return side
        names = quick.collections()
        wanted = {name: name if name in names else client.resolve(name) for name in choose(names)}
        look = partial(
            collection_survey.survey_collection, quick, client, side.version, where, read=read
        )
        looks = {name: look(name) for name in dict.fromkeys(wanted.values()) if name}
        found = {name: each for name, each in looks.items() if each}
        return replace(
            side,
            names=tuple(name for name in names if looks.get(name, True)),
            described={name: described for name, (described, _) in found.items()},
            rows={name: rows for name, (_, rows) in found.items()},
            properties=client.database_properties(),
            owners={name: owner for name in given() if (owner := client.owner(name))},
            aliases={name: each for name, each in wanted.items() if each in found and each != name},
            vanished=tuple(name for name, each in looks.items() if not each),
            denied=_denied(side.version, {**quick.denied, **client.denied}),
        )
    except ServerError as error:
        return replace(side, problem=error)
    finally:
        quick.close()
        client.close()


def _denied(version: Version, left_out: Mapping[str, ServerError]) -> tuple[str, ...]:
    """Returns the calls that are denied, of those left out: an older release does not know some."""

    def is_denied(call: str, error: ServerError) -> bool:
        if isinstance(error, (CallDenied, PrivilegeMissing)):
            return True
        is_new = version.known and version < _SINCE.get(call, OLDEST_READABLE)
        return not (version.lite or is_new)

    return tuple(sorted(call for call, error in left_out.items() if is_denied(call, error)))


def _with_shadowing(
    config: JobConfig,
    source: ClusterSurvey,
    chosen: Iterable[str],
    trials: Mapping[str, tuple[Trial, ...]],
) -> dict[str, Rows]:
    """Learns which fields of the target the rows of each collection have in their dynamic field."""
    rows = dict(source.rows)
    client = Client(config.source_endpoint, SURVEY)
    try:
        for name in chosen:
            tried = reshaping.recall_trials(trials.get(name, ()))
            try:
                found = dynamic_key_clashes.find_clashes(
                    client, config, source.described[name], tried
                )
            except Refused as error:
                if not is_gone(error):
                    raise
                continue  # The copy of the collection fails, and says so.
            rows[name] = replace(rows[name], shadowing=found)
    finally:
        client.close()
    return rows


def _trials(
    config: JobConfig, source: ClusterSurvey, chosen: Iterable[str]
) -> dict[str, tuple[Trial, ...]]:
    """Tries the Python functions of each collection on its first rows."""
    names = [
        name
        for name in chosen
        if any(isinstance(transform, Python) for transform in config.transforms(name))
        and not source.rows[name].refused
    ]
    if not names:
        return {}
    client = Client(config.source_endpoint, SURVEY)
    try:
        return {name: _tried(client, config, source.described[name]) for name in names}
    finally:
        client.close()


def _tried(client: Client, config: JobConfig, described: Description) -> tuple[Trial, ...]:
    found: list[Trial] = []

    def tried(stages: tuple[Stage, ...], before: Schema) -> Trial:
        schema, why = described.columns(stages[0].origins), ""
        try:
            rows = _first_rows(client, config, described, schema)
            if not rows.num_rows:
                rows, why = reshape.sample_row(schema), _STOOD_IN
            found.append(reshape.try_function(rows, stages, before, made_up=bool(why)))
        except (FunctionFailed, ServerError) as error:
            found.append(f"{error}{why}")
        return found[-1]

    reshaping.apply_transforms(config, described, tried)
    return tuple(found)


_STOOD_IN = " (tried on a row of zeros and empty texts, as no rows are loaded)"


def _first_rows(
    client: Client, config: JobConfig, described: Description, schema: Schema
) -> pa.RecordBatch:
    if described.loaded is False:
        return pa.RecordBatch.from_pylist([], schema=schema.arrow())
    where = reshaping.row_filter(config, described.name)
    rows, _ = client.page(described.name, schema, rows=TRIED_ROWS, where=where)
    return rows
