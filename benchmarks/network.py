"""Measures Kitelift on a slow network, with a fast, remote fake server on each side."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import far, table
from benchmarks.contest import Run, migrated
from benchmarks.link import UNLIMITED, Network
from benchmarks.process import ROOT
from tests import kitelift

ROUND_TRIP_S = 0.03

SMALL_PAGE_ROWS = 200
SMALL_DIM = 64
LATENCY_WORKERS = (1, 2, 4, 8, 16)
LATENCY_ROWS = 60_000
"""Rows per worker: about ten seconds."""

GIGABIT = 125e6
BANDWIDTH_WORKERS = (1, 2, 4)
BANDWIDTH_DIM = 768
BANDWIDTH_ROWS = 800_000
"""2.5 GB: twenty seconds of a full link. The time includes about one second without full use of
both directions: before the first insert, and after the last page."""


def measured(scale: float) -> Iterator[tuple[str, str]]:
    """Yields the parts of the page about slow networks."""
    yield "latency", _latency(scale)
    yield "bandwidth", _bandwidth(scale)


def _latency(scale: float) -> str:
    network = Network(ROUND_TRIP_S)
    lines, alone = [], 0.0
    for workers in LATENCY_WORKERS:
        rows = max(4_000, int(LATENCY_ROWS * workers * scale))
        result = run(network, SMALL_DIM, rows, workers, page_rows=SMALL_PAGE_ROWS)
        speed = rows / result.copy_s
        alone = alone or speed
        linear = speed / alone / workers
        aim = "≥ 0.80" if workers <= 8 else ""
        lines.append((str(workers), f"{speed:,.0f}", f"{linear:.2f}", aim, f"{result.cpu_s:.1f} s"))
        print(result, flush=True)
    head = ("`parallelism`", "rows/s", "of linear", "aim", "client CPU")
    what = f"{ROUND_TRIP_S * 1e3:.0f} ms there and back, pages of {SMALL_PAGE_ROWS} rows"
    return f"{what}, {SMALL_DIM}-d.\n\n{table.table(head, lines)}"


def _bandwidth(scale: float) -> str:
    network = Network(ROUND_TRIP_S, GIGABIT)
    rows = max(4_000, int(BANDWIDTH_ROWS * scale))
    size_bytes = rows * (4 * BANDWIDTH_DIM + 3)
    lines = []
    for workers in BANDWIDTH_WORKERS:
        result = run(network, BANDWIDTH_DIM, rows, workers)
        speed = size_bytes / result.copy_s
        aim = "≥ 90 %" if workers == 4 else ""
        share = f"{100 * speed / GIGABIT:.0f} %"
        lines.append((str(workers), f"{speed / 1e6:.0f}", share, aim, f"{result.cpu_s:.1f} s"))
        print(result, flush=True)
    head = ("`parallelism`", "MB/s", "of the link", "aim", "client CPU")
    what = f"{ROUND_TRIP_S * 1e3:.0f} ms there and back, 1 Gbit/s each way, {BANDWIDTH_DIM}-d"
    return f"{what}, {size_bytes / 1e6:,.0f} MB.\n\n{table.table(head, lines)}"


def run(
    network: Network, dim: int, rows: int, workers: int, *, page_rows: int | None = None
) -> Run:
    """Copies rows between two remote servers; compares nothing, because they store no rows."""
    sizes = {} if page_rows is None else {"batch_size": page_rows}
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _far(network, dim, rows) as source,
        _far(network, dim, 0) as target,
    ):
        conf = kitelift.write_job(
            Path(folder),
            source,
            target,
            [far.COLLECTION],
            env={"parallelism": workers, "verify": "none"},
            source=sizes,
            sink=sizes,
        )
        result = migrated(conf, far.COLLECTION)
    if result.rows != rows:
        raise RuntimeError(f"the target has {result.rows:,} of {rows:,} rows")
    return result


@contextmanager
def _far(network: Network, dim: int, rows: int) -> Iterator[str]:
    """Starts a remote server in its own process; yields its URL."""
    bandwidth = "inf" if network.bytes_per_s == UNLIMITED else str(network.bytes_per_s)
    command = [sys.executable, "-m", "benchmarks.far", f"--rows={rows}", f"--dim={dim}"]
    command += [f"--round-trip={network.round_trip_s}", f"--bandwidth={bandwidth}"]
    with subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
