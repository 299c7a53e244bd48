"""Asks both clusters what is there. Writes nothing; what could not be learned is a fact as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from pipeline import identity, reshaping, shadowing
from pipeline.identity import Match
from pipeline.jobfile import patterns
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.transform import Python
from pipeline.reshaping import Trial
from transforms import reshape
from transforms.errors import (
    Busy,
    FunctionFailed,
    MigrationError,
    Refused,
    ServerError,
)
from transforms.milvus.access import Access, AccessClient
from transforms.milvus.channel import AT_ONCE, BRIEFLY_S, Patience
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Pairs
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.filters import MAX_INT64, both, literal
from transforms.milvus.schema import Schema
from transforms.milvus.snapshot import BOUNDED, NOT_TOLD, STRONG, Snapshot
from transforms.milvus.versions import Version, release
from transforms.reshape import Stage

SURVEY = Patience(outage_s=20.0, timeout_s=60.0, unexplained_s=BRIEFLY_S)
"""Once a server has answered at all, it may be busy for a while."""

TRIED_ROWS = 10
"""Rows on which a function is tried: what its columns are shows on any."""


@dataclass(frozen=True)
class Rows:
    """The rows of one collection: `count(*)` where it is loaded, else the server's statistics.

    With a row filter `count` is what it finds of `unfiltered` rows; `refused` is why the source
    does not take it, as the server says it.
    `snapshot` is when the rows of a source were counted, and will be read.
    `unreadable` counts rows with key 2^63-1, which servers before 2.6.8 count but never return.
    `unnameable` is why no filter can name the key, as the server says it.
    `unloaded` are fields that a loaded collection has left out of memory, `released` partitions,
    whose rows are not counted. `problem` is why a loaded collection cannot be counted, as the
    server says it. `shadowing` are fields of the target that rows have in their dynamic field too,
    with how many rows that are.
    """

    count: int
    exact: bool
    snapshot: Snapshot = NOT_TOLD
    unreadable: int = 0
    unnameable: str = ""
    unloaded: tuple[str, ...] = ()
    released: tuple[str, ...] = ()
    problem: str = ""
    unfiltered: int | None = None
    refused: str = ""
    shadowing: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Side:
    """One cluster, as far as it could be asked; `problem` is why it could not be asked further.

    `properties` are those of the database. `access` is known only where the job copies users and
    roles. `owners` are, by the names that the job gives, the collections that have them already, be
    it as an alias.
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

    source: Side
    target: Side
    chosen: tuple[str, ...]
    trials: Mapping[str, tuple[Trial, ...]] = field(default_factory=dict)
    matches: Mapping[str, Match] = field(default_factory=dict)
    beside: frozenset[str] = frozenset()


def survey(config: JobConfig) -> Survey:
    """Asks both clusters, at the same time.

    A cluster that cannot be reached, or refuses the credentials, is told by its `problem`.
    """
    with ThreadPoolExecutor(2) as pool:
        source = pool.submit(
            _ask,
            config.source_endpoint,
            lambda names: _wanted(config, names),
            lambda name: reshaping.where(config, name),
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
            identity.find(config, source.result(), target.result(), chosen),
            identity.beside(config, source.result(), target.result(), chosen),
        )


def _with_access(config: JobConfig, endpoint: Endpoint, side: Side) -> Side:
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


def _given(config: JobConfig, source: Side) -> Iterator[str]:
    """Yields the names, of collections and aliases, that the target is to have."""
    for name in _chosen(config, source):
        yield config.name_of(name)
        yield from source.described[name].aliases


def _chosen(config: JobConfig, source: Side) -> tuple[str, ...]:
    wanted, described = config.source.collections, source.described
    names = list(described) if wanted is None else patterns.select(wanted, described)
    if wanted is None or patterns.only_excludes(wanted):
        chosen = [name for name in names if described[name].loaded is not False]
    else:
        chosen = [_resolved(source, name) for name in names]
    return tuple(dict.fromkeys(name for name in chosen if name))


def _resolved(source: Side, wanted: str) -> str:
    """Returns the collection of that name, or of that alias, or ""."""
    if wanted in source.described:
        return wanted
    return next((n for n, each in source.described.items() if wanted in each.aliases), "")


def _wanted(config: JobConfig, names: list[str]) -> list[str]:
    named = config.source.collections
    if named is None:
        return names  # All of them: to find what is loaded.
    selected = patterns.select(named, names)
    if any(name not in names for name in selected):
        return names  # All of them: to find what an alias stands for.
    return list(selected)


