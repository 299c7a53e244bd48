"""The client: the errors of failed loads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clock import Clock
from tests.clusters import schema
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault
from transforms.errors import Refused, Unreachable
from transforms.milvus import channel, client, throttle
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint

FOR_EVER = None


@pytest.fixture
def server() -> Iterator[FakeMilvus]:
    with FakeMilvus() as running:
        running.create(schema())
        yield running


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (channel, client, throttle, channel.tenacity, channel.tenacity.nap):
        monkeypatch.setattr(module, "time", made)
    return made


@pytest.fixture
def connected(server: FakeMilvus, clock: Clock) -> Iterator[Client]:
    made = Client(Endpoint(server.url))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        # 2.6 tells the reason with 101, 2.3 to 2.5 the failure of the segment with its own code.
        (101, "worker(1) query failed: std::bad_alloc: collection not loaded[collection=447]"),
        (101, "collection not loaded[collection=447]"),
        (3, "memory limit exceeded[predict=9][limit=8]"),
        (604, "segment load failed[segment=1]"),
        (65535, "show collection failed: load segment failed, OOM if load"),
    ],
)
def test_a_failed_load_ends_within_a_second_with_the_servers_reason(
    server: FakeMilvus, connected: Client, clock: Clock, code: int, reason: str
) -> None:
    server.fails("GetLoadingProgress", Fault(code=code, text=reason), times=FOR_EVER)
    with pytest.raises(Refused) as caught:
        connected.load("docs")
    assert caught.value.call == "LoadCollection"
    assert caught.value.detail == f'the server failed to load docs: "{reason}"'
    assert sum(clock.slept) < 1  # It says so several times in a row.


def test_a_load_that_fails_with_an_unknown_text_ends_within_seconds(
    server: FakeMilvus, connected: Client, clock: Clock
) -> None:
    server.fails("GetLoadingProgress", Fault(code=65535, text="odd"), times=FOR_EVER)
    with pytest.raises(Refused, match="odd"):
        connected.load("docs")
    assert sum(clock.slept) < 10


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (3, "memory limit exceeded"),
        (65535, "there is no vector index on field: [vector]"),
        (700, "index not found"),
    ],
)
def test_a_load_that_is_refused_ends_at_once(
    server: FakeMilvus, connected: Client, clock: Clock, code: int, text: str
) -> None:
    server["docs"].loaded = False
    server.fails("LoadCollection", Fault(code=code, text=text), times=FOR_EVER)
    with pytest.raises(Refused, match=text.split("[", maxsplit=1)[0]):
        connected.load("docs")
    assert sum(clock.slept) < 1  # It says so several times in a row.


def test_a_load_that_makes_no_progress_is_given_up_after_ten_minutes(
    server: FakeMilvus, connected: Client, clock: Clock
) -> None:
    server["docs"].load_percent = 40
    with pytest.raises(Unreachable, match="docs stays at 40 % for 10 minutes; check the memory"):
        connected.load("docs")
    assert 599 < sum(clock.slept) < 660


def test_a_load_of_hours_is_waited_for(
    server: FakeMilvus, connected: Client, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def advance(percent: int) -> None:
        server["docs"].load_percent = percent + 1

    monkeypatch.setattr(client, "_POLL_S", 300.0)
    server["docs"].load_percent = 0
    connected.load("docs", on_progress=advance)
    assert sum(clock.slept) > 8 * 3600


def test_a_load_waits_for_a_coordinator_that_starts(server: FakeMilvus, connected: Client) -> None:
    for code in (1, 2, 904, 10000, 10001):
        server.fails("GetLoadingProgress", Fault(code=code, text="not now"))
    connected.load("docs")
    assert len(server.asked("GetLoadingProgress")) == 6


def test_a_query_waits_for_a_collection_that_is_not_loaded_yet(
    server: FakeMilvus, connected: Client
) -> None:
    """A server answers like this for some time after a restart."""
    server.fails("Query", Fault(code=101, text="collection not loaded"), times=5)
    assert connected.count("docs") == 0
