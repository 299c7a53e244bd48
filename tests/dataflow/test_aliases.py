"""Aliases are those that the coordinator lists; a description may be older than they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen import milvus_pb2

from pipeline.target import drop
from tests import clusters
from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault, Refusal
from transforms.errors import Refused
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan

pytestmark = pytest.mark.slow

DENIED = Fault(grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeListAliases: permission deny")
GONE = Fault(code=1600, text="alias not found[database=default][alias=live]")


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Servers as of 2.6: aliases that descriptions still have, by collection."""
    old: dict[str, list[str]] = {}
    describe = FakeMilvus.DescribeCollection

    def cached(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        answer = describe(server, request, context)
        answer.aliases.extend(old.get(request.collection_name, []))
        return answer

    def owner(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        for name, each in server._collections.items():
            if request.alias in each.aliases:
                return milvus_pb2.DescribeAliasResponse(alias=request.alias, collection=name)
        raise Refusal(1600, f"alias not found[alias={request.alias}]")

    monkeypatch.setattr(FakeMilvus, "DescribeCollection", cached)
    monkeypatch.setattr(FakeMilvus, "DescribeAlias", owner)
    return old


@pytest.fixture
def job(stale: dict[str, list[str]], tmp_path: Path) -> Iterator[Job]:
    """After a switch from `docs` to `docs_2`: the alias `live` is still described with the former."""
    with between_fakes(tmp_path) as made:
        for name in ("docs", "docs_2"):
            made.source.create(schema(name), rows(5))
        made.source["docs_2"].aliases.append("live")
        stale["docs"] = ["live"]
        yield made


@pytest.fixture
def switched(stale: dict[str, list[str]]) -> Iterator[tuple[FakeMilvus, Client]]:
    """A target after such a switch."""
    with FakeMilvus("v2.6.19") as server:
        for name in ("docs", "docs_2"):
            server.create(schema(name))
        server["docs_2"].aliases.append("live")
        stale["docs"] = ["live"]
        client = Client(Endpoint(server.url))
        yield server, client
        client.close()


def dropped(client: Client, name: str) -> None:
    described = clusters.described(schema("of_the_source"), collection_id=10**6)
    plan = CollectionPlan(described, name, described, ("",), 0, replaces="schema")
    nowhere = Plan("job", "p1", 1.5, "", "", "", "", (plan,))
    drop.drop(client, clusters.job(), nowhere, plan)


def test_an_alias_goes_to_the_collection_that_has_it_now(job: Job, stale: dict[str, Any]) -> None:
    assert job.run() == 0
    assert job.target["docs"].aliases == []
    assert job.target["docs_2"].aliases == ["live"]


def test_an_alias_that_a_description_has_already_is_given_all_the_same(
    job: Job, stale: dict[str, Any]
) -> None:
    job.target.create(schema("docs_2"))
    stale["docs_2"] = ["live"]
    assert job.run() == 0
    assert job.target["docs_2"].aliases == ["live"]


def test_without_the_right_to_list_aliases_those_of_the_description_are_taken(
    stale: dict[str, list[str]], switched: tuple[FakeMilvus, Client]
) -> None:
    server, client = switched
    stale.clear()
    server.fails("ListAliases", DENIED, times=None)
    server["docs"].aliases.append("papers")
    assert client.describe("docs").aliases == ("papers",)
    assert client.aliases("docs") is None


@pytest.mark.parametrize("owner", ["", "others"])
def test_an_alias_that_a_dropped_collection_left_behind_is_reused(
    tmp_path: Path, owner: str
) -> None:
    """2.3.5 keeps such an alias, and refuses to create it again; that of a collection stays."""
    with between_fakes(tmp_path) as job:
        job.source.create(schema(), rows(5))
        job.source["docs"].aliases.append("live")
        job.target.create(schema("others"))
        client = Client(Endpoint(job.target.url))
        client.create_alias("others", "live")
        if not owner:
            client.drop_collection("others")
        client.close()
        assert job.run("run", "--accept=lost:docs.aliases.live") == 0
        assert job.target["docs"].aliases == ([] if owner else ["live"])


def test_what_is_dropped_takes_no_alias_of_another_collection_along(
    switched: tuple[FakeMilvus, Client],
) -> None:
    server, client = switched
    server["docs"].aliases.append("papers")
    dropped(client, "docs")
    assert [each.alias for each in server.asked("DropAlias")] == ["papers"]
    assert server["docs_2"].aliases == ["live"]


@pytest.mark.parametrize("owned", [True, False])
def test_without_a_list_each_alias_is_asked_for_its_owner(
    switched: tuple[FakeMilvus, Client], owned: bool
) -> None:
    server, client = switched
    server.fails("ListAliases", DENIED, times=None)
    dropped(client, "docs_2" if owned else "docs")
    assert len(server.asked("DropAlias")) == int(owned)


def test_an_alias_that_is_gone_meanwhile_does_not_stop_the_drop(
    switched: tuple[FakeMilvus, Client],
) -> None:
    server, client = switched
    server.fails("DropAlias", GONE, when=lambda _: not server["docs_2"].aliases.remove("live"))
    dropped(client, "docs_2")
    assert client.collections() == ["docs"]


def test_an_alias_that_cannot_be_dropped_stops_it(switched: tuple[FakeMilvus, Client]) -> None:
    server, client = switched
    server.fails("DropAlias", Fault(code=1100, text="no"))
    with pytest.raises(Refused):
        dropped(client, "docs_2")
    assert client.collections() == ["docs", "docs_2"]


@pytest.mark.parametrize(("name", "owner"), [("docs", "docs"), ("live", "docs_2"), ("other", "")])
def test_the_owner_of_a_name_is_told(
    switched: tuple[FakeMilvus, Client], name: str, owner: str
) -> None:
    assert switched[1].owner(name) == owner
