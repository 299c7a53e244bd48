"""What all calls of a fake server share: its collections, databases, rules and clock."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

from pymilvus.grpc_gen import common_pb2

from tests.fakes.clock import Clock, Replicas, ticks
from tests.fakes.memory import Collection
from tests.fakes.rules import Rules, rules_of
from tests.fakes.statuses import NO_COLLECTION, Refusal, Unimplemented

DONE = common_pb2.Status()

FIRST_ID = 447_000_000_000_000_000
"""Ids of collections have as many digits as those of real servers."""


@dataclass
class _Contents:
    """What a database has: its collections, and the aliases of dropped ones."""

    collections: dict[str, Collection] = field(default_factory=dict)
    orphans: dict[str, str] = field(default_factory=dict)


class Server:
    """The state of one cluster, seen through one proxy.

    Attributes:
        version: what it says it is; its behaviour follows from it.
        behaves_as: the release that it is, if it says something else or nothing.
        clock: its timestamps; `clock.advance` lets time pass.
        flush_interval_s: how long a collection cannot be flushed again (2.4 and later): 10 s on
            real servers; 0, so that tests are quick, unless a test sets it.
        default_replicas: how often a collection is loaded if a request leaves that to the server.
        gives_timestamps: whether it has the call AllocTimestamp.
        stalled: whether replicas get no writes any longer, so that Strong reads fail.
    """

    def __init__(self, version: str, *, behaves_as: str = "", nodes: int = 1) -> None:
        self.version, self.behaves_as, self.nodes = version, behaves_as, nodes
        self.clock = Clock()
        self.replicas = Replicas()
        self.databases = ["default"]
        self.properties: dict[str, dict[str, str]] = {}
        self.flush_interval_s = 0.0
        self.default_replicas = 1
        self.gives_timestamps = True
        self.stalled = False
        self.metadata: dict[str, str] = {}
        self._contents: dict[str, _Contents] = {}
        self._entered = threading.local()
        self._numbers = itertools.count(FIRST_ID)
        # Real ones hand them out like this within 50 ms; each server begins at a time of its own.
        self._identifiers = itertools.count(ticks(time.time()))

    @property
    def rules(self) -> Rules:
        return rules_of(self.behaves_as or self.version)

    @property
    def database(self) -> str:
        """The database of the call that this thread answers."""
        return str(getattr(self._entered, "database", "default"))

    @contextmanager
    def entered(self, database: str) -> Iterator[None]:
        """Answers a call, or a test, in a database."""
        before, self._entered.database = self.database, database or "default"
        try:
            yield
        finally:
            self._entered.database = before

    @property
    def _collections(self) -> dict[str, Collection]:
        return self._contents.setdefault(self.database, _Contents()).collections

    @property
    def _orphans(self) -> dict[str, str]:
        return self._contents.setdefault(self.database, _Contents()).orphans

    def __getitem__(self, name: str) -> Collection:
        """Returns a collection by its name or one of its aliases; tests may write `database.name`."""
        if "." in name:
            database, _, local = name.partition(".")
            with self.entered(database):
                return self[local]
        collection = self._collections.get(name) or self.collection_of_alias(name)
        if collection is None:
            words = f"collection not found[database={self.database}]"
            raise Refusal(NO_COLLECTION, f"{words}[collection={name}]")
        return collection

    def collection_of_alias(self, alias: str) -> Collection | None:
        """Returns the collection that has an alias."""
        collections = self._collections.values()
        return next((collection for collection in collections if alias in collection.aliases), None)

    def lags(self, *seconds: float) -> None:
        """Gives the cluster a replica for each lag; they answer in turn."""
        self.replicas = Replicas(seconds or (0.0,))


def unknown(name: str) -> NoReturn:
    """Answers as a server that does not have a call."""
    raise Unimplemented(f"unknown method {name} for service milvus.proto.milvus.MilvusService")


def read(pairs: Iterable[common_pb2.KeyValuePair]) -> dict[str, str]:
    """Returns pairs of a message as a dictionary."""
    return {pair.key: pair.value for pair in pairs}


def pairs(**values: object) -> list[common_pb2.KeyValuePair]:
    """Returns a dictionary as pairs of a message."""
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]


def ids_of(keys: list[Any]) -> dict[str, Any]:
    """Returns keys as the IDs of an answer have them."""
    return {"str_id" if keys and isinstance(keys[0], str) else "int_id": {"data": keys}}
