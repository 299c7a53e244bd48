"""What a fake server was asked, and the faults that it is told to show."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import message_factory
from pymilvus.grpc_gen import common_pb2, milvus_pb2

_METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name


@dataclass(frozen=True)
class Fault:
    """What a call gets in place of its answer, after `delay_s`.

    A gRPC `status`, or else a `code` of Milvus, or the `legacy` one of old servers; if none of
    them, the call is only slow. With `done` the work is done, and only the answer is lost.
    """

    status: grpc.StatusCode | None = None
    code: int = 0
    legacy: int = 0
    text: str = ""
    done: bool = False
    delay_s: float = 0.0

    @property
    def breaks(self) -> bool:
        """Whether the caller gets no answer, or no good one."""
        return bool(self.status or self.code or self.legacy)


AWAY = Fault(grpc.StatusCode.UNAVAILABLE, text="failed to connect to all addresses")
LOST_ANSWER = Fault(grpc.StatusCode.UNAVAILABLE, text="Socket closed", done=True)
RATE_LIMIT = Fault(code=8, text="request is rejected by grpc RateLimiter middleware")
REFUSED = Fault(code=1100, text="the server does not like it")

_TURNED_AWAY = (1, 3, 4, 7, 8, 9, 11, 12)
_PASSING = (
    *(2, 5, 101, 103, 106, 110, 201, 202, 305, 400, 401, 500, 501, 503, 504, 505, 507),
    *(600, 601, 602, 604, 605, *range(901, 907), 1000, 1001, 1002, 1003, 1008, 1300, 1302),
    *(2000, 2038, 2099, 2200, 10000, 10001, 65535),
)
PASSING = {
    **{code: Fault(code=code, text="not now") for code in _TURNED_AWAY},
    **{code: Fault(code=code, text="not now", done=True) for code in _PASSING},
}
"""A fault for each code of Milvus that is worth another try: some turn a call away before anything
is done, after others it may have been done."""


class Refusal(Exception):
    """A no of the fake itself, with one of Milvus' codes and the reason."""


@dataclass
class _Order:
    """A fault that is to happen `times` more times (None: for ever) where `when` says so."""

    fault: Fault
    times: int | None
    when: Callable[[Any], bool]


class Scripted(grpc.ServerInterceptor):
    """Leads every call of a server through a script: it is kept, and fails when that was ordered.

    `metadata` is what came with the last call beside its request; `most_at_once` are the calls that
    were under way at the same time.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.metadata: dict[str, str] = {}
        self.most_at_once = 0
        self._at_once = 0
        self._orders: dict[str, list[_Order]] = {}
        self._lock = threading.RLock()

    def fails(
        self,
        method: str,
        fault: Fault,
        *,
        times: int | None = 1,
        when: Callable[[Any], bool] = lambda request: True,
    ) -> None:
        """Orders a fault for the next calls of a method; `times` None is for ever."""
        self._orders.setdefault(method, []).append(_Order(fault, times, when))

    def heal(self) -> None:
        """Takes all orders back."""
        self._orders.clear()

    def asked(self, *methods: str) -> list[Any]:
        """Returns the requests of these methods, in order."""
        return [request for method, request in self.requests if method in methods]

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        handler = continuation(details)

        def answer(request: Any, context: Any) -> Any:
            with self._counted():
                return self._answer(name, request, context, handler.unary_unary)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    def _answer(self, method: str, request: Any, context: Any, work: Any) -> Any:
        with self._lock:
            self.requests.append((method, request))
            self.metadata = dict(context.invocation_metadata())
            fault = self._ordered(method, request)
        time.sleep(fault.delay_s)
        answer = None
        if fault.done or not fault.breaks:
            try:
                with self._lock:
                    answer = work(request, context)
            except Refusal as refusal:
                answer = refused(method, *refusal.args)
        if fault.status:
            context.abort(fault.status, fault.text)
        return refused(method, fault.code, fault.text, fault.legacy) if fault.breaks else answer

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            yield
        finally:
            with self._lock:
                self._at_once -= 1

    def _ordered(self, method: str, request: Any) -> Fault:
        for order in self._orders.get(method, []):
            if order.times != 0 and order.when(request):
                order.times = order.times and order.times - 1
                return order.fault
        return Fault()


def refused(method: str, code: int, reason: str, legacy: int = 0) -> Any:
    """Returns the answer of a method that says no."""
    status = common_pb2.Status(code=code, reason=reason, error_code=legacy)
    kind = message_factory.GetMessageClass(_METHODS[method].output_type)
    return status if kind is common_pb2.Status else kind(status=status)
