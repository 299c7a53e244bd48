"""Reads what both clusters contain. Writes nothing; what it cannot read is part of the result."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import pyarrow as pa

from pipeline.jobfile import patterns
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.settings import Sink
from pipeline.jobfile.transform import Python
from pipeline.planning import collection_survey, dynamic_key_clashes, reshaping, same_collection
from pipeline.planning.chosen_partitions import chosen_partitions
from pipeline.planning.cluster_survey import OLDEST_READABLE, ClusterSurvey
from pipeline.planning.collection_survey import Rows, SharedSnapshot
from pipeline.planning.reshaping import Trial
from pipeline.planning.same_collection import Match
from transforms.errors import (
    CallDenied,
    FunctionFailed,
    PrivilegeMissing,
    Refused,
    ServerError,
)
from transforms.milvus import qualified_names
from transforms.milvus.access_control import AccessClient
from transforms.milvus.channel import NO_RETRIES, UNEXPLAINED_SHORT_S, Patience
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import is_gone
from transforms.milvus.schema import Schema
from transforms.milvus.versions import Version, release
from transforms.reshape import reshape
from transforms.reshape.reshape import Stage

Result = TypeVar("Result")

SURVEY = Patience(outage_s=20.0, timeout_s=60.0, unexplained_s=UNEXPLAINED_SHORT_S)
"""For servers that have answered once: they may be busy for up to 20 s."""

_SINCE = {
    "DescribeDatabase": release("2.4.3"),
    "ListAliases": release("2.3.17"),
    "DescribeAlias": release("2.3.17"),
}
"""The first release that knows a call; every Milvus knows all other calls."""

EXAMINED_AT_ONCE = 8
"""Collections of one server that are examined at the same time; each takes about ten calls."""

TRIED_ROWS = 10
"""The number of rows on which a function is tried; its columns are the same for all rows."""


@dataclass(frozen=True)
class Survey:
    """What Kitelift learned about both clusters.

    Attributes:
        chosen: the existing collections to copy.
        databases: the databases to copy, with their names in the target.
        trials: by collection, what each of its Python functions returned for a few rows.
        matches: the target collections that are, or may be, collections to copy; by name.
        beside: the collections with aliases that are copied under another name to their database.
    """

    source: ClusterSurvey
    target: ClusterSurvey
    chosen: tuple[str, ...]
    databases: tuple[tuple[str, str], ...] = ()
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    matches: Mapping[str, Match] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


def survey_clusters(config: JobConfig) -> Survey:
    """Reads what both clusters contain, in parallel.

    If a cluster cannot be reached or rejects the credentials, its `problem` says so.
    """
    with ThreadPoolExecutor(2) as pool:
        source = pool.submit(
            _survey_cluster,
            config.source_endpoint,
            lambda databases: _used_databases(config, databases),
            lambda names, databases: _wanted(config, names, databases),
            lambda name: reshaping.row_filter(config.transforms(name)),
            partitions=lambda described: chosen_partitions(config.source, described),
        )
        target = pool.submit(
            _survey_cluster,
            config.target_endpoint,
            lambda _: [new for _, new in _databases(config, source.result())],
            lambda names, _: set(names).intersection(
                config.name_of(name) for name in _chosen(config, source.result())
            ),
            new_names=lambda: _new_names(config, source.result()),
        )
        chosen = _chosen(config, source.result())
        trials = _trials(config, source.result(), chosen)
        rows = _with_key_clashes(config, source.result(), chosen, trials)
        return Survey(
            _with_access(config, config.source_endpoint, replace(source.result(), rows=rows)),
            _with_access(config, config.target_endpoint, target.result()),
            chosen,
            _databases(config, source.result()),
            trials,
            same_collection.find_matches(config, source.result(), target.result(), chosen),
            same_collection.find_beside(config, source.result(), target.result(), chosen),
        )


def _with_access(config: JobConfig, endpoint: Endpoint, side: ClusterSurvey) -> ClusterSurvey:
    """Adds users and roles; a database that does not exist yet has no grants."""
    if side.problem or not config.sink.rbac:
        return side
    existing = endpoint if side.existing_databases else replace(endpoint, database="default")
    client = AccessClient(existing, SURVEY)
    try:
        return replace(side, access=client.access(side.existing_databases or ("default",)))
    except ServerError as error:
        return replace(side, problem=error)
    finally:
        client.close()


def _new_names(config: JobConfig, source: ClusterSurvey) -> Iterator[str]:
    """Yields the names of collections and aliases in the target."""
    for name in _chosen(config, source):
        target = config.name_of(name)
        yield target
        yield from (config.beside(target, alias) for alias in source.described[name].aliases)


def _used_databases(config: JobConfig, listed: Collection[str]) -> Collection[str]:
    """Returns the databases of the source that the job reads."""
    wanted = config.source.database
    return [wanted] if isinstance(wanted, str) else patterns.select(wanted, listed)


def _databases(config: JobConfig, source: ClusterSurvey) -> tuple[tuple[str, str], ...]:
    """Returns the databases to copy, with their names in the target.

    If the job file names collections, only their databases are copied.
    """
    if not config.qualifies:
        return ((source.database, config.sink.database),)
    databases: Iterable[str] = source.existing_databases
    if not patterns.takes_all(config.source.collections):
        databases = qualified_names.databases_of(_chosen(config, source))
    return tuple((name, config.sink.renamed_database(name)) for name in databases)


def _chosen(config: JobConfig, source: ClusterSurvey) -> tuple[str, ...]:
    wanted, described = config.source.collections, source.described
    if patterns.takes_all(wanted):
        names = patterns.select(wanted or (), described)
        chosen = [name for name in names if described[name].loaded is not False]
    else:
        candidates = _selected(config, described, source.existing_databases)
        resolved = (_resolved(config, source, candidate) for candidate in candidates)
        chosen = [owner for owner in resolved if owner]
    return tuple(dict.fromkeys(chosen))


def _resolved(config: JobConfig, source: ClusterSurvey, wanted: str) -> str:
    """Returns the collection with that name or alias; "" if there is none."""
    if wanted in source.described:
        return wanted
    if wanted in source.aliases:
        return source.aliases[wanted]
    owners = (
        name
        for name, described in source.described.items()
        if wanted in (config.beside(name, alias) for alias in described.aliases)
    )
    return next(owners, "")


def _wanted(config: JobConfig, names: list[str], databases: Collection[str]) -> list[str]:
    """Returns the collections and aliases to examine; all, if the job copies what is loaded."""
    if config.source.collections is None:
        return names
    return _selected(config, names, databases)


def _selected(config: JobConfig, names: Collection[str], databases: Collection[str]) -> list[str]:
    """Returns what the job file selects, also what may be an alias.

    A name without a database may be a collection in one database and an alias in another one.
    """
    wanted = config.source.collections or ()
    more = patterns.exact_names(wanted) if config.qualifies else []
    items = (*patterns.select(wanted, names), *more)
    candidates = [item for name in items for item in _candidates(config, name, databases)]
    return [*patterns.without_excluded(wanted, candidates)]


def _candidates(config: JobConfig, name: str, databases: Collection[str]) -> list[str]:
    """Returns what a name of the job file may mean: without a database, it may be in each."""
    if not config.qualifies:
        return [name]
    database, local = qualified_names.split(name)
    places = databases if not database else [database] if database in databases else []
    return [qualified_names.join(place, local) for place in places]


def _survey_cluster(
    endpoint: Endpoint,
    use: Callable[[Collection[str]], Iterable[str]],
    choose: Callable[[list[str], Collection[str]], Iterable[str]],
    where: Callable[[str], str] = lambda name: "",
    new_names: Callable[[], Iterable[str]] = tuple,
    *,
    partitions: Callable[[Description], tuple[str, ...]] = lambda described: (),
) -> ClusterSurvey:
    """Reads what one cluster contains; ends early at a problem that makes the rest pointless.

    `use` returns the job's databases, of those of the cluster; `choose` the collections to examine,
    of those in the job's databases.
    """
    side = ClusterSurvey(endpoint.url, endpoint.database)
    quick, client = Client(endpoint, NO_RETRIES), Client(endpoint, SURVEY)
    try:
        side = replace(side, version=quick.version())
        if side.is_too_old:
            return side
        listed = quick.databases()
        side = replace(side, databases=tuple(listed), uses=tuple(use(listed)))
        if not (existing := side.existing_databases):
            return side
        names = quick.collections(existing)
        survey = partial(collection_survey.survey_collection, partitions=partitions)
        examine = partial(survey, quick, client, side.version, SharedSnapshot(client), where)
        side = _with_collections(side, client, names, choose(names, existing), examine)
        return replace(
            side,
            properties={name: client.database_properties(name) for name in existing},
            owners=_owners(client, new_names()),
            denied=_denied(side.version, {**quick.denied, **client.denied}),
        )
    except ServerError as error:
        return replace(side, problem=error)
    finally:
        quick.close()
        client.close()


def _with_collections(
    side: ClusterSurvey,
    client: Client,
    names: list[str],
    chosen: Iterable[str],
    examine: Callable[[str], tuple[Description, Rows] | None],
) -> ClusterSurvey:
    """Adds the chosen collections; an alias counts as the collection that it leads to."""
    existing = frozenset(names)
    resolved = {name: name if name in existing else client.resolve(name) for name in chosen}
    results = _examine_all(examine, filter(None, resolved.values()))
    present = {name: result for name, result in results.items() if result}
    return replace(
        side,
        names=tuple(name for name in names if results.get(name, True)),
        described={name: described for name, (described, _) in present.items()},
        rows={name: rows for name, (_, rows) in present.items()},
        aliases={
            alias: name for alias, name in resolved.items() if name in present and name != alias
        },
        vanished=tuple(name for name, result in results.items() if not result),
    )


def _owners(client: Client, names: Iterable[str]) -> dict[str, str]:
    """Returns, by name or alias, the collection that has it already."""
    return {name: owner for name, owner in _examine_all(client.owner, names).items() if owner}


def _examine_all(examine: Callable[[str], Result], names: Iterable[str]) -> dict[str, Result]:
    """Returns the result for each name, in order; some names are examined at the same time."""
    distinct = list(dict.fromkeys(names))
    pool = ThreadPoolExecutor(EXAMINED_AT_ONCE)
    try:
        return dict(zip(distinct, pool.map(examine, distinct), strict=True))
    finally:
        pool.shutdown(cancel_futures=True)  # After a failure the other names do not matter.


def _denied(version: Version, left_out: Mapping[str, ServerError]) -> tuple[str, ...]:
    """Returns the calls of `left_out` that the server denies, without those that it lacks."""

    def is_denied(call: str, error: ServerError) -> bool:
        if isinstance(error, (CallDenied, PrivilegeMissing)):
            return True
        is_new = version.known and version < _SINCE.get(call, OLDEST_READABLE)
        return not (version.lite or is_new)

    return tuple(sorted(call for call, error in left_out.items() if is_denied(call, error)))


def _with_key_clashes(
    config: JobConfig,
    source: ClusterSurvey,
    chosen: Iterable[str],
    trials: Mapping[str, tuple[Trial, ...]],
) -> dict[str, Rows]:
    """Adds to the rows of each collection the fields of the target that are also dynamic keys."""
    client = Client(config.source_endpoint, SURVEY)

    def with_clashes(name: str) -> Rows:
        described, plugins = source.described[name], config.transforms(name)
        tried = reshaping.recall_trials(trials.get(name, ()))
        reshaped = reshaping.apply_transforms(described, plugins, config.sink, tried)
        partitions = chosen_partitions(config.source, described)
        try:
            clashes = dynamic_key_clashes.find_clashes(client, described, reshaped, partitions)
        except Refused as error:
            if not is_gone(error):
                raise
            return source.rows[name]  # The copy of the collection fails and reports it.
        return replace(source.rows[name], clashes=clashes)

    try:
        return {**source.rows, **_examine_all(with_clashes, chosen)}
    finally:
        client.close()


def _trials(
    config: JobConfig, source: ClusterSurvey, chosen: Iterable[str]
) -> dict[str, tuple[Trial, ...]]:
    """Runs the Python functions of each collection on its first rows."""
    names = [
        name
        for name in chosen
        if any(isinstance(transform, Python) for transform in config.transforms(name))
        and not source.rows[name].filter_error
    ]
    if not names:
        return {}
    client = Client(config.source_endpoint, SURVEY)
    try:
        return {
            name: _try_functions(
                client, source.described[name], config.transforms(name), config.sink
            )
            for name in names
        }
    finally:
        client.close()


def _try_functions(
    client: Client, described: Description, plugins: tuple[Plugin, ...], sink: Sink
) -> tuple[Trial, ...]:
    results: list[Trial] = []

    def tried(stages: tuple[Stage, ...], before: Schema) -> Trial:
        schema, why = described.columns(stages[0].origins), ""
        try:
            rows = _first_rows(client, described, schema, reshaping.row_filter(plugins))
            if not rows.num_rows:
                rows, why = reshape.sample_row(schema), _SAMPLE
            results.append(reshape.try_function(rows, stages, before, made_up=bool(why)))
        except (FunctionFailed, ServerError) as error:
            results.append(f"{error}{why}")
        return results[-1]

    reshaping.apply_transforms(described, plugins, sink, tried)
    return tuple(results)


_SAMPLE = " (tried with a sample row of zeros and empty texts, because no rows are loaded)"


def _first_rows(
    client: Client, described: Description, schema: Schema, where: str
) -> pa.RecordBatch:
    if described.loaded is False:
        return pa.RecordBatch.from_pylist([], schema=schema.arrow())
    rows, _ = client.page(described.name, schema, rows=TRIED_ROWS, where=where)
    return rows
