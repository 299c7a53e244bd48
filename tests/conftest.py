"""What tests share.

| fixture | scope | is |
|---|---|---|
| `source`, `target` | session | two real servers (`servers.Server`), started when first asked for |
| `source_client`, `target_client` | session | plain pymilvus on each of them |
| `pair` | test | `(source, target)`, both without a collection before and after the test |
| `lite` | session | a milvus-lite server |
| `lite_client` | session | plain pymilvus on it |
| `name` | test | `name("docs")` is a name of this test's own; its collections are dropped at the end |
| `golden` | test | `golden("report.txt", text)` compares with tests/golden; `make golden` rewrites |

A test that kills a server, or needs it set up otherwise, starts its own: `servers.milvus(tmp_path)`.
A test that uses a server is marked `milvus` by that, and skipped where no wheel fits the platform.
"""

from __future__ import annotations

import gc
import inspect
import os
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from apache_beam.transforms import core
from pymilvus import MilvusClient

from tests import logs, servers, zoo
from tests.servers import Server

GOLDEN = Path(__file__).parent / "golden"
SERVER_FIXTURES = {"source", "target", "lite"}

# A property is not slow because the machine is busy; a failure in CI must come again at home.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


_arguments_of = core.get_function_args_defaults
_known_arguments: dict[Any, tuple[list[str], list[Any]]] = {}


def _remembered_arguments_of(function: Any) -> tuple[list[str], list[Any]]:
    """Of a method, what Beam has found for it before: else it asks 8,000 times for a tiny job."""
    if not inspect.ismethod(function):
        return _arguments_of(function)
    known = _known_arguments.get(function.__func__)
    if known is None:
        known = _known_arguments[function.__func__] = _arguments_of(function)
    names, defaults = known
    return names[:], defaults[:]


# A third of the CPU time of a tiny job goes into the graph's inspection of its own methods.
core.get_function_args_defaults = _remembered_arguments_of

_exit_status = 0


def pytest_collection_finish() -> None:
    """Modules and tests are there to the end: the garbage collector need not visit them."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(exitstatus: int) -> None:
    global _exit_status  # noqa: PLW0603 - one hook tells the other
    _exit_status = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Ends although a job of a failed test may still wait for a server that is gone."""
    gc.collect()  # The threads of a pool that nobody refers to end with it.
    named = [each for each in threading.enumerate() if each.name.startswith(("page-", "write"))]
    for thread in named:
        thread.join(0.5)
    waiting = [thread for thread in named if thread.is_alive()]
    if waiting:
        print(f"\n{len(waiting)} threads still wait for a server; not for them", flush=True)
        sys.stderr.flush()
        os._exit(_exit_status)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    with logs.kept():
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="rewrite tests/golden")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SERVER_FIXTURES:
            item.add_marker(pytest.mark.milvus)
        if "golden" in fixtures:
            item.add_marker(pytest.mark.golden)


@pytest.fixture(scope="session")
def _real_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, ...]]:
    if not servers.have_milvus():
        pytest.skip("no wheel of Milvus for this platform")
    folder = tmp_path_factory.mktemp("servers")
    pair = servers.Milvus(folder / "source"), servers.Milvus(folder / "target")
    with servers.started(*pair):
        yield pair


@pytest.fixture(scope="session")
def source(_real_servers: tuple[Server, Server]) -> Server:
    return _real_servers[0]


@pytest.fixture(scope="session")
def target(_real_servers: tuple[Server, Server]) -> Server:
    return _real_servers[1]


@pytest.fixture(scope="session")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.milvus_lite(tmp_path_factory.mktemp("lite")) as server:
        yield server


@pytest.fixture(scope="session")
def source_client(source: Server) -> Iterator[MilvusClient]:
    yield from _client(source)


@pytest.fixture(scope="session")
def target_client(target: Server) -> Iterator[MilvusClient]:
    yield from _client(target)


@pytest.fixture(scope="session")
def lite_client(lite: Server) -> Iterator[MilvusClient]:
    yield from _client(lite)


@pytest.fixture
def pair(
    source: Server, target: Server, source_client: MilvusClient, target_client: MilvusClient
) -> Iterator[tuple[Server, Server]]:
    zoo.drop_all(source_client)
    zoo.drop_all(target_client)
    yield source, target
    zoo.drop_all(source_client)
    zoo.drop_all(target_client)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[Callable[[str], str]]:
    tag = uuid.uuid4().hex[:8]

    def own(stem: str = "rows") -> str:
        return f"{stem}_{tag}"

    yield own
    for server in SERVER_FIXTURES.intersection(request.fixturenames):
        _drop(request.getfixturevalue(f"{server}_client"), tag)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    def compare(file: str, text: str) -> None:
        path = GOLDEN / file
        if request.config.getoption("--write-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        assert text == known, f"not as in {path}; if that is right: make golden"

    return compare


def _client(server: Server) -> Iterator[MilvusClient]:
    client = MilvusClient(server.url, token=server.token)
    yield client
    client.close()


def _drop(client: MilvusClient, tag: str) -> None:
    for collection in client.list_collections():
        if collection.endswith(tag):
            for alias in client.describe_collection(collection)["aliases"]:
                client.drop_alias(alias)
            client.drop_collection(collection)
