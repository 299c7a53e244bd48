"""What a fake server was asked, and the faults that it is told to show."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from pymilvus.grpc_gen import milvus_pb2

from tests.fakes import statuses
from tests.fakes.rules import Rules
from tests.fakes.statuses import Refusal, Unimplemented


@dataclass(frozen=True)
class Fault:
    """What a call gets in place of its answer, after `delay_s`.

    A gRPC `status`, or else a `code` of Milvus, or the `legacy` one of old servers; if none of
    them, the call is only slow. With `done` the work is done, and only the answer is lost. With
    `shards_written` an insert or upsert is done in so many of its shards: servers write each shard
    by a message of its own (2.5 task_insert.go Execute, 2.6 task_insert_streaming.go).
    """

    status: grpc.StatusCode | None = None
    code: int = 0
    legacy: int = 0
    text: str = ""
    done: bool = False
    delay_s: float = 0.0
    shards_written: int | None = None

    @property
    def works(self) -> bool:
        """Whether the server does the work, or a part of it."""
        return self.done or not self.breaks or self.shards_written is not None

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


@dataclass
class _Order:
    """A fault that is to happen `times` more times (None: for ever) where `when` says so."""

    fault: Fault
    times: int | None
    when: Callable[[Any], bool]


@dataclass
class _Hidden:
    """Keys that are left out of `times` more pages (None: of all) where `when` says so."""

    keys: tuple[Any, ...]
    times: int | None
    when: Callable[[Any], bool]

    def without(self, request: Any) -> Any:
        """Returns a request for the same page without the keys."""
        others = " and ".join(f"id != {json.dumps(key)}" for key in self.keys)
        changed = type(request)()
        changed.CopyFrom(request)
        changed.expr = f"({request.expr}) and {others}" if request.expr else others
        return changed


class Scripted(grpc.ServerInterceptor):
    """Leads every call of a server through a script: it is kept, and fails when that was ordered.

    `metadata` is what came with the last call beside its request; `most_at_once` are the calls that
    were under way at the same time.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.metadata: dict[str, str] = {}
        self.shards_to_write: int | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._orders: dict[str, list[_Order]] = {}
        self._hidden: list[_Hidden] = []
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

    def hides(
        self,
        *keys: Any,
        times: int | None = None,
        when: Callable[[Any], bool] = lambda request: True,
    ) -> None:
        """Leaves keys out of the next pages that would show one; counts have them all the same."""
        self._hidden.append(_Hidden(keys, times, when))

    def heal(self) -> None:
        """Takes all orders back."""
        self._orders.clear()
        self._hidden.clear()

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
        if fault.works:
            answer = self._worked(method, request, context, work, fault)
        if fault.status:
            context.abort(fault.status, fault.text)
        if not fault.breaks:
            return answer
        refusal = Refusal(fault.code, fault.text, legacy=fault.legacy or None)
        broken = self._refused(method, request, refusal)
        if fault.shards_written is not None:
            broken.insert_cnt = request.num_rows  # As servers do, however much was written.
        return broken

    def _worked(self, method: str, request: Any, context: Any, work: Any, fault: Fault) -> Any:
        """Returns the answer of the server itself, also where it is a no."""
        try:
            with self._lock:
                self.shards_to_write = fault.shards_written
                return work(self._as_hidden(method, request), context)
        except Refusal as refusal:
            return self._refused(method, request, refusal)
        except Unimplemented as unknown:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, str(unknown))

    def _refused(self, method: str, request: Any, refusal: Refusal) -> Any:
        rules: Rules | None = getattr(self, "rules", None)
        answer: Any = statuses.refused(method, refusal, rules)
        if isinstance(answer, milvus_pb2.MutationResult) and method != "Delete":
            answer.err_index.extend(range(request.num_rows))
        if method == "DescribeCollection":
            answer.db_name = request.db_name or "default"
        return answer

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

    def _as_hidden(self, method: str, request: Any) -> Any:
        if method == "Query" and "count(*)" not in request.output_fields:
            for each in self._hidden:
                if each.times != 0 and each.when(request):
                    each.times = each.times and each.times - 1
                    request = each.without(request)
        return request

    def _ordered(self, method: str, request: Any) -> Fault:
        for order in self._orders.get(method, []):
            if order.times != 0 and order.when(request):
                order.times = order.times and order.times - 1
                return order.fault
        return Fault()


def refused(method: str, code: int, reason: str, legacy: int = 0) -> Any:
    """Returns the answer of a method that says no, by its code alone."""
    return statuses.refused(method, Refusal(code, reason, legacy=legacy))
