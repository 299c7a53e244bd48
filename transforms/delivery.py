"""Writes one batch to the target, in as few requests as the server accepts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
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
from transforms.ledger.rejected_rows import NOT_SENT, RejectedRow
from transforms.milvus import codes, filters, value_over_limit
from transforms.milvus.client import Client
from transforms.milvus.codec import row_data
from transforms.plan import CollectionPlan

MOST_REJECTED = 100
"""The number of rejected rows that are searched for in one range, beyond the allowed ones. Each
costs about ten requests if few rows are rejected, and two if all are."""

RAISE_SIZE = (
    "raise the message size limit of the target (`proxy.grpc.serverMaxRecvSize`, "
    "`quotaAndLimits.limits.maxInsertSize`)"
)

FIX_ROWS = "fix these rows in the source, or leave them out with `transform.RowFilter`"

UNEXPLAINED_ROWS = 3
"""If the server rejects this many consecutive rows for an unknown reason and has written none, the
rows are not the cause. The search stops, because each row costs seconds of retries."""


class Delivery:
    """Sends the rows of one batch and records the result.

    Attributes:
        possible_duplicates: the number of rows that the target may have twice, because an answer
            was lost and the target makes the IDs.
        rejected: the rows that the target rejects. The others are written.
        untried: the numbers in the batch of the rows that were not sent, because enough rejected
            rows were found before.
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
            most_rejected: returns the number of rejected rows after which no more rows are sent;
                called when the first row is rejected.
        """
        self._client, self._plan, self._partition, self._upsert = client, plan, partition, upsert
        self._most_rejected = cache(most_rejected)
        self._written = 0
        self.possible_duplicates = 0
        self.rejected: list[RejectedRow] = []
        self.untried: list[int] = []

    def deliver(
        self, rows: pa.RecordBatch, refusals: pa.StringArray | None, *, first_time: bool
    ) -> None:
        """Writes rows as `send` does, without those that `refusals` has a reason for.

        Raises:
            ServerError, DataError: a retry cannot help; some of the rows may be written.
        """
        if refusals is None or not refusals.is_valid().true_count:
            self.send(rows, first_time=first_time)
            return
        refused = refusals.is_valid().to_numpy(zero_copy_only=False)
        accepted = np.flatnonzero(~refused)
        self.send(rows.take(pa.array(accepted)), first_time=first_time)
        self.untried = [int(accepted[place]) for place in self.untried]
        rejected = [replace(row, place=int(accepted[row.place])) for row in self.rejected]
        allowed = max(0, self._most_rejected() - len(rejected))
        places = np.flatnonzero(refused).tolist()
        rejected += [
            RejectedRow(place, rows.slice(place, 1), f"{NOT_SENT}{refusals[place]}", FIX_ROWS)
            for place in places[:allowed]
        ]
        self.rejected = sorted(rejected, key=lambda row: row.place)
        self.untried += places[allowed:]

    def send(self, rows: pa.RecordBatch, *, first_time: bool, at: int = 0) -> None:
        """Writes rows until they are acknowledged, in several requests if one is too large.

        Finds the rows that the target rejects by halving, and writes the others.

        Args:
            first_time: whether no earlier attempt can have written any of the rows.
            at: the number of the first row in the batch.

        Raises:
            ServerError, DataError: a retry cannot help; some of the rows may be written.
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
            # The size that the server accepts may change with each part.
            self.send(part, first_time=first_time, at=at)
            at += part.num_rows

    def _send(self, rows: pa.RecordBatch, size_bytes: int, *, first_time: bool, at: int) -> None:
        """Writes rows in one request; halves them if the server does not accept them."""
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
        """Finds the rows that are too large or rejected, by halving."""
        if isinstance(error, ServerError) and error.code in codes.OF_THE_COLLECTION:
            raise error
        if rows.num_rows == 1:
            self._reject(rows, error, at)
            return
        half = rows.num_rows // 2
        self.send(rows.slice(0, half), first_time=first_time, at=at)
        self.send(rows.slice(half), first_time=first_time, at=at + half)

    def _reject(self, row: pa.RecordBatch, error: ServerError | DataError, at: int) -> None:
        """Records a rejected row; after enough of them, leaves out the row and all that follow.

        Raises:
            ServerError, DataError: the rows are not the cause of the error.
        """
        if len(self.rejected) >= self._most_rejected():
            self.untried.append(at)
            return
        detail = error.detail if isinstance(error, ServerError) else str(error)
        above = value_over_limit.find(self._plan.wanted.schema, row, detail)
        reason = f'{above.words} (server: "{detail}")' if above else str(error)
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
        """Returns whether an upsert would drop rows, or be rejected (2.6.8 and later)."""
        return has_duplicates(rows.column(self._plan.wanted.schema.primary.name))

    def _delete_and_insert(self, rows: pa.RecordBatch) -> int:
        """Deletes rows that may exist already by key, then inserts them.

        A row with the key -2^63 is upserted: a filter for this key is a comparison, and a server
        rejects a delete by comparison while the collection is not loaded.
        """
        arguments = self._plan.target, self._partition, self._plan.written
        if self._plan.new_ids:
            self.possible_duplicates += rows.num_rows
            return self._client.insert(*arguments, rows)
        primary = self._plan.wanted.schema.primary.name
        min_key, rows = (
            _split_off_min_key(rows, primary) if self._plan.upserts else (rows[:0], rows)
        )
        upserted = self._client.upsert(*arguments, min_key) if min_key.num_rows else 0
        if not rows.num_rows:
            return upserted
        keys = rows.column(primary).to_pylist()
        self._client.delete(self._plan.target, self._partition, filters.among(primary, keys))
        return upserted + self._client.insert(*arguments, rows)


def _split_off_min_key(rows: pa.RecordBatch, primary: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns the rows with the key -2^63, and the others."""
    keys = rows.column(primary)
    if not pa.types.is_int64(keys.type):
        return rows[:0], rows
    is_min = pc.equal(keys, filters.MIN_INT64)
    return rows.filter(is_min), rows.filter(pc.invert(is_min))
