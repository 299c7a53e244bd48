"""The throughput limits of a job: its processes share them, and they can change during a run."""

from __future__ import annotations

import gc
import math
import os
import time
from pathlib import Path

import pytest

from transforms.errors import Ambiguous, Busy, Unexplained, Unreachable
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.worker_limits import _Process
from transforms.milvus.calls import FlowControl
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.rate_limit import RateLimit
from transforms.milvus.retry_statistics import LATELY_S, Lately, Retried, Slowdown

AWAY = Unreachable("http://10.0.0.1:19530", "Query", "connection refused")
LIMIT = Busy("http://10.0.0.1:19530", "Insert", "rate limit exceeded", 8)
LOADING = Busy("http://10.0.0.1:19530", "Query", "collection not loaded", 101)
RESET = Ambiguous("http://10.0.0.1:19530", "Insert", "INTERNAL: RST_STREAM")
PANIC = Unexplained("http://10.0.0.1:19530", "Query", "panic", 65535)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_limits, "LOOK_EVERY_S", 0.0)


@pytest.fixture
def process(ledger: Ledger) -> _Process:
    return _Process(ledger, "first")


@pytest.fixture
def flow(process: _Process) -> FlowControl:
    return process.flow_control("source", RateLimit(rows=1_000))


def current_limit(flow: FlowControl) -> RateLimit:
    """Returns the limit at the next call."""
    flow.limiter.acquire(0, 0)
    return flow.limiter.limit


def test_one_process_has_the_whole_limit_of_the_job_file(flow: FlowControl) -> None:
    assert current_limit(flow) == RateLimit(rows=1_000)


def test_several_processes_share_the_limit(ledger: Ledger, flow: FlowControl) -> None:
    others = [
        _Process(ledger, name).flow_control("source", RateLimit(rows=1_000)) for name in "abc"
    ]
    for other in others:
        current_limit(other)
    assert {current_limit(shared).rows for shared in (flow, *others)} == {250}


def test_the_part_of_a_gone_process_goes_to_the_others(
    ledger: Ledger, flow: FlowControl, tmp_path: Path
) -> None:
    current_limit(_Process(ledger, "gone").flow_control("source", RateLimit(rows=1_000)))
    assert current_limit(flow).rows == 500
    old = time.time() - worker_limits.GONE_S - 1
    os.utime(tmp_path / "job" / "workers" / "gone.json", (old, old))
    assert current_limit(flow).rows == 1_000


def test_a_changed_limit_applies_only_to_its_side(ledger: Ledger) -> None:
    process = _Process(ledger, "first")
    source = process.flow_control("source", RateLimit(rows=1_000))
    target = process.flow_control("target", RateLimit(bytes=5_000))
    worker_limits.set_limits(ledger, {"source": RateLimit(rows=20, bytes=30)})
    assert current_limit(source) == RateLimit(rows=20, bytes=30)
    assert current_limit(target) == RateLimit(bytes=5_000)
    worker_limits.set_limits(ledger, {"target": RateLimit()})
    assert current_limit(target) == RateLimit()
    assert worker_limits.changed_limits(ledger) == {
        "source": RateLimit(20, 30),
        "target": RateLimit(),
    }


def test_a_new_run_starts_with_the_limits_of_the_job_file(
    ledger: Ledger, flow: FlowControl
) -> None:
    worker_limits.set_limits(ledger, {"source": RateLimit(rows=20)})
    current_limit(flow)
    worker_limits.reset(ledger)
    assert worker_limits.changed_limits(ledger) == {}
    assert worker_limits.workers(ledger) == []
    assert current_limit(flow) == RateLimit(rows=1_000)


def test_an_unreadable_limit_changes_nothing(ledger: Ledger, flow: FlowControl) -> None:
    current_limit(flow)
    ledger.replace("control.json", b"{")
    assert current_limit(flow) == RateLimit(rows=1_000)


def test_connections_of_one_job_in_one_process_share_flow_control(ledger: Ledger) -> None:
    endpoint = Endpoint("http://127.0.0.1:1", rate_limit=RateLimit(rows=7))
    one, other, target = (
        worker_limits.connect(endpoint, ledger, side) for side in ("source", "source", "target")
    )
    elsewhere = worker_limits.connect(endpoint, Ledger(ledger.state, "another"), "source")
    assert one.flow is other.flow
    assert len({id(client.flow) for client in (one, target, elsewhere)}) == 3
    assert one.flow.limiter.limit == RateLimit(rows=7)
    for client in (one, other, target, elsewhere):
        client.close()


def test_a_process_that_connects_again_is_the_same(ledger: Ledger) -> None:
    endpoint = Endpoint("http://127.0.0.1:1", rate_limit=RateLimit(rows=8))
    for _ in range(3):
        client = worker_limits.connect(endpoint, ledger, "source")
        assert current_limit(client.flow) == RateLimit(rows=8)
        client.close()
        del client
        gc.collect()


