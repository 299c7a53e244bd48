"""Reading the rows of a key range, page by page, in key order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from transforms.errors import NotUtf8, Refused, RowsHidden, TextNotUtf8, TooLarge
from transforms.milvus import filters, invalid_text
from transforms.milvus.account import Account
from transforms.milvus.client import Client
from transforms.milvus.endpoint import PAGE_BYTES
from transforms.milvus.invalid_text import Page
from transforms.milvus.request_size import RequestSize
from transforms.milvus.schema import Schema, widest_row
from transforms.milvus.snapshot import BOUNDED, STRONG, Consistency, Snapshot
from transforms.milvus.versions import Version, release
from transforms.ranges import Key, KeyRange

MAX_PAGE_ROWS = 16_384
"""``quotaAndLimits.limits.maxQueryResultWindow``: the largest ``limit`` that a server takes."""

FIRST_PAGE_ROWS = 1_000
"""Rows of the first page of a collection, before the width of its rows is known; fewer where its
schema shows that they may be wide."""

EVIDENCE_RETRIES = 2
"""Without a snapshot, rows may be written between the counts of one evidence."""

_SMALL = 16
"""Of a page with less than this part of the rows asked for, and of the bytes, the width of rows is
not learned: it is the end of a range, where the names of the columns may be most of it."""

_LOSING_PAGES = [("2.3.14", "2.3.17"), ("2.4.0", "2.4.5")]
"""Releases whose merge of pages loses rows when keys repeat: from, until (milvus #33137, #33422).
"""


def loses_rows(version: Version) -> bool:
    """Whether a server's pages must be checked one by one: known to lose rows, or not known."""
    return not version.known or any(
        release(first) <= version < release(fixed) for first, fixed in _LOSING_PAGES
    )


class PageSize:
    """Rows to ask for in one page, found from the bytes of the pages before."""

    def __init__(self, limit: int, *, row_bytes: float = 0.0, page_bytes: int = PAGE_BYTES) -> None:
        """Begins for rows of such a width at most, as far as it is known."""
        self._page_rows = RequestSize(min(limit, MAX_PAGE_ROWS))
        self._page_bytes, self.row_bytes = page_bytes, row_bytes
        fitting = int(page_bytes / max(row_bytes, 1.0))
        self.rows = max(1, min(self._page_rows.size, FIRST_PAGE_ROWS, fitting))

    def measured(self, rows: int, size_bytes: int, *, asked: int) -> None:
        """Adapts to a page of `rows` rows, of `asked`, that took `size_bytes` on the wire."""
        if rows and (_SMALL * rows >= asked or _SMALL * size_bytes >= self._page_bytes):
            self.row_bytes = max(size_bytes, 1) / rows
            self.rows = max(1, min(self._page_rows.size, int(self._page_bytes / self.row_bytes)))
            self._page_rows.grow(rows)

    def refused(self, error: TooLarge) -> None:
        """Halves after "too large".

        Raises:
            Refused: it is one row already.
        """
        if self.rows == 1:
            why = f"a single row is too large: {error.detail}; `env.memory` may be too small"
            raise Refused(error.server, error.call, why) from error
        self._page_rows.shrink(self.rows)
        self.rows = self._page_rows.size


class Reader:
    """Reads ranges of one collection; keeps what it learned about the width of its rows."""

    def __init__(
        self,
        client: Client,
        collection: str,
        schema: Schema,
        *,
        page_rows: int = MAX_PAGE_ROWS,
        where: str = "",
        checked: bool = False,
        snapshot: Snapshot | None = None,
        unreadable: int = 0,
    ) -> None:
        """Prepares to read; nothing is asked yet.

        Args:
            schema: the columns to read; holds the primary key.
            page_rows: upper bound; less where the bytes of a page demand it.
            where: a filter beside the range.
            checked: whether each page is held against ``count(*)`` of the interval that it covers.
            snapshot: what all queries see. If None, one is taken before the first query, and after
                `wait_for_writes`, so that all writes before it are seen.
            unreadable: rows with the key 2^63-1 that may be left behind, where no page shows them.
        """
        self._client = client
        self._collection = collection
        self._schema = schema
        self._where = where
        self._checked = checked
        page_bytes = client.endpoint.page_bytes
        self._size = PageSize(page_rows, row_bytes=widest_row(schema), page_bytes=page_bytes)
        self._snapshot, self._takes, self._waits = snapshot, snapshot is None, True
        self._unreadable = unreadable
        self.counted = 0
        """``count(*)`` of the range that was scanned last, taken before its first page."""
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="page-ahead")
        self._begun: tuple[KeyRange, Future[tuple[int, Page]]] | None = None

    def scan(
        self, planned: KeyRange, *, then: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[KeyRange, pa.RecordBatch]]:
        """Yields the rows of a range in key order, each batch with the interval it covers.

        The intervals tile `planned`; the last is the empty tail, so an empty range yields one empty
        batch. The next page is requested before the present one is handed on; where there is none,
        `then` is called, for `begin` of what is read next. Rows are counted first, so that what is
        left is asked for as a whole once it fits into a page. Stops on an empty page only: 2.3.5
        gives short pages before the end when keys repeat (measured).

        Raises:
            TextNotUtf8: the server cannot send a row.
        """
        for covered, rows in self.scan_around(planned, then=then):
            if isinstance(rows, TextNotUtf8):
                raise rows
            yield covered, rows

    def scan_around(
        self, planned: KeyRange, *, then: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[KeyRange, Page]]:
        """Does as `scan`; in place of a row that the server cannot send there is the error."""
        left, (most, rows) = planned, self._first_page(planned).result()
        self.counted = most
        while isinstance(rows, TextNotUtf8) or rows.num_rows:
            last = invalid_text.last_key(rows, self._schema.primary.name)
            done, left = replace(left, upto=last), replace(left, after=last)
            if last == planned.upto:
                then()
                yield done, rows
                return
            most -= 1 if isinstance(rows, TextNotUtf8) else rows.num_rows
            page = self._ahead.submit(self._page_or_error, left, most)
            yield done, rows
            rows = page.result()
        then()
        yield left, rows

    def begin(self, planned: KeyRange, *, rows: int | None = None) -> None:
        """Requests the first page of the range that is scanned next, and its count, if unknown."""
        self._begun = planned, self._ahead.submit(self._counted_page, planned, rows)

    def _first_page(self, planned: KeyRange) -> Future[tuple[int, Page]]:
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == planned:
            return begun[1]
        return self._ahead.submit(self._counted_page, planned, None)

    def _counted_page(self, planned: KeyRange, rows: int | None) -> tuple[int, Page]:
        """Returns how many rows a range has, repeats of keys included, and its first page."""
        counted = self.count(planned) if rows is None else rows
        return counted, self._page_or_error(planned, counted)

    def _page_or_error(self, left: KeyRange, most: float) -> Page:
        try:
            return self.page(left, most=most)
        except TextNotUtf8 as error:
            return error

    def wait_for_writes(self) -> None:
        """Makes the next query, and those after it, see all writes before it."""
        self._snapshot = None

    def count(self, keys: KeyRange) -> int:
        """Counts the rows of a range, repeats of one key included."""
        where = self._filter(keys)
        if keys.partition and not where:
            where = filters.anything(self._schema.primary)  # milvus-lite would count them all.
        return self._client.count(
            self._collection,
            partition=keys.partition,
            where=where,
            seen=self._seen(),
        )

    def account(self, planned: KeyRange, rows_read: int, *, before: int | None = None) -> Account:
        """Accounts for each row that the source counts in a range of which so many rows were read.

        Costs nothing where as many rows were read as were counted `before` reading it. Else the
        keys are read again, and ``count(*)`` of exactly those keys shows how many of the counted
        rows are theirs.
        """
        if before is not None and before <= rows_read:
            return Account(before, rows_read)
        account = self._settled(planned, rows_read)
        for _ in range(EVIDENCE_RETRIES):
            if not account.hidden or self._pinned:
                break
            account = self._settled(planned, rows_read)  # Writes may have come in between.
        changes = before is not None and before != account.counted and not self._pinned
        return replace(account, changes=changes)

    def _settled(self, planned: KeyRange, rows_read: int) -> Account:
        counted = self.count(planned)
        if counted <= rows_read:
            return Account(counted, rows_read)
        keys = shown = 0
        for interval, rows in self._of(self._schema.primary.name, checked=True).scan(planned):
            keys, shown = keys + rows.num_rows, shown + self._shown(interval, rows.column(0))
        hidden = max(0, counted - shown)
        return Account(counted, keys, hidden, self._last_key(planned) if hidden else 0)

    @property
    def _pinned(self) -> bool:
        return self._snapshot is not None and self._snapshot.pinned

    def _last_key(self, planned: KeyRange) -> int:
        """Counts the rows of a range with the key 2^63-1, none of which is in a page."""
        primary = self._schema.primary
        if primary.type.name != "Int64" or planned.upto is not None:
            return 0
        return self.count(replace(planned, after=filters.MAX_INT64 - 1))

    def _shown(self, interval: KeyRange, keys: pa.Array) -> int:
        """Counts the rows under the keys that a page shows of an interval."""
        if not len(keys):
            return 0
        # Each key that is shown is counted: if no more rows are, none belongs to another key.
        if self.count(interval) == len(keys):
            return len(keys)
        primary = self._schema.primary.name
        return sum(
            self._client.count(
                self._collection,
                partition=interval.partition,
                where=filters.both(filters.among(primary, some), self._where),
                seen=self._seen(),
            )
            for some in filters.portions(keys.to_pylist())
        )

    def complete(self, planned: KeyRange) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a range in key order, and makes sure that they are all of its rows.

        Raises:
            RowsHidden: after the last batch, where the source counts rows that it does not show.
        """
        rows_read = 0
        for _, rows in self.scan(planned):
            rows_read += rows.num_rows
            yield rows
        account = self.account(planned, rows_read, before=self.counted)
        self.refuse_hidden(planned, rows_read, account)

    def refuse_hidden(self, planned: KeyRange, rows_read: int, account: Account) -> None:
        """Raises an error unless each counted row belongs to a key that was read.

        Raises:
            RowsHidden: there are rows under other keys.
        """
        if account.hidden > min(account.unreadable, self._unreadable):
            raise RowsHidden(str(planned), account.counted, account.keys, account.hidden)
        if account.keys > rows_read and not account.changes:
            later = account.keys - rows_read
            raise RowsHidden(str(planned), account.counted, rows_read, later, True)

    def scan_keys(self, keys: KeyRange, rows: int) -> Iterator[pa.Array]:
        """Yields the primary keys of a range of `rows` rows, in order, a page at a time.

        About 400k keys/s.
        """
        reader = self._of(self._schema.primary.name)
        reader.begin(keys, rows=rows)
        for _, page in reader.scan(keys):
            yield page.column(0)

    def row(self, key: Key, partition: str = "") -> pa.RecordBatch:
        """Returns the row of a key, if it is there."""
        where = filters.both(filters.among(self._schema.primary.name, [key]), self._where)
        row, _ = self._client.page(
            self._collection,
            self._schema,
            rows=1,
            partition=partition,
            where=where,
            seen=self._seen(),
        )
        return row

    def page(self, left: KeyRange, *, most: float = math.inf) -> pa.RecordBatch:
        """Returns the first rows of a range, in key order; none means that there are none.

        The range has `most` rows at most, repeats of keys included.

        Raises:
            TextNotUtf8: the server cannot send the first row.
        """
        try:
            return self._page(left, most)
        except NotUtf8 as error:
            return self._around(left, error)

    def _around(self, left: KeyRange, error: NotUtf8) -> pa.RecordBatch:
        """Returns the first rows of a range, up to one that the server cannot send."""
        primary = self._schema.primary.name
        if len(self._schema.names) == 1:
            raise error
        keys = self._of(primary, checked=self._checked).page(left).column(0).to_pylist()
        rows = invalid_text.readable_rows(
            left, keys, lambda interval: self._page(interval, math.inf)
        )
        if rows is not None and rows.num_rows:
            return rows
        if not keys:
            raise error
        bad = invalid_text.unreadable_fields(
            self._schema.names, lambda name: self._of(primary, name).row(keys[0], left.partition)
        )
        raise TextNotUtf8(str(left), ((keys[0], bad),)) from error

    def _page(self, left: KeyRange, most: float) -> pa.RecordBatch:
        flow = self._client.flow
        while True:
            limit = min(self._size.rows, flow.page_rows(self._size.row_bytes))
            try:
                rows, size_bytes = self._client.page(
                    self._collection,
                    self._schema,
                    rows=limit,
                    partition=left.partition,
                    where=self._filter(left),
                    seen=self._seen(),
                    fits=most <= limit,
                )
            except TooLarge as error:
                self._size.refused(error)
                continue
            self._size.measured(rows.num_rows, size_bytes, asked=limit)
            return self._whole(left, rows) if self._checked and rows.num_rows else rows

    def _whole(self, left: KeyRange, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Reads a page's interval again, by a limit that holds all of it, if ``count(*)`` differs.

        A closed interval with no more rows, repeats included, than the limit is never cut off, so
        neither the order nor the merging of any version matters.
        """
        primary = self._schema.primary.name
        last = rows.column(primary)[rows.num_rows - 1].as_py()
        interval = replace(left, upto=last)
        counted = self.count(interval)
        if counted <= rows.num_rows:
            return rows
        if counted > MAX_PAGE_ROWS:
            if rows.num_rows == 1:
                return rows  # One key, more often than a page has rows; `account` counts its rows.
            return self._whole(left, rows.slice(0, rows.num_rows // 2))
        again, _ = self._client.page(
            self._collection,
            self._schema,
            rows=counted,
            partition=left.partition,
            where=self._filter(interval),
            seen=self._seen(),
            fits=True,
        )
        return again

    def _of(self, *names: str, checked: bool = False) -> Reader:
        return Reader(
            self._client,
            self._collection,
            self._schema.select(dict.fromkeys(names)),
            where=self._where,
            checked=checked,
            snapshot=self._snapshot,
        )

    def _filter(self, keys: KeyRange) -> str:
        return filters.both(filters.within(self._schema.primary.name, keys), self._where)

    def _seen(self) -> Consistency:
        """Returns what the next query is to see.

        If the server tells no timestamp, the first query waits for all writes before it; where a
        snapshot was not given, each does, because the writes may be of the last seconds.
        """
        if self._snapshot is None:
            self._snapshot = self._client.snapshot(self._collection)
        waits, self._waits = self._waits, self._takes
        return self._snapshot.consistency or (STRONG if waits else BOUNDED)
