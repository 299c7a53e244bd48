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

from transforms import counters, fingerprint, rejects
from transforms.batch import Batch
from transforms.delivery import Delivery
from transforms.errors import DataError, LedgerError, RangeFailed, ServerError
from transforms.ledger import Ledger, Receipt, ReceiptWriter, range_id
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import Plan

WRITES_IN_FLIGHT = 3
"""Per worker: one is sent while one is worked on and one is answered."""


@dataclass(eq=False)
class WriteToMilvus(beam.PTransform):
    """Writes batches; emits the receipt of each, which is in the ledger a second later.

    Exactly once by key: rows are inserted when it is certain that they were never sent, and
    upserted when an earlier attempt may have arrived (no answer, a retried bundle, a range begun
    before). With new auto ids it is at least once, and the receipts count what may be doubled.

    A range that fails for good ends as a failed receipt, and the others go on; with `fail_fast` it
    fails the pipeline. Up to `max_rejected` rows of the whole job that the target refuses for good
    are set aside instead (`transforms.rejects`), and their ranges go on.
    """

    target: Endpoint
    plan: Plan
    ledger: Ledger
    upsert: bool = True
    fail_fast: bool = False
    max_rejected: int = 0

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Receipt]:
        return batches | "Write" >> beam.ParDo(_Write(self))


class _Write(beam.DoFn):
    def __init__(self, write: WriteToMilvus) -> None:
        self._target, self._plan, self._ledger = write.target, write.plan, write.ledger
        self._upsert, self._fail_fast = write.upsert, write.fail_fast
        self._max_rejected = write.max_rejected
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
        try:
            receipt = self._delivered(batch)
        except (ServerError, DataError, LedgerError) as error:
            receipt = receipt_of(batch, self._receipts.worker, failed=str(error))
        self._receipts.add(receipt)
        return receipt

    def _delivered(self, batch: Batch) -> Receipt:
        if batch.rows is None:
            raise RangeFailed(str(batch.planned), batch.failed)
        plan = self._plan[batch.planned.collection]
        may_reject = 0
        if self._max_rejected:
            may_reject = self._max_rejected - rejects.count(self._ledger, except_for=batch.covered)
        delivery = Delivery(
            self._client, plan, batch.planned.partition, self._upsert, may_reject=may_reject
        )
        delivery.send(batch.rows, first_time=self._first_time[range_id(batch.planned)])
        refused = delivery.rejected() if delivery.refused else None
        if refused is not None:
            rejects.save(self._ledger, batch.covered, refused)
        return receipt_of(
            batch,
            self._receipts.worker,
            doubled=delivery.doubled,
            refused=refused,
            json_by_value=self._plan.json_by_value,
        )

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


def receipt_of(
    batch: Batch,
    worker: str,
    *,
    failed: str = "",
    doubled: int = 0,
    refused: pa.RecordBatch | None = None,
    json_by_value: bool = False,
) -> Receipt:
    """Returns the receipt of a batch that was written, but for the `refused` of its rows.

    With `failed` it says why the batch was not written.
    """
    rows, size_bytes, total = 0, 0, 0
    if batch.rows is not None and not failed:
        rows, size_bytes, total = batch.rows.num_rows, batch.rows.nbytes, batch.fingerprint
    if refused is not None:
        part = fingerprint.of(rejects.rows_of(refused), json_by_value=json_by_value)
        rows, total = rows - refused.num_rows, fingerprint.subtract(total, part)
    return Receipt(
        range_id=range_id(batch.planned),
        covered=batch.covered,
        rows=rows,
        bytes=size_bytes,
        fingerprint=fingerprint.to_text(total),
        at=time.time(),
        worker=worker,
        counted=batch.counted,
        doubled=doubled,
        rejected=refused.num_rows if refused is not None else 0,
        failed=failed,
    )
