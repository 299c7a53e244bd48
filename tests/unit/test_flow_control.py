"""The pace: never more in a second than a ceiling allows, whoever takes it, and no less either."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clusters import schema
from tests.dataflow.jobs import rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import RATE_LIMIT
from transforms.milvus import flow_control, throttle
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.flow_control import SMALLEST_PAGE_BYTES, FlowControl
from transforms.milvus.rate_limit import RateLimit
from transforms.milvus.schema import parse


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds + 1e-6  # No sleep is shorter than it takes to wake up.


@pytest.fixture
def clock() -> Iterator[Clock]:
    with pytest.MonkeyPatch.context() as patched:
        yield patch(patched)


def patch(patched: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (flow_control, throttle):
        patched.setattr(module, "time", made)
    return made


def test_without_a_ceiling_nothing_waits(clock: Clock) -> None:
    made = FlowControl()
    for _ in range(100):
        made.acquire(10**6, 10**9)
    assert clock.now == 1_000


TAKES = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**6), st.floats(0, 3)))


@given(st.integers(0, 1_000), st.integers(0, 10**6), TAKES)
def test_what_has_passed_is_never_more_than_the_ceiling_allowed_until_then(
    rows: int, size_bytes: int, takes: list[tuple[int, int, float]]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        clock = patch(patched)
        made, began = FlowControl(RateLimit(rows, size_bytes)), clock.now
        passed_rows = passed_bytes = 0
        for more_rows, more_bytes, idle_s in takes:
            made.acquire(more_rows, more_bytes)
            since = clock.now - began
            assert not rows or passed_rows <= rows * since + 1e-3
            assert not size_bytes or passed_bytes <= size_bytes * since + 1e-3
            passed_rows, passed_bytes = passed_rows + more_rows, passed_bytes + more_bytes
            clock.now += idle_s


@given(st.integers(1, 1_000), st.lists(st.integers(1, 500), min_size=2))
def test_the_ceiling_is_reached(rows: int, takes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        clock = patch(patched)
        made, began = FlowControl(RateLimit(rows)), clock.now
        for more in takes:
            made.acquire(more, 0)
        assert clock.now - began == pytest.approx(sum(takes[:-1]) / rows, rel=1e-3, abs=1e-3)


def test_an_idle_time_saves_nothing_up(clock: Clock) -> None:
    made = FlowControl(RateLimit(rows=10))
    clock.now += 3_600
    made.acquire(10, 0)
    began = clock.now
    made.acquire(10, 0)
    assert clock.now - began == pytest.approx(1.0, abs=0.01)


def test_what_did_not_pass_after_all_is_given_back(clock: Clock) -> None:
    made = FlowControl(RateLimit(rows=10))
    made.acquire(1_000, 0)
    made.correct(-990, 0)
    made.acquire(1, 0)
    assert clock.now == pytest.approx(1_001, abs=0.01)


def test_what_passed_is_known_only_afterwards_when_it_is_read(clock: Clock) -> None:
    made = FlowControl(RateLimit(bytes=1_000))
    made.acquire(10, 0)
    made.correct(0, 5_000)
    made.acquire(10, 0)
    assert clock.now == pytest.approx(1_005, abs=0.01)


def test_rows_that_a_server_has_turned_away_are_given_back(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tenacity.nap.time", clock)
    docs = parse(schema())
    batch = pa.RecordBatch.from_pylist(rows(10), schema=docs.arrow())
    with FakeMilvus() as server:
        server.create(schema())
        server.fails("Insert", RATE_LIMIT, times=4)
        client = Client(Endpoint(server.url), flow=FlowControl(RateLimit(rows=1)))
        assert client.insert("docs", "", docs, batch) == 10
        client.close()
    assert len(server.asked("Insert")) == 5
    assert clock.now < 1_010  # Charged, each try would have waited 10 s for the one before.


def test_a_ceiling_that_is_changed_counts_for_those_who_wait_already(clock: Clock) -> None:
    looks: list[float] = []

    def look() -> None:
        looks.append(clock.now)
        if clock.now >= 1_003:
            made.ceiling = RateLimit(rows=1_000)

    made = FlowControl(RateLimit(rows=10), look)
    made.acquire(1_000, 0)
    made.acquire(1, 0)
    assert 1_003 <= clock.now < 1_005
    assert len(looks) >= 4


def test_a_ceiling_that_is_lifted_forgives_what_is_owed(clock: Clock) -> None:
    made = FlowControl(RateLimit(rows=1))
    made.acquire(10**6, 0)
    made.ceiling = RateLimit()
    made.acquire(10**6, 0)
    assert clock.now == 1_000


def test_all_threads_together_keep_below_the_ceiling() -> None:
    made = FlowControl(RateLimit(rows=1_000))
    began = flow_control.time.monotonic()
    threads = [Thread(target=lambda: [made.acquire(10, 0) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flow_control.time.monotonic() - began >= 0.19


@pytest.mark.parametrize(
    ("ceiling", "row_bytes", "rows"),
    [
        (RateLimit(), 1_000.0, 67_108),
        (RateLimit(rows=1_000), 1_000.0, 500),
        (RateLimit(rows=1), 1_000.0, 1),
        (RateLimit(bytes=1_000_000), 1_000.0, 500),
        (RateLimit(bytes=100), 1_000.0, 1),
        (RateLimit(rows=1_000, bytes=200_000), 1_000.0, 100),
        (RateLimit(rows=100, bytes=200_000), 1_000.0, 50),
        (RateLimit(rows=100), 0.0, 50),
    ],
)
def test_a_page_is_no_more_than_half_a_second_allows(
    ceiling: RateLimit, row_bytes: float, rows: int
) -> None:
    assert FlowControl(ceiling).page_rows(row_bytes) == rows


def test_pages_that_take_too_long_get_smaller_then_rarer_and_grow_again(clock: Clock) -> None:
    made = FlowControl()
    for _ in range(4):
        made.adjust_page_size(0.5, 4_000_000, longest_s=0.2)
    assert made.page_rows(1_000.0) == 250
    assert made.throttle.pause_s == 0
    for _ in range(20):
        clock.now += 10
        made.adjust_page_size(0.5, int(SMALLEST_PAGE_BYTES), longest_s=0.2)
    assert made.page_rows(1_000.0) == 65
    assert made.throttle.pause_s > 0
    for _ in range(100):
        made.adjust_page_size(0.1, 10_000, longest_s=0.2)
    assert made.page_rows(1_000.0) == 67_108


def test_without_a_longest_time_no_page_takes_too_long(clock: Clock) -> None:
    made = FlowControl()
    made.adjust_page_size(1e6, 4_000_000, longest_s=0.0)
    assert made.page_rows(1_000.0) == 67_108
