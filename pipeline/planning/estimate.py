"""Estimates the size and the duration of a job from the results of a speed test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.console import formatting
from transforms.split import rows_per_range

SLOWER_WRITES = 4.0
"""If writing was not measured: writing is taken to be at most this many times slower than reading
(the largest factor measured between two servers on one host)."""


@dataclass(frozen=True)
class Speed:
    """What one stream read or wrote in the speed test."""

    rows: int
    bytes: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds

    def __str__(self) -> str:
        rate = f"{formatting.size(self.bytes / self.seconds)}/s"
        return f"{self.rows_per_second:,.0f} rows/s, {rate} ({formatting.duration(self.seconds)})"


@dataclass(frozen=True)
class JobSize:
    """One collection: its rows, their bytes in memory, and its number of key ranges.

    `bytes` and `ranges` are estimates, or None if no row could be read.
    """

    name: str
    rows: int
    bytes: int | None
    ranges: int | None


@dataclass(frozen=True)
class Estimate:
    """The estimate of a job. Speeds are None if they could not be measured; `problems` say why.

    The copy is as fast as the slower of reading and writing. The proof reads the target once, which
    is taken to be as fast as reading the source. Building and loading indexes is not included. With
    several `workers` the estimate is a range: at best every worker reaches the measured speed, at
    worst all of them together do.
    """

    sizes: tuple[JobSize, ...]
    read: Speed | None = None
    write: Speed | None = None
    proves: bool = True
    problems: tuple[str, ...] = ()
    workers: int = 1

    @property
    def bytes(self) -> int | None:
        """The bytes of all collections of known size; None if there are none."""
        known = [size.bytes for size in self.sizes if size.bytes is not None]
        return sum(known) if known else None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """The shortest and the longest duration in seconds; None if nothing was measured."""
        if self.read is None or not self.read.rows:
            return None
        # Computed by bytes: the rows of another collection may be far wider.
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
        """The number of workers with work to do: each copies one key range at a time."""
        return max(1, min(self.workers, self.ranges))

    @property
    def ranges(self) -> int:
        """The key ranges of all collections of known size."""
        return sum(size.ranges or 0 for size in self.sizes)

    def lines(self) -> list[str]:
        """Returns the estimate as lines of text."""
        lines = [f"not measured: {problem}" for problem in self.problems]
        if self.bytes is not None:
            ranges = formatting.plural(self.ranges, "key range")
            lines.append(f"about {formatting.size(self.bytes)} in {ranges}")
        if self.read:
            lines.append(f"reading: {self.read}")
        if self.write:
            lines.append(f"writing: {self.write}")
        if self.seconds:
            lines.append(self._span(*self.seconds))
        return lines

    def _span(self, least: float, most: float) -> str:
        what = "copy and proof" if self.proves else "copy"
        span = f"{formatting.about(least)} to {formatting.about(most)}"
        if formatting.about(least) == formatting.about(most):
            span = f"about {formatting.about(least)}"
        workers = formatting.plural(self.busy, "worker")
        if self.busy > 1:
            workers += (
                " (at best every worker reaches the measured speed, at worst all of them together "
                "do)"
            )
        hint = ". For a better estimate, add --probe_write" if self.write is None else ""
        return f"{what}: {span} with {workers}, without building and loading indexes{hint}"

    def facts(self) -> dict[str, Any]:
        """Returns the estimate as values for JSON."""
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
    """Returns the size of a collection; its bytes are None if the bytes of a row are unknown.

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
