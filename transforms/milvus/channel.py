"""One gRPC connection to one Milvus: sends, waits, translates errors, and retries if that is safe.

Requests and answers pass as bytes: the codec reads and writes the wire format itself. pymilvus'
own client is not used, because it retries inserts silently, which duplicates rows.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import tenacity

from transforms.errors import (
    AccessDenied,
    Ambiguous,
    Busy,
    NotUtf8,
    PrivilegeMissing,
    Refused,
    ServerError,
    TooLarge,
    Unexplained,
    Unreachable,
)
from transforms.milvus import connection, gateways, proxies
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import fault_in, shortage
from transforms.milvus.retry_statistics import Retries
from transforms.milvus.throttle import Throttle

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_SERVICE = "/milvus.proto.milvus.MilvusService/"
LONGEST_WAIT_S = 30.0
"""The longest wait between two attempts. Waits grow from 0.1 s: random, up to twice the last."""

WORTH_A_WARNING = 3
"""Failed attempts of one call after which the log has a warning, not only an info."""

UNEXPLAINED_S = 60.0
"""How long an unexplained error is retried on calls that move rows.

If a node of Milvus dies, the others notice when its lease ends, 30 s after its last heartbeat
(``common.session.ttl``). Then they need some seconds to take over its channels and segments. Until
then calls may fail with any text. A caller's mistake with an unknown text costs this time once.
"""

UNEXPLAINED_SHORT_S = 2.0
"""How long it is retried on other calls, and after the same text has persisted `UNEXPLAINED_S`.

