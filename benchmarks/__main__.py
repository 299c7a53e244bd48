"""Measures Kitelift, a plain pymilvus script and a raw gRPC loop (the floor): ``make bench``.

make bench                                        # everything; takes more than an hour
make bench BENCH_ARGS="--data=128 --runs=3"       # one data set
make bench BENCH_ARGS="--network"                 # only slow networks
make bench BENCH_ARGS="--memory"                  # only the memory of a long run
make bench BENCH_ARGS="--many"                    # only many small collections

The results replace their parts of docs/performance.md; the other parts stay unchanged.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import contest, data, fixed, machine, many, memory, network, table
from benchmarks.data import DataSet
from tests.docs import refreshed

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the requested benchmarks and writes each part of the page as soon as it is measured."""
    arguments = _arguments(argv)
    for name, part in _parts(arguments):
        print(f"\n{name}\n{part}\n", flush=True)
        page = arguments.page.read_text(encoding="utf-8")
        arguments.page.write_text(refreshed(page, {name: part}), encoding="utf-8")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.partition("\n")[0])
    names = [data_set.name for data_set in data.SETS]
    parser.add_argument("--data", action="append", choices=names, help="run only this data set")
    parser.add_argument("--runs", type=int, default=5, help="number of runs of each contestant (5)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="fraction of the rows to use (1.0)"
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(contest.CONTESTANTS),
        help="run only this contestant",
    )
    parser.add_argument("--network", action="store_true", help="measure only slow networks")
    parser.add_argument(
        "--memory", action="store_true", help="measure only the memory of a long run"
    )
    parser.add_argument("--many", action="store_true", help="measure only many small collections")
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose tables to replace")
    return parser.parse_args(argv)


def _parts(arguments: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Yields the parts of the page, each with its name."""
    caption = f"{machine.today()}, {machine.described()}"
    whole = not (arguments.data or arguments.network or arguments.memory or arguments.many)
    if whole:
        yield "fixed", f"{caption}.\n\n{fixed.measured()}"
    for data_set in data.SETS:
        if whole or data_set.name in (arguments.data or ()):
            yield data_set.name, _contest(data_set, arguments, caption)
    if whole or arguments.memory:
        yield "memory", f"{caption}.\n\n{memory.measured(arguments.scale)}"
    if whole or arguments.many:
        yield "many", f"{caption}.\n\n{many.measured(arguments.scale)}"
    if whole or arguments.network:
        for name, part in network.measured(arguments.scale):
            yield name, f"{caption}.\n\n{part}"


def _contest(data_set: DataSet, arguments: argparse.Namespace, caption: str) -> str:
    names = arguments.only or list(contest.CONTESTANTS)
    rows = max(2 * contest.FIXED_ROWS, int(data_set.rows * arguments.scale))
    runs = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        contest.two_servers(Path(folder)) as pair,
    ):
        for run, size_bytes in contest.runs(pair, data_set, rows, arguments.runs, names):
            print(run, flush=True)
            runs.append((run, size_bytes))
    figures = table.figures(runs)
    size = max(size_bytes for _, size_bytes in runs)
    what = (
        f"{data_set.title}: {rows:,} rows, {size / 1e6:,.0f} MB; medians of {arguments.runs} runs"
    )
    tables = table.speeds(figures), table.phases(figures), table.ratios(figures, data_set.name)
    return "\n\n".join([f"{what}; {caption}.", *tables])


if __name__ == "__main__":
    main()
