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
"""Target size of a range, which is the unit of retry. It is so large that the fixed cost of a range
(intent, count, empty last page: some 20 ms) does not matter, and so small that a range that is lost
in a crash costs seconds."""

MAX_RANGE_ROWS = 250_000
"""The largest number of rows of a range, however small the rows. To name the keys of an unequal
range, Kitelift keeps a hash of each row of both sides in memory: some 60 MB for this many rows."""

RANGES_PER_WORKER = 8
"""The minimum: only Dataflow moves work from a slow worker to an idle one."""

MIN_RANGE_ROWS = 2_000
"""The minimum, whatever the parallelism: with fewer rows, the fixed cost of a range matters."""

SAMPLE_ROWS = 200
"""Rows that are read to estimate the row size of a collection. A server that returns this many from
each segment returns up to four times as many."""

MANY_KEYS = 100
"""With this many sampled keys per range, the sizes of ranges vary by about 10 %."""

DIVISORS = (1009, 251, 61, 17)
"""Int64 keys are cut at multiples of the largest divisor that leaves `MANY_KEYS` of them in a
range. A query for multiples scans all rows, so the multiples should fit into one or two pages
(2.3.5, ten million keys: 3.5 s; all keys: 11 s; the multiples of 17: 16 s). The divisors are
primes, because keys often increase by ten or by a power of two.
"""


def rows_per_range(rows: int, *, row_bytes: float, workers: int) -> int:
    """Returns the number of rows that a range should have.

    >>> rows_per_range(1_000_000, row_bytes=3_200, workers=1)
    41943
    >>> rows_per_range(10_000, row_bytes=3_200, workers=8)
    2000
    """
    by_bytes = min(int(RANGE_BYTES / max(row_bytes, 1.0)), MAX_RANGE_ROWS)
    by_workers = rows // (RANGES_PER_WORKER * workers)
    return max(MIN_RANGE_ROWS, min(by_bytes, by_workers))


def cut_points(pages: Iterable[pa.Array], step: int, *, tail: int = 0) -> Iterator[Key]:
    """Yields every `step`-th key of pages of sorted keys that has at least `tail` keys after it.

    >>> list(cut_points([pa.array([1, 3, 5]), pa.array([7, 9])], 2))
    [3, 7]
    >>> list(cut_points([pa.array([1, 3, 5]), pa.array([7, 9])], 2, tail=2))
    [3]
    """
    before = 0
    pending: list[tuple[int, Key]] = []
    for page in pages:
        places = range(step - before % step - 1, len(page), step)
        pending.extend((before + place + 1, page[place].as_py()) for place in places)
        before += len(page)
        while pending and before - pending[0][0] >= tail:
            yield pending.pop(0)[1]


def cut(client: Client, plan: CollectionPlan, *, workers: int) -> Iterator[KeyRange]:
    """Yields the ranges of a collection; cut points are existing keys, so key skew does not matter.

    The first range has no lower bound and the last one no upper bound, so that they contain keys
    outside the bounds that were seen here. A partition without visible keys is one range; only
    reading it shows whether it has rows.
    """
    if not plan.has_rows:
        return
    reader = Reader(
        client,
        plan.name,
        plan.read,
        page_rows=SAMPLE_ROWS,
        where=plan.shape.where,
        snapshot=plan.snapshot,
    )
    sample = _sample(reader, KeyRange(plan.name, partition=[*plan.chosen_partitions, ""][0]))
    row_bytes = sample.nbytes / sample.num_rows if sample.num_rows else 0.0
    step = rows_per_range(plan.rows, row_bytes=row_bytes, workers=workers)
    # The last range would otherwise have too few rows.
    tail = max(step // 2, MIN_RANGE_ROWS)
    for partition in plan.partitions:
        whole = KeyRange(plan.name, partition=partition)
        rows = reader.count(whole)
        if rows <= step:
            yield whole
        else:
            spacing, pages = _keys(client, plan, whole, rows, step)
            yield from split(whole, cut_points(pages, step // spacing, tail=tail // spacing))


def _sample(reader: Reader, whole: KeyRange) -> pa.RecordBatch:
    """Returns the first rows of a collection that the server can send."""
    with contextlib.suppress(TextNotUtf8):
        return reader.page(whole)
    pages = (page for _, page in reader.scan_around(whole))
    return next(page for page in pages if isinstance(page, pa.RecordBatch))


def _keys(
    client: Client, plan: CollectionPlan, whole: KeyRange, rows: int, step: int
) -> tuple[int, Iterator[pa.Array]]:
    """Returns how many rows one key stands for, and pages of sorted keys of `rows` rows.

    The keys match the filter, so that ranges have equal sizes.
    """
    primary, where = plan.read.primary, plan.shape.where
    read = partial(Reader, client, plan.name, plan.read, snapshot=plan.snapshot)
    fitting = (number for number in DIVISORS if number * MANY_KEYS <= step)
    if primary.type.name == "Int64" and (divisor := next(fitting, 0)):
        # Some sources, such as files and milvus-lite, cannot filter for multiples.
        with contextlib.suppress(Refused):
            multiples = read(where=filters.both(where, filters.multiples(primary.name, divisor)))
            count = multiples.count(whole)
            if abs(count * divisor - rows) <= rows // 4:
                return divisor, multiples.scan_keys(whole, count)
    return 1, read(where=where).scan_keys(whole, rows)


@dataclass(eq=False)
class SplitIntoRanges(beam.PTransform):
    """Cuts each named collection into ranges, once for the whole job.

    The ranges are frozen in the ledger. If an engine retries the transform, or a job resumes, it
    emits the same ranges as the first time, even if the parallelism has changed.
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
                # Any key may exist already, so no write is the first one: all writes are by key.
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
            # The other collections continue; the next run cuts this one.
            self._ledger.finish(Finished(name, None, None, 0.0, time.time(), str(error)))
            self._ledger.set_status(name, "failed")
            return []
        finally:
            client.close()
        seconds = time.monotonic() - began
        return self._ledger.freeze(self._plan.plan_id, name, pieces, seconds=seconds)
