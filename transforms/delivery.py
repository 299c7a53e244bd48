"""One batch on its way to the target, in as few writes as the server takes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pyarrow as pa
import pyarrow.compute as pc

from transforms import rejects
from transforms.duplicates import has_duplicates
from transforms.errors import Ambiguous, DataError, RangeFailed, Refused, ServerError, TooLarge
from transforms.milvus import codec, filters
from transforms.milvus.client import Client
from transforms.plan import CollectionPlan


class Delivery:
    """Sends the rows of one batch, and knows what became of them.

    Attributes:
        doubled: rows that may stand twice, because an answer was lost and the target makes its ids.
        refused: rows that the target will not take, each with the server's words.
    """

    def __init__(
        self,
        client: Client,
        plan: CollectionPlan,
        partition: str,
        upsert: bool,
        *,
        may_reject: Callable[[], int] = int,
    ) -> None:
        """`may_reject` says how many rows may be refused; it is asked when the first one is."""
        self._client, self._plan, self._partition, self._upsert = client, plan, partition, upsert
        self._may_reject = cache(may_reject)
        self.doubled = 0
        self.refused: list[tuple[pa.RecordBatch, str]] = []

    def send(self, rows: pa.RecordBatch, *, first_time: bool) -> None:
        """Writes rows until they are acknowledged, in parts where that can help.

        Raises:
            ServerError, DataError: for good; some of the rows may have been written.
        """
        most = self._client.pace.write_bytes.most
        size_bytes = int(codec.row_sizes(rows).sum())
        if rows.num_rows == 1 or 0 < size_bytes <= most:
            self._send(rows, size_bytes, first_time=first_time)
            return
        for part in codec.cut(rows, max_rows=rows.num_rows, max_bytes=most):
            # What the server takes may change with each of them.
            self.send(part, first_time=first_time)

    def rejected(self) -> pa.RecordBatch:
        """Returns the refused rows, each with the server's words."""
        return rejects.with_reasons(self.refused)

    def _send(self, rows: pa.RecordBatch, size_bytes: int, *, first_time: bool) -> None:
        """Writes rows that the server is thought to take at once."""
        try:
            acknowledged = self._once(rows, first_time=first_time)
        except Ambiguous as error:
            if first_time:
                self.send(rows, first_time=False)
            elif isinstance(error.meaning, (Refused, TooLarge)):
                self._in_halves(rows, error.meaning, first_time=False)
            else:
                raise
            return
        except (TooLarge, Refused, DataError) as error:
            if isinstance(error, TooLarge) and rows.num_rows > 1:
                self._client.pace.write_bytes.refused(size_bytes)
            self._in_halves(rows, error, first_time=first_time)
            return
        self._client.pace.write_bytes.taken(size_bytes)
        if acknowledged != rows.num_rows:
            raise RangeFailed(
                self._plan.target,
                f"the target acknowledged {acknowledged:,} of {rows.num_rows:,} rows",
            )

    def _in_halves(
        self, rows: pa.RecordBatch, error: ServerError | DataError, *, first_time: bool
    ) -> None:
        """Finds the rows that are too large, or refused, by halving."""
        if len(self.refused) >= self._may_reject() and not isinstance(error, TooLarge):
            raise error
        if rows.num_rows == 1:
            if len(self.refused) >= self._may_reject():
                raise RangeFailed(f"{self._plan.target}: one row", str(error)) from error
            self.refused.append((rows, str(error)))
            return
        half = rows.num_rows // 2
        self.send(rows.slice(0, half), first_time=first_time)
        self.send(rows.slice(half), first_time=first_time)

    def _once(self, rows: pa.RecordBatch, *, first_time: bool) -> int:
        arguments = self._plan.target, self._partition, self._plan.written, rows
        if first_time:
            return self._client.insert(*arguments)
        if self._upsert and self._plan.upserts and not self._has_duplicates(rows):
            return self._client.upsert(*arguments)
        return self._client.persist(lambda: self._anew(rows))

    def _has_duplicates(self, rows: pa.RecordBatch) -> bool:
        """Whether an upsert would leave rows out, or be refused (2.6.8 and later)."""
        return has_duplicates(rows.column(self._plan.wanted.schema.primary.name))

    def _anew(self, rows: pa.RecordBatch) -> int:
        """Inserts rows that may be there already, and no longer are where they can be named.

        The key -2^63 cannot be named: a filter for it is a comparison, and a delete by one is
        refused while the collection is not loaded. Such a row is upserted.
        """
        arguments = self._plan.target, self._partition, self._plan.written
        if self._plan.new_ids:
            self.doubled += rows.num_rows
            return self._client.insert(*arguments, rows)
        primary = self._plan.wanted.schema.primary.name
        unnamed, rows = _apart(rows, primary) if self._plan.upserts else (rows[:0], rows)
        done = self._client.upsert(*arguments, unnamed) if unnamed.num_rows else 0
        if not rows.num_rows:
            return done
        keys = rows.column(primary).to_pylist()
        self._client.delete(self._plan.target, self._partition, filters.among(primary, keys))
        return done + self._client.insert(*arguments, rows)


def _apart(rows: pa.RecordBatch, primary: str) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Returns the rows with the key -2^63, and the others."""
    keys = rows.column(primary)
    if not pa.types.is_int64(keys.type):
        return rows[:0], rows
    unnamed = pc.equal(keys, filters.MIN_INT64)
    return rows.filter(unnamed), rows.filter(pc.invert(unnamed))
