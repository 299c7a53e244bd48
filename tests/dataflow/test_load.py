"""A collection is loaded with the server's default number of replicas, unless the source has more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.clusters import described, schema
from tests.fakes.milvus import FakeMilvus
from transforms import completion
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan

Target = tuple[FakeMilvus, Client]


@pytest.fixture
def target() -> Iterator[Target]:
    """A collection that is not loaded, and room for two replicas."""
    with FakeMilvus("v2.6.19", nodes=2) as server:
        server.create(schema()).loaded = False
        client = Client(Endpoint(server.url))
        yield server, client
        client.close()


def load(client: Client, replicas: int) -> None:
    wanted = replace(described(), replicas=replicas)
    completion.load(client, CollectionPlan(described(), "docs", wanted, ("",), 0))


def asked(server: FakeMilvus) -> list[int]:
    """The numbers of replicas that were asked for."""
    return [each.replica_number for each in server.asked("LoadCollection")]


@pytest.mark.parametrize("replicas", [0, 1])
def test_the_number_is_the_servers_where_the_source_has_one_or_does_not_tell(
    target: Target, replicas: int
) -> None:
    server, client = target
    load(client, replicas)
    assert asked(server) == [0]
    assert server["docs"].loaded


@pytest.mark.parametrize(("nodes", "numbers"), [(2, [2]), (1, [2, 0])])
def test_several_replicas_are_asked_for_once_and_else_the_default(
    target: Target, nodes: int, numbers: list[int]
) -> None:
    server, client = target
    server.nodes = nodes
    load(client, 2)
    assert asked(server) == numbers
    assert server["docs"].loaded


@pytest.mark.parametrize("replicas", [1, 3])
def test_what_is_loaded_keeps_its_replicas(target: Target, replicas: int) -> None:
    """From 2.6.6 on another call changes them; before, it is refused."""
    server, client = target
    server["docs"].load()
    server["docs"].replicas = replicas
    load(client, 2)
    client.load("docs")
    assert asked(server) == []


@pytest.mark.parametrize(("replicas", "number"), [(1, 0), (2, 2)])
def test_partitions_that_are_not_loaded_are_loaded_with_the_others(
    target: Target, replicas: int, number: int
) -> None:
    server, client = target
    docs = server["docs"]
    docs.partitions.append("old")
    docs.load()
    docs.replicas, docs.released = replicas, {"old"}
    load(client, 1)
    assert asked(server) == [number]
