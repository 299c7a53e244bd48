"""Several databases in one job, between two real servers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymilvus import MilvusClient

from tests import compare, kitelift, servers, zoo
from tests.servers import Server

pytestmark = [
    pytest.mark.milvus,
    pytest.mark.skipif(not servers.have_milvus(), reason="no wheel of Milvus for this platform"),
]

NAMES = {"default": "default", "many_sales": "many_sales", "many_shop": "many_store"}
"""The databases, by their names in the source, with those in the target."""

COLLECTIONS = ("docs", "notes", "users")
ROWS = 50


@dataclass(frozen=True)
class Clients:
    """Plain pymilvus on each database of both servers."""

    source: dict[str, MilvusClient]
    target: dict[str, MilvusClient]

    def differences(self) -> list[str]:
        return [
            f"{database}.{name}: {difference}"
            for database in NAMES
            for name in COLLECTIONS
            for difference in compare.differences(
                self.source[database], self.target[database], name
            )
        ]


@pytest.fixture
def clients(source: Server, target: Server) -> Iterator[Clients]:
    """Three databases of three collections in the source, each with its own rows, and an alias."""
    with contextlib.ExitStack() as stack:
        admin = stack.enter_context(contextlib.closing(MilvusClient(source.url)))
        for name in ("many_sales", "many_shop"):
            admin.create_database(name)
        opened = {name: client(source, name) for name in NAMES}
        for number, database in enumerate(opened.values()):
            for collection in COLLECTIONS:
                zoo.numbers(database, collection, rows=ROWS + number, seed=number)
            database.create_alias("docs", "live")
        copies: dict[str, MilvusClient] = {}
        try:
            yield Clients(opened, Targets(target, copies))
        finally:
            drop(opened, source)
            drop({NAMES[name]: copy for name, copy in copies.items()}, target)


class Targets(dict[str, MilvusClient]):
    """Clients of the target, opened when first asked for: the job creates the databases."""

    def __init__(self, server: Server, opened: dict[str, MilvusClient]) -> None:
        super().__init__()
        self._server, self._opened = server, opened

    def __missing__(self, name: str) -> MilvusClient:
        self._opened[name] = self[name] = client(self._server, NAMES[name])
        return self[name]


def client(server: Server, database: str) -> MilvusClient:
    return MilvusClient(server.url, db_name=database, dedicated=True)


def drop(clients: dict[str, MilvusClient], server: Server) -> None:
    for name, opened in clients.items():
        with contextlib.suppress(Exception):
            opened.drop_alias("live")
        zoo.drop_all(opened)
        opened.close()
        if name != "default":
            with contextlib.closing(MilvusClient(server.url)) as admin:
                admin.drop_database(name)


def test_databases_are_copied_and_synced_as_one_job(
    tmp_path: Path, source: Server, target: Server, clients: Clients
) -> None:
    conf = kitelift.write_job(
        tmp_path,
        source.url,
        target.url,
        source={"database": ["default", "many_*"]},
        sink={"create_database": True, "database_rename": {"many_shop": "many_store"}},
    )
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    names = {f"{database}.{name}" for database in NAMES for name in COLLECTIONS}
    assert {each["name"] for each in ended.report["collections"]} == names
    assert clients.differences() == []
    for database in NAMES:
        described = clients.target[database].describe_collection("live")
        assert described["collection_name"] == "docs"

    clients.source["many_shop"].delete("docs", ids=[1])
    synced = kitelift.run(conf, "sync", "--delete")
    assert synced.code == 0, synced.text
    assert clients.differences() == []
    assert compare.Reader(clients.target["many_shop"], "docs").count(None) == ROWS + 1
