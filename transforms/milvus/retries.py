"""How the calls to one server fare: how often they were sent again, why, and what they waited."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from transforms.errors import Ambiguous, Busy, ServerError, Unreachable
from transforms.milvus.faults import Shortage, shortage

Reason = Literal[Shortage, "not ready", "not answered", "broken off", "no reason given"]
"""Why calls were sent again: the server has too little of something; it, or a part of it, is not
ready; there was no connection, or no answer in time; the connection broke while they were under
way; the server failed and did not say why (65535 and others)."""

Cause = Literal[Reason, "answered late"]
"""Why calls wait: they are sent again, or others were and they follow at the same pace; or answers
took longer than `max_latency` allows."""

LATELY_S = 10.0
"""What is so long ago weighs a third: short enough to see a change, long enough not to jump."""

FULL_SPEED = 0.95
"""From this share on, nothing is worth saying."""


@dataclass(frozen=True)
class Retried:
    """Calls that were sent again, and the seconds that they waited, all of them together."""

    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Retried) -> Retried:
        return Retried(self.calls + other.calls, self.seconds + other.seconds)


@dataclass(frozen=True)
class Slowdown:
    """Why a server is asked less than at full speed, which is to say without any waiting.

    `share` is the part of the calls' time in which they were being answered, from 0 to 1.
    """

    cause: Cause
    share: float


@dataclass(frozen=True)
class Lately:
    """The seconds that calls took lately: being answered, and waiting; those of all threads.

    Calls that failed count by the time that they wait until they are sent again.
    """

    answered_s: float = 0.0
    waited_s: Mapping[Cause, float] = field(default_factory=dict)

    def __add__(self, other: Lately) -> Lately:
        causes = self.waited_s.keys() | other.waited_s.keys()
        waited_s = {
            cause: self.waited_s.get(cause, 0.0) + other.waited_s.get(cause, 0.0)
            for cause in causes
        }
        return Lately(self.answered_s + other.answered_s, waited_s)

    def after(self, seconds: float) -> Lately:
        """Returns the same once so many seconds have passed: all of it weighs less then."""
        weight = math.exp(-seconds / LATELY_S)
        waited_s = {cause: each * weight for cause, each in self.waited_s.items()}
        return Lately(self.answered_s * weight, waited_s)

    @property
    def slowdown(self) -> Slowdown | None:
        """What slows the calls down most, and to which share of full speed; None at full speed.

        >>> Lately(4.0, {"rate limit": 5.0, "not answered": 1.0}).slowdown
        Slowdown(cause='rate limit', share=0.4)
        """
        whole_s = self.answered_s + sum(self.waited_s.values())
        if self.answered_s >= FULL_SPEED * whole_s:
            return None
        cause = max(self.waited_s, key=lambda each: self.waited_s[each])
        return Slowdown(cause, round(self.answered_s / whole_s, 4))


class Retries:
    """Counts the calls to one server that were sent again. Threads may share it."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        """Begins with none; `told` is called after each that is counted."""
        self._told = told
        self._lock = threading.Lock()
        self._sums: dict[Reason, Retried] = defaultdict(Retried)
        self._lately, self._lately_at = Lately(), time.monotonic()
        self._waits_until_s = 0.0

    @property
    def sums(self) -> dict[Reason, Retried]:
        """What was counted so far, by reason."""
        with self._lock:
            return dict(self._sums)

    @property
    def lately(self) -> Lately:
        """What the calls of the last seconds took."""
        return self._took(Lately())

    @property
    def wait_left_s(self) -> float:
        """How long a call waits yet before it is sent again; 0 if none does."""
        return max(0.0, self._waits_until_s - time.monotonic())

    def add_answer(self, took_s: float) -> None:
        """Notes the time of a call that succeeded."""
        self._took(Lately(took_s))

    def add_retry(self, error: ServerError, wait_s: float) -> None:
        """Counts a call that failed and is sent again after a time."""
        self._waits_until_s = max(self._waits_until_s, time.monotonic() + wait_s)
        self._add(_reason(error), Retried(1, wait_s))

    def add_wait(self, cause: Cause, wait_s: float) -> None:
        """Counts the time that a call waited because of what earlier ones have met."""
        if cause == "answered late":  # Those were not sent again.
            self._took(Lately(0.0, {cause: wait_s}))
        else:
            self._add(cause, Retried(0, wait_s))

    def _add(self, reason: Reason, more: Retried) -> None:
        with self._lock:
            self._sums[reason] += more
        self._took(Lately(0.0, {reason: more.seconds}))
        self._told()

    def _took(self, more: Lately) -> Lately:
        with self._lock:
            now = time.monotonic()
            self._lately = self._lately.after(now - self._lately_at) + more
            self._lately_at = now
            return self._lately


def _reason(error: ServerError) -> Reason:
    if isinstance(error, Ambiguous):
        error = error.meaning
    if isinstance(error, Busy):
        return shortage(error) or "not ready"
    if isinstance(error, Unreachable):
        return "not answered"
    return "no reason given" if error.code else "broken off"
