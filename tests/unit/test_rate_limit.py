"""Throughput limit and page size: all threads reach the limit together, and never exceed it."""

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
from transforms.milvus import rate_limit, throttle
from transforms.milvus.calls import SMALLEST_BYTES, FlowControl
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.rate_limit import RateLimit, RateLimiter
from transforms.milvus.schema import parse


class Clock:
    """A clock that advances only when a thread sleeps."""

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
    clock = Clock()
    for module in (rate_limit, throttle):
        patched.setattr(module, "time", clock)
    return clock


def test_without_a_limit_nothing_waits(clock: Clock) -> None:
    limiter = RateLimiter()
    for _ in range(100):
        limiter.acquire(10**6, 10**9)
    assert clock.now == 1_000


TAKES = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**6), st.floats(0, 3)))


@given(st.integers(0, 1_000), st.integers(0, 10**6), TAKES)
def test_never_more_passes_than_the_limit_allows(
    rows: int, size_bytes: int, takes: list[tuple[int, int, float]]
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        clock = patch(patched)
        limiter, began = RateLimiter(RateLimit(rows, size_bytes)), clock.now
        passed_rows = passed_bytes = 0
        for more_rows, more_bytes, idle_s in takes:
            limiter.acquire(more_rows, more_bytes)
            since = clock.now - began
            assert not rows or passed_rows <= rows * since + 1e-3
            assert not size_bytes or passed_bytes <= size_bytes * since + 1e-3
            passed_rows, passed_bytes = passed_rows + more_rows, passed_bytes + more_bytes
            clock.now += idle_s


@given(st.integers(1, 1_000), st.lists(st.integers(1, 500), min_size=2))
def test_the_limit_is_reached(rows: int, takes: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        clock = patch(patched)
        limiter, began = RateLimiter(RateLimit(rows)), clock.now
        for more in takes:
            limiter.acquire(more, 0)
        assert clock.now - began == pytest.approx(sum(takes[:-1]) / rows, rel=1e-3, abs=1e-3)


def test_idle_time_saves_up_no_throughput(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(rows=10))
    clock.now += 3_600
    limiter.acquire(10, 0)
    began = clock.now
    limiter.acquire(10, 0)
    assert clock.now - began == pytest.approx(1.0, abs=0.01)


def test_a_correction_reduces_the_debt(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(rows=10))
    limiter.acquire(1_000, 0)
    limiter.correct(-990, 0)
    limiter.acquire(1, 0)
    assert clock.now == pytest.approx(1_001, abs=0.01)


def test_a_correction_adds_the_bytes_that_were_read(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(bytes=1_000))
    limiter.acquire(10, 0)
    limiter.correct(0, 5_000)
    limiter.acquire(10, 0)
    assert clock.now == pytest.approx(1_005, abs=0.01)


def test_refused_rows_do_not_count(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tenacity.nap.time", clock)
    docs = parse(schema())
    batch = pa.RecordBatch.from_pylist(rows(10), schema=docs.arrow())
    with FakeMilvus() as server:
        server.create(schema())
        server.fails("Insert", RATE_LIMIT, times=4)
        client = Client(Endpoint(server.url), flow=FlowControl(RateLimiter(RateLimit(rows=1))))
        assert client.insert("docs", "", docs, batch) == 10
        client.close()
    assert len(server.asked("Insert")) == 5
    assert clock.now < 1_010  # If refused rows counted, each retry would have waited 10 s.


def test_a_changed_limit_applies_to_waiting_calls(clock: Clock) -> None:
    looks: list[float] = []

    def look() -> None:
        looks.append(clock.now)
        if clock.now >= 1_003:
            limiter.limit = RateLimit(rows=1_000)

    limiter = RateLimiter(RateLimit(rows=10), look)
    limiter.acquire(1_000, 0)
    limiter.acquire(1, 0)
    assert 1_003 <= clock.now < 1_005
    assert len(looks) >= 4


def test_a_removed_limit_cancels_the_debt(clock: Clock) -> None:
    limiter = RateLimiter(RateLimit(rows=1))
    limiter.acquire(10**6, 0)
    limiter.limit = RateLimit()
    limiter.acquire(10**6, 0)
    assert clock.now == 1_000


def test_all_threads_together_stay_below_the_limit() -> None:
    limiter = RateLimiter(RateLimit(rows=1_000))
    began = rate_limit.time.monotonic()
    threads = [Thread(target=lambda: [limiter.acquire(10, 0) for _ in range(5)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rate_limit.time.monotonic() - began >= 0.19


@pytest.mark.parametrize(
    ("limit", "row_bytes", "rows"),
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
def test_a_page_has_at_most_what_half_a_second_allows(
    limit: RateLimit, row_bytes: float, rows: int
) -> None:
    assert FlowControl(RateLimiter(limit)).page_rows(row_bytes) == rows


def test_slow_pages_become_smaller_then_less_frequent_and_grow_again(clock: Clock) -> None:
    flow = FlowControl()
    for _ in range(4):
        flow.adjust_page_size(0.5, 4_000_000, longest_s=0.2)
    assert flow.page_rows(1_000.0) == 250
    assert flow.throttle.pause_s == 0
    for _ in range(20):
        clock.now += 10
        flow.adjust_page_size(0.5, SMALLEST_BYTES, longest_s=0.2)
    assert flow.page_rows(1_000.0) == 65
    assert flow.throttle.pause_s > 0
    for _ in range(100):
        flow.adjust_page_size(0.1, flow.page_bytes.size, longest_s=0.2)
    assert flow.page_rows(1_000.0) == 67_108


def test_without_max_latency_no_page_is_too_slow(clock: Clock) -> None:
    flow = FlowControl()
    flow.adjust_page_size(1e6, 4_000_000, longest_s=0.0)
    assert flow.page_rows(1_000.0) == 67_108
