"""How much a job is, and about how long it will take: sums of what a short trial has measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.console import formatting
from transforms.split import rows_per_range

SLOWER_WRITES = 4.0
"""Where writing was not measured: a server may take rows so many times slower than it gives them
(at most, of what was measured between two servers on one machine)."""


@dataclass(frozen=True)
class Speed:
    """What one stream has moved in a short time."""

    rows: int
    bytes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows in a second."""
        return self.rows / self.seconds

    def __str__(self) -> str:
        rate = f"{formatting.size(self.bytes / self.seconds)}/s"
        return f"{self.rows_per_second:,.0f} rows/s, {rate} ({formatting.duration(self.seconds)})"


@dataclass(frozen=True)
class JobSize:
    """One collection: its rows, their bytes in memory, and the ranges that it is cut into.

    `bytes` and `ranges` are about right, or None where no row could be looked at.
    """

    name: str
    rows: int
    bytes: int | None
    ranges: int | None


@dataclass(frozen=True)
class Estimate:
    """A job before it runs. Speeds are None where they could not be measured; `problems` say why.

    The copy is as fast as the slower of reading and writing; the proof reads the target once, which
    is taken to be as fast as reading the source. Indexes and loads are not in it. Of several
    `workers` each may be as fast as the one that was measured, or all together no faster.
    """

    sizes: tuple[JobSize, ...]
    read: Speed | None = None
    write: Speed | None = None
    proves: bool = True
    problems: tuple[str, ...] = ()
    workers: int = 1

    @property
    def bytes(self) -> int | None:
        """Of all collections that could be looked at; None of none."""
        known = [each.bytes for each in self.sizes if each.bytes is not None]
        return sum(known) if known else None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """From and to about so many seconds; None where nothing was measured."""
        if self.read is None or not self.read.rows:
            return None
        # Bytes are the better measure: rows of another collection may be far wider.
        total = self.bytes or 0
        reading = total * self.read.seconds / max(self.read.bytes, 1)
        proof = reading if self.proves else 0.0
        least, most = reading, SLOWER_WRITES * reading
        if self.write is not None and self.write.rows:
            writing = total * self.write.seconds / max(self.write.bytes, 1)
            least = most = max(reading, writing)
        return (least + proof) / self.busy, most + proof

    @property
    def busy(self) -> int:
        """How many workers have something to do: each has a key range at a time."""
        return max(1, min(self.workers, self.ranges))

    @property
    def ranges(self) -> int:
        """Of all collections that could be looked at."""
        return sum(each.ranges or 0 for each in self.sizes)

    def lines(self) -> list[str]:
        """Says it in words."""
        found = [f"not measured: {problem}" for problem in self.problems]
        if self.bytes is not None:
            ranges = formatting.plural(self.ranges, "key range")
            found.append(f"about {formatting.size(self.bytes)} in {ranges}")
        if self.read:
            found.append(f"reading: {self.read}")
        if self.write:
            found.append(f"writing: {self.write}")
        if self.seconds:
            found.append(self._span(*self.seconds))
        return found

    def _span(self, least: float, most: float) -> str:
        what = "copy and proof" if self.proves else "copy"
        span = f"from {formatting.about(least)} to {formatting.about(most)}"
        if formatting.about(least) == formatting.about(most):
            span = f"about {formatting.about(least)}"
        many = formatting.plural(self.busy, "worker")
        if self.busy > 1:
            many += " (the better the servers keep up with all at once, the sooner)"
        hint = ". --probe_write tells better" if self.write is None else ""
        return f"{what}: {span} with {many}; indexes and loads come on top{hint}"

    def facts(self) -> dict[str, Any]:
        """Says it for programs."""
        return {
            "bytes": self.bytes,
            "ranges": self.ranges,
            "workers": self.busy,
            "seconds": list(self.seconds) if self.seconds else None,
            "read": _speed(self.read),
            "write": _speed(self.write),
            "problems": list(self.problems),
        }


def job_size(name: str, rows: int, row_bytes: float | None, *, workers: int) -> JobSize:
    """Returns the size of a collection by the width of a row; None where that is not known.

    >>> job_size("docs", 1_000_000, 600.0, workers=2)
    JobSize(name='docs', rows=1000000, bytes=600000000, ranges=16)
    """
    if row_bytes is None:
        return JobSize(name, rows, None, None)
    step = rows_per_range(rows, row_bytes=row_bytes, workers=workers)
    return JobSize(name, rows, round(rows * row_bytes), max(1, rows // step))


def _speed(speed: Speed | None) -> dict[str, float] | None:
    if speed is None:
        return None
    return {"rows": speed.rows, "bytes": speed.bytes, "seconds": round(speed.seconds, 3)}
