"""Measures many small collections, such as applications make for each file or chat."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from pymilvus import MilvusClient

from benchmarks import contest, data, process, table
from benchmarks.contest import Pair
from benchmarks.data import DataSet
from tests import kitelift

COUNTS = (10, 60, 300)
ROWS = 100
SMALL = DataSet("small", "16-d", ROWS, 16)

PLAN_S, AGAIN_S = 20.0, 10.0
"""The longest that `plan` and a finished job may take with the largest count."""

_FILLED_AT_ONCE = 4


def measured(scale: float) -> str:
    """Returns a table of Kitelift's times with the default settings, beside those of a loop."""
    lines = []
    for count in COUNTS:
        with (
            tempfile.TemporaryDirectory(prefix="bench-") as folder,
            contest.two_servers(Path(folder)) as pair,
        ):
            lines.append(measure(pair, max(2, int(count * scale))))
    return page(lines)


def page(lines: list[tuple[str, ...]]) -> str:
    """Returns the part of the page with these lines of its table."""
    head = ("collections", "loop", "Kitelift", "to the loop's", "aim", "`plan`", "again", "CPU")
    aims = f"Aims with 300 collections: `plan` < {PLAN_S:.0f} s, again < {AGAIN_S:.0f} s."
    what = f"{ROWS} rows of {SMALL.title} in each collection, one run, default settings"
    return f"{what}. {aims}\n\n{table.table(head, lines)}"


def measure(pair: Pair, count: int) -> tuple[str, ...]:
    """Copies this many collections with the loop and with Kitelift; returns a line of the table.

    Raises:
        RuntimeError: one of the two did not copy all rows.
    """
    names = [f"file_{number:03}" for number in range(count)]
    _fill(pair.source, names)
    with _cleaned(pair, names):
        arguments = [pair.source, pair.target, *names]
        loop = process.run("benchmarks.plain_many", arguments, folder=pair.folder)
    _check("loop", json.loads(loop.out.splitlines()[-1])["rows"], count)
    with _cleaned(pair, names):
        conf = kitelift.write_job(pair.folder, pair.source, pair.target, names)
        plan, run, again = (_kitelift(conf, command) for command in ("plan", "run", "run"))
        [job] = kitelift.state(conf.parent).iterdir()
        report = json.loads((job / "report.json").read_text())
        rows = sum(collection["rows_target"] for collection in report["collections"])
        _check("Kitelift", rows, count)
    line = (
        *(str(count), f"{loop.seconds:.0f} s", f"{run.seconds:.0f} s"),
        *(f"{run.seconds / loop.seconds:.2f}", "≤ 0.80"),
        *(f"{plan.seconds:.1f} s", f"{again.seconds:.1f} s", f"{run.cpu_s:.1f} s"),
    )
    print(line, flush=True)
    return line


def _fill(url: str, names: list[str]) -> None:
    """Creates these collections in the source, loaded."""
    with ThreadPoolExecutor(_FILLED_AT_ONCE) as pool:
        list(pool.map(partial(data.fill, url, SMALL, ROWS), names))


@contextlib.contextmanager
def _cleaned(pair: Pair, names: list[str]) -> Iterator[None]:
    """Provides an empty folder; removes it, and the collections of the target, afterwards."""
    pair.folder.mkdir()
    try:
        yield
    finally:
        shutil.rmtree(pair.folder)
        with contextlib.closing(MilvusClient(pair.target)) as client:
            for name in names:
                client.drop_collection(name)


def _kitelift(conf: Path, command: str) -> process.Ended:
    arguments = [command, "--runner=DirectRunner", f"--config={conf}", "--quiet"]
    return process.run("pipeline", arguments, folder=conf.parent)


def _check(contestant: str, rows: int, count: int) -> None:
    if rows != count * ROWS:
        raise RuntimeError(f"{contestant} has copied {rows:,} of {count * ROWS:,} rows")
