"""Runs the contestants in turn, each in a process of its own, on the same two servers."""

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
"""Of the tiny collection that shows the fixed cost of a contestant."""

FIXED_TURNS = 3
"""Turns in which it is copied, too: one run of it alone says little."""

TINY, WHOLE = "tiny", "rows"
"""The collections of a data set."""

SERVER = {
    # What was dropped is to leave the disk while the others run.
    "DATACOORD_GC_INTERVAL": "30",
    "DATACOORD_GC_DROPTOLERANCE": "30",
    "DATACOORD_GC_MISSINGTOLERANCE": "3600",
    "ROCKSMQ_RETENTIONTIMEINMINUTES": "5",
    "ROCKSMQ_RETENTIONSIZEINMB": "64",
}


@dataclass(frozen=True)
class Run:
    """One run of one contestant.

    `copy_s` is from the first page that is asked for to the last insert that is acknowledged,
    `whole_s` from the start of the process to its end. What follows `peak_bytes` is Kitelift's
    alone: `phases` are the times of `PHASES`, `resident_bytes` the resident set of its process in
    each fifth of the copy.
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
"""Of a copy: its memory is told for each."""

PHASES = ("start, survey", "targets, cutting", "copy", "finish", "proof, report", "end")
"""What a job does, one after the other; each ends with an entry in the ledger."""


@dataclass(frozen=True)
class Pair:
    """The two servers, and a folder for what a contestant leaves behind."""

    source: str
    target: str
    folder: Path


Contestant = Callable[[Pair, DataSet, str, int], Run]


def floor(pair: Pair, made: DataSet, name: str, rows: int) -> Run:
    """The raw loop."""
    arguments = [pair.source, pair.target, name, str(rows)]
    return _told("floor", process.run("benchmarks.floor", arguments, folder=pair.folder))


def plain(pair: Pair, made: DataSet, name: str, rows: int) -> Run:
    """The script that a user would write."""
    arguments = [pair.source, pair.target, name, made.name]
    return _told("script", process.run("benchmarks.plain", arguments, folder=pair.folder))


def proving(pair: Pair, made: DataSet, name: str, rows: int) -> Run:
    """Kitelift as it is by default: the content of every range is compared."""
    return _kitelift("full", pair, name)


def counting(pair: Pair, made: DataSet, name: str, rows: int) -> Run:
    """Kitelift with ``env.verify = count``: what the others do at most."""
    return _kitelift("count", pair, name)


CONTESTANTS: dict[str, Contestant] = {
    "floor": floor,
    "count": counting,
    "full": proving,
    "script": plain,
}


@contextlib.contextmanager
def two_servers(folder: Path) -> Iterator[Pair]:
    """Two real servers that nobody else uses."""
    sides = [servers.Milvus(folder / side, environment=SERVER) for side in ("source", "target")]
    with servers.started(*sides) as (source, target):
        yield Pair(source.url, target.url, folder / "work")


def runs(
    pair: Pair, made: DataSet, rows: int, turns: int, names: list[str]
) -> Iterator[tuple[Run, int]]:
    """Yields the runs of all contestants on one data set, with the bytes that each has copied.

    They take turns, each turn in another order; see `order`. In the first ones each also copies a
    tiny collection: its fixed cost. The floor goes once ahead, uncounted, and warms the servers up.
    """
    tiny_bytes = data.fill(pair.source, made, FIXED_ROWS, TINY)
    size_bytes = data.fill(pair.source, made, rows, WHOLE)
    _checked("floor", pair, made, WHOLE, rows)
    for turn in range(turns):
        for name in order(names, turn):
            if turn < FIXED_TURNS:
                yield _checked(name, pair, made, TINY, FIXED_ROWS), tiny_bytes
            yield _checked(name, pair, made, WHOLE, rows), size_bytes


def order(names: list[str], turn: int) -> list[str]:
    """Returns the contestants in the order of a turn, balanced for what a run leaves to the next.

    Servers work on after a run. An even number of names needs as many turns until each has come
    after each other one equally often, an odd number twice as many (squares of Williams). In drawn
    orders, two contestants whose copy is the same code differed by 5 % in nine turns.
    """
    places = [(place + 1) // 2 * (-1) ** (place + 1) for place in range(len(names))]
    row = [names[(turn + place) % len(names)] for place in places]
    return row if turn // len(names) % 2 == 0 else row[::-1]


def _checked(contestant: str, pair: Pair, made: DataSet, name: str, rows: int) -> Run:
    """Runs a contestant, makes sure that all rows are there, and cleans up."""
    pair.folder.mkdir()
    try:
        run = CONTESTANTS[contestant](pair, made, name, rows)
    finally:
        shutil.rmtree(pair.folder)
        with contextlib.closing(MilvusClient(pair.target)) as client:
            client.drop_collection(name)
    if run.rows != rows:
        raise RuntimeError(f"{contestant} has copied {run.rows:,} of {rows:,} rows")
    return replace(run, contestant=contestant)


def _told(contestant: str, ended: Ended) -> Run:
    """Reads the times that a contestant printed in its last line."""
    told = json.loads(ended.out.splitlines()[-1])
    return Run(
        contestant, told["rows"], told["copy_s"], ended.seconds, ended.cpu_s, ended.peak_bytes
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
    """Runs Kitelift on a job file, and reads from its ledger when it did what."""
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
    """Returns the median of the resident set in each fifth of a time; 0 where none was taken."""
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
