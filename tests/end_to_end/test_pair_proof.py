"""`kitelift doctor --prove` on real servers: what it prints, what it finds, what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient, MilvusException
from pymilvus.grpc_gen import milvus_pb2

from pipeline import cli
from pipeline.commands.pair_proof import prove
from tests import kitelift
from tests.end_to_end.conftest import Desk
from tests.fakes.proxy import Proxy
from tests.servers import Server

LIMIT_S = 60.0
"""What a proof of two 2.3.5 may take on a machine that does nothing else."""

TAG = "kitelift_prove_"


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`few("no_rows")` leaves only these specimens."""

    def choose(*names: str) -> None:
        monkeypatch.setattr(prove, "ALL", tuple(each for each in prove.ALL if each.name in names))

    return choose


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    for name in ("source", "target"):
        if name in request.fixturenames:
            assert left_behind(request.getfixturevalue(name)) == []


def left_behind(server: Server) -> list[str]:
    """Databases of proofs, and collections of proofs in other databases."""
    found = []
    admin = MilvusClient(server.url, token=server.token)
    for database in admin.list_databases():
        inside = MilvusClient(server.url, token=server.token, db_name=database)
        found += [each for each in [database, *inside.list_collections()] if each.startswith(TAG)]
        inside.close()
    admin.close()
    return found


def outcomes(text: str) -> dict[str, str]:
    """What became of each collection, by the lines that were printed."""
    lines = re.findall(r"^(equal|differs|failed|not tried) +(\w+)  ", text, re.MULTILINE)
    return {name: outcome for outcome, name in lines}


def allowed_s() -> float:
    """`LIMIT_S`, and more where other processes want the same cores."""
    return LIMIT_S * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.slow
def test_two_servers_are_proven(desk: Desk) -> None:
    limit_s = allowed_s()
    ended = kitelift.run(desk.job(), "doctor", "--prove", "--yes")

    assert ended.code == 0, ended.text
    known = [specimen.name for specimen in prove.SPECIMENS]
    assert outcomes(ended.out) == dict.fromkeys(known, "equal")
    *lines, unknown, row = ended.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert unknown.startswith("not tried, a server does not support it: half_vectors, ")
    said = rf"\| 2\.3\.5 \| 2\.3\.5 \| run \| \d{{4}}-\d\d-\d\d \| .*, {len(known)} collections equal, \d+ s \|"
    assert re.fullmatch(said, row)
    assert "(100 %)" in ended.err
    assert "Traceback" not in ended.text
    assert ended.seconds < max(limit_s, allowed_s())


@pytest.mark.slow
def test_two_lites_are_proven(
    two_lites: tuple[Server, Server], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = kitelift.write_job(tmp_path, *(lite.url for lite in two_lites))
    assert cli.main(["doctor", "--prove", "--yes", "--quiet", f"--config={conf}"]) == 0
    found = outcomes(capsys.readouterr().out)
    assert set(found.values()) == {"equal"}
    assert {"documents", "sparse_vectors", "full_text", "geometry", "times"} <= found.keys()
    assert [left_behind(lite) for lite in two_lites] == [[], []]


class Forger(Proxy):
    """Changes a number in what Kitelift reads; the client that judges it reads the truth."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.forged = 0

    def _answer(self, method: str, request: bytes, context: Any, forward: Any) -> bytes:
        def bounded(request: bytes, *, timeout: float | None, metadata: Any) -> bytes:
            # Of a call without a deadline gRPC says that centuries remain, which overflow.
            return forward(request, timeout=min(timeout or LIMIT_S, LIMIT_S), metadata=metadata)

        answer = super()._answer(method, request, context, bounded)
        if method != "Query":
            return answer
        asked = milvus_pb2.QueryRequest.FromString(request)
        if not any(pair.key == "iterator" for pair in asked.query_params):
            return answer
        found = milvus_pb2.QueryResults.FromString(answer)
        for column in found.fields_data:
            numbers = column.scalars.long_data.data
            if column.field_name == "number" and numbers:
                numbers[0] += 1
                self.forged += 1
        return found.SerializeToString()


def test_a_mistake_that_kitelift_does_not_see_is_found(
    desk: Desk, source: Server, few: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    few("duplicate_keys", "partition_key")
    with Forger(source.address) as proxy:
        conf = desk.job(source={"url": proxy.url})
        assert cli.main(["doctor", "--prove", "--yes", f"--config={conf}"]) == 4
    assert proxy.forged

    said = capsys.readouterr()
    assert outcomes(said.out) == {"duplicate_keys": "differs", "partition_key": "equal"}
    assert re.search(r"^ {12}key 0: number is 0, in the target 1$", said.out, re.MULTILINE)
    assert "1 of 2 collections equal" in said.out
    [kept] = re.findall(r"log of the copy: (\S+)", said.err)
    assert (Path(kept) / "kitelift.log").read_text()


def test_without_a_database_of_its_own_it_drops_only_its_names(
    desk: Desk,
    few: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few("no_rows", "settings")
    desk.target.create_collection("kitelift_prove", dimension=4)

    def refuse(*_: object, **__: object) -> None:
        raise MilvusException(message="permission deny")

    monkeypatch.setattr(MilvusClient, "create_database", refuse)
    assert cli.main(["doctor", "--prove", "--yes", f"--config={desk.job()}"]) == 0

    said = capsys.readouterr()
    assert said.err.count("cannot create a database (permission deny)") == 2
    assert outcomes(said.out) == {"no_rows": "equal", "settings": "equal"}
    assert desk.target.list_collections() == ["kitelift_prove"]
    assert desk.source.list_collections() == []


def test_what_the_source_refuses_is_not_tried(
    desk: Desk,
    few: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    few("no_rows", "partition_key")
    create = MilvusClient.create_collection

    def refusing(self: MilvusClient, name: str, **more: Any) -> None:
        if name.endswith("partition_key"):
            raise MilvusException(message="no partition keys\nhere")
        create(self, name, **more)

    monkeypatch.setattr(MilvusClient, "create_collection", refusing)
    assert cli.main(["doctor", "--prove", "--yes", f"--config={desk.job()}"]) == 0
    out = capsys.readouterr().out
    assert outcomes(out) == {"no_rows": "equal", "partition_key": "not tried"}
    assert "the source refuses it: no partition keys here\n" in out


@pytest.mark.parametrize("phase", ["created", "planning"])
def test_an_interrupt_leaves_nothing_behind(desk: Desk, phase: str) -> None:
    with kitelift.start(desk.job(), "doctor", "--prove", "--yes") as running:
        deadline = time.monotonic() + 120
        while f": {phase} " not in kitelift.said(desk.folder):
            assert time.monotonic() < deadline, kitelift.said(desk.folder)
            time.sleep(0.1)
        running.signal(signal.SIGINT)
        ended = running.wait(timeout_s=120)
    assert ended.code == 5, ended.text
    assert "dropping kitelift_prove_" in ended.err
    assert "Traceback" not in ended.text
