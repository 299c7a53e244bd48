"""The channel: it translates the errors of servers, and retries calls if that can help."""

from __future__ import annotations

import os
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import grpc
import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests import certificates, sockets
from tests.certificates import Certificates
from tests.clock import Clock
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import AWAY, RATE_LIMIT, REFUSED, Fault
from transforms import errors
from transforms.errors import ServerError
from transforms.milvus import channel, throttle
from transforms.milvus.channel import (
    NO_RETRIES,
    PERSISTENT_S,
    UNEXPLAINED_S,
    UNEXPLAINED_SHORT_S,
    Channel,
    Patience,
)
from transforms.milvus.endpoint import Endpoint, Tls
from transforms.milvus.faults import fault_in, shortage, surely_not_done
from transforms.milvus.throttle import Throttle

Code = grpc.StatusCode
ASK = "ShowCollections", milvus_pb2.ShowCollectionsRequest(), milvus_pb2.ShowCollectionsResponse


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (throttle, tenacity, tenacity.nap):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture(scope="module")
def running() -> Iterator[FakeMilvus]:
    with FakeMilvus() as server:
        yield server


@pytest.fixture
def server(running: FakeMilvus) -> FakeMilvus:
    running.heal()
    running.requests.clear()
    return running


def ask(url: str, patience: Patience = NO_RETRIES, *, token: str = "", database: str = "") -> None:
    connection = Channel(Endpoint(url, token, database), patience)
    try:
        connection.ask(*ASK)
    finally:
        connection.close()


# The Status of an answer


@pytest.mark.parametrize(
    ("code", "legacy", "reason", "kind"),
    [
        (8, 49, "request is rejected by grpc RateLimiter middleware", errors.Busy),
        (0, 49, "request is rejected by grpc RateLimiter middleware", errors.Busy),
        (1, 0, "service not ready", errors.Busy),
        (1, 0, "alias 'papers' already exists", errors.Refused),  # milvus-lite
        (3, 0, "memory limit exceeded", errors.Busy),
        (9, 0, "quota exceeded: deny to write", errors.Busy),
        (11, 0, "time tick long delay", errors.Busy),
        (106, 0, "collection on recovering", errors.Busy),
        (503, 0, "channel not available", errors.Busy),
        (906, 0, "node not match", errors.Busy),
        (10001, 0, "context deadline exceeded", errors.Busy),
        (65535, 1, "fail to get shard leaders from QueryCoord", errors.Busy),
        (65535, 1, "collection docs has not been loaded into memory", errors.Busy),
        (65535, 1, "quota: memory quota exceeded, please allocate more", errors.Busy),
        (65535, 1, "deny to write, reason: memory quota exhausted, please allocate", errors.Busy),
        (65535, 1, "force to deny /milvus.proto.milvus.MilvusService/Insert.", errors.Busy),
        (65535, 1, "rejected by the quota center: disk", errors.Busy),
        (65535, 1, "limit=200: request limit exceeded", errors.Busy),
        (65535, 1, "query results exceed the limit size", errors.TooLarge),
        (65535, 1, "exceed the maxOutputSize Limit", errors.TooLarge),
        (
            1102,
            0,
            "parameter too large[message=insert request size exceeds maxInsertSize]",
            errors.TooLarge,
        ),
        (100, 4, "collection not found[collection=docs]", errors.Refused),
        (101, 0, "collection not loaded", errors.Busy),  # after a restart, while it loads
        (700, 25, "index not found", errors.Refused),
        (1100, 5, "invalid parameter", errors.Refused),
        (65535, 1, "something that nobody knows", errors.Unexplained),
        (0, 1, "UnexpectedError of an old server", errors.Unexplained),
        (1400, 0, "user not authenticated", errors.AccessDenied),
        (1401, 0, "privilege not permitted", errors.PrivilegeMissing),
    ],
)
@pytest.mark.parametrize("alone", [True, False], ids=["as the answer", "in the answer"])
def test_a_status_becomes_an_error(
    code: int, legacy: int, reason: str, kind: type[ServerError], alone: bool
) -> None:
    status = common_pb2.Status(code=code, error_code=legacy, reason=reason)
    answer = status if alone else milvus_pb2.QueryResults(status=status, collection_name="docs")
    method = "DropCollection" if alone else "Query"
    fault = fault_in("http://a:19530", method, answer.SerializeToString())
    assert fault is not None
    assert type(fault) is kind
    assert (fault.server, fault.call, fault.detail) == ("http://a:19530", method, reason)
    assert fault.code == (code or {49: 8}.get(legacy, 65535))


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("LoadCollection", common_pb2.Status()),
        ("LoadCollection", common_pb2.Status(reason="done")),
        ("Query", milvus_pb2.QueryResults(collection_name="docs")),
        ("Query", milvus_pb2.QueryResults(status=common_pb2.Status(), collection_name="docs")),
        ("Insert", milvus_pb2.MutationResult(insert_cnt=5)),
    ],
)
def test_an_answer_without_a_bad_status_is_no_error(method: str, answer: object) -> None:
    assert fault_in("http://a:19530", method, answer.SerializeToString()) is None  # type: ignore[attr-defined]