That is about five attempts. On other calls, an unknown text mostly means that the server rejects
an index or a property. Without the second rule, one row of 1,000 that the server rejects with an
unknown text would cost a minute at each of ten halvings, and a server that rejects every write
would cost a minute a range.
"""

PERSISTENT_S = 600.0
"""How long a text that has persisted `UNEXPLAINED_S` is remembered."""

_ROW_CALLS = frozenset(["Query", "Insert", "Upsert", "Delete"])


@dataclass(frozen=True)
class Patience:
    """How long a call is retried.

    Attributes:
        outage_s: how long a server may be unreachable, or short of capacity, without a break.
        timeout_s: how long one attempt may take.
        unexplained_s: how long an unexplained error is retried, within `outage_s`.
    """

    outage_s: float = 900.0
    timeout_s: float = 300.0
    unexplained_s: float = UNEXPLAINED_S


NO_RETRIES = Patience(outage_s=0.0, timeout_s=8.0, unexplained_s=0.0)
"""No retries, for the first contact: an answer within 10 s, or a clear error."""


class Channel:
    """A connection to one server. Thread-safe."""

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience | None = None,
        throttle: Throttle | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.server = endpoint.url
        self._endpoint = endpoint
        self.throttle = throttle or Throttle()
        self.retries = retries or Retries()
        self._patience = patience or Patience(outage_s=endpoint.max_outage_s)
        self._metadata = connection.metadata(endpoint)
        self._grpc = connection.connect(endpoint)
        self._methods: dict[str, Callable[..., bytes]] = {}
        self._persistent = PersistentErrors()

    def close(self) -> None:
        """Closes the connection; calls in progress fail."""
        self._grpc.close()

    def ask(self, method: str, request: Any, answer: Any, database: str = "") -> Any:
        """Sends an idempotent request; returns the answer as a message of class `answer`.

        It is sent to `database`; "" is that of the connection. Retries while that can help and
        `Patience` allows it.

        Raises:
            ServerError: the last failure, with the server's own text.
        """
        payload = request.SerializeToString()
        return answer.FromString(self.retry(lambda: self.send(method, payload, database)))

    def send(self, method: str, payload: bytes, database: str = "") -> bytes:
        """Sends one request once, waits for the answer and returns its bytes.

        Raises:
            ServerError: the subclass says whether, and how, a retry can help. It does not say
                whether a write may have arrived: see `Ambiguous`.
        """
        return self.send_timed(method, payload, database)[0]

    def send_timed(self, method: str, payload: bytes, database: str = "") -> tuple[bytes, float]:
        """Does the same as `send`; also returns the seconds until the answer."""
        self._wait()
        began = time.monotonic()
        try:
            answer = self._method(method)(
                payload,
                timeout=self._patience.timeout_s,
                metadata=self._metadata_in(database),
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self.throttle.slow_down_unanswered(time.monotonic() - began)
            raise self._slowed_by(self._translate(method, error)) from error
        if fault := fault_in(self.server, method, answer):
            raise self._slowed_by(fault)
        self.throttle.speed_up()
        took_s = time.monotonic() - began
        self.retries.add_answer(took_s)
        return answer, took_s

    def _metadata_in(self, database: str) -> list[tuple[str, str]]:
        """Returns the metadata of a call that is made in a database; "" is the connection's."""
        if database in ("", self._endpoint.database):
            return self._metadata
        return [*connection.database_pairs(database), *self._metadata]

    def _wait(self) -> None:
        """Waits for the pause that earlier failures of this server require."""
        if waited_s := self.throttle.wait():
            self.retries.add_wait(self.throttle.cause, waited_s)

    def _slowed_by(self, fault: ServerError) -> ServerError:
        """Returns the fault; slows down if it says that the server is short of something."""
        if isinstance(fault, Busy) and (cause := shortage(fault)):
            self.throttle.slow_down(cause)
        return fault

    def retry(self, attempt: Callable[[], Result]) -> Result:
        """Runs `attempt` until it succeeds, a retry cannot help, or `Patience` is exhausted."""
        return tenacity.Retrying(
            retry=_ShouldRetry(self._patience, self._persistent),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            before_sleep=self._log_retry,
            reraise=True,
        )(attempt)

    def _log_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ServerError):
            self.retries.add_retry(error, state.upcoming_sleep)
        tries = state.attempt_number
        logger.log(
            logging.WARNING if tries >= WORTH_A_WARNING else logging.INFO,
            "%s; retry in %.1f s (attempt %d)",
            error,
            state.upcoming_sleep,
            tries + 1,
        )

    def _method(self, name: str) -> Callable[..., bytes]:
        if name not in self._methods:
            self._methods[name] = self._grpc.unary_unary(_SERVICE + name)
        return self._methods[name]

    def _translate(self, method: str, error: grpc.RpcError) -> ServerError:
        status, details = error.code(), error.details() or ""
        kind, text = gateways.meaning(details) or _meaning(status, details)
        if kind is Ambiguous and _not_utf8(method, details):
            kind = NotUtf8
        if _WHEN in text:
            text = text.replace(_WHEN, self._certificate_dates())
        if kind is Unreachable and status == grpc.StatusCode.UNAVAILABLE:
            text = self._behind_proxy(text)
        return kind(self.server, method, text)

    def _certificate_dates(self) -> str:
        """Returns from or until when the server's certificate is valid; gRPC does not say it."""
        from transforms.milvus import certificate

        validity = certificate.validity(self._endpoint)
        return f" ({validity.words()})" if validity else ""

    def _behind_proxy(self, text: str) -> str:
        """Returns `text`; with the HTTP proxy and how to avoid it, if the connection uses one."""
        proxy = proxies.used_for(self._endpoint.address)
        if proxy is None:
            return text
        remedy = proxy.remedy(proxies.host_of(self._endpoint.address))
        if text == REFUSED_CONNECTION:
            text = "connection refused"  # By the proxy, or by the server behind it: unknown.
        return (
            f"no connection through the HTTP proxy {proxy}: {text}. To connect without it, {remedy}"
        )


