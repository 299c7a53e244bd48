"""What all calls of a fake server share: its collections, databases, rules and clock."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from typing import Any, NoReturn

from pymilvus.grpc_gen import common_pb2

from tests.fakes.clock import Clock, Replicas, ticks
from tests.fakes.memory import Collection
from tests.fakes.rules import Rules, rules_of
from tests.fakes.statuses import NO_COLLECTION, Refusal, Unimplemented

DONE = common_pb2.Status()

FIRST_ID = 447_000_000_000_000_000
"""Ids of collections have as many digits as those of real servers."""


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
        self._collections: dict[str, Collection] = {}
        self._orphans: dict[str, str] = {}
        self._numbers = itertools.count(FIRST_ID)
        # Real ones hand them out like this within 50 ms; each server begins at a time of its own.
        self._identifiers = itertools.count(ticks(time.time()))

    @property
    def rules(self) -> Rules:
        return rules_of(self.behaves_as or self.version)

    def __getitem__(self, name: str) -> Collection:
        """Returns a collection by its name or one of its aliases."""
        collection = self._collections.get(name) or self.collection_of_alias(name)
        if collection is None:
            words = "collection not found[database=default]"
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
