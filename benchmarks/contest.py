"""Runs the contestants in turn, each in its own process, on the same two servers."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from pymilvus import MilvusClient

from benchmarks import data, process
from benchmarks.data import DataSet
from benchmarks.process import Ended
from tests import kitelift, servers

PARALLELISM = 2

FIXED_ROWS = 500
"""Rows of the tiny collection, which shows the fixed cost of a contestant."""

FIXED_TURNS = 3
"""Number of turns in which the tiny collection is also copied: one run is not enough."""

TINY, WHOLE = "tiny", "rows"
"""The collections of a data set."""

SERVER = {
    # Removes the data of dropped collections from disk while the other contestants run.
    "DATACOORD_GC_INTERVAL": "30",
    "DATACOORD_GC_DROPTOLERANCE": "30",
    "DATACOORD_GC_MISSINGTOLERANCE": "3600",
    "ROCKSMQ_RETENTIONTIMEINMINUTES": "5",
    "ROCKSMQ_RETENTIONSIZEINMB": "64",
    "QUOTAANDLIMITS_LIMITS_MAXCOLLECTIONNUMPERDB": "1000",
}


@dataclass(frozen=True)
class Run:
    """One run of one contestant.

    `copy_s` is the time from the first page request to the last acknowledged insert, `whole_s` from
    the start to the end of the process. Only Kitelift has the fields after `peak_bytes`: `phases`
    are the times of `PHASES`, `resident_bytes` is the resident set size in each fifth of the copy.
    """

    contestant: str
    rows: int
    copy_s: float
    whole_s: float
    cpu_s: float
    peak_bytes: int
    planning_s: float = 0.0
    phases: tuple[float, ...] = ()
    resident_bytes: tuple[int, ...] = ()


PARTS = 5
"""The number of parts of a copy; memory is reported for each part."""

PHASES = ("start, survey", "targets, cutting", "copy", "finish", "proof, report", "end")
"""The phases of a job, in order; each ends with an entry in the ledger."""


@dataclass(frozen=True)
class Pair:
    """The two servers, and a working folder for the contestants."""

    source: str
    target: str
    folder: Path


Contestant = Callable[[Pair, DataSet, str, int], Run]


def floor(pair: Pair, data_set: DataSet, name: str, rows: int) -> Run:
    """Runs the raw gRPC loop."""
    arguments = [pair.source, pair.target, name, str(rows)]
    return _parse_times("floor", process.run("benchmarks.floor", arguments, folder=pair.folder))


def plain(pair: Pair, data_set: DataSet, name: str, rows: int) -> Run:
    """Runs the script that a user would write."""
    arguments = [pair.source, pair.target, name, data_set.name]
    return _parse_times("script", process.run("benchmarks.plain", arguments, folder=pair.folder))


def proving(pair: Pair, data_set: DataSet, name: str, rows: int) -> Run:
    """Runs Kitelift with the default ``env.verify = full``, which compares the content."""
    return _kitelift("full", pair, name)


def counting(pair: Pair, data_set: DataSet, name: str, rows: int) -> Run:
    """Runs Kitelift with ``env.verify = count``, the most that the other contestants verify."""
    return _kitelift("count", pair, name)


CONTESTANTS: dict[str, Contestant] = {
    "floor": floor,
    "count": counting,
    "full": proving,
    "script": plain,
}


@contextlib.contextmanager
def two_servers(folder: Path) -> Iterator[Pair]:
    """Starts two real servers for this benchmark only."""
    sides = [servers.Milvus(folder / side, environment=SERVER) for side in ("source", "target")]
    with servers.started(*sides) as (source, target):
        yield Pair(source.url, target.url, folder / "work")


def runs(
    pair: Pair, data_set: DataSet, rows: int, turns: int, names: list[str]
) -> Iterator[tuple[Run, int]]:
    """Yields the runs of all contestants on one data set, with the copied bytes of each.

    Contestants take turns, in a different order each turn; see `order`. In the first turns, each
    also copies a tiny collection, which shows its fixed cost. The floor runs once before to warm up
    the servers; that run does not count.
    """
    tiny_bytes = data.fill(pair.source, data_set, FIXED_ROWS, TINY)
    size_bytes = data.fill(pair.source, data_set, rows, WHOLE)
    _checked("floor", pair, data_set, WHOLE, rows)
    for turn in range(turns):
        for name in order(names, turn):
            if turn < FIXED_TURNS:
                yield _checked(name, pair, data_set, TINY, FIXED_ROWS), tiny_bytes
            yield _checked(name, pair, data_set, WHOLE, rows), size_bytes


def order(names: list[str], turn: int) -> list[str]:
    """Returns the contestants in the order of a turn, balanced for effects of the previous run.

    Servers continue to work after a run. With an even number of names, each name follows each other
    name equally often after as many turns; an odd number needs twice as many (Williams squares). In
    random orders, two contestants with the same copy code differed by 5 % over nine turns.
    """
    places = [(place + 1) // 2 * (-1) ** (place + 1) for place in range(len(names))]
    row = [names[(turn + place) % len(names)] for place in places]
    return row if turn // len(names) % 2 == 0 else row[::-1]


def _checked(contestant: str, pair: Pair, data_set: DataSet, name: str, rows: int) -> Run:
    """Runs a contestant, checks that the target has all rows, and cleans up."""
    pair.folder.mkdir()
    try:
        run = CONTESTANTS[contestant](pair, data_set, name, rows)
    finally:
        shutil.rmtree(pair.folder)
        with contextlib.closing(MilvusClient(pair.target)) as client:
            client.drop_collection(name)
    if run.rows != rows:
        raise RuntimeError(f"{contestant} has copied {run.rows:,} of {rows:,} rows")
    return replace(run, contestant=contestant)


def _parse_times(contestant: str, ended: Ended) -> Run:
    """Returns the times that a contestant printed in its last line."""
    times = json.loads(ended.out.splitlines()[-1])
    return Run(
        contestant, times["rows"], times["copy_s"], ended.seconds, ended.cpu_s, ended.peak_bytes
    )


def _kitelift(verify: str, pair: Pair, name: str) -> Run:
    conf = kitelift.write_job(
        pair.folder,
        pair.source,
        pair.target,
        [name],
        env={"parallelism": PARALLELISM, "verify": verify},
    )
    return migrated(conf, name)


def migrated(conf: Path, name: str) -> Run:
    """Runs Kitelift with a job file and returns the times of its phases from the ledger."""
    arguments = ["--runner=DirectRunner", f"--config={conf}", "--quiet"]
    began_at = time.time()
    ended = process.run("pipeline", arguments, folder=conf.parent)
    [job] = kitelift.state(conf.parent).iterdir()
    ranges, report = job / "ranges" / f"{name}.json", job / "report.json"
    cut_at, finished = ranges.stat().st_mtime, _json(job / "finished" / f"{name}.json")
    copied_at = max([cut_at, *(receipt["at"] for receipt in _receipts(job))])
    times = (
        *(began_at, (job / "plan.json").stat().st_mtime, cut_at, copied_at, finished["at"]),
        *(report.stat().st_mtime, began_at + ended.seconds),
    )
    return Run(
        contestant="kitelift",
        rows=finished["rows_target"] or 0,
        copy_s=copied_at - cut_at,
        whole_s=ended.seconds,
        cpu_s=ended.cpu_s,
        peak_bytes=ended.peak_bytes,
        planning_s=_json(ranges)["seconds"],
        phases=tuple(round(after - before, 2) for before, after in pairwise(times)),
        resident_bytes=_resident(ended, cut_at, copied_at),
    )


def _resident(ended: Ended, began_at: float, ended_at: float) -> tuple[int, ...]:
    """Returns the median resident set size in each fifth of a period; 0 without a sample."""
    parts: list[list[int]] = [[] for _ in range(PARTS)]
    for at, size_bytes in ended.resident:
        if began_at <= at < ended_at:
            parts[int(PARTS * (at - began_at) / (ended_at - began_at))].append(size_bytes)
    return tuple(int(median(part or [0])) for part in parts)


def _receipts(job: Path) -> Iterator[Any]:
    for path in (job / "receipts").iterdir():
        yield from map(json.loads, path.read_text().splitlines())


def _json(path: Path) -> Any:
    return json.loads(path.read_text())
