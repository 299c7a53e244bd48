"""What the tests that run the command line share.

| fixture | scope | is |
|---|---|---|
| `desk` | test | a folder for a job, and a database of the same name, empty, on both servers |
| `two_lites` | module | two milvus-lite, started when first asked for |
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from tests import compare, kitelift, servers, zoo
from tests.servers import Server


@dataclass(frozen=True)
class Desk:
    """Where one job is written and run, and plain pymilvus on the databases that it joins."""

    folder: Path
    source_url: str
    target_url: str
    database: str
    source: MilvusClient
    target: MilvusClient

    def job(
        self,
        *collections: str,
        env: dict[str, Any] | None = None,
        source: dict[str, Any] | None = None,
        sink: dict[str, Any] | None = None,
        transform: str = "",
    ) -> Path:
        """Writes the job file; where no collection is named, it copies all that are loaded."""
        return kitelift.write_job(
            self.folder,
            self.source_url,
            self.target_url,
            collections or None,
            env=env,
            source={"database": self.database, **(source or {})},
            sink={"database": self.database, **(sink or {})},
            transform=transform,
        )

    def differences(self, name: str) -> list[str]:
        """How the target's collection differs from the source's, in words."""
        return compare.differences(self.source, self.target, name)

    def target_holds(self) -> dict[str, tuple[int, int]]:
        """By its name, the id of each collection in the target and its rows."""
        return {
            name: (self.target.describe_collection(name)["collection_id"], self.count(name))
            for name in self.target.list_collections()
        }

    def count(self, name: str) -> int:
        """Rows in the target, each copy of a repeated key counted."""
        return compare.Reader(self.target, name).count(None)


@contextlib.contextmanager
def open_desk(folder: Path, source: Server, target: Server, database: str) -> Iterator[Desk]:
    """A desk whose database is made on both servers, and gone afterwards."""
    with _database(source, database) as left, _database(target, database) as right:
        yield Desk(folder, source.url, target.url, database, left, right)


@pytest.fixture
def desk(tmp_path: Path, source: Server, target: Server) -> Iterator[Desk]:
    with open_desk(tmp_path, source, target, "desk") as opened:
        yield opened


@pytest.fixture(scope="module")
def two_lites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folder = tmp_path_factory.mktemp("lites")
    pair = servers.MilvusLite(folder / "source"), servers.MilvusLite(folder / "target")
    with servers.started(*pair):
        yield pair


@contextlib.contextmanager
def _database(server: Server, name: str) -> Iterator[MilvusClient]:
    with contextlib.closing(MilvusClient(server.url, token=server.token)) as admin:
        admin.create_database(name)
        client = MilvusClient(server.url, token=server.token, db_name=name)
        yield client
        zoo.drop_all(client)
        client.close()
        admin.drop_database(name)
