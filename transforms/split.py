"""Cuts collections into key ranges."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import apache_beam as beam
import pyarrow as pa

from transforms.errors import DataError, Refused, ServerError, TextNotUtf8
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Finished, Ledger
from transforms.milvus import filters
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import Key, KeyRange, split

RANGE_BYTES = 128 * 1024 * 1024
"""Aim of one range: the unit of retry. Large enough that its fixed cost (intent, count, empty last
page: some 20 ms) is nothing, small enough that losing one to a crash costs seconds."""

MAX_RANGE_ROWS = 250_000
"""Nor more rows, however thin: naming the keys of an unequal range holds a hash of each of its rows
on both sides, some 60 MB for so many."""

RANGES_PER_WORKER = 8
"""At least so many, because no runner but Dataflow moves work from a slow worker to an idle one."""

MIN_RANGE_ROWS = 2_000
"""Never fewer rows, whatever the parallelism: below it the fixed cost of a range shows."""

SAMPLE_ROWS = 200
"""Rows that tell how wide the rows of a collection are: four times as many from a server that gives
as many from each segment."""

MANY_KEYS = 100
"""Of so many keys that stand for a range, chance makes its size a tenth more or less."""

DIVISORS = (1009, 251, 61, 17)
"""Whole-number keys are cut among the multiples of the largest that leaves `MANY_KEYS` of them to a
range. A query for them looks at all rows, so they are to fit into a page or two (2.3.5, ten million
keys: 3.5 s, all keys 11 s, the multiples of 17 16 s). Primes, as keys often go up by ten or by
a power of two.
"""


def rows_per_range(rows: int, *, row_bytes: float, workers: int) -> int:
    """Returns how many rows a range is to have.

    >>> rows_per_range(1_000_000, row_bytes=3_200, workers=1)
    41943
    >>> rows_per_range(10_000, row_bytes=3_200, workers=8)
    2000
    """
    by_bytes = min(int(RANGE_BYTES / max(row_bytes, 1.0)), MAX_RANGE_ROWS)
    by_workers = rows // (RANGES_PER_WORKER * workers)
    return max(MIN_RANGE_ROWS, min(by_bytes, by_workers))


def cut_points(pages: Iterable[pa.Array], step: int, *, tail: int = 0) -> Iterator[Key]:
    """Yields every `step`-th key of pages of sorted keys that has at least `tail` keys behind it.

    >>> list(cut_points([pa.array([1, 3, 5]), pa.array([7, 9])], 2))
    [3, 7]
    >>> list(cut_points([pa.array([1, 3, 5]), pa.array([7, 9])], 2, tail=2))
    [3]
    """
    before = 0
    held: list[tuple[int, Key]] = []
    for page in pages:
        places = range(step - before % step - 1, len(page), step)
        held.extend((before + place + 1, page[place].as_py()) for place in places)
        before += len(page)
        while held and before - held[0][0] >= tail:
            yield held.pop(0)[1]


def cut(client: Client, plan: CollectionPlan, *, workers: int) -> Iterator[KeyRange]:
    """Yields the ranges of a collection; cut points are keys that are there, so any skew is fine.

    The first range is open below and the last above, so that keys outside of what was seen when
    cutting have a range too. A partition of which no key is shown is one range: reading it settles
    whether it has rows.
    """
    reader = Reader(
        client,
        plan.name,
        plan.read,
        page_rows=SAMPLE_ROWS,
        where=plan.shape.where,
        snapshot=plan.snapshot,
    )
    sample = _sample(reader, KeyRange(plan.name))
    row_bytes = sample.nbytes / sample.num_rows if sample.num_rows else 0.0
    step = rows_per_range(plan.rows, row_bytes=row_bytes, workers=workers)
    # Behind the last cut there may be less than a range is worth.
    tail = max(step // 2, MIN_RANGE_ROWS)
    for partition in plan.partitions:
        whole = KeyRange(plan.name, partition=partition)
        rows = reader.count(whole)
        if rows <= step:
            yield whole
        else:
            every, pages = _keys(client, plan, whole, rows, step)
            yield from split(whole, cut_points(pages, step // every, tail=tail // every))


def _sample(reader: Reader, whole: KeyRange) -> pa.RecordBatch:
    """Returns the first rows of a collection that the server can send."""
    with contextlib.suppress(TextNotUtf8):
        return reader.page(whole)
    pages = (page for _, page in reader.scan_around(whole))
    return next(page for page in pages if isinstance(page, pa.RecordBatch))


def _keys(
    client: Client, plan: CollectionPlan, whole: KeyRange, rows: int, step: int
) -> tuple[int, Iterator[pa.Array]]:
    """Returns keys of `rows` rows in order, in pages, and how many rows each stands for.

    They are among the keys that the filter finds, so that ranges are of one size.
    """
    primary, where = plan.read.primary, plan.shape.where
    read = partial(Reader, client, plan.name, plan.read, snapshot=plan.snapshot)
    fitting = (divisor for divisor in DIVISORS if divisor * MANY_KEYS <= step)
    if primary.type.name == "Int64" and (every := next(fitting, 0)):
        # Files and milvus-lite, for two, cannot be asked for multiples.
        with contextlib.suppress(Refused):
            some = read(where=filters.both(where, filters.multiples(primary.name, every)))
            found = some.count(whole)
            if abs(found * every - rows) <= rows // 4:
                return every, some.scan_keys(whole, found)
    return 1, read(where=where).scan_keys(whole, rows)


@dataclass(eq=False)
class SplitIntoRanges(beam.PTransform):
    """Cuts each named collection into ranges, once for the whole job.

    The ranges are frozen in the ledger: run again, by an engine's retry or after a crash, the
    transform emits the ranges of the first time, whatever the parallelism has become.
    """

    source: Endpoint
    plan: Plan
    ledger: Ledger
    workers: int

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[KeyRange]:
        return names | "Cut" >> beam.ParDo(_Cut(self))


class _Cut(beam.DoFn):
    def __init__(self, split: SplitIntoRanges) -> None:
        self._source, self._plan = split.source, split.plan
        self._ledger, self._workers = split.ledger, split.workers

    def process(self, name: str) -> Iterator[KeyRange]:
        frozen = self._ledger.frozen(name)
        for planned in self._cut(name) if frozen is None else frozen:
            if self._plan[name].append:
                # Any key may be there already, so that no write is the first: all are by key.
                self._ledger.begin_range(planned)
            yield planned

    def _cut(self, name: str) -> list[KeyRange]:
        plan = self._plan[name]
        self._ledger.set_status(name, "planning", 0, plan.rows)
        began = time.monotonic()
        client = worker_limits.connect(self._source, self._ledger, "source")
        try:
            pieces = list(cut(client, plan, workers=self._workers))
        except (ServerError, DataError) as error:
            # The other collections go on; this one is cut by the next run.
            self._ledger.finish(Finished(name, None, None, 0.0, time.time(), str(error)))
            self._ledger.set_status(name, "failed")
            return []
        finally:
            client.close()
        seconds = time.monotonic() - began
        return self._ledger.freeze(self._plan.plan_id, name, pieces, seconds=seconds)
