"""Writes batches and records what the target acknowledged: a job's, or any other pipeline's."""

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
"""Per worker: one is sent while one is worked on and one is answered."""


WriteElement = pa.RecordBatch | pa.Table | Row


@dataclass(eq=False)
class WriteToMilvus(beam.PTransform):
    """Writes Arrow batches or tables, Beam Rows or mappings of any pipeline to one collection.

        rows | WriteToMilvus("http://localhost:19530", "docs", token="env:TOKEN")

    Emits receipts, as many as there were writes: the number of rows that were written and
    acknowledged (`rows`), and their fingerprint. Columns go by their names;
    `transforms.io.rows` says what else fits. The collection must exist; its schema is read when the
    pipeline is built. It is neither flushed nor loaded. Whatever cannot be written fails the
    pipeline.

    Attributes:
        token: ``user:password``, an API key, or a reference, which keeps it out of the graph:
            ``env:NAME``, ``file:/path``.
        partition: where rows go; "" where they decide themselves.
        upsert: rows are written by key, so that a bundle which Beam retries duplicates nothing. If
            a batch, a table, or the rows of one write have a key more than once, the last row of
            the key is written and the others are left out, also of the receipts. Without `upsert`,
            rows are inserted, which is faster, and at least once: a retry, of Beam or inside a
            Milvus from 2.6 on, may store a row twice. So may it where the server makes the keys.
        request_rows: the largest write; fewer rows where they are large.
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
    """Makes batches of the size of one write, whatever the elements are."""

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
    """Writes batches; emits the receipt of each, which is in the ledger a second later.

    At least once; verification finds a row that is stored twice. Rows are inserted if it is certain
    that no earlier attempt wrote any of them, and upserted otherwise (no answer, an unclear one, a
    retried bundle, a range begun before). So no retry of Kitelift stores a row twice. A retry
    inside the server may: from 2.6 on a proxy repeats its write to the log after some errors. With
    new auto ids a retry of Kitelift may as well, and the receipts count such rows.

    A range that fails for good ends as a failed receipt, and the others continue; with `fail_fast`
    it fails the pipeline. If the target rejects rows, all other rows of their range are written.
    Up to `max_rejected` such rows of the whole job are kept (`transforms.ledger.rejected_rows`).
    With more, the range fails: the intervals of the rejected rows have no receipt, so that a later
    run sends those rows only. After `MOST_REJECTED` such rows a range is not written any further.
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
        self._under_way: deque[Future[list[Receipt]]] = deque()
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

    def _deliver(self, batch: Batch) -> list[Receipt]:
        """Writes one batch and records its receipts; runs in a thread of its own."""
        try:
            receipts = self._delivered(batch)
        except (ServerError, DataError, LedgerError) as error:
            self._failed.add(range_id(batch.planned))
            failed = error.reason if isinstance(error, RangeFailed) else str(error)
            receipts = [self._failure(batch, failed)]
        for receipt in receipts:
            self._receipts.add(receipt)
        return receipts

    def _delivered(self, batch: Batch) -> list[Receipt]:
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
        delivery.send(batch.rows, first_time=self._first_time[name])
        refused = rejected_rows.with_reasons(delivery.rejected) if delivery.rejected else None
        if delivery.untried or not self._allowance.use(batch.covered, refused):
            tally.add(delivery.rejected, _keys(batch, plan), more=bool(delivery.untried))
            if delivery.untried:
                self._failed.add(name)
            return [*self._around(batch, delivery), self._failure(batch, tally.words)]
        return [
            receipt_of(
                batch,
                self._receipts.worker,
                doubled=delivery.possible_duplicates,
                refused=refused,
                json_by_value=self._plan.json_by_value,
            )
        ]

    def _around(self, batch: Batch, delivery: Delivery) -> Iterator[Receipt]:
        """Yields the receipts of the intervals of a batch in which no row was left out."""
        left_out = {*(each.place for each in delivery.rejected), *delivery.untried}
        for piece in without(batch, left_out):
            part = fingerprinted(piece, json_by_value=self._plan.json_by_value)
            yield receipt_of(part, self._receipts.worker)

    def _failure(self, batch: Batch, why: str) -> Receipt:
        return receipt_of(batch, self._receipts.worker, failed=why)

    def _take(self, done: Future[list[Receipt]]) -> Iterator[Receipt]:
        for receipt in done.result():
            if receipt.failed:
                self._failures.inc()
                if self._fail_fast:
                    wait(self._under_way)  # What they write is recorded, too.
                    self._receipts.flush()
                    raise RangeFailed(str(receipt.covered), receipt.failed)
            else:
                self._rows_written.inc(receipt.rows)
                self._bytes_written.inc(receipt.bytes)
                self._rows_rejected.inc(receipt.rejected)
            yield receipt


def without(batch: Batch, left_out: Collection[int]) -> Iterator[Batch]:
    """Yields the parts of a batch in which no row was left out, each with its own interval.

    Between them are the intervals of the keys of rows that were left out. There are no parts if the
    keys are not known. `left_out` has the numbers of the rows in the batch.
    """
    if batch.rows is None or batch.keys is None:
        return
    keys = batch.keys.to_pylist()
    lost = {keys[place] for place in left_out}
    after, start = batch.covered.after, 0
    for is_lost, run in groupby(keys, key=lost.__contains__):
        many = len(list(run))
        last = start + many == len(keys)
        upto = keys[start + many - 1]
        if not is_lost:
            # Behind the last key the interval has no rows.
            covered = replace(batch.covered, after=after, upto=batch.covered.upto if last else upto)
            part = replace(batch, covered=covered, rows=batch.rows.slice(start, many), keys=None)
            yield part if last else replace(part, counted=None, hidden=0, late=0)
        elif last and upto != batch.covered.upto:
            covered = replace(batch.covered, after=upto)
            yield replace(batch, covered=covered, rows=batch.rows.slice(0, 0), keys=None)
        after, start = upto, start + many


def _keys(batch: Batch, plan: CollectionPlan) -> pa.Array | None:
    """Returns the keys of a batch's rows; None if the rows have none yet."""
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
        part = fingerprint.of(rejected_rows.rows_of(refused), json_by_value=json_by_value)
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
        hidden=batch.hidden,
        late=batch.late,
        doubled=doubled,
        rejected=refused.num_rows if refused is not None else 0,
        failed=failed,
    )
