"""Measures how a job on a real Flink scales with its workers: ``python -m benchmarks.cluster``.

Both servers are the fast, remote fake of `benchmarks.network`, so that workers wait for the network
as in production. The table goes into docs/cluster.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import far, table
from benchmarks.link import Network
from benchmarks.network import ROUND_TRIP_S, SMALL_DIM, SMALL_PAGE_ROWS, _far
from tests import kitelift
from tests.cluster import runs
from tests.cluster.flink import Flink
from tests.docs import ROOT, refreshed

PAGE = ROOT / "docs" / "cluster.md"
WORKERS = (1, 2, 4)
ROWS = 40_000
"""Rows per worker."""


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and writes the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster")
    parser.add_argument("--rows", type=int, default=ROWS, help="rows per worker")
    rows = parser.parse_args(argv).rows
    lines, alone = [], 0.0
    with Flink(managers=2, slots=2) as flink:
        for workers in WORKERS:
            copy_s, whole_s = _run(flink, rows * workers, workers)
            speed = rows * workers / copy_s
            alone = alone or speed
            linear = speed / alone / workers
            lines.append((str(workers), f"{speed:,.0f}", f"{linear:.2f}", f"{whole_s:.0f} s"))
            print(lines[-1], flush=True)
            flink.wait_for_slots()
    head = ("`parallelism`", "rows/s", "of linear", "the whole command")
    what = (
        f"{ROUND_TRIP_S * 1e3:.0f} ms there and back, pages of {SMALL_PAGE_ROWS} rows, "
        f"{SMALL_DIM}-d, {rows:,} rows a worker, nothing compared."
    )
    part = f"{what}\n\n{table.table(head, lines)}"
    PAGE.write_text(refreshed(PAGE.read_text(encoding="utf-8"), {"scaling": part}), "utf-8")


def _run(flink: Flink, rows: int, workers: int) -> tuple[float, float]:
    """Copies rows; returns the seconds between first and last receipt, and of the whole command."""
    network = Network(ROUND_TRIP_S)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        _far(network, SMALL_DIM, rows) as source,
        _far(network, SMALL_DIM, 0) as target,
    ):
        sizes = {"batch_size": SMALL_PAGE_ROWS}
        env = {"parallelism": workers, "verify": "none"}
        names = [far.COLLECTION]
        conf = kitelift.write_job(
            Path(folder), source, target, names, env=env, source=sizes, sink=sizes
        )
        began = time.monotonic()
        ended = runs.run(flink, conf)
        whole_s = time.monotonic() - began
        if ended.code:
            raise RuntimeError(ended.text)
        times = [receipt.at for receipt in runs.receipts(Path(folder))]
        return max(times) - min(times), whole_s


if __name__ == "__main__":
    main()