def test_a_status_without_a_reason_has_the_name_of_its_error_code() -> None:
    answer = common_pb2.Status(error_code=common_pb2.ErrorCode.CollectionNotExists)
    fault = fault_in("http://a:19530", "LoadCollection", answer.SerializeToString())
    assert "CollectionNotExists" in str(fault)


@pytest.mark.parametrize(
    ("error", "sure"),
    [
        (errors.Busy("a", "Insert", "request is rejected by grpc RateLimiter", 8), True),
        (errors.Busy("a", "Insert", "RateLimit", 65535), True),
        (errors.Busy("a", "Insert", "quota exceeded", 9), True),
        (errors.Busy("a", "Insert", "deny to write, reason: disk quota exhausted", 65535), True),
        (errors.Busy("a", "Insert", "limit=200: request limit exceeded", 65535), False),
        (errors.Busy("a", "Insert", "channel not available", 503), False),
        (errors.Busy("a", "Insert", "context deadline exceeded", 65535), False),
        (errors.TooLarge("a", "Insert", "larger than max"), True),
        (errors.TooLarge("a", "Insert", "parameter too large", 1102), True),
        (
            errors.TooLarge("a", "Insert", "removed (CLIENT: Received message larger than max)"),
            False,
        ),
        (errors.Refused("a", "Insert", "exceeds max length", 1100), True),
        (errors.Unexplained("a", "Insert", "panic", 65535), False),
        (errors.Unreachable("a", "Insert", "Socket closed"), False),
        (errors.Ambiguous("a", "Insert", "INTERNAL: RST_STREAM"), False),
    ],
    ids=lambda value: str(value) if isinstance(value, ServerError) else None,
)
def test_an_insert_is_retried_only_if_it_was_surely_not_done(
    error: ServerError, sure: bool
) -> None:
    assert surely_not_done(error) is sure


@pytest.mark.parametrize(
    ("error", "short_of"),
    [
        (errors.Busy("a", "Insert", "request is rejected by grpc RateLimiter", 8), "rate limit"),
        (errors.Busy("a", "Insert", "rejected by grpc RateLimiter", 65535), "rate limit"),
        (errors.Busy("a", "Insert", "rate limit exceeded"), "rate limit"),  # gRPC's own answer
        (errors.Busy("a", "Insert", "memory limit exceeded", 3), "quota"),
        (errors.Busy("a", "Insert", "quota exceeded: deny to write", 9), "quota"),
        (errors.Busy("a", "Insert", "memory quota exceeded, allocate more", 65535), "quota"),
        (
            errors.Busy("a", "Insert", "deny to write, reason: memory quota exhausted", 65535),
            "quota",
        ),
        (errors.Busy("a", "Query", "limit=200: request limit exceeded", 65535), "overloaded"),
        (errors.Busy("a", "Insert", "time tick long delay", 11), "overloaded"),
        (errors.Busy("a", "Query", "context deadline exceeded", 10001), "overloaded"),
        (errors.Busy("a", "Query", "collection not loaded", 101), None),
        (errors.Busy("a", "Query", "service not ready", 1), None),
        (errors.Busy("a", "Insert", "channel not available", 503), None),
        (errors.Busy("a", "Query", "collection docs has not been loaded", 65535), None),
    ],
    ids=str,
)
def test_only_a_server_that_is_short_of_something_gets_fewer_calls(
    error: errors.Busy, short_of: str | None
) -> None:
    assert shortage(error) == short_of


