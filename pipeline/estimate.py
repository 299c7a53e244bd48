"""How much a job is, and about how long it will take: sums of what a short trial has measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import words
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
        rate = f"{words.size(self.bytes / self.seconds)}/s"
        return f"{self.rows_per_second:,.0f} rows/s, {rate} ({words.duration(self.seconds)})"


@dataclass(frozen=True)
class Size:
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
    is taken to be as fast as reading the source. Indexes and loads are not in it.
    """

    sizes: tuple[Size, ...]
    read: Speed | None = None
    write: Speed | None = None
    proves: bool = True
    problems: tuple[str, ...] = ()

    @property
    def bytes(self) -> int | None:
        """Of all collections that could be looked at; None of none."""
        known = [each.bytes for each in self.sizes if each.bytes is not None]
        return sum(known) if known else None

    @property
    def seconds(self) -> tuple[float, float] | None:
        """From and to about so many seconds, with one worker; None where nothing was measured."""
        if self.read is None or not self.read.rows:
            return None
        # Bytes are the better measure: rows of another collection may be far wider.
        total = self.bytes or 0
        reading = total * self.read.seconds / max(self.read.bytes, 1)
        proof = reading if self.proves else 0.0
        if self.write is None or not self.write.rows:
            return reading + proof, SLOWER_WRITES * reading + proof
        writing = total * self.write.seconds / max(self.write.bytes, 1)
        copy = max(reading, writing)
        return copy + proof, copy + proof

    def lines(self) -> list[str]:
        """Says it in words."""
        found = [f"not measured: {each}" for each in self.problems]
        if self.bytes is not None:
            ranges = sum(each.ranges or 0 for each in self.sizes)
            found.append(f"about {words.size(self.bytes)} in {words.plural(ranges, 'key range')}")
        if self.read:
            found.append(f"reading: {self.read}")
        if self.write:
            found.append(f"writing: {self.write}")
        if self.seconds:
            found.append(_span(*self.seconds, proves=self.proves, measured=self.write is not None))
        return found

    def facts(self) -> dict[str, Any]:
        """Says it for programs."""
        return {
            "bytes": self.bytes,
            "ranges": sum(each.ranges or 0 for each in self.sizes),
            "seconds": list(self.seconds) if self.seconds else None,
            "read": _speed(self.read),
            "write": _speed(self.write),
            "problems": list(self.problems),
        }


def size(name: str, rows: int, row_bytes: float | None, *, workers: int) -> Size:
    """Returns the size of a collection by the width of a row; None where that is not known.

    >>> size("docs", 1_000_000, 600.0, workers=2)
    Size(name='docs', rows=1000000, bytes=600000000, ranges=16)
    """
    if row_bytes is None:
        return Size(name, rows, None, None)
    step = rows_per_range(rows, row_bytes=row_bytes, workers=workers)
    return Size(name, rows, round(rows * row_bytes), max(1, rows // step))


def _span(least: float, most: float, *, proves: bool, measured: bool) -> str:
    what = "copy and proof" if proves else "copy"
    tail = "with one worker; indexes and loads come on top"
    if words.about(least) == words.about(most):
        return f"{what}: about {words.about(least)} {tail}"
    hint = "" if measured else ". --probe_write tells better"
    return f"{what}: from {words.about(least)} to {words.about(most)} {tail}{hint}"


def _speed(speed: Speed | None) -> dict[str, float] | None:
    if speed is None:
        return None
    return {"rows": speed.rows, "bytes": speed.bytes, "seconds": round(speed.seconds, 3)}
