"""Reads key ranges as Arrow batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam

from transforms import counters
from transforms.batch import Batch
from transforms.errors import DataError, RangeFailed, ServerError
from transforms.ledger import Acknowledged, Ledger
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader, loses_rows
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange
from transforms.split import SplitIntoRanges


@dataclass(eq=False)
class ReadFromMilvus(beam.PTransform):
    """Reads collections as batches: the names of collections -> their rows.

    Splits each collection into key ranges and reads those that the ledger has no receipts for.
    Batches must be consumed in the stage that reads them; see `transforms.batch`.
    """

    source: Endpoint
    plan: Plan
    ledger: Ledger
    workers: int
    page_rows: int

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[Batch]:
        # Exactly one Reshuffle on the path: Flink drops the second of two in a row, silently, and
        # then each collection is read by one subtask.
        return (
            names
            | "Split" >> SplitIntoRanges(self.source, self.plan, self.ledger, self.workers)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self)).with_output_types(Batch)
        )


class _Read(beam.DoFn):
    def __init__(self, read: ReadFromMilvus) -> None:
        self._source, self._plan = read.source, read.plan
        self._ledger, self._page_rows = read.ledger, read.page_rows
        self._rows_read = counters.counter("read_rows")

    def setup(self) -> None:
        self._client = Client(self._source)
        self._checked = loses_rows(self._client.version())
        self._readers: dict[str, Reader] = {}
        self._acknowledged = Acknowledged(self._ledger)

    def start_bundle(self) -> None:
        self._acknowledged.refresh()

    def teardown(self) -> None:
        self._client.close()

    def process(self, planned: KeyRange) -> Iterator[Batch]:
        before, _ = self._acknowledged.sum(planned)
        plan = self._plan[planned.collection]
        for batch in read(
            self._reader(plan), planned, self._acknowledged.missing(planned), before=before
        ):
            if batch.rows is not None:
                self._rows_read.inc(batch.rows.num_rows)
            yield batch

    def _reader(self, plan: CollectionPlan) -> Reader:
        if plan.name not in self._readers:
            self._readers[plan.name] = Reader(
                self._client,
                plan.name,
                plan.source.schema,
                page_rows=self._page_rows,
                checked=self._checked,
            )
        return self._readers[plan.name]


def read(
    reader: Reader, planned: KeyRange, missing: list[KeyRange], *, before: int = 0
) -> Iterator[Batch]:
    """Yields what is missing of a range; the batch that ends the range says what was counted.

    A server that fails for good ends the range with a batch that says why, so that other ranges go
    on. Fewer rows than counted are repeats of keys; that is made sure by `_explained`.

    Args:
        missing: the intervals to read, in key order.
        before: rows of the range that were acknowledged earlier.
    """
    rows_read, at = before, planned
    try:
        for interval in missing:
            for covered, rows in reader.scan(interval):
                at = replace(interval, after=covered.upto)
                rows_read += rows.num_rows
                ends = covered.upto == planned.upto
                counted = _explained(reader, planned, rows_read) if ends else None
                yield Batch(planned, covered, rows, counted)
    except (ServerError, DataError) as error:
        yield Batch(planned, at, None, failed=str(error))


def _explained(reader: Reader, planned: KeyRange, rows_read: int) -> int:
    """Returns the range's ``count(*)``, after making sure that paging lost no key.

    Raises:
        RangeFailed: the source has keys in the range that its pages did not show.
    """
    counted = reader.count(planned)
    if counted > rows_read:
        keys = reader.keys(planned)
        if keys > rows_read:
            raise RangeFailed(
                str(planned),
                f"the source shows {keys:,} keys there but gave {rows_read:,} rows; it may have "
                "been written to meanwhile. Stop the writes and run the same command again.",
            )
    return counted
