"""One gRPC connection to one Milvus: sends, waits, translates errors, and retries what is safe.

Requests and answers pass as bytes: the codec reads and writes the wire format itself. pymilvus'
own client is not used, because it retries inserts silently, which doubles rows.
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
from transforms.milvus.retries import Retries
from transforms.milvus.throttle import Throttle

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

_SERVICE = "/milvus.proto.milvus.MilvusService/"
LONGEST_WAIT_S = 30.0
"""Between two tries; the waits before grow from 0.1 s, each at random below twice the last."""

WORTH_A_WARNING = 3
"""Tries of one call after which the log says so unasked."""


UNEXPLAINED_S = 60.0
"""How long an error of unknown meaning is retried on calls that move rows.

If a node of Milvus dies, the others know it when its lease ends, which is 30 s after its last sign
(``common.session.ttl``), and then need some seconds to take over its channels and segments. Until
then calls may fail in any words. A mistake of the caller in unknown words costs this time once.
"""

BRIEFLY_S = 2.0
"""How long it is retried on other calls, and once the same words have outlasted `UNEXPLAINED_S`.

That is about five tries. On other calls, unknown words are mostly a refusal of an index or a
property. Without the second rule, a row of 1,000 that the server refuses in unknown words would
cost a minute at each of ten halvings, and a server that refuses every write a minute a range.
"""

LASTING_S = 600.0
"""How long words that have outlasted `UNEXPLAINED_S` count as known."""

_ROW_CALLS = frozenset(["Query", "Insert", "Upsert", "Delete"])


@dataclass(frozen=True)
class Patience:
    """How long a call goes on trying.

    Attributes:
        outage_s: how long a server may be away, or refuse for want of capacity, in one go.
        timeout_s: how long one attempt may take.
        unexplained_s: how long an error of unknown meaning is retried, within `outage_s`.
    """

    outage_s: float = 900.0
    timeout_s: float = 300.0
    unexplained_s: float = UNEXPLAINED_S


AT_ONCE = Patience(outage_s=0.0, timeout_s=8.0, unexplained_s=0.0)
"""For the first contact: an answer within 10 s, or a clear error."""


class Channel:
    """A connection; any thread may use it."""

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience | None = None,
        governor: Throttle | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.server = endpoint.url
        self._endpoint = endpoint
        self.governor = governor or Throttle()
        self.retries = retries or Retries()
        self._patience = patience or Patience(outage_s=endpoint.max_outage_s)
        self._metadata = connection.metadata(endpoint)
        self._grpc = connection.connect(endpoint)
        self._methods: dict[str, Callable[..., bytes]] = {}
        self._lasting = Lasting()

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
        return self.timed(method, payload)[0]

    def timed(self, method: str, payload: bytes) -> tuple[bytes, float]:
        """Does as `send`; returns also the seconds that the answer took."""
        self._wait()
        began = time.monotonic()
        try:
            answer = self._method(method)(
                payload, timeout=self._patience.timeout_s, metadata=self._metadata
            )
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self.governor.unanswered(time.monotonic() - began)
            raise self._heeded(self._translate(method, error)) from error
        if fault := fault_in(self.server, method, answer):
            raise self._heeded(fault)
        self.governor.accepted()
        took_s = time.monotonic() - began
        self.retries.answered(took_s)
        return answer, took_s

    def _wait(self) -> None:
        """Waits as long as the server's refusals ask for."""
        if waited_s := self.governor.wait():
            self.retries.held_back(self.governor.cause, waited_s)

    def _heeded(self, fault: ServerError) -> ServerError:
        """Slows down if a fault asks for it."""
        if isinstance(fault, Busy) and (cause := shortage(fault)):
            self.governor.refused(cause)
        return fault

    def persist(self, attempt: Callable[[], Result]) -> Result:
        """Runs `attempt` until it succeeds, fails for good, or patience is over."""
        return tenacity.Retrying(
            retry=_MayHelp(self._patience, self._lasting),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
            before_sleep=self._say,
            reraise=True,
        )(attempt)

    def _say(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, ServerError):
            self.retries.again(error, state.upcoming_sleep)
        tries = state.attempt_number
        logger.log(
            logging.WARNING if tries >= WORTH_A_WARNING else logging.INFO,
            "%s; next try in %.1f s (try %d)",
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
            text = text.replace(_WHEN, self._when())
        if kind is Unreachable and status == grpc.StatusCode.UNAVAILABLE:
            text = self._behind_proxy(text)
        return kind(self.server, method, text)

    def _when(self) -> str:
        """Says when the server's certificate is good, which gRPC does not."""
        from transforms.milvus import certificate

        found = certificate.validity(self._endpoint)
        return f" ({found.words()})" if found else ""

    def _behind_proxy(self, text: str) -> str:
        """Names the HTTP proxy through which the connection goes, if there is one."""
        proxy = proxies.used_for(self._endpoint.address)
        if proxy is None:
            return text
        remedy = proxy.remedy(proxies.host_of(self._endpoint.address))
        if text == REFUSED_CONNECTION:
            text = "connection refused"  # It is the proxy's port where nothing listens, or not.
        return (
            f"no connection through the HTTP proxy {proxy}: {text}. To connect without it, {remedy}"
        )


class Lasting:
    """The unexplained errors of one server that have outlasted their time. Threads may share it."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def add(self, error: ServerError) -> None:
        """Remembers the words of an error, whatever numbers and quotations are in them."""
        self._until_s[_words(error)] = time.monotonic() + LASTING_S

    def __contains__(self, error: ServerError) -> bool:
        return time.monotonic() < self._until_s.get(_words(error), 0.0)


def _words(error: ServerError) -> str:
    words = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "#", error.detail)
    return f"{error.call} {error.code} {words[:200]}"


class _MayHelp:
    """Says after each try of one call whether another one may help."""

    def __init__(self, patience: Patience, lasting: Lasting) -> None:
        self._patience, self._lasting = patience, lasting
        self._unexplained_since_s: float | None = None

    def __call__(self, state: tenacity.RetryCallState) -> bool:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Ambiguous):
            error = error.meaning
        now_s = state.seconds_since_start or 0.0
        if isinstance(error, Unexplained):
            return self._may_pass(error, now_s)
        # A server in trouble may have many words for it, one after the other.
        self._unexplained_since_s = None
        may_help = isinstance(error, (Busy, Unreachable, Ambiguous))
        return may_help and now_s < self._patience.outage_s

    def _may_pass(self, error: Unexplained, now_s: float) -> bool:
        if self._unexplained_since_s is None:
            self._unexplained_since_s = now_s
        longest_s = min(self._patience.unexplained_s, self._patience.outage_s)
        if error.call not in _ROW_CALLS or error in self._lasting:
            longest_s = min(longest_s, BRIEFLY_S)
        if now_s - self._unexplained_since_s < longest_s:
            return now_s < self._patience.outage_s
        if error.call in _ROW_CALLS and error not in self._lasting:
            self._lasting.add(error)
        return False


def _meaning(status: grpc.StatusCode, details: str) -> tuple[type[ServerError], str]:
    """Translates what gRPC says; nothing else in the project knows its codes."""
    lowered = details.lower()
    match status:
        case grpc.StatusCode.UNAUTHENTICATED:
            return AccessDenied, f"the credentials are refused ({details})"
        case grpc.StatusCode.PERMISSION_DENIED:
            return PrivilegeMissing, _missing(details)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return (TooLarge if "larger than max" in lowered else Busy), details
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return Unreachable, "no answer in time"
        case grpc.StatusCode.UNAVAILABLE:
            return Unreachable, _plain_words(details)
        case grpc.StatusCode.UNIMPLEMENTED if "unknown service" in lowered:
            return Unreachable, "a gRPC server answers there that is no Milvus (usually port 19530)"
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused, f"this server does not know the call ({details})"
        case _:
            # INTERNAL (a stream reset), UNKNOWN, ABORTED, CANCELLED: the call may have arrived.
            return Ambiguous, f"{status.name}: {details}"


def _not_utf8(method: str, details: str) -> bool:
    """Whether an answer of a query, or a request, failed because it has a text of other bytes.

    No call is done whose request cannot be taken apart.
    """
    lowered = details.lower()
    return "invalid utf-8" in lowered and (method == "Query" or "unmarshal" in lowered)


_WHEN = "{when}"
"""Stands in words about a certificate for the time that it says."""

REFUSED_CONNECTION = "connection refused: nothing listens there"

_PLAIN_WORDS = (
    (("connection refused",), REFUSED_CONNECTION),
    (
        ("dns resolution failed", "name resolution", "address lookup failed"),
        "the host name is not known",
    ),
    (
        ("certificate has expired",),
        f"the server's certificate has expired{_WHEN}: it needs a new one",
    ),
    (
        ("certificate is not yet valid",),
        f"the server's certificate is not valid yet{_WHEN}: is the clock of this host right?",
    ),
    (
        ("hostname verification check failed",),
        "the server's certificate is for another name: use that in url, or give it as server_name",
    ),
    (
        ("certificate_verify_failed", "certificate verify failed"),
        "the server's certificate is not trusted{why}: name its signer by ca_pem_path",
    ),
    (
        ("wrong_version_number", "ssl_error_ssl"),
        "the server does not speak TLS there: try http:// instead of https://",
    ),
    (
        ("http1.x server", "failed parsing http/2"),
        "an HTTP server answers there, not a Milvus gRPC port (usually 19530)",
    ),
)
"""What gRPC says of a connection that there is not, and what that means; the first that fits."""


def _missing(details: str) -> str:
    """Names the privilege; Milvus says "PrivilegeQuery: permission deny to USER"."""
    found = re.search(r"Privilege(\w+): permission deny to ([^\s(]+)", details)
    if found:
        return f"user {found[2]} lacks the privilege {found[1]}"
    return f"this user lacks a privilege ({details})"


def _plain_words(details: str) -> str:
    lowered = details.lower()
    words = (said for texts, said in _PLAIN_WORDS if any(text in lowered for text in texts))
    found = re.search(r"certificate.verify.failed: ([^:]+)", details, re.IGNORECASE)
    return next(words, details).replace("{why}", f" ({found[1]})" if found else "")