def test_a_server_that_loads_is_called_at_full_speed_afterwards(
    server: FakeMilvus, clock: Clock
) -> None:
    server.fails("ShowCollections", Fault(code=101, text="collection not loaded"), times=8)
    connection = Channel(Endpoint(server.url), Patience())
    connection.ask(*ASK)
    assert connection.throttle.pause_s == 0
    connection.close()


# Errors of gRPC


@pytest.mark.parametrize(
    ("code", "text", "kind", "words"),
    [
        (Code.UNAVAILABLE, "Socket closed", errors.Unreachable, "Socket closed"),
        (Code.DEADLINE_EXCEEDED, "", errors.Unreachable, "no answer in time"),
        (
            Code.UNAUTHENTICATED,
            "auth check failure",
            errors.AccessDenied,
            "rejects the credentials",
        ),
        (Code.PERMISSION_DENIED, "no Query", errors.PrivilegeMissing, "lacks a privilege"),
        (
            Code.PERMISSION_DENIED,
            "PrivilegeQuery: permission deny to reader",  # 2.3.5
            errors.PrivilegeMissing,
            "^.*: user reader lacks the privilege Query$",
        ),
        (
            Code.UNIMPLEMENTED,
            "unknown service milvus.proto.milvus.MilvusService",  # etcd
            errors.Unreachable,
            "the gRPC server on this port is not Milvus",
        ),
        (Code.UNIMPLEMENTED, "unknown method", errors.Refused, "does not support this call"),
        (Code.RESOURCE_EXHAUSTED, "larger than max (67 vs. 64)", errors.TooLarge, "than max"),
        (Code.RESOURCE_EXHAUSTED, "rate limit exceeded", errors.Busy, "rate limit"),
        (Code.INTERNAL, "RST_STREAM", errors.Ambiguous, "INTERNAL: RST_STREAM"),
        (Code.UNKNOWN, "panic", errors.Ambiguous, "UNKNOWN: panic"),
        (Code.ABORTED, "", errors.Ambiguous, "ABORTED"),
    ],
    ids=lambda value: value.name if isinstance(value, Code) else None,
)
def test_a_grpc_code_becomes_an_error(
    server: FakeMilvus, code: Code, text: str, kind: type[ServerError], words: str
) -> None:
    server.fails("ShowCollections", Fault(code, text=text), times=None)
    with pytest.raises(ServerError, match=words) as caught:
        ask(server.url)
    assert type(caught.value) is kind


def test_a_call_without_an_answer_times_out_and_slows_down(server: FakeMilvus) -> None:
    server.fails("ShowCollections", Fault(delay_s=0.5))
    connection = Channel(Endpoint(server.url), Patience(outage_s=0.0, timeout_s=0.3))
    with pytest.raises(errors.Unreachable, match="no answer in time"):
        connection.ask(*ASK)
    assert connection.throttle.pause_s >= 0.03
    assert connection.throttle.cause == "not answered"
    connection.close()


def test_two_channels_to_one_server_have_separate_connections(server: FakeMilvus) -> None:
    """Otherwise all workers would share one flow-control window."""
    port = urlsplit(server.url).port
    assert port
    with sockets.Relay(port) as relay:
        channels = [Channel(Endpoint(relay.url), NO_RETRIES) for _ in range(2)]
        for each in channels:
            each.ask(*ASK)
        assert relay.connections == 2
        for each in channels:
            each.close()


# Servers other than a Milvus


@pytest.fixture
def nobody() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


