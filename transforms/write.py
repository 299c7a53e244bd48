"""Writes batches and records what the target acknowledged, in a job or in any other pipeline."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from transforms import counters, fingerprint
from transforms.batch import Batch
from transforms.convert import MAX_REQUEST_BYTES, fingerprinted
from transforms.delivery import MOST_REJECTED, Delivery
from transforms.duplicates import last_of_each_key
from transforms.errors import DataError, LedgerError, RangeFailed, ServerError
from transforms.io.io_plan import NoLedger, plan_to_write
from transforms.io.rows import Row, batch_of, conformed
from transforms.ledger import rejected_rows, worker_limits
from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Receipt, ReceiptWriter
from transforms.milvus.codec import row_data
from transforms.milvus.endpoint import Endpoint, Tls
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

WRITES_IN_FLIGHT = 3
"""Per worker: one is being sent, one is processed by the server, and one is being answered."""

WriteElement = pa.RecordBatch | pa.Table | Row


@dataclass(eq=False)
class WriteToMilvus(beam.PTransform):
    """Writes Arrow batches, Arrow tables, Beam Rows or mappings to one collection.

        rows | WriteToMilvus("http://localhost:19530", "docs", token="env:TOKEN")

    Emits one receipt per write: the number of acknowledged rows (`rows`) and their fingerprint.
    Columns are matched by name; `transforms.io.rows` describes the accepted types. The collection
    must exist; its schema is read when the pipeline is built. The collection is neither flushed nor
    loaded. A row that cannot be written fails the pipeline.

    Attributes:
        token: ``user:password``, an API key, or a reference, which keeps the secret out of the
            graph: ``env:NAME``, ``file:/path``.
        partition: the partition to write to; "" if the rows decide it (partition key).
        upsert: whether rows are written by key, so that a bundle that Beam retries creates no
            duplicates. If a batch, a table, or the rows of one write have a key more than once, the
            last row of the key is written; the others are dropped and are not in the receipts.
            Without `upsert`, rows are inserted, which is faster but at-least-once: a retry by Beam,
            or inside Milvus 2.6 and later, may store a row twice. The same applies if the server
            makes the keys.
        request_rows: the largest number of rows in one write; large rows make it smaller.
    """

    url: str
    collection: str
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Tls = field(default_factory=Tls)
    partition: str = ""
    upsert: bool = True
    request_rows: int = 1_000

    def expand(self, elements: beam.PCollection[WriteElement]) -> beam.PCollection[Receipt]:
        endpoint = Endpoint(self.url, self.token, self.database, self.tls)
        plan = plan_to_write(endpoint, self.collection)
        by_key = self.upsert and not plan.collections[0].new_ids
        ledger = NoLedger(certain=not by_key)
        gather = _Gather(plan, self.partition, self.request_rows, by_key=by_key)
        return (
            elements
            | "Gather" >> beam.ParDo(gather).with_output_types(Batch)
            | "Batches" >> WriteBatches(endpoint, plan, ledger, fail_fast=True)
        )


class _Gather(beam.DoFn):
    """Turns elements of any accepted type into batches of the size of one write."""

    def __init__(self, plan: Plan, partition: str, request_rows: int, *, by_key: bool) -> None:
        self._plan, self._request_rows, self._by_key = plan, request_rows, by_key
        self._whole = KeyRange(plan.collections[0].name, partition=partition)

    def start_bundle(self) -> None:
        self._rows: list[Row] = []

    def process(self, element: Any) -> Iterator[Batch]:
        schema = self._plan[self._whole.collection].written
        if isinstance(element, pa.RecordBatch):
            yield from self._pieces(conformed(element, schema))
        elif isinstance(element, pa.Table):
            for rows in element.combine_chunks().to_batches():
                yield from self._pieces(conformed(rows, schema))
        else:
            self._rows.append(element if isinstance(element, Mapping) else element._asdict())
            if len(self._rows) == self._request_rows:
                yield from self._gathered()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        for batch in self._gathered():
            yield WindowedValue(batch, window.max_timestamp(), [window])

    def _gathered(self) -> Iterator[Batch]:
        rows, self._rows = self._rows, []
        if rows:
            yield from self._pieces(batch_of(rows, self._plan[self._whole.collection].written))

    def _pieces(self, rows: pa.RecordBatch) -> Iterator[Batch]:
        if self._by_key:
            primary = self._plan[self._whole.collection].written.primary.name
            rows = last_of_each_key(rows, primary)
        for piece in row_data.cut(rows, max_rows=self._request_rows, max_bytes=MAX_REQUEST_BYTES):
            batch = Batch(self._whole, self._whole, piece)
            yield fingerprinted(batch, json_by_value=self._plan.json_by_value)


@dataclass(eq=False)
class WriteBatches(beam.PTransform):
    """Writes batches and emits their receipts, which are in the ledger one second later.

    Delivery is at least once; verification finds a row that is stored twice. Rows are inserted if
    certainly no earlier attempt wrote any of them, and upserted otherwise (no answer, an unclear
    answer, a retried bundle, a resumed range). So no retry by Kitelift stores a row twice. A retry
    inside the server may: from 2.6 on, a proxy repeats its write to the log after some errors. With
    new auto IDs, a retry by Kitelift may as well; the receipts count such rows.

    A failed range ends with a failed receipt, and the others continue; with `fail_fast` it fails
    the pipeline. If the target rejects rows, all other rows of the range are written. Up to
    `max_rejected` rejected rows of the whole job are recorded (`transforms.ledger.rejected_rows`).
    With more, the range fails: the intervals of the rejected rows have no receipt, so that a later
    run sends only those rows. Writing of a range stops after `MOST_REJECTED` such rows.
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
    def __init__(self, write: WriteBatches) -> None:
        self._target, self._plan, self._ledger = write.target, write.plan, write.ledger
        self._upsert, self._fail_fast = write.upsert, write.fail_fast
        self._max_rejected = write.max_rejected
        self._rows_written = counters.counter("written_rows")
        self._bytes_written = counters.counter("written_bytes")
        self._rows_rejected = counters.counter("rejected_rows")
        self._failures = counters.counter("failed_writes")

    def setup(self) -> None:
        self._client = worker_limits.connect(self._target, self._ledger, "target")
        self._pool = ThreadPoolExecutor(WRITES_IN_FLIGHT, thread_name_prefix="write")
        self._receipts = ReceiptWriter(self._ledger)
        self._allowance = rejected_rows.Allowance(self._ledger, self._max_rejected)

    def start_bundle(self) -> None:
        self._in_flight: deque[Future[list[Receipt]]] = deque()
        self._first_time: dict[str, bool] = {}
        self._failed: set[str] = set()
        self._tallies: dict[str, rejected_rows.RejectedTally] = {}

    def process(self, batch: Batch) -> Iterator[Receipt]:
        name = range_id(batch.planned)
        if name in self._failed:
            return
        if name not in self._first_time:
            self._first_time[name] = self._ledger.begin_range(batch.planned)
            self._tallies[name] = rejected_rows.RejectedTally(str(batch.planned), MOST_REJECTED)
        while len(self._in_flight) >= WRITES_IN_FLIGHT:
            yield from self._take(self._in_flight.popleft())
        self._in_flight.append(self._pool.submit(self._deliver, batch))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        while self._in_flight:
            for receipt in self._take(self._in_flight.popleft()):
                yield WindowedValue(receipt, window.max_timestamp(), [window])
        self._receipts.flush()

    def teardown(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _deliver(self, batch: Batch) -> list[Receipt]:
        """Writes one batch, records and returns its receipts; runs in its own thread."""
        try:
            receipts = self._write(batch)
        except (ServerError, DataError, LedgerError) as error:
            self._failed.add(range_id(batch.planned))
            failed = error.reason if isinstance(error, RangeFailed) else str(error)
            receipts = [self._failure(batch, failed)]
        for receipt in receipts:
            self._receipts.add(receipt)
        return receipts

    def _write(self, batch: Batch) -> list[Receipt]:
        """Writes one batch and returns its receipts."""
        plan, name = self._plan[batch.planned.collection], range_id(batch.planned)
        tally = self._tallies[name]
        if batch.rows is None:
            if not batch.continues:
                raise RangeFailed(str(batch.planned), batch.failed)
            tally.unreadable = batch.failed
            return [self._failure(batch, tally.words)]
        delivery = Delivery(
            self._client,
            plan,
            batch.planned.partition,
            self._upsert,
            most_rejected=lambda: self._allowance.left(batch.covered) + tally.left,
        )
        delivery.deliver(batch.rows, batch.refusals, first_time=self._first_time[name])
        rejected = rejected_rows.with_reasons(delivery.rejected) if delivery.rejected else None
        if delivery.untried or not self._allowance.use(batch.covered, rejected):
            tally.add(delivery.rejected, _keys(batch, plan), more=bool(delivery.untried))
            if delivery.untried:
                self._failed.add(name)
            return [*self._around(batch, delivery), self._failure(batch, tally.words)]
        return [
            receipt_of(
                batch,
                self._receipts.worker,
                doubled=delivery.possible_duplicates,
                rejected=rejected,
                json_by_value=self._plan.json_by_value,
            )
        ]

    def _around(self, batch: Batch, delivery: Delivery) -> Iterator[Receipt]:
        """Yields the receipts of those intervals of a batch of which all rows were written."""
        left_out = {*(row.place for row in delivery.rejected), *delivery.untried}
        for piece in cut_out(batch, left_out):
            part = fingerprinted(piece, json_by_value=self._plan.json_by_value)
            yield receipt_of(part, self._receipts.worker)

    def _failure(self, batch: Batch, why: str) -> Receipt:
        return receipt_of(batch, self._receipts.worker, failed=why)

    def _take(self, done: Future[list[Receipt]]) -> Iterator[Receipt]:
        for receipt in done.result():
            if receipt.failed:
                self._failures.inc()
                if self._fail_fast:
                    wait(self._in_flight)  # Record what the other threads write as well.
                    self._receipts.flush()
                    raise RangeFailed(str(receipt.covered), receipt.failed)
            else:
                self._rows_written.inc(receipt.rows)
                self._bytes_written.inc(receipt.bytes)
                self._rows_rejected.inc(receipt.rejected)
            yield receipt


def cut_out(batch: Batch, left_out: Collection[int]) -> Iterator[Batch]:
    """Yields the parts of a batch without the rows `left_out`, each part with its own interval.

    `left_out` has the numbers of the rows in the batch. The gaps between the intervals contain the
    keys of these rows. Yields nothing if the keys are unknown.
    """
    if batch.rows is None or batch.keys is None:
        return
    keys = batch.keys.to_pylist()
    missing = {keys[place] for place in left_out}
    after, start = batch.covered.after, 0
    for is_missing, run in groupby(keys, key=missing.__contains__):
        count = len(list(run))
        last = start + count == len(keys)
        upto = keys[start + count - 1]
        if not is_missing:
            # The interval has no rows after the last key.
            covered = replace(batch.covered, after=after, upto=batch.covered.upto if last else upto)
            part = replace(batch, covered=covered, rows=batch.rows.slice(start, count), keys=None)
            yield part if last else replace(part, counted=None, hidden=0, late=0)
        elif last and upto != batch.covered.upto:
            covered = replace(batch.covered, after=upto)
            yield replace(batch, covered=covered, rows=batch.rows.slice(0, 0), keys=None)
        after, start = upto, start + count


def _keys(batch: Batch, plan: CollectionPlan) -> pa.Array | None:
    """Returns the keys of the rows of a batch; None if the server has yet to make them."""
    primary = plan.wanted.schema.primary.name
    if batch.keys is not None or batch.rows is None or primary not in batch.rows.schema.names:
        return batch.keys
    return batch.rows.column(primary)


def receipt_of(
    batch: Batch,
    worker: str,
    *,
    failed: str = "",
    doubled: int = 0,
    rejected: pa.RecordBatch | None = None,
    json_by_value: bool = False,
) -> Receipt:
    """Returns the receipt of a batch that was written, except for its `rejected` rows.

    `failed` is why the batch was not written.
    """
    rows, size_bytes, total = 0, 0, 0
    if batch.rows is not None and not failed:
        rows, size_bytes, total = batch.rows.num_rows, batch.rows.nbytes, batch.fingerprint
    if rejected is not None:
        part = fingerprint.of(rejected_rows.rows_of(rejected), json_by_value=json_by_value)
        rows, total = rows - rejected.num_rows, fingerprint.subtract(total, part)
    return Receipt(
        range_id=range_id(batch.planned),
        covered=batch.covered,
        rows=rows,
        bytes=size_bytes,
        fingerprint=fingerprint.to_text(total),
        at=time.time(),
        worker=worker,
        counted=batch.counted,
        hidden=batch.hidden,
        late=batch.late,
        doubled=doubled,
        rejected=rejected.num_rows if rejected is not None else 0,
        failed=failed,
    )
