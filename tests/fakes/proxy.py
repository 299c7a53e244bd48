"""Stands between Kitelift and a real Milvus, hands calls on as bytes, and spoils a share of them.

    with Proxy(target.address) as proxy:
        proxy.spoils(LOST_ANSWER, share=0.2)         # of all calls; `when` chooses among them
        proxy.url                                    # in place of the server's
        proxy.spoilt                                 # how often each method was

What a fault is, is in tests/fakes/script.py. Which calls are spoilt is decided by a seed, in the
order in which they come.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

from tests.fakes.script import Fault, refused

# More than Kitelift has calls under way, and those that nobody waits for any longer.
_CALLS = 64

_NO_LIMIT = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]

# Hop by hop; gRPC sets them itself.
_OWN_METADATA = ("user-agent", "grpc-", ":")

When = Callable[[str, bytes], bool]
"""Chooses calls by their method and their request."""


class Proxy(grpc.GenericRpcHandler):
    """A port on loopback behind which a server answers; inside its block.

    Args:
        message_bytes: what is larger, request or answer, is refused as Milvus does it.
    """

    def __init__(self, address: str, *, seed: int = 1, message_bytes: int | None = None) -> None:
        self._dice = random.Random(seed)
        self._message_bytes = message_bytes
        self._faults: list[tuple[Fault, float, When]] = []
        self._lock = threading.Lock()
        self.calls: Counter[str] = Counter()
        self.spoilt: Counter[str] = Counter()
        self._server = grpc.insecure_channel(address, options=_NO_LIMIT)
        pool = ThreadPoolExecutor(_CALLS, thread_name_prefix="proxy")
        self._grpc = grpc.server(pool, handlers=[self], options=_NO_LIMIT)
        self.url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def spoils(
        self, fault: Fault, *, share: float, when: When = lambda method, request: True
    ) -> None:
        """Spoils a share of the calls from now on, beside what is spoilt already."""
        self._faults.append((fault, share, when))

    def heal(self) -> None:
        """Spoils nothing any longer."""
        self._faults.clear()

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(grace=None).wait()
        self._server.close()

    def service(self, handler_call_details: Any) -> Any:
        path: str = handler_call_details.method
        forward = self._server.unary_unary(path)

        def answer(request: bytes, context: Any) -> bytes:
            return self._answer(path.rpartition("/")[2], request, context, forward)

        # Without serializers, requests and answers are bytes.
        return grpc.unary_unary_rpc_method_handler(answer)

    def _answer(
        self, method: str, request: bytes, context: Any, forward: Callable[..., bytes]
    ) -> bytes:
        fault = self._drawn(method, request)
        _wait(fault.delay_s, context)
        answer = b""
        if fault.done or not fault.breaks:
            self._weigh("received", request, context)
            answer = _forwarded(request, context, forward)
            self._weigh("trying to send", answer, context)
        if fault.status:
            context.abort(fault.status, fault.text)
        if fault.breaks:
            spoilt: bytes = refused(
                method, fault.code, fault.text, fault.legacy
            ).SerializeToString()
            return spoilt
        return answer

    def _drawn(self, method: str, request: bytes) -> Fault:
        with self._lock:
            self.calls[method] += 1
            for fault, share, when in self._faults:
                if when(method, request) and self._dice.random() < share:
                    self.spoilt[method] += 1
                    return fault
        return Fault()

    def _weigh(self, verb: str, message: bytes, context: Any) -> None:
        limit = self._message_bytes
        if limit is not None and len(message) > limit:
            text = f"grpc: {verb} message larger than max ({len(message)} vs. {limit})"
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, text)


def _wait(seconds: float, context: Any) -> None:
    """Waits as long as the caller does."""
    if seconds:
        over = threading.Event()
        if context.add_callback(over.set):
            over.wait(None if seconds == float("inf") else seconds)


def _forwarded(request: bytes, context: Any, forward: Callable[..., bytes]) -> bytes:
    metadata = [
        pair for pair in context.invocation_metadata() if not pair[0].startswith(_OWN_METADATA)
    ]
    try:
        return forward(request, timeout=context.time_remaining(), metadata=metadata)
    except grpc.RpcError as error:
        context.abort(error.code(), error.details())
        raise AssertionError("abort does not return") from error
