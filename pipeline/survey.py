"""Asks both clusters what is there. Writes nothing; what could not be learned is a fact as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pipeline.job import JobConfig
from transforms.errors import MigrationError, ServerError
from transforms.milvus.channel import AT_ONCE, Patience
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.filters import MAX_INT64, literal
from transforms.milvus.versions import Version

SURVEY = Patience(outage_s=20.0, timeout_s=60.0)
"""Once a server has answered at all, it may be busy for a while."""


@dataclass(frozen=True)
class Rows:
    """The rows of one collection: `count(*)` where it is loaded, else the server's statistics.

    `unreadable` counts rows with key 2^63-1, which servers before 2.6 count but never return.
    """

    count: int
    exact: bool
    unreadable: int = 0


@dataclass(frozen=True)
class Side:
    """One cluster, as far as it could be asked; `problem` is why it could not be asked further."""

    url: str
    database: str
    problem: ServerError | None = None
    version: Version = field(default_factory=lambda: Version(""))
    databases: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    described: Mapping[str, Description] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)

    @property
    def has_database(self) -> bool:
        """Whether the database is there."""
        return self.database in self.databases


@dataclass(frozen=True)
class Survey:
    """Both clusters at one moment. `chosen` are the collections to copy, of those that exist."""

    source: Side
    target: Side
    chosen: tuple[str, ...]


def survey(config: JobConfig) -> Survey:
    """Asks both clusters, at the same time.

    A cluster that cannot be reached, or refuses the credentials, is told by its `problem`.
    """
    with ThreadPoolExecutor(2) as pool:
        source = pool.submit(_ask, config.source_endpoint, lambda names: _wanted(config, names))
        target = pool.submit(
            _ask,
            config.target_endpoint,
            lambda names: set(names).intersection(
                config.sink.name_of(name) for name in _chosen(config, source.result())
            ),
        )
        return Survey(source.result(), target.result(), _chosen(config, source.result()))


def _chosen(config: JobConfig, source: Side) -> tuple[str, ...]:
    if config.source.collections is None:
        chosen = [name for name, each in source.described.items() if each.loaded is not False]
    else:
        chosen = [_resolved(source, name) for name in config.source.collections]
    return tuple(dict.fromkeys(name for name in chosen if name))


def _resolved(source: Side, wanted: str) -> str:
    """Returns the collection of that name, or of that alias, or ""."""
    if wanted in source.described:
        return wanted
    return next((n for n, each in source.described.items() if wanted in each.aliases), "")


def _wanted(config: JobConfig, names: list[str]) -> list[str]:
    named = config.source.collections
    if named is None or any(name not in names for name in named):
        return names  # All of them: to find what is loaded, or what an alias stands for.
    return list(named)


def _ask(endpoint: Endpoint, choose: Callable[[list[str]], Iterable[str]]) -> Side:
    """Learns what one cluster has; stops at the first answer without which no other makes sense."""
    side = Side(endpoint.url, endpoint.database)
    quick = Client(endpoint, AT_ONCE)
    client = Client(endpoint, SURVEY)
    try:
        version, databases = quick.version(), tuple(quick.databases())
        side = Side(endpoint.url, endpoint.database, None, version, databases)
        if not side.has_database:
            return side
        names = quick.collections()
        described = {name: client.describe(name) for name in choose(names)}
        rows = {name: _rows(client, each, version) for name, each in described.items()}
        return Side(
            endpoint.url,
            endpoint.database,
            version=version,
            databases=databases,
            names=tuple(names),
            described=described,
            rows=rows,
        )
    except ServerError as error:
        return Side(endpoint.url, endpoint.database, error, side.version, side.databases)
    finally:
        quick.close()
        client.close()


def _rows(client: Client, described: Description, version: Version) -> Rows:
    if described.loaded is False:
        return Rows(client.stored_rows(described.name), exact=False)
    try:
        count = client.count(described.name)
    except ServerError:
        if described.loaded:
            raise
        return Rows(client.stored_rows(described.name), exact=False)
    return Rows(count, exact=True, unreadable=_unreadable(client, described, version))


def _unreadable(client: Client, described: Description, version: Version) -> int:
    try:
        primary = described.schema.primary
    except MigrationError:
        return 0  # A type that cannot be carried; preflight says so.
    if primary.type.name != "Int64" or (version.number or (0, 0, 0)) >= (2, 6, 0):
        return 0
    where = f"{primary.name} == {literal(MAX_INT64)}"
    return client.count(described.name, where=where, strong=False)
