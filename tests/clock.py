"""Time that passes only when somebody sleeps."""

from __future__ import annotations


class Clock:
    """Stands in for the module `time` of what is patched with it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
