"""The servers of all other tests: they start, survive a kill, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pymilvus import MilvusClient, MilvusException

from tests import certificates, servers
from tests.servers import Milvus, MilvusLite, Server, ServerFailed

pytestmark = pytest.mark.milvus

needs_milvus = pytest.mark.skipif(
    not servers.have_milvus(), reason="no wheel of Milvus for this platform"
)
KINDS = [pytest.param(Milvus, marks=needs_milvus), MilvusLite]

ROWS = 300
RECOVERY_S = 60.0


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> type[Server]:
    return request.param


def fill(server: Server) -> None:
    client = MilvusClient(server.url, token=server.token)
    client.create_collection("docs", dimension=4)
    client.insert("docs", [{"id": key, "vector": [0.5] * 4} for key in range(ROWS)])
    assert count(client) == ROWS
    client.close()


def count(client: MilvusClient) -> int:
    answer = client.query("docs", output_fields=["count(*)"], consistency_level="Strong")
    return int(answer[0]["count(*)"])


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_killed_server_comes_back_with_its_data(kind: type[Server], tmp_path: Path) -> None:
    with kind(tmp_path) as server:
        fill(server)
        before = server.pid, server.url
        server.kill()
        assert not server.running
        server.start()
        assert (server.pid, server.url) != before
        assert server.url == before[1]
        client = MilvusClient(server.url)
        client.load_collection("docs")
        assert count(client) == ROWS
        client.close()


def test_a_server_has_ended_when_its_block_is_left(kind: type[Server], tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), kind(tmp_path) as server:
        raise ZeroDivisionError
    assert not exists(server.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_server_ends_with_its_parent_even_if_that_is_killed(
    kind: type[Server], tmp_path: Path
) -> None:
    program = (
        "import sys, time; from pathlib import Path; from tests import servers\n"
        f"with servers.{kind.__name__}(Path(sys.argv[1])) as server:\n"
        "    print(server.pid, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert until(lambda: not exists(pid), seconds=5)


@needs_milvus
def test_servers_start_side_by_side_on_ports_of_their_own(tmp_path: Path) -> None:
    wanted = [Milvus(tmp_path / "a"), Milvus(tmp_path / "b"), MilvusLite(tmp_path / "c")]
    with servers.started(*wanted) as running:
        assert len({server.url for server in running}) == len(wanted)
        assert all(server.running for server in running)
    assert not any(server.running for server in running)


def test_a_server_that_does_not_start_shows_its_log(tmp_path: Path) -> None:
    class Broken(Server):
        def _command(self) -> list[str]:
            return ["sh", "-c", "echo out of order; exit 3"]

    with pytest.raises(ServerFailed, match="ended while starting\nout of order"), Broken(tmp_path):
        pass


def test_a_server_does_not_start_on_a_port_in_use(kind: type[Server], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerFailed, match=f"port {port} is in use"), kind(tmp_path, port=port):
            pass


@needs_milvus
@pytest.mark.parametrize("mutual", [False, True])
def test_a_server_asks_for_its_token_over_tls(tmp_path: Path, mutual: bool) -> None:
    pems = certificates.make(tmp_path / "certificates", mutual=mutual)
    with servers.milvus(tmp_path, authorization=True, certificates=pems) as server:
        client = {"client_pem_path": str(pems.client_pem), "client_key_path": str(pems.client_key)}
        tls = {"ca_pem_path": str(pems.ca_pem), "server_name": "localhost"}
        if mutual:
            tls |= client
        else:
            tls = {"server_pem_path": str(pems.server_pem), "server_name": "localhost"}
        entitled = MilvusClient(server.url, token=server.token, secure=True, **tls)
        assert entitled.list_collections() == []
        entitled.close()
        with pytest.raises(MilvusException, match="illegal connection params"):
            MilvusClient(server.url, token="root:wrong", secure=True, **tls)


@needs_milvus
def test_a_setting_is_given_by_the_environment(tmp_path: Path) -> None:
    with servers.milvus(tmp_path, environment={"PROXY_MAXFIELDNUM": "1"}) as server:
        client = MilvusClient(server.url)
        with pytest.raises(MilvusException, match="field"):
            client.create_collection("docs", dimension=4)
        client.close()
