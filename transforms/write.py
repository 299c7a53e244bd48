"""Writes batches and records what the target acknowledged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms import counters, fingerprint
from transforms.batch import Batch
from transforms.errors import Ambiguous, DataError, RangeFailed, ServerError, TooLarge
from transforms.ledger import Ledger, Receipt, ReceiptWriter, range_id
from transforms.milvus import filters
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan

WRITES_IN_FLIGHT = 3
"""Per worker: one is sent while one is worked on and one is answered."""


@dataclass(eq=False)
class WriteToMilvus(beam.PTransform):
    """Writes batches; emits the receipt of each, which is in the ledger a second later.

    Exactly once by key: rows are inserted when it is certain that they were never sent, and
    upserted when an earlier attempt may have arrived (no answer, a retried bundle, a range begun
    before). With new auto ids it is at least once, and the receipts count what may be doubled.

    A range that fails for good ends as a failed receipt, and the others go on; with `fail_fast` it
    fails the pipeline.
    """

    target: Endpoint
    plan: Plan
    ledger: Ledger
    upsert: bool = True
    fail_fast: bool = False

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Receipt]:
        return batches | "Write" >> beam.ParDo(_Write(self))


class _Write(beam.DoFn):
    def __init__(self, write: WriteToMilvus) -> None:
        self._target, self._plan, self._ledger = write.target, write.plan, write.ledger
        self._upsert, self._fail_fast = write.upsert, write.fail_fast
        self._rows_written = counters.counter("written_rows")
        self._bytes_written = counters.counter("written_bytes")

    def setup(self) -> None:
        self._client = Client(self._target)
        self._pool = ThreadPoolExecutor(WRITES_IN_FLIGHT, thread_name_prefix="write")
        self._receipts = ReceiptWriter(self._ledger)

    def start_bundle(self) -> None:
        self._under_way: deque[Future[Receipt]] = deque()
        self._first_time: dict[str, bool] = {}
        self._failed: set[str] = set()

    def process(self, batch: Batch) -> Iterator[Receipt]:
        name = range_id(batch.planned)
        if name in self._failed:
            return
        if name not in self._first_time:
            self._first_time[name] = self._ledger.begin(batch.planned)
        while len(self._under_way) >= WRITES_IN_FLIGHT:
            yield from self._take(self._under_way.popleft())
        self._under_way.append(self._pool.submit(self._deliver, batch))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        while self._under_way:
            for receipt in self._take(self._under_way.popleft()):
                yield WindowedValue(receipt, window.max_timestamp(), [window])
        self._receipts.flush()

    def teardown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _deliver(self, batch: Batch) -> Receipt:
        """Writes one batch and records its receipt; runs in a thread of its own."""
        plan = self._plan[batch.planned.collection]
        first_time = self._first_time[range_id(batch.planned)]
        try:
            if batch.rows is None:
                raise RangeFailed(str(batch.planned), batch.failed)
            delivery = _Delivery(self._client, plan, batch.planned.partition, self._upsert)
            delivery.send(batch.rows, first_time=first_time)
        except (ServerError, DataError) as error:
            receipt = receipt_of(batch, self._receipts.worker, failed=str(error))
        else:
            receipt = receipt_of(batch, self._receipts.worker, doubled=delivery.doubled)
        self._receipts.add(receipt)
        return receipt

    def _take(self, done: Future[Receipt]) -> Iterator[Receipt]:
        receipt = done.result()
        if receipt.failed:
            self._failed.add(receipt.range_id)
            if self._fail_fast:
                self._receipts.flush()
                raise RangeFailed(str(receipt.covered), receipt.failed)
        else:
            self._rows_written.inc(receipt.rows)
            self._bytes_written.inc(receipt.bytes)
        yield receipt


class _Delivery:
    """One batch on its way, in as few writes as the server takes it."""

    def __init__(self, client: Client, plan: CollectionPlan, partition: str, upsert: bool) -> None:
        self._client, self._plan, self._partition, self._upsert = client, plan, partition, upsert
        self.doubled = 0

    def send(self, rows: pa.RecordBatch, *, first_time: bool) -> None:
        """Writes rows until they are acknowledged; halves them where they are too large."""
        if not rows.num_rows:
            return
        try:
            acknowledged = self._once(rows, first_time=first_time)
        except TooLarge as error:
            if rows.num_rows == 1:
                raise RangeFailed(f"{self._plan.target}: one row", error.detail) from error
            half = rows.num_rows // 2
            self.send(rows.slice(0, half), first_time=first_time)
            self.send(rows.slice(half), first_time=first_time)
            return
        if acknowledged != rows.num_rows:
            raise RangeFailed(
                self._plan.target,
                f"the target acknowledged {acknowledged:,} of {rows.num_rows:,} rows",
            )

    def _once(self, rows: pa.RecordBatch, *, first_time: bool) -> int:
        arguments = self._plan.target, self._partition, self._plan.written, rows
        if not first_time and not self._plan.new_ids:
            return self._again(rows)
        try:
            return self._client.insert(*arguments)
        except Ambiguous:
            if not self._plan.new_ids:
                return self._again(rows)
            self.doubled += rows.num_rows
            return self._client.insert(*arguments)

    def _again(self, rows: pa.RecordBatch) -> int:
        """Writes rows that may be there already."""
        arguments = self._plan.target, self._partition, self._plan.written, rows
        if self._upsert:
            return self._client.upsert(*arguments)
        primary = self._plan.source.schema.primary.name
        keys = rows.column(primary).to_pylist()
        self._client.delete(self._plan.target, self._partition, filters.among(primary, keys))
        return self._client.insert(*arguments)


def receipt_of(batch: Batch, worker: str, *, failed: str = "", doubled: int = 0) -> Receipt:
    """Returns the receipt of a batch that was written; or, with `failed`, why it was not."""
    rows = batch.rows if batch.rows is not None and not failed else None
    return Receipt(
        range_id=range_id(batch.planned),
        covered=batch.covered,
        rows=rows.num_rows if rows is not None else 0,
        bytes=rows.nbytes if rows is not None else 0,
        fingerprint=fingerprint.to_text(batch.fingerprint if rows is not None else 0),
        at=time.time(),
        worker=worker,
        counted=batch.counted,
        doubled=doubled,
        failed=failed,
    )