def test_a_pipeline_without_a_ledger_shares_nothing() -> None:
    endpoint = Endpoint("http://127.0.0.1:1", rate_limit=RateLimit(rows=7))
    one, other = (worker_limits.connect(endpoint, Ledger("", ""), "source") for _ in range(2))
    assert one.flow is not other.flow
    assert one.flow.limiter.limit == RateLimit(rows=7)
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("lately", "slowdown"),
    [
        (Lately(), None),
        (Lately(2.0), None),
        (Lately(9.6, {"rate limit": 0.4}), None),
        (Lately(4.0, {"rate limit": 6.0}), Slowdown("rate limit", 0.4)),
        (Lately(4.0, {"quota": 2.0, "not ready": 4.0}), Slowdown("not ready", 0.4)),
        (Lately(0.0, {"not answered": 30.0}), Slowdown("not answered", 0.0)),
    ],
)
def test_full_speed_is_calls_that_never_wait(lately: Lately, slowdown: Slowdown | None) -> None:
    assert lately.slowdown == slowdown


def test_old_waits_lose_their_weight() -> None:
    before, since = Lately(0.0, {"rate limit": math.e}), Lately(3.0)
    assert (before.after(LATELY_S) + since).slowdown == Slowdown("rate limit", 0.75)
    assert (before.after(4 * LATELY_S) + since).slowdown is None


def test_the_ledger_has_what_slows_down_the_calls_of_all_workers(ledger: Ledger) -> None:
    for name, waited_s in (("first", 1.0), ("second", 4.0)):
        process = _Process(ledger, name)
        target = process.flow_control("target", RateLimit())
        process.flow_control("source", RateLimit()).retries.add_answer(1.0)
        target.retries.add_answer(1.0)
        target.retries.add_retry(LIMIT, waited_s / 2)
        target.retries.add_wait("rate limit", waited_s / 2)
        current_limit(target)
    assert {worker.pid for worker in worker_limits.workers(ledger)} == {os.getpid()}
    slowdown = worker_limits.slowdowns(ledger).pop("target")
    assert slowdown.cause == "rate limit"
    assert slowdown.share == pytest.approx(2 / 7, abs=0.01)


def test_late_answers_slow_down_but_are_not_retries(
    ledger: Ledger, process: _Process, flow: FlowControl
) -> None:
    flow.retries.add_wait("answered late", 1.0)
    current_limit(flow)
    process.flush_retries()
    assert worker_limits.slowdowns(ledger) == {"source": Slowdown("answered late", 0.0)}
    assert worker_limits.count_retries(ledger) == {}


def test_a_process_whose_calls_all_wait_is_not_gone(
    ledger: Ledger, process: _Process, flow: FlowControl, tmp_path: Path
) -> None:
    current_limit(flow)  # At full speed, and never again.
    flow.retries.add_retry(AWAY, 30.0)
    process.flush_retries()
    sign = tmp_path / "job" / "workers" / "first.json"
    for age_s, slowdowns in (
        (worker_limits.GONE_S + 25, {"source": Slowdown("not answered", 0.0)}),
        (worker_limits.GONE_S + 31, {}),
    ):
        at = time.time() - age_s
        os.utime(sign, (at, at))
        assert worker_limits.slowdowns(ledger) == slowdowns
    assert worker_limits.workers(ledger) == []


def test_the_ledger_has_the_number_of_retries_and_their_reasons(
    ledger: Ledger, flow: FlowControl
) -> None:
    for error in (AWAY, LIMIT, LIMIT, LOADING, RESET, PANIC):
        flow.retries.add_retry(error, 0.5)
    flow.retries.add_wait("rate limit", 2.0)
    process = _Process(ledger, "another")
    process.retries["target"].add_retry(AWAY, 1.0)
    process.retries["source"].add_retry(AWAY, 0.25)
    process.flush_retries()
    deadline = time.monotonic() + 10 * worker_limits.RETRIES_EVERY_S
    while len(ledger.names("retries")) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert worker_limits.count_retries(ledger) == {
        "source": {
            "not answered": Retried(2, 0.75),
            "rate limit": Retried(2, 3.0),
            "not ready": Retried(1, 0.5),
            "broken off": Retried(1, 0.5),
            "no reason given": Retried(1, 0.5),
        },
        "target": {"not answered": Retried(1, 1.0)},
    }


def test_a_new_run_keeps_the_earlier_retries(ledger: Ledger) -> None:
    for _ in range(2):  # The second passes for a process that has connected again.
        process = _Process(ledger, "first")
        process.retries["target"].add_retry(LIMIT, 1.0)
        process.flush_retries()
        worker_limits.reset(ledger)
    assert worker_limits.count_retries(ledger) == {"target": {"rate limit": Retried(2, 2.0)}}


def test_a_process_without_retries_writes_no_object(ledger: Ledger, flow: FlowControl) -> None:
    current_limit(flow)
    worker_limits.flush_retries(ledger)
    assert ledger.names("retries") == []


def test_calls_without_rows_are_counted_and_slow_nothing_down(ledger: Ledger) -> None:
    endpoint = Endpoint("http://127.0.0.1:1")
    mover = worker_limits.connect(endpoint, ledger, "target")
    visitor = worker_limits.connect_unlimited(endpoint, ledger, "target")
    visitor.flow.throttle.slow_down()
    visitor.flow.retries.add_retry(LIMIT, 1.0)
    worker_limits.flush_retries(ledger)
    assert mover.flow.throttle.pause_s == 0
    assert worker_limits.count_retries(ledger) == {"target": {"rate limit": Retried(1, 1.0)}}
    for client in (mover, visitor):
        client.close()
