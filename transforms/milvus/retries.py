"""How often calls to one server were sent again, for what reason, and how long they waited."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from transforms.errors import Busy, ServerError, Unreachable
from transforms.milvus.faults import UNEXPECTED, asks_for_less

Reason = Literal["asked for less", "not ready", "not answered", "broken off", "no reason given"]
"""Why calls were sent again: a rate limit, a quota, too little memory, the server's own timeout;
the server, or a part of it, is not ready; there was no connection, or no answer in time; the
connection broke while they were under way; the server failed and did not say why (65535)."""


@dataclass(frozen=True)
class Retried:
    """Calls that were sent again, and the seconds that they waited, all of them together."""

    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Retried) -> Retried:
        return Retried(self.calls + other.calls, self.seconds + other.seconds)


class Retries:
    """Counts the calls to one server that were sent again. Threads may share it."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        """Begins with none; `told` is called after each that is counted."""
        self._told = told
        self._lock = threading.Lock()
        self._sums: dict[Reason, Retried] = defaultdict(Retried)

    @property
    def sums(self) -> dict[Reason, Retried]:
        """What was counted so far, by reason."""
        with self._lock:
            return dict(self._sums)

    def again(self, error: ServerError, wait_s: float) -> None:
        """Counts a call that failed and is sent again after a time."""
        self._add(_reason(error), Retried(1, wait_s))

    def held_back(self, wait_s: float) -> None:
        """Counts the time that a call waited because earlier ones were asked for less."""
        self._add("asked for less", Retried(0, wait_s))

    def _add(self, reason: Reason, more: Retried) -> None:
        with self._lock:
            self._sums[reason] += more
        self._told()


def _reason(error: ServerError) -> Reason:
    if isinstance(error, Busy):
        return "asked for less" if asks_for_less(error) else "not ready"
    if isinstance(error, Unreachable):
        return "not answered"
    return "no reason given" if error.code == UNEXPECTED else "broken off"
