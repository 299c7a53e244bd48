"""One batch on its way to the target, in as few writes as the server takes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from transforms.duplicates import has_duplicates
from transforms.errors import (
    Ambiguous,
    DataError,
    RangeFailed,
    Refused,
    ServerError,
    TooLarge,
    Unexplained,
)
from transforms.ledger.rejected_rows import RejectedRow
from transforms.milvus import codes, excess, filters
from transforms.milvus.client import Client
from transforms.milvus.codec import row_data
from transforms.plan import CollectionPlan

MOST_REJECTED = 100
"""Rejected rows that are searched for in one range, beyond those that are allowed. Each costs some
ten requests where rejected rows are few, and two where all are."""

RAISE_SIZE = (
    "raise the limit of the target for one message (`proxy.grpc.serverMaxRecvSize`, "
    "`quotaAndLimits.limits.maxInsertSize`)"
)

UNEXPLAINED_ROWS = 3
"""If so many rows in a row are refused in words that Kitelift does not know, and none was written,
it is not the rows that the server refuses: each costs seconds, as it is retried."""


class Delivery:
    """Sends the rows of one batch, and knows what became of them.

    Attributes:
        possible_duplicates: rows that may stand twice, because an answer was lost and the target makes its ids.
        rejected: rows that the target will not take. The others are written.
        untried: the numbers in the batch of the rows that were left out, after as many rejected
            rows as are searched for.
    """

    def __init__(
        self,
        client: Client,
        plan: CollectionPlan,
        partition: str,
        upsert: bool,
        *,
        most_rejected: Callable[[], int] = lambda: MOST_REJECTED,
    ) -> None:
        """Prepares to send.

        Args:
            most_rejected: returns after how many rejected rows the rest is left out; called when
                the first row is rejected.
        """
        self._client, self._plan, self._partition, self._upsert = client, plan, partition, upsert
        self._most_rejected = cache(most_rejected)
        self._written = 0
        self.possible_duplicates = 0
        self.rejected: list[RejectedRow] = []
        self.untried: list[int] = []

    def send(self, rows: pa.RecordBatch, *, first_time: bool, at: int = 0) -> None:
        """Writes rows until they are acknowledged, in parts where that can help.

        Rows that the target rejects are found by halving; the others are written.

        Args:
            at: the number of the first of the rows in the batch.

        Raises:
            ServerError, DataError: for good; some of the rows may have been written.
        """
        if self.untried:
            self.untried.extend(range(at, at + rows.num_rows))
            return
        most = self._client.flow.write_bytes.size
        size_bytes = int(row_data.row_sizes(rows).sum())
        if rows.num_rows == 1 or 0 < size_bytes <= most:
            self._send(rows, size_bytes, first_time=first_time, at=at)
            return
        for part in row_data.cut(rows, max_rows=rows.num_rows, max_bytes=most):
            # What the server takes may change with each of them.
            self.send(part, first_time=first_time, at=at)
            at += part.num_rows

    def _send(self, rows: pa.RecordBatch, size_bytes: int, *, first_time: bool, at: int) -> None:
        """Writes rows that the server is thought to take at once."""
        try:
            acknowledged = self._write(rows, first_time=first_time)
        except Ambiguous as error:
            if first_time:
                self.send(rows, first_time=False, at=at)
            elif isinstance(error.meaning, (Refused, TooLarge)):
                self._halve(rows, error.meaning, first_time=False, at=at)
            else:
                raise
            return
        except (TooLarge, Refused, DataError) as error:
            if isinstance(error, TooLarge) and rows.num_rows > 1:
                self._client.flow.write_bytes.shrink(size_bytes)
            self._halve(rows, error, first_time=first_time, at=at)
            return
        self._client.flow.write_bytes.grow(size_bytes)
        self._written += acknowledged
        if acknowledged != rows.num_rows:
            raise RangeFailed(
                self._plan.target,
                f"the target acknowledged {acknowledged:,} of {rows.num_rows:,} rows",
            )

    def _halve(
        self, rows: pa.RecordBatch, error: ServerError | DataError, *, first_time: bool, at: int
    ) -> None:
        """Finds the rows that are too large, or rejected, by halving."""
        if isinstance(error, ServerError) and error.code in codes.OF_THE_COLLECTION:
            raise error
        if rows.num_rows == 1:
            self._reject(rows, error, at)
            return
        half = rows.num_rows // 2
        self.send(rows.slice(0, half), first_time=first_time, at=at)
        self.send(rows.slice(half), first_time=first_time, at=at + half)

    def _reject(self, row: pa.RecordBatch, error: ServerError | DataError, at: int) -> None:
        """Leaves a row out, and all that follow if enough were.

        Raises:
            ServerError, DataError: what the server says is not about rows.
        """
        if len(self.rejected) >= self._most_rejected():
            self.untried.append(at)
            return
        said = error.detail if isinstance(error, ServerError) else str(error)
        above = excess.find(self._plan.wanted.schema, row, said)
        reason = f'{above.words} (server: "{said}")' if above else str(error)
        remedy = above.remedy if above else RAISE_SIZE if isinstance(error, TooLarge) else ""
        self.rejected.append(RejectedRow(at, row, reason, remedy))
        unexplained = isinstance(error, Unexplained) and not self._written
        if unexplained and len(self.rejected) >= UNEXPLAINED_ROWS:
            raise error

    def _write(self, rows: pa.RecordBatch, *, first_time: bool) -> int:
        arguments = self._plan.target, self._partition, self._plan.written, rows
        if first_time:
            return self._client.insert(*arguments)
        if self._upsert and self._plan.upserts and not self._has_duplicates(rows):
            return self._client.upsert(*arguments)
        return self._client.retry(lambda: self._delete_and_insert(rows))

    def _has_duplicates(self, rows: pa.RecordBatch) -> bool:
        """Whether an upsert would leave rows out, or be refused (2.6.8 and later)."""
        return has_duplicates(rows.column(self._plan.wanted.schema.primary.name))

    def _delete_and_insert(self, rows: pa.RecordBatch) -> int:
        """Inserts rows that may be there already, and no longer are where they can be named.

        The key -2^63 cannot be named: a filter for it is a comparison, and a delete by one is
        refused while the collection is not loaded. Such a row is upserted.
        """
        arguments = self._plan.target, self._partition, self._plan.written
        if self._plan.new_ids:
            self.possible_duplicates += rows.num_rows
            return self._client.insert(*arguments, rows)
        primary = self._plan.wanted.schema.primary.name
        unnamed, rows = (
            _split_off_min_key(rows, primary) if self._plan.upserts else (rows[:0], rows)
        )
        done = self._client.upsert(*arguments, unnamed) if unnamed.num_rows else 0
        if not rows.num_rows:
            return done
        keys = rows.column(primary).to_pylist()
        self._client.delete(self._plan.target, self._partition, filters.among(primary, keys))
        return done + self._client.insert(*arguments, rows)


def _split_off_min_key(rows: pa.RecordBatch, primary: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns the rows with the key -2^63, and the others."""
    keys = rows.column(primary)
    if not pa.types.is_int64(keys.type):
        return rows[:0], rows
    unnamed = pc.equal(keys, filters.MIN_INT64)
    return rows.filter(unnamed), rows.filter(pc.invert(unnamed))
