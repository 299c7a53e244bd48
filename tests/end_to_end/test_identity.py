"""A collection beside itself, onto itself, and in a clone of its server, on real servers."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from pymilvus import MilvusClient

from tests import kitelift, servers
from tests.end_to_end.conftest import Desk
from tests.servers import Milvus, MilvusLite

pytestmark = [pytest.mark.slow, pytest.mark.milvus]

ROWS = 2_000
APPEND = {"data_save_mode": "APPEND_DATA"}


def fill(client: MilvusClient, name: str = "docs") -> None:
    client.create_collection(name, dimension=4, consistency_level="Strong")
    vectors = np.random.default_rng(0).random((ROWS, 4))
    client.insert(name, [{"id": key, "vector": [*each]} for key, each in enumerate(vectors)])
    client.flush(name)


def count(client: MilvusClient, name: str = "docs") -> int:
    [found] = client.query(name, output_fields=["count(*)"], consistency_level="Strong")
    return int(found["count(*)"])


def onto_itself(folder: Path, url: str, database: str) -> Path:
    """A job of which both urls lead to one server: as `127.0.0.1`, and as `localhost`."""
    return kitelift.write_job(
        folder,
        url,
        url.replace("127.0.0.1", "localhost"),
        ["docs"],
        source={"database": database},
        sink=APPEND,
    )


@pytest.mark.parametrize("command", ["plan", "run", "verify", "sync"])
def test_a_collection_is_not_copied_into_itself(desk: Desk, command: str) -> None:
    fill(desk.source)
    ended = kitelift.run(onto_itself(desk.folder, desk.source_url, desk.database), command)
    assert ended.code == 3
    assert "[same-collection] target collection docs: it is the source collection" in ended.text
    assert count(desk.source) == ROWS


def test_a_copy_beside_the_original(desk: Desk) -> None:
    fill(desk.source)
    desk.source.create_alias("docs", "docs_live")
    conf = kitelift.write_job(
        desk.folder,
        desk.source_url,
        desk.source_url,
        ["docs"],
        source={"database": desk.database},
        sink={"collection_rename": {"docs": "docs_v2"}},
    )
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert "collection docs_v2 in database desk" in " ".join(ended.out.split())
    assert "[alias-stays]" in ended.err
    assert (count(desk.source), count(desk.source, "docs_v2")) == (ROWS, ROWS)
    assert desk.source.describe_collection("docs")["aliases"] == ["docs_live"]
    assert kitelift.run(conf, "sync", "--delete").code == 0
    assert (count(desk.source), count(desk.source, "docs_v2")) == (ROWS, ROWS)


def test_a_clone_of_a_server_is_another_server(tmp_path: Path) -> None:
    with contextlib.closing(Milvus(tmp_path / "original")) as original:
        original.start()
        fill(MilvusClient(original.url))
        original.kill()
        shutil.copytree(original.data, tmp_path / "clone")
        with servers.started(original, Milvus(tmp_path / "clone")) as (source, clone):
            clients = [MilvusClient(each.url) for each in (source, clone)]
            ids = {client.describe_collection("docs")["collection_id"] for client in clients}
            assert len(ids) == 1
            for client in clients:
                client.load_collection("docs")
            clients[1].delete("docs", filter="id < 10")
            job = kitelift.write_job(tmp_path, source.url, clone.url, ["docs"], sink=APPEND)
            ended = kitelift.run(job)
            assert ended.code == 0, ended.text
            assert "same-collection" not in ended.text
            assert count(clients[1]) == ROWS


def test_a_milvus_lite_without_ids_is_told_by_its_address(tmp_path: Path) -> None:
    with MilvusLite(tmp_path / "one") as one, MilvusLite(tmp_path / "other") as other:
        for each in (one, other):
            fill(MilvusClient(each.url))
        itself = kitelift.run(onto_itself(tmp_path, one.url, "default"))
        assert (itself.code, "[same-collection]" in itself.text) == (3, True)
        apart = kitelift.write_job(tmp_path, one.url, other.url, ["docs"], sink=APPEND)
        assert kitelift.run(apart).code == 0
