"""Rows that the target rejects, stored with the server's reason so that they can be resent.

rejected.parquet/COLLECTION/INTERVAL-ROWS.parquet      one object per write
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transforms.errors import RowsRejected
from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Acknowledged
from transforms.ranges import KeyRange

FOLDER = "rejected.parquet"

REASON = "$reason"
"""The column with the server's words; a Milvus field cannot have this name."""

NOT_SENT = "not sent: "
"""How the reason of a row begins that Kitelift refused itself, because it has no valid value."""

NAMED = 5
"""The number of rejected rows that the failure of a range names; it only counts the others."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that the target rejects every time it is sent.

    Attributes:
        place: its number in the batch, from 0.
        row: the row, as a batch.
        reason: the field, its size and the limit, if a value is too large; and the server's words.
        remedy: how to raise the limit, as an imperative; "" if the row exceeds no known limit.
    """

    place: int
    row: pa.RecordBatch
    reason: str
    remedy: str = ""


def with_reasons(rejected: Sequence[RejectedRow]) -> pa.RecordBatch:
    """Returns rejected rows as one batch, with the column of reasons last."""
    table = pa.Table.from_batches([rejected_row.row for rejected_row in rejected])
    rows = table.combine_chunks().to_batches()[0]
    reasons = pa.array([rejected_row.reason for rejected_row in rejected], pa.string())
    return rows.append_column(REASON, reasons)


class RejectedTally:
    """The rejected rows of one range that `env.max_rejected` does not allow; thread-safe.

    `unreadable` is why other rows of the range could not be read; "" if all were read.
    """

    def __init__(self, where: str, most: int) -> None:
        """Starts with no rows; Kitelift stops writing the range after `most` rejected rows."""
        self._where, self._most = where, most
        self._adding = threading.Lock()
        self._rows, self._stopped = 0, False
        self.unreadable = ""
        self._reasons: list[str] = []
        self._remedies: list[str] = []

    @property
    def left(self) -> int:
        """The number of rejected rows that are still searched for."""
        return max(0, self._most - self._rows)

    def add(self, rejected: Sequence[RejectedRow], keys: pa.Array | None, *, more: bool) -> None:
        """Adds the rejected rows of one batch; `keys` are the keys of the batch, if known."""
        with self._adding:
            self._rows += len(rejected)
            self._stopped |= more
            for row in rejected[: max(0, NAMED - len(self._reasons))]:
                key = f"key {keys[row.place].as_py()!r}: " if keys is not None else ""
                self._reasons.append(f"{key}{row.reason}")
            for row in rejected:
                if row.remedy and row.remedy not in self._remedies:
                    self._remedies.append(row.remedy)

    @property
    def words(self) -> str:
        """Why the range fails, with all reasons known so far."""
        return " ".join(filter(None, [self.unreadable, str(self.error() or "")]))

    def error(self) -> RowsRejected | None:
        """Returns the rejected rows as an error; None if there are none."""
        with self._adding:
            if not self._rows:
                return None
            reasons, remedies = tuple(self._reasons), tuple(self._remedies)
            return RowsRejected(self._where, reasons, self._rows, self._stopped, remedies)


def rows_of(rejected: pa.RecordBatch) -> pa.RecordBatch:
    """Returns rejected rows without the column of reasons."""
    return rejected.drop_columns([REASON])


def refusals_of(rejected: pa.RecordBatch) -> pa.StringArray:
    """Returns why Kitelift cannot send a stored row, without the mark; null if it can be sent."""
    reasons = rejected.column(REASON)
    refused = pc.if_else(pc.starts_with(reasons, NOT_SENT), reasons, pa.scalar(None, pa.string()))
    return pc.utf8_slice_codeunits(refused, len(NOT_SENT))


def save(ledger: Ledger, covered: KeyRange, rejected: pa.RecordBatch) -> None:
    """Records the rejected rows of one interval, beside earlier records of the interval."""
    # A rejected row may have null in a field that cannot be null.
    fields = [field.with_nullable(True) for field in rejected.schema]
    rows = pa.Table.from_arrays(rejected.columns, schema=pa.schema(fields))
    stream = io.BytesIO()
    pq.write_table(rows, stream)
    ledger.replace(f"{_folder(covered)}/{_name(covered, rejected.num_rows)}", stream.getvalue())


def load(ledger: Ledger, covered: KeyRange, rows: int) -> pa.RecordBatch | None:
    """Returns the record of `rows` rejected rows of one interval, with reasons; None if missing."""
    data = ledger.read(f"{_folder(covered)}/{_name(covered, rows)}")
    if data is None:
        return None
    return pq.read_table(io.BytesIO(data)).combine_chunks().to_batches()[0]


def forget(ledger: Ledger, covered: KeyRange, *, but: int = 0) -> None:
    """Removes the records of an interval, except the current one, which has `but` rows."""
    for name in ledger.names(_folder(covered)):
        if name.startswith(f"{range_id(covered)}-") and name != _name(covered, but):
            ledger.remove(f"{_folder(covered)}/{name}")


def remove_orphans(ledger: Ledger) -> None:
    """Removes records without a receipt, which killed attempts left; no write may be in flight."""
    objects = [(folder, name) for folder in _folders(ledger) for name in ledger.names(folder)]
    if objects:
        acknowledged = Acknowledged(ledger)
        acknowledged.refresh()
        known = {_name(receipt.covered, receipt.rejected) for receipt in acknowledged.rejected()}
        for folder, name in objects:
            if name not in known:
                ledger.remove(f"{folder}/{name}")


class Allowance:
    """The number of rejected rows that a job may have: one object per worker, thread-safe."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger, self._most = ledger, most
        self._counting = threading.Lock()

    def left(self, covered: KeyRange) -> int:
        """Returns how many rows of an interval may still be rejected."""
        return self._most - self._count_others(covered) if self._most else 0

    def use(self, covered: KeyRange, rejected: pa.RecordBatch | None) -> bool:
        """Records the rejected rows of an interval and replaces its earlier record.

        Returns whether the job allows them; if not, none of them is recorded.
        """
        if not self._most:
            return rejected is None
        if rejected is not None:
            with self._counting:
                if not self._add(covered, rejected):
                    return False
        forget(self._ledger, covered, but=rejected.num_rows if rejected is not None else 0)
        return True

    def _add(self, covered: KeyRange, rejected: pa.RecordBatch) -> bool:
        folder, name = _folder(covered), _name(covered, rejected.num_rows)
        known = name in self._ledger.names(folder)
        save(self._ledger, covered, rejected)
        # Count after the write: of several concurrent workers, at least the last one sees all rows.
        if self._count_others(covered) + rejected.num_rows > self._most:
            if not known:
                self._ledger.remove(f"{folder}/{name}")
            return False
        return True

    def _count_others(self, covered: KeyRange) -> int:
        """Returns the number of rejected rows of the whole job, without those of one interval."""
        own = f"{range_id(covered)}-"
        names = [name for folder in _folders(self._ledger) for name in self._ledger.names(folder)]
        return sum(_rows(name) for name in names if not name.startswith(own))


def _folders(ledger: Ledger) -> list[str]:
    return [f"{FOLDER}/{collection}" for collection in ledger.names(FOLDER)]


def _folder(covered: KeyRange) -> str:
    return f"{FOLDER}/{covered.collection}"


def _name(covered: KeyRange, rows: int) -> str:
    return f"{range_id(covered)}-{rows}.parquet"


def _rows(name: str) -> int:
    return int(name.removesuffix(".parquet").rpartition("-")[2])
