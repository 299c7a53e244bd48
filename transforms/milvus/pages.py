"""Reads the rows of a key range, page by page, in key order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa

from transforms.errors import NotUtf8, Refused, RowsHidden, TextNotUtf8, TooLarge
from transforms.milvus import filters, invalid_text
from transforms.milvus.client import Client
from transforms.milvus.endpoint import PAGE_BYTES
from transforms.milvus.invalid_text import Page
from transforms.milvus.request_size import RequestSize
from transforms.milvus.row_account import Account
from transforms.milvus.schema import Schema, widest_row
from transforms.milvus.snapshot import BOUNDED, STRONG, Consistency, Snapshot
from transforms.milvus.versions import Version, release
from transforms.ranges import Key, KeyRange

MAX_PAGE_ROWS = 16_384
"""``quotaAndLimits.limits.maxQueryResultWindow``: the largest ``limit`` that a server accepts."""

FIRST_PAGE_ROWS = 1_000
"""Rows of the first page of a collection, before the width of its rows is known; fewer if the
schema allows wide rows."""

COUNT_RETRIES = 2
"""Without a snapshot, rows may be written between two counts of one account."""

_SMALL = 16
"""The width of rows is not learned from a page with less than 1/16 of both the requested rows and
the page bytes: it is the end of a range, and mostly column names."""

_LOSING_PAGES = [("2.3.14", "2.3.17"), ("2.4.0", "2.4.5")]
"""Releases that lose rows when merging duplicate keys: from, until (milvus #33137, #33422)."""


def loses_rows(version: Version) -> bool:
    """Returns whether each page of a server must be checked: it loses rows, or is unknown."""
    return not version.known or any(
        release(first) <= version < release(fixed) for first, fixed in _LOSING_PAGES
    )


class PageSize:
    """The number of rows to request in one page; it adapts to the bytes of the previous pages."""

    def __init__(self, limit: int, *, row_bytes: float = 0.0, page_bytes: int = PAGE_BYTES) -> None:
        """Starts with rows of at most `row_bytes`; 0 is unknown."""
        self._page_rows = RequestSize(min(limit, MAX_PAGE_ROWS))
        self._page_bytes, self.row_bytes = page_bytes, row_bytes
        fitting = int(page_bytes / max(row_bytes, 1.0))
        self.rows = max(1, min(self._page_rows.size, FIRST_PAGE_ROWS, fitting))

    def adapt(self, rows: int, size_bytes: int, *, asked: int) -> None:
        """Adapts to a page that has `rows` of `asked` rows, and `size_bytes` on the wire."""
        if rows and (_SMALL * rows >= asked or _SMALL * size_bytes >= self._page_bytes):
            self.row_bytes = max(size_bytes, 1) / rows
            self.rows = max(1, min(self._page_rows.size, int(self._page_bytes / self.row_bytes)))
            self._page_rows.grow(rows)

    def shrink(self, error: TooLarge) -> None:
        """Halves the size after "too large".

        Raises:
            Refused: the size is already one row.
        """
        if self.rows == 1:
            why = f"a single row is too large: {error.detail}; `env.memory` may be too small"
            raise Refused(error.server, error.call, why) from error
        self._page_rows.shrink(self.rows)
        self.rows = self._page_rows.size


class Reader:
    """Reads ranges of one collection; remembers the width of its rows."""

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
        """Prepares to read; sends nothing yet.

        Args:
            schema: the columns to read, with the primary key.
            page_rows: upper bound; fewer if the bytes of a page require it.
            where: a filter in addition to the range.
            checked: whether each page is compared with ``count(*)`` of the interval it covers.
            snapshot: what all queries see. If None, one is taken before the first query, and after
                `wait_for_writes`, so that all earlier writes are seen.
            unreadable: rows with the key 2^63-1, which no page shows, that may be left behind.
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
        """``count(*)`` of the last scanned range, taken before its first page."""
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="page-ahead")
        self._begun: tuple[KeyRange, Future[tuple[int, Page]]] | None = None

    def scan(
        self, planned: KeyRange, *, then: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[KeyRange, pa.RecordBatch]]:
        """Yields the rows of a range in key order, each batch with the interval it covers.

        The intervals tile `planned`; the last is the empty tail, so an empty range yields one empty
        batch. The next page is requested before the current one is yielded. If there is none,
        `then` is called: it can `begin` the next range. Rows are counted first, so that the rest is
        requested at once when it fits into a page. Stops only on an empty page: 2.3.5 returns short
        pages before the end if keys are duplicate (measured).

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
        """Like `scan`, but yields the error in place of a row that the server cannot send."""
        left, (most, rows) = planned, self._first_page(planned).result()
        self.counted = most
        while isinstance(rows, TextNotUtf8) or rows.num_rows:
            last = invalid_text.last_key(rows, self._schema.primary.name)
            covered, left = replace(left, upto=last), replace(left, after=last)
            if last == planned.upto:
                then()
                yield covered, rows
                return
            most -= 1 if isinstance(rows, TextNotUtf8) else rows.num_rows
            page = self._ahead.submit(self._page_or_error, left, most)
            yield covered, rows
            rows = page.result()
        then()
        yield left, rows

    def begin(self, planned: KeyRange, *, rows: int | None = None) -> None:
        """Requests the first page of the next range, and its count if unknown."""
        self._begun = planned, self._ahead.submit(self._counted_page, planned, rows)

    def _first_page(self, planned: KeyRange) -> Future[tuple[int, Page]]:
        begun, self._begun = self._begun, None
        if begun is not None and begun[0] == planned:
            return begun[1]
        return self._ahead.submit(self._counted_page, planned, None)

    def _counted_page(self, planned: KeyRange, rows: int | None) -> tuple[int, Page]:
        """Returns how many rows a range has, duplicate keys included, and its first page."""
        counted = self.count(planned) if rows is None else rows
        return counted, self._page_or_error(planned, counted)

    def _page_or_error(self, left: KeyRange, most: float) -> Page:
        try:
            return self.page(left, most=most)
        except TextNotUtf8 as error:
            return error

    def wait_for_writes(self) -> None:
        """Makes the next query, and all later ones, see all earlier writes."""
        self._snapshot = None

    def count(self, keys: KeyRange) -> int:
        """Counts the rows of a range, duplicate keys included."""
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
        """Accounts for each row that the source counts in a range of which `rows_read` were read.

        Costs nothing if as many rows were read as were counted `before`. Otherwise it reads the
        keys again, and ``count(*)`` of exactly those keys shows how many rows belong to them.
        """
        if before is not None and before <= rows_read:
            return Account(before, rows_read)
        account = self._account_by_keys(planned, rows_read)
        for _ in range(COUNT_RETRIES):
            if not account.hidden or self._pinned:
                break
            account = self._account_by_keys(planned, rows_read)  # Perhaps a write in between.
        changes = before is not None and before != account.counted and not self._pinned
        return replace(account, changes=changes)

    def _account_by_keys(self, planned: KeyRange, rows_read: int) -> Account:
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
        """Counts the rows of a range with the key 2^63-1, which no page contains."""
        primary = self._schema.primary
        if primary.type.name != "Int64" or planned.upto is not None:
            return 0
        return self.count(replace(planned, after=filters.MAX_INT64 - 1))

    def _shown(self, interval: KeyRange, keys: pa.Array) -> int:
        """Counts the rows with the keys that a page shows of an interval."""
        if not len(keys):
            return 0
        # Each shown key has at least one row: if there are no more rows, none has another key.
        if self.count(interval) == len(keys):
            return len(keys)
        return self.count_among(keys.to_pylist(), interval.partition)

    def count_among(self, keys: list[Key], partition: str = "") -> int:
        """Counts the rows with these keys, duplicate keys included."""
        primary = self._schema.primary.name
        return sum(
            self._client.count(
                self._collection,
                partition=partition,
                where=filters.both(filters.among(primary, some), self._where),
                seen=self._seen(),
            )
            for some in filters.batches(keys)
        )

    def complete(self, planned: KeyRange) -> Iterator[pa.RecordBatch]:
        """Yields the rows of a range in key order, and checks that these are all rows.

        Raises:
            RowsHidden: after the last batch, if the source counts rows that it does not show.
        """
        rows_read = 0
        for _, rows in self.scan(planned):
            rows_read += rows.num_rows
            yield rows
        account = self.account(planned, rows_read, before=self.counted)
        self.refuse_hidden(planned, rows_read, account)

    def refuse_hidden(self, planned: KeyRange, rows_read: int, account: Account) -> None:
        """Checks that each counted row has a key that was read.

        Raises:
            RowsHidden: there are rows with other keys.
        """
        if account.hidden > min(account.unreadable, self._unreadable):
            raise RowsHidden(str(planned), account.counted, account.keys, account.hidden)
        if account.keys > rows_read and not account.changes:
            later = account.keys - rows_read
            raise RowsHidden(str(planned), account.counted, rows_read, later, True)

    def scan_keys(self, keys: KeyRange, rows: int) -> Iterator[pa.Array]:
        """Yields the primary keys of a range of `rows` rows, in order, one page at a time.

        About 400k keys/s.
        """
        reader = self._of(self._schema.primary.name)
        reader.begin(keys, rows=rows)
        for _, page in reader.scan(keys):
            yield page.column(0)

    def row(self, key: Key, partition: str = "") -> pa.RecordBatch:
        """Returns the row of a key; an empty batch if there is none."""
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
        """Returns the first rows of a range, in key order; an empty batch if there are none.

        The range has at most `most` rows, duplicate keys included.

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
        rows = invalid_text.readable_rows(left, keys, lambda part: self._page(part, math.inf))
        if rows is not None and rows.num_rows:
            return rows
        if not keys:
            raise error
        fields = invalid_text.unreadable_fields(
            self._schema.names, lambda name: self._of(primary, name).row(keys[0], left.partition)
        )
        raise TextNotUtf8(str(left), ((keys[0], fields),)) from error

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
                self._size.shrink(error)
                continue
            self._size.adapt(rows.num_rows, size_bytes, asked=limit)
            return self._complete_page(left, rows) if self._checked and rows.num_rows else rows

    def _complete_page(self, left: KeyRange, rows: pa.RecordBatch) -> pa.RecordBatch:
        """If ``count(*)`` differs, reads a page's interval again with a limit of that count.

        A closed interval with at most `limit` rows, duplicates included, is never cut off. So the
        order and the merge of pages do not matter, whatever the version.
        """
        primary = self._schema.primary.name
        last = rows.column(primary)[rows.num_rows - 1].as_py()
        interval = replace(left, upto=last)
        counted = self.count(interval)
        if counted <= rows.num_rows:
            return rows
        if counted > MAX_PAGE_ROWS:
            if rows.num_rows == 1:
                return rows  # A key with more rows than fit into a page; `account` counts them.
            return self._complete_page(left, rows.slice(0, rows.num_rows // 2))
        complete, _ = self._client.page(
            self._collection,
            self._schema,
            rows=counted,
            partition=left.partition,
            where=self._filter(interval),
            seen=self._seen(),
            fits=True,
        )
        return complete

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
        """Returns the consistency of the next query.

        If the server has no timestamp, the first query waits for all earlier writes. Without a
        given snapshot, each query does, because the writes may be of the last seconds.
        """
        if self._snapshot is None:
            self._snapshot = self._client.snapshot(self._collection)
        waits, self._waits = self._waits, self._takes
        return self._snapshot.consistency or (STRONG if waits else BOUNDED)