def _ask(
    endpoint: Endpoint,
    choose: Callable[[list[str]], Iterable[str]],
    where: Callable[[str], str] = lambda name: "",
    given: Callable[[], Iterable[str]] = tuple,
    *,
    read: bool = False,
) -> Side:
    """Learns what one cluster has; stops at the first answer without which no other makes sense.

    If it will be `read`, its rows are counted at the snapshot of the reading.
    """
    side = Side(endpoint.url, endpoint.database)
    quick = Client(endpoint, AT_ONCE)
    client = Client(endpoint, SURVEY)
    try:
        version, databases = quick.version(), tuple(quick.databases())
        side = Side(endpoint.url, endpoint.database, None, version, databases)
        if not side.has_database:
            return side
        rows = partial(_rows, client, version, read=read)
        names = quick.collections()
        described = {name: _whether_loaded(quick, client.describe(name)) for name in choose(names)}
        return Side(
            endpoint.url,
            endpoint.database,
            version=version,
            databases=databases,
            names=tuple(names),
            described=described,
            rows={name: rows(each, where(name)) for name, each in described.items()},
            properties=client.database_properties(),
            owners={name: found for name in given() if (found := client.owner(name))},
        )
    except ServerError as error:
        return Side(endpoint.url, endpoint.database, error, side.version, side.databases)
    finally:
        quick.close()
        client.close()


def _whether_loaded(quick: Client, described: Description) -> Description:
    """A user who may not ask for the load state learns it from what becomes of a query."""
    if described.loaded is not None:
        return described
    try:
        quick.count(described.name)
    except (Refused, Busy) as error:
        unloaded = "not loaded" in error.detail
        return replace(described, loaded=False) if unloaded else described
    return replace(described, loaded=True)


def _rows(
    client: Client, version: Version, described: Description, where: str, *, read: bool
) -> Rows:
    name = described.name
    if described.loaded is False:
        return Rows(client.stored_rows(name), exact=False)
    try:
        snapshot = client.snapshot(name) if read else NOT_TOLD
        seen = snapshot.consistency or STRONG
        count = client.count(name, seen=seen)
    except (Refused, Busy) as error:
        problem = error.detail if described.loaded else ""
        return Rows(client.stored_rows(name), exact=False, problem=problem)
    found = Rows(
        count,
        exact=True,
        snapshot=snapshot,
        unloaded=_unloaded(client, described, version),
        released=_released(client, described, version),
    )
    if where:
        try:
            count = client.count(name, where=where, seen=seen)
        except (Refused, Busy) as error:
            return replace(found, refused=error.detail)
        found = replace(found, count=count, unfiltered=found.count)
    return _of_key(client, described, where, found)


def _unloaded(client: Client, described: Description, version: Version) -> tuple[str, ...]:
    if version.lite or (version.known and version < release("2.5.0")):
        return ()  # Fields are loaded one by one from 2.5 on.
    return client.unloaded_fields(described.name, reshaping.carried(described).names)


def _released(client: Client, described: Description, version: Version) -> tuple[str, ...]:
    if version.files or described.partition_key or len(described.partitions) < 2:
        return ()  # What rows are dealt out to by a key is loaded as a whole.
    found = (each for each in described.partitions if client.loaded(described.name, each) is False)
    return tuple(found)


def _of_key(client: Client, described: Description, where: str, found: Rows) -> Rows:
    """Learns whether a filter can name the key: Milvus takes any name for a field, `in` too."""
    try:
        schema = described.schema
    except MigrationError:
        return found  # A type that cannot be carried; preflight says so.
    primary, seen = schema.primary, found.snapshot.consistency or BOUNDED
    is_number = primary.type.name == "Int64"
    last = both(f"{primary.name} == {literal(MAX_INT64 if is_number else '')}", where)
    try:
        count = client.count(described.name, where=last, seen=seen)
        if not count or not is_number:
            return found
        key = schema.select([primary.name])
        shown, _ = client.page(described.name, key, rows=1, where=last, seen=seen)
    except (Refused, Busy) as error:
        return replace(found, unnameable=error.detail)
    return replace(found, unreadable=0 if shown.num_rows else count)


def _with_shadowing(
    config: JobConfig,
    source: Side,
    chosen: Iterable[str],
    trials: Mapping[str, tuple[Trial, ...]],
) -> dict[str, Rows]:
    """Learns which fields of the target the rows of each collection have in their dynamic field."""
    rows = dict(source.rows)
    client = Client(config.source_endpoint, SURVEY)
    try:
        for name in chosen:
            tried = reshaping.recalled(trials.get(name, ()))
            found = shadowing.of(client, config, source.described[name], tried)
            rows[name] = replace(rows[name], shadowing=found)
    finally:
        client.close()
    return rows


def _trials(config: JobConfig, source: Side, chosen: Iterable[str]) -> dict[str, tuple[Trial, ...]]:
    """Tries the Python functions of each collection on its first rows."""
    names = [
        name
        for name in chosen
        if any(isinstance(each, Python) for each in config.transforms(name))
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
                rows, why = reshape.stand_in(schema), _STOOD_IN
            found.append(reshape.try_out(rows, stages, before, made_up=bool(why)))
        except (FunctionFailed, ServerError) as error:
            found.append(f"{error}{why}")
        return found[-1]

    reshaping.resolve(config, described, tried)
    return tuple(found)


_STOOD_IN = " (tried on a row of zeros and empty texts, as no rows are loaded)"


def _first_rows(
    client: Client, config: JobConfig, described: Description, schema: Schema
) -> pa.RecordBatch:
    if described.loaded is False:
        return pa.RecordBatch.from_pylist([], schema=schema.arrow())
    where = reshaping.where(config, described.name)
    rows, _ = client.page(described.name, schema, rows=TRIED_ROWS, where=where)
    return rows
