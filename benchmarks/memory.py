"""Measures whether the memory of a job grows with its rows: two million, between real servers."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import contest, data, table
from benchmarks.contest import PARALLELISM, PARTS, Pair
from benchmarks.data import DataSet

ROWS = 2_000_000
MANY = DataSet("many", "128-d", ROWS, 128)


def measured(scale: float) -> str:
    """Returns a table of the resident set size of a local run, in each fifth of its copy."""
    rows = max(20_000, int(ROWS * scale))
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        contest.two_servers(Path(folder)) as pair,
    ):
        return measure(pair, rows)


def measure(pair: Pair, rows: int) -> str:
    """Copies this many rows and returns a table of the memory that it took."""
    size_bytes = data.fill(pair.source, MANY, rows, MANY.name)
    pair.folder.mkdir()
    run = contest.proving(pair, MANY, MANY.name, rows)
    print(run, flush=True)
    head = (*(f"fifth {part + 1}" for part in range(PARTS)), "peak of the whole run", "aim")
    aim = f"≤ {400 + 128 * PARALLELISM} MB"
    line = (*map(_mb, (*run.resident_bytes, run.peak_bytes)), aim)
    what = f"{rows:,} rows of 128-d, {size_bytes / 1e6:,.0f} MB, copied in {run.copy_s:.0f} s"
    return (
        f"{what}, `parallelism = {PARALLELISM}`, content compared.\n\n{table.table(head, [line])}"
    )


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
