"""Measures the cost of a command that copies nothing."""

from __future__ import annotations

import tempfile
from pathlib import Path
from statistics import median

from benchmarks import process, table

RUNS = 5


def measured() -> str:
    """Returns a table with the median time of a command that calls no server."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ended = [process.run("pipeline", ["--help"], folder=Path(folder)) for _ in range(RUNS)]
    seconds, cpu_s = median(e.seconds for e in ended), median(e.cpu_s for e in ended)
    line = ("`python -m pipeline --help`", f"{seconds:.2f} s", f"{cpu_s:.2f} s", "< 0.5 s")
    return table.table(("", "time", "CPU", "aim"), [line])
