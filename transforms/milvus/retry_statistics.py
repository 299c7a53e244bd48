"""Statistics of the calls to one server: how often they were retried, why, and how long."""

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
"""Why calls were retried, in this order: the server is short of something; the server, or a part of
it, is not ready; there was no connection, or no answer in time; the connection broke during the
call; the server failed and gave no reason (65535 and others)."""

Cause = Literal[Reason, "answered late"]
"""Why calls wait: they are retried, or the throttle delays them because others were; or answers
took longer than `max_latency`."""

LATELY_S = 10.0
"""After this time a value has a third of its weight: soon enough to show a change, late enough not
to jump."""

FULL_SPEED = 0.95
"""From this share on, the calls count as not slowed down."""


@dataclass(frozen=True)
class Retried:
    """The number of retried calls, and the sum of the seconds that they waited."""

    calls: int = 0
    seconds: float = 0.0

    def __add__(self, other: Retried) -> Retried:
        return Retried(self.calls + other.calls, self.seconds + other.seconds)


@dataclass(frozen=True)
class Slowdown:
    """Why the calls to a server do not run at full speed, that is, without waiting.

    `share` is the part of the calls' time in which the server worked on them, from 0 to 1.
    """

    cause: Cause
    share: float


@dataclass(frozen=True)
class Lately:
    """The recent seconds of all threads' calls: until the answer, and waiting.

    A failed call counts with the time that it waits for its retry.
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
        """Returns the same after this many seconds: each value has less weight."""
        weight = math.exp(-seconds / LATELY_S)
        waited_s = {cause: wait_s * weight for cause, wait_s in self.waited_s.items()}
        return Lately(self.answered_s * weight, waited_s)

    @property
    def slowdown(self) -> Slowdown | None:
        """The main cause of waiting, and the share of full speed; None at full speed.

        >>> Lately(4.0, {"rate limit": 5.0, "not answered": 1.0}).slowdown
        Slowdown(cause='rate limit', share=0.4)
        """
        whole_s = self.answered_s + sum(self.waited_s.values())
        if self.answered_s >= FULL_SPEED * whole_s:
            return None
        cause = max(self.waited_s, key=lambda cause: self.waited_s[cause])
        return Slowdown(cause, round(self.answered_s / whole_s, 4))


class Retries:
    """Counts the retried calls to one server. Thread-safe."""

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        """Starts at zero; `on_change` is called after each change."""
        self._on_change = on_change
        self._lock = threading.Lock()
        self._sums: dict[Reason, Retried] = defaultdict(Retried)
        self._lately, self._lately_at = Lately(), time.monotonic()
        self._waits_until_s = 0.0

    @property
    def sums(self) -> dict[Reason, Retried]:
        """The counts so far, by reason."""
        with self._lock:
            return dict(self._sums)

    @property
    def lately(self) -> Lately:
        """The times of the calls of the last seconds."""
        return self._took(Lately())

    @property
    def wait_left_s(self) -> float:
        """The seconds until the last waiting call is retried; 0 if none waits."""
        return max(0.0, self._waits_until_s - time.monotonic())

    def add_answer(self, took_s: float) -> None:
        """Adds the time of a successful call."""
        self._took(Lately(took_s))

    def add_retry(self, error: ServerError, wait_s: float) -> None:
        """Counts a failed call that is retried after `wait_s`."""
        self._waits_until_s = max(self._waits_until_s, time.monotonic() + wait_s)
        self._add(_reason(error), Retried(1, wait_s))

    def add_wait(self, cause: Cause, wait_s: float) -> None:
        """Adds the time that a call waited because of earlier failures."""
        if cause == "answered late":  # Those calls were not retried.
            self._took(Lately(0.0, {cause: wait_s}))
        else:
            self._add(cause, Retried(0, wait_s))

    def _add(self, reason: Reason, more: Retried) -> None:
        with self._lock:
            self._sums[reason] += more
        self._took(Lately(0.0, {reason: more.seconds}))
        self._on_change()

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