class Web(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Web) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def guarded(made: Certificates) -> Iterator[str]:
    """Yields the address of a server that uses TLS."""
    key, pem = made.server_key.read_bytes(), made.server_pem.read_bytes()
    credentials = grpc.ssl_server_credentials([(key, pem)])
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(grace=None).wait()


CERTIFICATES = {
    "expired": (
        {"server": certificates.EXPIRED},
        lambda made: Tls(ca_pem_path=str(made.ca_pem)),
        "the server's certificate has expired (it was valid until {until:%Y-%m-%d %H:%M} UTC): install a new one",
    ),
    "of a CA that has expired": (
        {"authority": certificates.EXPIRED},
        lambda made: Tls(ca_pem_path=str(made.ca_pem)),
        "the server's certificate has expired (not this certificate itself, but that of its CA): install a new one",
    ),
    "not yet valid": (
        {"server": certificates.EARLY},
        lambda made: Tls(ca_pem_path=str(made.ca_pem)),
        "the server's certificate is not valid yet (it becomes valid at {since:%Y-%m-%d %H:%M} UTC): check the clock of this host",
    ),
    "of an unknown CA": (
        {},
        lambda made: Tls(),
        "the server's certificate is not trusted (unable to get local issuer certificate): set `ca_pem_path` to its CA certificate",
    ),
    "for another name": (
        {},
        lambda made: Tls(ca_pem_path=str(made.ca_pem), server_name="milvus.example.com"),
        "the server's certificate is for another host name: set `url` or `server_name` to it",
    ),
}


@pytest.mark.parametrize("kind", CERTIFICATES)
def test_the_error_says_what_is_wrong_with_a_certificate(tmp_path: Path, kind: str) -> None:
    how, tls, words = CERTIFICATES[kind]
    made = certificates.make(tmp_path, **how)
    with guarded(made) as address:
        channel = Channel(Endpoint(f"https://{address}", tls=tls(made)), NO_RETRIES)
        with pytest.raises(errors.Unreachable) as caught:
            channel.ask("Connect", milvus_pb2.ConnectRequest(), milvus_pb2.ConnectResponse)
        channel.close()
    assert caught.value.detail == words.format(since=made.since, until=made.until)


def test_the_error_says_that_no_server_listens_on_the_port(nobody: str) -> None:
    with pytest.raises(
        errors.Unreachable, match="connection refused: no server listens on this port"
    ):
        ask(f"http://{nobody}")


def test_the_error_says_that_an_http_server_answers(web_server: str) -> None:
    with pytest.raises(
        errors.Unreachable, match="an HTTP server answers on this port: use the gRPC port of Milvus"
    ):
        ask(f"http://{web_server}")


def test_the_error_says_that_the_server_does_not_use_tls(server: FakeMilvus) -> None:
    with pytest.raises(errors.Unreachable, match="does not use TLS on this port: try http://"):
        ask(server.url.replace("http", "https"))


@pytest.mark.parametrize(
    "text",
    [
        "DNS resolution failed for nowhere:19530: C-ares status is not ARES_SUCCESS",
        (
            "errors resolving nowhere:19530: [field:hostname lookup error:address lookup failed "
            "for nowhere:19530: Domain name not found]"
        ),
    ],
    ids=["before gRPC 1.70", "gRPC 1.85"],
)
def test_the_error_says_that_the_host_cannot_be_resolved(server: FakeMilvus, text: str) -> None:
    server.fails("ShowCollections", Fault(Code.UNAVAILABLE, text=text))
    with pytest.raises(errors.Unreachable, match="the host name cannot be resolved"):
        ask(server.url)


# Credentials


def test_every_call_has_the_token_and_the_database(server: FakeMilvus) -> None:
    ask(server.url, token="root:Milvus", database="shop")
    assert server.metadata["dbname"] == "shop"
    assert server.metadata["authorization"] == b64encode(b"root:Milvus").decode()


def test_no_token_no_authorization(server: FakeMilvus) -> None:
    ask(server.url)
    assert "authorization" not in server.metadata


# Retries


