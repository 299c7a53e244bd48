"""One gRPC connection to one Milvus: sends, waits, translates errors, and retries what is safe.

Requests and answers pass as bytes: the codec reads and writes the wire format itself. pymilvus'
own client is not used, because it retries inserts silently, which doubles rows.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import tenacity
from pymilvus.grpc_gen import common_pb2

from transforms.errors import (
    AccessDenied,
    Ambiguous,
    Busy,
    PrivilegeMissing,
    Refused,
    ServerError,
    TooLarge,
    Unreachable,
)
from transforms.milvus import wire
from transforms.milvus.endpoint import Endpoint

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_SERVICE = "/milvus.proto.milvus.MilvusService/"
_OPTIONS = [
    # A proxy's own limits are 64 MB to receive and up to 256 MB to send; the client sets none.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Channels to one address share one connection otherwise, and so its flow-control window.
    ("grpc.use_local_subchannel_pool", 1),
    # milvus-lite answers pings every 10 s with GOAWAY too_many_pings.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A server that is away for minutes must be found soon after it is back.
    ("grpc.max_reconnect_backoff_ms", 5_000),
]

# Milvus codes (pkg/util/merr/errors.go) that ask for another try, with legacy codes beside them.
# 101 is "collection not loaded": also what a server says for a while after it was started again.
_BUSY_CODES = frozenset(
    [*(1, 2, 3, 4, 7, 8, 9, 11, 12, 101, 103, 106, 110, 202, 500, 503, 505, 507), *range(901, 907)]
) | {1003, 2200, 10001}
_LEGACY_RATE_LIMIT = 49
_ACCESS_CODES = frozenset([1400, 1401, 1402])
UNEXPECTED = 65535

# Limits and quotas: such a call is turned away before anything is done.
_LIMIT_CODES = frozenset([3, 7, 8, 9, 11])
_LIMIT_TEXTS = ("ratelimit", "rate limit", "quota exceeded")

# 2.3 answers most things with 65535 and only the text tells them apart.
_BUSY_TEXTS = (
    "ratelimiter",
    "rate limit",
    "not ready",
    "no available",
    "channel not available",
    "not been loaded into memory",
    "collection not loaded",
    "not fully loaded",
    "node not found",
    "server is not serving",
    "context deadline exceeded",
    "memory quota exceeded",
    "service unavailable",
    "fail to get shard leaders",
    "failed to get shard",
    "timestamp lag too large",
)
_TOO_LARGE_TEXTS = (
    "larger than max",
    "exceed the limit size",
    "exceeds the limit size",
    "maxoutputsize",
    "message too large",
)


LONGEST_WAIT_S = 30.0
"""Between two tries; the waits before grow from 0.1 s, each at random below twice the last."""

WORTH_A_WARNING = 3
"""Tries of one call after which the log says so unasked."""


@dataclass(frozen=True)
class Patience:
    """How long a call goes on trying.

    Attributes:
        outage_s: how long a server may be away, or refuse for want of capacity, in one go.
        timeout_s: how long one attempt may take.
        unexpected: how often an error of unknown meaning (65535) is tried again.
    """

    outage_s: float = 900.0
    timeout_s: float = 300.0
    unexpected: int = 3


AT_ONCE = Patience(outage_s=0.0, timeout_s=8.0, unexpected=0)
"""For the first contact: an answer within 10 s, or a clear error."""


class Governor:
    """Paces the calls of all threads to one server: halves its rate when told to, then recovers.

    The pause between two calls starts at none. Each refusal doubles it. Each success raises the
    rate again, by a tenth and by no less than `STEP_PER_S`: so it climbs back by itself within some
    dozens of calls, and a server that refuses one call in five at random does not bring it down to
    nothing.
    """

    FIRST_PAUSE_S = 0.02
    LONGEST_PAUSE_S = 30.0
    STEP_PER_S = 0.5

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pause_s = 0.0
        self._next_s = 0.0
        self._changed_s = 0.0

    @property
    def pause_s(self) -> float:
        """Seconds between two calls; 0 is full speed."""
        return self._pause_s

    def wait(self) -> None:
        """Waits for this call's turn."""
        with self._lock:
            if self._pause_s == 0.0:
                return
            now = time.monotonic()
            turn = max(now, self._next_s)
            self._next_s = turn + self._pause_s
        time.sleep(turn - now)

    def refused(self) -> None:
        """Slows down; refusals of calls that were sent at the same pace count once."""
        with self._lock:
            now = time.monotonic()
            if now - self._changed_s < self._pause_s:
                return
            self._pause_s = min(max(self._pause_s * 2, self.FIRST_PAUSE_S), self.LONGEST_PAUSE_S)
            self._changed_s = now
            self._next_s = now + self._pause_s

    def accepted(self) -> None:
        """Speeds up again."""
        with self._lock:
            if self._pause_s == 0.0:
                return
            self._pause_s = min(self._pause_s * 0.9, 1 / (1 / self._pause_s + self.STEP_PER_S))
            if self._pause_s < self.FIRST_PAUSE_S / 4:
                self._pause_s = 0.0