class PersistentErrors:
    """The unexplained errors of one server that have persisted `UNEXPLAINED_S`. Thread-safe."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def add(self, error: ServerError) -> None:
        """Remembers the text of an error; numbers and quoted parts of it do not matter."""
        self._until_s[_pattern(error)] = time.monotonic() + PERSISTENT_S

    def __contains__(self, error: ServerError) -> bool:
        return time.monotonic() < self._until_s.get(_pattern(error), 0.0)


def _pattern(error: ServerError) -> str:
    text = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", error.detail)
    return f"{error.call} {error.code} {text[:200]}"


class _ShouldRetry:
    """Decides after each attempt of one call whether to retry it."""

    def __init__(self, patience: Patience, persistent: PersistentErrors) -> None:
        self._patience, self._persistent = patience, persistent
        self._unexplained_since_s: float | None = None

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Ambiguous):
            error = error.meaning
        now_s = state.seconds_since_start or 0.0
        if isinstance(error, Unexplained):
            return self._retry_unexplained(error, now_s)
        # A server that recovers may answer with several different errors, one after the other.
        self._unexplained_since_s = None
        may_help = isinstance(error, (Busy, Unreachable, Ambiguous))
        return may_help and now_s < self._patience.outage_s

    def _retry_unexplained(self, error: Unexplained, now_s: float) -> bool:
        if self._unexplained_since_s is None:
            self._unexplained_since_s = now_s
        longest_s = min(self._patience.unexplained_s, self._patience.outage_s)
        if error.call not in _ROW_CALLS or error in self._persistent:
            longest_s = min(longest_s, UNEXPLAINED_SHORT_S)
        if now_s - self._unexplained_since_s < longest_s:
            return now_s < self._patience.outage_s
        if error.call in _ROW_CALLS and error not in self._persistent:
            self._persistent.add(error)
        return False


def _meaning(status: grpc.StatusCode, details: str) -> tuple[type[ServerError], str]:
    """Translates a gRPC status to an error class and its text; only this module knows the codes."""
    lowered = details.lower()
    match status:
        case grpc.StatusCode.UNAUTHENTICATED:
            return AccessDenied, f"the server rejects the credentials ({details})"
        case grpc.StatusCode.PERMISSION_DENIED:
            return PrivilegeMissing, _missing(details)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return (TooLarge if "larger than max" in lowered else Busy), details
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable, "no answer in time"
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable, _plain_text(details)
        case grpc.StatusCode.UNIMPLEMENTED if "unknown service" in lowered:
            return Unreachable, "the gRPC server on this port is not Milvus (usually port 19530)"
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused, f"the server does not support this call ({details})"
        case _:
            # INTERNAL (a stream reset), UNKNOWN, ABORTED, CANCELLED: the call may have arrived.
            return Ambiguous, f"{status.name}: {details}"


def _not_utf8(method: str, details: str) -> bool:
    """Returns whether an answer to a query, or a request, has a text that is not UTF-8.

    If the server cannot parse the request, it does nothing: so a write has certainly not happened.
    """
    lowered = details.lower()
    return "invalid utf-8" in lowered and (method == "Query" or "unmarshal" in lowered)


_WHEN = "{when}"
"""The placeholder for the dates of the certificate."""

REFUSED_CONNECTION = "connection refused: no server listens on this port"

_PLAIN_TEXTS = (
    (("connection refused",), REFUSED_CONNECTION),
    (
        ("dns resolution failed", "name resolution", "address lookup failed"),
        "the host name cannot be resolved",
    ),
    (
        ("certificate has expired",),
        f"the server's certificate has expired{_WHEN}: install a new one",
    ),
    (
        ("certificate is not yet valid",),
        f"the server's certificate is not valid yet{_WHEN}: check the clock of this host",
    ),
    (
        ("hostname verification check failed",),
        "the server's certificate is for another host name: set `url` or `server_name` to it",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        "the server's certificate is not trusted{why}: set `ca_pem_path` to its CA certificate",
    ),
    (
        ("wrong_version_number", "ssl_error_ssl"),
        "the server does not use TLS on this port: try http:// instead of https://",
    ),
    (
        ("http1.x server", "failed parsing http/2"),
        "an HTTP server answers on this port: use the gRPC port of Milvus (usually 19530)",
    ),
)
"""Parts of gRPC's text (lower case) about a failed connection -> our text; the first match wins."""


def _missing(details: str) -> str:
    """Names the privilege; Milvus says "PrivilegeQuery: permission deny to USER"."""
    denied = re.search(r"Privilege(\w+): permission deny to ([^\s(]+)", details)
    if denied:
        return f"user {denied[2]} lacks the privilege {denied[1]}"
    return f"this user lacks a privilege ({details})"


def _plain_text(details: str) -> str:
    lowered = details.lower()
    plain = (text for parts, text in _PLAIN_TEXTS if any(part in lowered for part in parts))
    why = re.search(r"certificate.verify.failed: ([^:]+)", details, re.IGNORECASE)
    return next(plain, details).replace("{why}", f" ({why[1]})" if why else "")