def test_a_call_to_a_busy_server_is_retried_until_it_succeeds(
    server: FakeMilvus, clock: Clock
) -> None:
    server.fails("ShowCollections", RATE_LIMIT, times=5)
    ask(server.url, Patience())
    assert len(server.asked("ShowCollections")) == 6


def test_a_call_to_an_unreachable_server_is_retried_until_it_succeeds(
    server: FakeMilvus, clock: Clock
) -> None:
    server.fails("ShowCollections", AWAY, times=5)
    ask(server.url, Patience())
    assert len(server.asked("ShowCollections")) == 6


@pytest.mark.slow
@pytest.mark.skipif("KITELIFT_LONG" not in os.environ, reason="minutes; KITELIFT_LONG=1 runs it")
@pytest.mark.timeout(200)
def test_a_dead_open_connection_is_closed_long_before_the_call_times_out(
    server: FakeMilvus,
) -> None:
    port = int(server.url.rpartition(":")[2])
    with sockets.Relay(port) as relay:
        connection = Channel(Endpoint(relay.url))
        connection.ask(*ASK)
        relay.swallow()
        began = time.monotonic()
        connection.ask(*ASK)
        assert time.monotonic() - began < 90 < Patience().timeout_s
        connection.close()


def test_the_last_error_has_the_servers_text(server: FakeMilvus, clock: Clock) -> None:
    server.fails("ShowCollections", RATE_LIMIT, times=None)
    with pytest.raises(errors.Busy, match="RateLimiter"):
        ask(server.url, Patience(outage_s=60.0))
    assert 60 <= sum(clock.slept) < 60 + 2 * Throttle.LONGEST_PAUSE_S


PANIC = Fault(code=65535, text="panic in segment 17")


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Clock:
    """The clock of all retries; each wait has its maximum."""
    monkeypatch.setattr(channel, "time", clock)
    monkeypatch.setattr("tenacity.wait.random.uniform", lambda least, most: most)
    return clock


def query(connection: Channel) -> float:
    """Sends a query and returns the seconds until it failed."""
    began_s = channel.time.monotonic()
    with pytest.raises(ServerError):
        connection.retry(lambda: connection.send("Query", b""))
    return channel.time.monotonic() - began_s


@pytest.fixture
def connection(server: FakeMilvus) -> Iterator[Channel]:
    channel = Channel(Endpoint(server.url), Patience())
    yield channel
    channel.close()