class Channel:
    """A connection; any thread may use it."""

    def __init__(self, endpoint: Endpoint, patience: Patience | None = None) -> None:
        self.server = endpoint.url
        self.governor = Governor()
        self.retries = 0
        self._patience = patience or Patience(outage_s=endpoint.max_outage_s)
        self._metadata = _metadata(endpoint)
        self._grpc = _connect(endpoint)
        self._methods: dict[str, Callable[..., bytes]] = {}

    def close(self) -> None:
        """Closes the connection; calls under way fail."""
        self._grpc.close()

    def ask(self, method: str, request: Any, answer: Any) -> Any:
        """Sends an idempotent request; returns the answer as a message of class `answer`.

        Tries again while that can help.

        Raises:
            ServerError: in the words of the server, after what `Patience` allows.
        """
        payload = request.SerializeToString()
        return answer.FromString(self.persist(lambda: self.send(method, payload)))

    def send(self, method: str, payload: bytes) -> bytes:
        """Sends one request once, waits for the answer and returns its bytes.

        Raises:
            ServerError: the subclass says whether, and how, trying again can help. A write that
                may have arrived is not told apart here: see `Ambiguous`.
        """
        self.governor.wait()
        try:
            answer = self._method(method)(
                payload, timeout=self._patience.timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise self._translate(method, error) from error
        fault = fault_in(self.server, method, answer)
        if isinstance(fault, Busy):
            self.governor.refused()
        if fault:
            raise fault
        self.governor.accepted()
        return answer

    def persist(self, attempt: Callable[[], Result]) -> Result:
        """Runs `attempt` until it succeeds, fails for good, or patience is over."""
        return tenacity.Retrying(
            retry=_MayHelp(self._patience),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            before_sleep=self._say,
            reraise=True,
        )(attempt)

    def _say(self, state: tenacity.RetryCallState) -> None:
        self.retries += 1
        tries = state.attempt_number
        logger.log(
            logging.WARNING if tries >= WORTH_A_WARNING else logging.INFO,
            "%s; next try in %.1f s (try %d)",
            state.outcome and state.outcome.exception(),
            state.upcoming_sleep,
            tries + 1,
        )

    def _method(self, name: str) -> Callable[..., bytes]:
        if name not in self._methods:
            self._methods[name] = self._grpc.unary_unary(_SERVICE + name)
        return self._methods[name]

    def _translate(self, method: str, error: grpc.RpcError) -> ServerError:
        status, details = error.code(), error.details() or ""
        kind, text = _meaning(status, details)
        return kind(self.server, method, text)


class _MayHelp:
    """Says after each try of one call whether another one may help."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._unexpected = 0

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, (Refused, Ambiguous)) and error.code == UNEXPECTED:
            self._unexpected += 1
            return self._unexpected <= self._patience.unexpected
        if isinstance(error, (Busy, Unreachable, Ambiguous)):
            return (state.seconds_since_start or 0.0) < self._patience.outage_s
        return False


def fault_in(server: str, method: str, answer: bytes) -> ServerError | None:
    """Reads the Status of an answer: field 1 of every Milvus answer, or the answer itself."""
    status = _status_of(method, answer)
    if status.code == 0 and status.error_code == 0:
        return None
    code = status.code or UNEXPECTED
    reason = status.reason.strip() or common_pb2.ErrorCode.Name(status.error_code)
    return _kind(code, status.error_code, reason.lower())(server, method, reason, code)


def surely_not_done(error: ServerError) -> bool:
    """Whether a write that ended with this error has changed nothing; in doubt it may have."""
    if isinstance(error, (Unreachable, Ambiguous)):
        return False
    if isinstance(error, Busy):
        reason = error.detail.lower()
        return error.code in _LIMIT_CODES or any(text in reason for text in _LIMIT_TEXTS)
    return isinstance(error, TooLarge) or error.code != UNEXPECTED


_ANSWERS_WITH_STATUS_ALONE = frozenset(
    f"{verb}{noun}"
    for verb in ("Create", "Drop", "Alter", "Load", "Release")
    for noun in ("Collection", "Index", "Partition", "Partitions", "Alias", "Database")
)


def _status_of(method: str, answer: bytes) -> common_pb2.Status:
    if method in _ANSWERS_WITH_STATUS_ALONE:
        return common_pb2.Status.FromString(answer)
    spans = (value for number, _, value in wire.fields(memoryview(answer)) if number == 1)
    return common_pb2.Status.FromString(bytes(next(spans, b"")))


def _kind(code: int, legacy: int, reason: str) -> type[ServerError]:
    if any(text in reason for text in _TOO_LARGE_TEXTS):
        return TooLarge
    if code in _ACCESS_CODES:
        return AccessDenied
    if code in _BUSY_CODES or legacy == _LEGACY_RATE_LIMIT:
        return Busy
    if code == UNEXPECTED and any(text in reason for text in _BUSY_TEXTS):
        return Busy
    return Refused


def _meaning(status: grpc.StatusCode, details: str) -> tuple[type[ServerError], str]:
    """Translates what gRPC says; nothing else in the project knows its codes."""
    lowered = details.lower()
    match status:
        case grpc.StatusCode.UNAUTHENTICATED:
            return AccessDenied, f"the credentials are refused ({details})"
        case grpc.StatusCode.PERMISSION_DENIED:
            return PrivilegeMissing, f"this user lacks a privilege ({details})"
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return (TooLarge if "larger than max" in lowered else Busy), details
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable, "no answer in time"
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable, _plain_words(details)
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused, f"this server does not know the call ({details})"
        case _:
            # INTERNAL (a stream reset), UNKNOWN, ABORTED, CANCELLED: the call may have arrived.
            return Ambiguous, f"{status.name}: {details}"


_NO_SUCH_HOST = ("dns resolution failed", "name resolution", "address lookup failed")


def _plain_words(details: str) -> str:
    lowered = details.lower()
    if "connection refused" in lowered:
        return "connection refused: nothing listens there"
    if any(text in lowered for text in _NO_SUCH_HOST):
        return "the host name is not known"
    if "certificate_verify_failed" in lowered or "certificate verify failed" in lowered:
        return f"the server's certificate is not trusted ({details})"
    if "wrong_version_number" in lowered or "ssl_error_ssl" in lowered:
        return "the server does not speak TLS there: try http:// instead of https://"
    if "http1.x server" in lowered or "failed parsing http/2" in lowered:
        return "an HTTP server answers there, not a Milvus gRPC port (usually 19530)"
    return details


def _metadata(endpoint: Endpoint) -> list[tuple[str, str]]:
    pairs = [("dbname", endpoint.database)] if endpoint.database else []
    secret = endpoint.secret()
    if secret:
        pairs.append(("authorization", base64.b64encode(secret.encode()).decode()))
    return pairs


def _connect(endpoint: Endpoint) -> grpc.Channel:
    options: list[tuple[str, Any]] = list(_OPTIONS)
    if not endpoint.secure:
        return grpc.insecure_channel(endpoint.address, options=options)
    tls = endpoint.tls
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca_pem_path),
        private_key=_pem(tls.client_key_path),
        certificate_chain=_pem(tls.client_pem_path),
    )
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _pem(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
