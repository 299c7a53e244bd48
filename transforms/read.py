"""Reads the key ranges of a job, or one collection into any other pipeline."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, Literal

import apache_beam as beam
import pyarrow as pa
from apache_beam.transforms.window import GlobalWindow
from apache_beam.typehints.row_type import RowTypeConstraint
from apache_beam.utils.windowed_value import WindowedValue

from transforms import counters
from transforms.batch import Batch
from transforms.errors import DataError, RangeFailed, RowsHidden, ServerError, TextNotUtf8
from transforms.io.io_plan import NoLedger, plan_to_read
from transforms.io.rows import ROW_META, portable
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.milvus import invalid_text
from transforms.milvus.endpoint import Endpoint, Tls
from transforms.milvus.invalid_text import Page
from transforms.milvus.pages import MAX_PAGE_ROWS, Reader, loses_rows
from transforms.milvus.types import META
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import Key, KeyRange
from transforms.split import SplitIntoRanges

ReadElement = pa.RecordBatch | pa.Table | beam.Row


@dataclass(eq=False)
class ReadFromMilvus(beam.PTransform):
    """Reads one collection into any pipeline, as Arrow batches, Arrow tables or Beam Rows.

        pipeline | ReadFromMilvus("http://localhost:19530", "docs", token="env:TOKEN")

    Reads each key once. If it cannot read every key that the server counts, the pipeline fails. The
    schema is read when the pipeline is built; the collection must be loaded.

    Attributes:
        token: ``user:password``, an API key, or a reference, which keeps the secret out of the
            graph: ``env:NAME``, ``file:/path``.
        columns: the fields to read in addition to the key; () for all.
        where: a Milvus filter expression, for example ``price > 3``.
        partition: the only partition to read; "" for all.
        elements: the type of the output: one `pa.RecordBatch` per page; the same as a `pa.Table`,
            which Beam's own Parquet transforms accept; or each row as a typed `beam.Row`.
        page_rows: the largest number of rows in one page; large rows make it smaller.
        workers: the number of parallel readers; it decides into how many ranges to cut.
    """

    url: str
    collection: str
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Tls = field(default_factory=Tls)
    columns: Sequence[str] = ()
    where: str = ""
    partition: str = ""
    elements: Literal["batches", "tables", "rows"] = "batches"
    page_rows: int = MAX_PAGE_ROWS
    workers: int = 4

    @cached_property
    def plan(self) -> Plan:
        """The plan of the read; its first use sends requests to the server.

        Raises:
            ServerError: the server does not answer, or has no such collection.
            DataError: the collection is not loaded, or has no such column.
        """
        return plan_to_read(
            Endpoint(self.url, self.token, self.database, self.tls),
            self.collection,
            partition=self.partition,
            where=self.where,
            columns=self.columns,
        )

    @property
    def schema(self) -> pa.Schema:
        """The columns that are read; the metadata of each column names its Milvus type."""
        return portable(self.plan.collections[0].read.arrow())

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection[ReadElement]:
        endpoint = Endpoint(self.url, self.token, self.database, self.tls)
        ranges = ReadRanges(endpoint, self.plan, NoLedger(), self.workers, self.page_rows)
        kind, convert = {
            "batches": (pa.RecordBatch, _batches),
            "tables": (pa.Table, _tables),
            "rows": (row_type(self.schema) if self.elements == "rows" else None, _rows),
        }[self.elements]
        return (
            begin
            | "Name" >> beam.Create([self.plan.collections[0].name], reshuffle=False)
            | "Ranges" >> ranges
            | "Elements" >> beam.FlatMap(convert).with_output_types(kind)
        )


def _batches(batch: Batch) -> Iterator[pa.RecordBatch]:
    if batch.rows is None:
        raise RangeFailed(str(batch.covered), batch.failed)
    if batch.rows.num_rows:
        yield batch.rows.cast(portable(batch.rows.schema))


def _tables(batch: Batch) -> Iterator[pa.Table]:
    for rows in _batches(batch):
        yield pa.Table.from_batches([rows])


def _rows(batch: Batch) -> Iterator[beam.Row]:
    for rows in _batches(batch):
        names = [ROW_META if name == META else name for name in rows.schema.names]
        for row in rows.rename_columns(names).to_pylist():
            yield beam.Row(**row)


def row_type(schema: pa.Schema) -> RowTypeConstraint:
    """Returns the Row type of a collection, which Beam SQL and DataFrames need.

    Raises:
        DataError: a field of a Row cannot have the name of a field of the collection.
    """
    fields = []
    for arrow_field in schema:
        name = ROW_META if arrow_field.name == META else arrow_field.name
        if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
            raise DataError(
                f"{name}: a field of a Row cannot have this name; leave it out of `columns`"
            )
        kind = _python_type(arrow_field.type)
        fields.append((name, kind | None if arrow_field.nullable else kind))
    return RowTypeConstraint.from_fields(fields)


def _python_type(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return Sequence[_python_type(kind.value_type)]  # type: ignore[misc]
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return bytes
    if pa.types.is_primitive(kind):
        return bool if pa.types.is_boolean(kind) else kind.to_pandas_dtype()
    return str if pa.types.is_string(kind) else Any


@dataclass(eq=False)
class ReadRanges(beam.PTransform):
    """Reads collections as batches: names of collections -> their rows.

    Splits each collection into key ranges and reads those without receipts in the ledger. Batches
    must be consumed in the stage that reads them; see `transforms.batch`.

    If the source hides rows of a range, the range fails. With `without_hidden` it reads the visible
    rows, and the last batch of the range has the number of hidden rows.
    """

    source: Endpoint
    plan: Plan
    ledger: Ledger
    workers: int
    page_rows: int
    without_hidden: bool = False

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[Batch]:
        # Exactly one Reshuffle on the path: Flink silently drops the second of two in a row, and
        # then one subtask reads all of a collection.
        return (
            names
            | "Split" >> SplitIntoRanges(self.source, self.plan, self.ledger, self.workers)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self)).with_output_types(Batch)
        )


class _Read(beam.DoFn):
    """Reads each range when the next range is known, so that it can request its first page early.

    Otherwise no request would be in flight at the end of a range, and a range has only a few pages.
    """

    def __init__(self, read: ReadRanges) -> None:
        self._source, self._plan = read.source, read.plan
        self._ledger, self._page_rows = read.ledger, read.page_rows
        self._without_hidden = read.without_hidden
        self._rows_read = counters.counter("read_rows")
        self._bytes_read = counters.counter("read_bytes")

    def setup(self) -> None:
        self._client = worker_limits.connect(self._source, self._ledger, "source")
        self._checked = loses_rows(self._client.version())
        self._readers: dict[str, Reader] = {}
        self._acknowledged = Acknowledged(self._ledger)

    def start_bundle(self) -> None:
        self._acknowledged.refresh()
        self._pending: KeyRange | None = None

    def teardown(self) -> None:
        self._client.close()

    def process(self, planned: KeyRange) -> Iterator[Batch]:
        previous, self._pending = self._pending, planned
        if previous is not None:
            yield from self._batches(previous, then=partial(self._begin, planned))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        window = GlobalWindow()
        if self._pending is not None:
            for batch in self._batches(self._pending):
                yield WindowedValue(batch, window.max_timestamp(), [window])

    def _begin(self, planned: KeyRange) -> None:
        for interval in self._acknowledged.missing(planned)[:1]:
            self._reader(self._plan[planned.collection]).begin(interval)

    def _batches(
        self, planned: KeyRange, *, then: Callable[[], None] = lambda: None
    ) -> Iterator[Batch]:
        # Rows that the target rejected were read as well.
        known = self._acknowledged.of(planned)
        before = sum(receipt.rows + receipt.rejected for receipt in known)
        missing = self._acknowledged.missing(planned)
        plan = self._plan[planned.collection]
        for batch in read(
            self._reader(plan),
            planned,
            missing,
            before=before,
            then=then,
            without_hidden=self._without_hidden,
            reread=bool(known) and not plan.new_ids,
        ):
            if batch.rows is not None:
                self._rows_read.inc(batch.rows.num_rows)
                self._bytes_read.inc(batch.rows.nbytes)
            yield batch

    def _reader(self, plan: CollectionPlan) -> Reader:
        if plan.name not in self._readers:
            self._readers[plan.name] = Reader(
                self._client,
                plan.name,
                plan.read,
                page_rows=self._page_rows,
                where=plan.shape.where,
                checked=self._checked,
                snapshot=plan.snapshot,
                unreadable=plan.unreadable,
            )
        return self._readers[plan.name]


def read(
    reader: Reader,
    planned: KeyRange,
    missing: list[KeyRange],
    *,
    before: int = 0,
    then: Callable[[], None] = lambda: None,
    without_hidden: bool = False,
    reread: bool = False,
) -> Iterator[Batch]:
    """Yields the missing rows of a range; the last batch has the count, or why the range failed.

    Args:
        missing: the intervals to read, in key order.
        before: the number of rows of the range that were acknowledged earlier.
        then: called when the last page of the range has arrived.
        without_hidden: whether rows that the source does not return may be left out.
        reread: whether to read the whole range again if it now has more keys than before.
    """
    rows_read, at = before, planned
    try:
        for interval, covered, rows in _pages(reader, planned, missing, then):
            at = replace(interval, after=covered.upto)
            rows_read += 1 if isinstance(rows, TextNotUtf8) else rows.num_rows
            last = (interval, covered.upto) == (missing[-1], interval.upto)
            if isinstance(rows, TextNotUtf8) or not last:
                yield _batch(planned, covered, rows)
                continue
            whole = reader.counted if missing == [planned] else None
            account = reader.account(planned, rows_read, before=whole)
            if reread and account.keys > rows_read:
                yield from read(reader, planned, [planned], without_hidden=without_hidden)
                return
            if not without_hidden or account.keys > rows_read:
                reader.refuse_hidden(planned, rows_read, account)
            yield Batch(planned, covered, rows, *account.sums(rows_read))
    except RowsHidden as error:
        yield Batch(planned, at, None, hidden=error.withheld, failed=error.reason)
    except (ServerError, DataError) as error:
        yield Batch(planned, at, None, failed=str(error))


def _batch(planned: KeyRange, covered: KeyRange, page: Page) -> Batch:
    """Returns a page as a batch; not for the last page of a range."""
    if isinstance(page, TextNotUtf8):
        return Batch(planned, covered, None, failed=str(page), continues=True)
    return Batch(planned, covered, page)


def _pages(
    reader: Reader, planned: KeyRange, missing: list[KeyRange], then: Callable[[], None]
) -> Iterator[tuple[KeyRange, KeyRange, Page]]:
    """Yields the pages of several intervals, each with its interval and the part that it covers.

    For a row that the source cannot send, it yields an error that names all such rows so far.
    """
    unreadable: list[tuple[Key, tuple[str, ...]]] = []
    following: list[Callable[[], None]] = [
        partial(reader.begin, interval) for interval in missing[1:]
    ]
    for interval, begin_next in zip(missing, [*following, then], strict=False):
        for covered, page in reader.scan_around(interval, then=begin_next):
            if not isinstance(page, TextNotUtf8):
                yield interval, covered, page
                continue
            unreadable.extend(page.rows)
            error = TextNotUtf8(str(planned), tuple(unreadable))
            if len(unreadable) >= invalid_text.MAX_ROWS:
                raise replace(error, more=True)
            yield interval, covered, error