def test_an_unexplained_error_is_retried_for_a_minute(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", PANIC, times=None)
    assert UNEXPLAINED_S <= query(connection) <= 2 * UNEXPLAINED_S
    assert 8 <= len(server.asked("Query")) <= 12


def test_a_known_temporary_error_is_retried_until_max_outage(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", Fault(code=65535, text="fail to get shard leaders"), times=None)
    assert 900 <= query(connection) <= 930


def test_a_mistake_of_the_caller_is_not_retried(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", Fault(code=65535, text="cannot parse expression: id >"), times=None)
    assert query(connection) == 0


def test_an_unexplained_error_of_a_call_without_rows_is_retried_briefly(
    server: FakeMilvus, steady: Clock
) -> None:
    server.fails("ShowCollections", PANIC, times=None)
    with pytest.raises(errors.Unexplained, match="panic"):
        ask(server.url, Patience())
    assert UNEXPLAINED_SHORT_S <= sum(steady.slept) <= 2 * UNEXPLAINED_SHORT_S
    assert 4 <= len(server.asked("ShowCollections")) <= 8


def test_the_same_unexplained_error_is_later_retried_briefly(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", PANIC, times=None)
    query(connection)
    server.heal()
    server.fails("Query", replace(PANIC, text="panic in segment 18"), times=None)
    assert UNEXPLAINED_SHORT_S <= query(connection) <= 2 * UNEXPLAINED_SHORT_S
    server.heal()
    server.fails("Query", replace(PANIC, text="something else"), times=None)
    assert query(connection) >= UNEXPLAINED_S


def test_a_persistent_error_is_forgotten_after_ten_minutes(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", PANIC, times=None)
    query(connection)
    steady.now += PERSISTENT_S
    assert query(connection) >= UNEXPLAINED_S


def test_an_unexplained_error_is_not_retried_at_first_contact(server: FakeMilvus) -> None:
    server.fails("ShowCollections", PANIC, times=None)
    with pytest.raises(errors.Unexplained, match="panic"):
        ask(server.url, NO_RETRIES)
    assert len(server.asked("ShowCollections")) == 1


def test_other_errors_in_between_restart_the_time_of_an_unexplained_error(
    server: FakeMilvus, steady: Clock, connection: Channel
) -> None:
    server.fails("Query", PANIC, times=9)
    server.fails("Query", AWAY, times=9)
    server.fails("Query", PANIC, times=2)
    server.fails("Query", REFUSED)
    with pytest.raises(errors.Refused, match="does not like it"):
        connection.retry(lambda: connection.send("Query", b""))


@pytest.mark.parametrize(
    "fault",
    [REFUSED, Fault(Code.UNAUTHENTICATED), Fault(Code.UNIMPLEMENTED), Fault(code=1400)],
    ids=["refused", "credentials", "unknown call", "privilege"],
)
def test_a_permanent_error_is_not_retried(server: FakeMilvus, fault: Fault) -> None:
    server.fails("ShowCollections", fault, times=None)
    with pytest.raises(ServerError):
        ask(server.url, Patience())
    assert len(server.asked("ShowCollections")) == 1


def test_the_first_contact_ends_within_ten_seconds() -> None:
    assert NO_RETRIES.outage_s + NO_RETRIES.timeout_s <= 10


def test_the_wait_between_attempts_grows_and_is_bounded(server: FakeMilvus, clock: Clock) -> None:
    server.fails("ShowCollections", AWAY, times=12)
    ask(server.url, Patience(outage_s=1e6))
    assert clock.slept[0] <= 0.2
    assert max(clock.slept) <= 30
    # Each is random; four in a row of up to 30 s are practically never so short.
    assert max(clock.slept[-4:]) >= 3


# The throttle


def calls(
    throttle: Throttle, clock: Clock, outcome: Callable[[Throttle], None], count: int
) -> None:
    for _ in range(count):
        throttle.wait()
        clock.now += 0.001  # the duration of a call
        outcome(throttle)


def test_a_throttle_without_refusals_does_not_wait(clock: Clock) -> None:
    calls(Throttle(), clock, Throttle.speed_up, 100)
    assert clock.slept == []


def test_if_all_calls_are_refused_each_refusal_halves_the_rate(clock: Clock) -> None:
    throttle = Throttle()
    calls(throttle, clock, Throttle.slow_down, 18)
    slow = throttle.pause_s
    calls(throttle, clock, Throttle.slow_down, 1)
    assert 1.7 * slow < throttle.pause_s <= 2 * slow


def test_a_rare_refusal_hardly_slows_down_a_slow_throttle(clock: Clock) -> None:
    throttle = Throttle()
    calls(throttle, clock, Throttle.slow_down, 20)
    calls(throttle, clock, Throttle.speed_up, 20)
    slow = throttle.pause_s
    calls(throttle, clock, Throttle.slow_down, 1)
    assert slow < throttle.pause_s < 1.2 * slow


def test_refusals_of_calls_sent_at_one_rate_count_once(clock: Clock) -> None:
    throttle = Throttle()
    for _ in range(10):
        throttle.slow_down()
    assert throttle.pause_s == Throttle.FIRST_PAUSE_S


def test_the_rate_recovers_to_full_speed_by_itself(clock: Clock) -> None:
    throttle = Throttle()
    calls(throttle, clock, Throttle.slow_down, 20)
    slow = throttle.pause_s
    calls(throttle, clock, Throttle.speed_up, 20)
    assert 0 < throttle.pause_s < slow / 4
    calls(throttle, clock, Throttle.speed_up, 80)
    assert throttle.pause_s == 0


def test_late_answers_leave_at_least_a_tenth_of_the_time(clock: Clock) -> None:
    throttle = Throttle()
    for _ in range(20):
        calls(throttle, clock, lambda throttle: throttle.slow_down_late(0.5), 1)
    assert throttle.pause_s == 9 * 0.5
    assert throttle.cause == "answered late"


def test_a_late_answer_does_not_shorten_the_pause_after_a_refusal(clock: Clock) -> None:
    throttle = Throttle()
    calls(throttle, clock, Throttle.slow_down, 6)
    slow = throttle.pause_s
    calls(throttle, clock, lambda throttle: throttle.slow_down_late(0.001), 1)
    assert throttle.pause_s == slow


def test_a_server_that_refuses_every_fifth_call_is_called_at_full_speed(clock: Clock) -> None:
    throttle = Throttle()
    for _ in range(100):
        calls(throttle, clock, Throttle.speed_up, 4)
        calls(throttle, clock, Throttle.slow_down, 1)
    assert sum(clock.slept) < 500 * 0.02


def test_a_server_with_a_limit_is_called_at_its_limit(clock: Clock) -> None:
    throttle, rate, tokens, at = Throttle(), 2.0, 2.0, clock.now
    refused = taken = 0
    while clock.now < 1_300:
        throttle.wait()
        clock.now += 0.001
        tokens, at = min(2.0, tokens + (clock.now - at) * rate), clock.now
        if tokens >= 1:
            tokens, taken = tokens - 1, taken + 1
            throttle.speed_up()
        else:
            refused += 1
            throttle.slow_down()
    assert taken > 0.95 * 300 * rate
    assert refused < 0.5 * taken


def test_a_call_without_an_answer_slows_down_by_a_tenth_of_its_time(clock: Clock) -> None:
    throttle = Throttle()
    calls(throttle, clock, lambda throttle: throttle.slow_down_unanswered(20.0), 1)
    assert (throttle.pause_s, throttle.cause) == (2.0, "not answered")
    calls(throttle, clock, lambda throttle: throttle.slow_down_unanswered(900.0), 1)
    assert throttle.pause_s == Throttle.LONGEST_PAUSE_S


def test_waiting_calls_continue_once_the_server_accepts_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Throttle, "LOOK_EVERY_S", 0.02)
    throttle = Throttle()
    throttle.slow_down_unanswered(100.0)  # A pause of 10 s.
    threads = [Thread(target=throttle.wait, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    assert all(thread.is_alive() for thread in threads)
    for _ in range(100):
        throttle.speed_up()
    for thread in threads:
        thread.join(2.0)
    assert not any(thread.is_alive() for thread in threads)


@given(st.lists(st.booleans(), max_size=60))
def test_the_pause_is_zero_or_within_its_bounds(outcomes: list[bool]) -> None:
    clock = Clock()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("transforms.milvus.throttle.time", clock)
        throttle = Throttle()
        for accepted in outcomes:
            calls(throttle, clock, Throttle.speed_up if accepted else Throttle.slow_down, 1)
            pause_s = throttle.pause_s
            assert pause_s == 0 or 0 < pause_s <= Throttle.LONGEST_PAUSE_S


def test_the_calls_of_all_threads_are_spaced_by_the_pause() -> None:
    throttle = Throttle()
    throttle.slow_down()
    started: list[float] = []

    def call() -> None:
        throttle.wait()
        started.append(time.monotonic())

    threads = [Thread(target=call) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(started) - min(started) >= 4 * throttle.pause_s * 0.9


def test_a_servers_refusals_slow_down_all_calls_of_its_channel(
    server: FakeMilvus, clock: Clock
) -> None:
    connection = Channel(Endpoint(server.url), Patience())
    server.fails("ShowCollections", RATE_LIMIT, times=2)
    try:
        connection.ask(*ASK)
        assert connection.throttle.pause_s > 0
        [(reason, retried)] = connection.retries.sums.items()
        assert (reason, retried.calls) == ("rate limit", 2)
        assert retried.seconds == pytest.approx(sum(clock.slept))
        for _ in range(60):
            connection.ask(*ASK)
        assert connection.throttle.pause_s == 0
    finally:
        connection.close()
