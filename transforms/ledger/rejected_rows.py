"""Rows that the target rejects, kept whole with the server's words, to be sent again.

rejected.parquet/COLLECTION/INTERVAL-ROWS.parquet      one object for each write
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import RowsRejected
from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Acknowledged
from transforms.ranges import KeyRange

FOLDER = "rejected.parquet"

REASON = "$reason"
"""The column with the server's words; Milvus has no such field name."""

NAMED = 5
"""Rejected rows that the failure of a range names; the others are only counted."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that the target rejects, however often it is sent.

    Attributes:
        place: its number in the batch, from 0.
        row: the row, as a batch.
        reason: the field, its size and the limit, where a value is too large; the server's words.
        remedy: how to raise the limit, as an imperative; "" if the row is above no known limit.
    """

    place: int
    row: pa.RecordBatch
    reason: str
    remedy: str = ""


def with_reasons(rejected: Sequence[RejectedRow]) -> pa.RecordBatch:
    """Joins rejected rows to one batch, with the column of reasons last."""
    rows = pa.Table.from_batches([each.row for each in rejected]).combine_chunks().to_batches()[0]
    reasons = pa.array([each.reason for each in rejected], pa.string())
    return rows.append_column(REASON, reasons)


class RejectedTally:
    """The rows of one range that are rejected beyond the allowance. Threads may share it.

    `unreadable` is why other rows of the range could not be read; "" if all could.
    """

    def __init__(self, where: str, most: int) -> None:
        """Begins with none; with `most` rows the range is not written any further."""
        self._where, self._most = where, most
        self._adding = threading.Lock()
        self._rows, self._stopped = 0, False
        self.unreadable = ""
        self._reasons: list[str] = []
        self._remedies: list[str] = []

    @property
    def left(self) -> int:
        """How many rows more are searched for."""
        return max(0, self._most - self._rows)

    def add(self, rejected: Sequence[RejectedRow], keys: pa.Array | None, *, more: bool) -> None:
        """Counts the rejected rows of one batch, whose keys are `keys` if they are known."""
        with self._adding:
            self._rows += len(rejected)
            self._stopped |= more
            for each in rejected[: max(0, NAMED - len(self._reasons))]:
                key = f"key {keys[each.place].as_py()!r}: " if keys is not None else ""
                self._reasons.append(f"{key}{each.reason}")
            for each in rejected:
                if each.remedy and each.remedy not in self._remedies:
                    self._remedies.append(each.remedy)

    @property
    def words(self) -> str:
        """Why the range fails, as far as it is known."""
        return " ".join(filter(None, [self.unreadable, str(self.error() or "")]))

    def error(self) -> RowsRejected | None:
        """Returns the rejected rows as an error; None if there are none."""
        with self._adding:
            if not self._rows:
                return None
            reasons, remedies = tuple(self._reasons), tuple(self._remedies)
            return RowsRejected(self._where, reasons, self._rows, self._stopped, remedies)


def rows_of(refused: pa.RecordBatch) -> pa.RecordBatch:
    """Returns the rows without their reasons."""
    return refused.drop_columns([REASON])


def save(ledger: Ledger, covered: KeyRange, refused: pa.RecordBatch) -> None:
    """Records the refused rows of one interval; what is recorded of it already stays beside."""
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_batches([refused]), stream)
    ledger.replace(f"{_place(covered)}/{_name(covered, refused.num_rows)}", stream.getvalue())


def load(ledger: Ledger, covered: KeyRange, rows: int) -> pa.RecordBatch | None:
    """Returns so many refused rows of one interval with their reasons; None if there are none."""
    data = ledger.read(f"{_place(covered)}/{_name(covered, rows)}")
    if data is None:
        return None
    return pq.read_table(io.BytesIO(data)).combine_chunks().to_batches()[0]


def forget(ledger: Ledger, covered: KeyRange, *, but: int = 0) -> None:
    """Removes what is recorded of an interval; `but` so many rows, which are what counts now."""
    for name in ledger.names(_place(covered)):
        if name.startswith(f"{range_id(covered)}-") and name != _name(covered, but):
            ledger.remove(f"{_place(covered)}/{name}")


def remove_orphans(ledger: Ledger) -> None:
    """Removes what no receipt knows: attempts that were killed left it. None may be under way."""
    found = [(place, name) for place in _places(ledger) for name in ledger.names(place)]
    if found:
        acknowledged = Acknowledged(ledger)
        acknowledged.refresh()
        known = {_name(each.covered, each.rejected) for each in acknowledged.rejected()}
        for place, name in found:
            if name not in known:
                ledger.remove(f"{place}/{name}")


class Allowance:
    """The rejected rows that a job may have. Threads may share it, and each worker has one."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger, self._most = ledger, most
        self._counting = threading.Lock()

    def left(self, covered: KeyRange) -> int:
        """Returns how many rows of an interval may be rejected, as far as is known now."""
        return self._most - self._others(covered) if self._most else 0

    def use(self, covered: KeyRange, refused: pa.RecordBatch | None) -> bool:
        """Keeps the rejected rows of an interval, in place of what was recorded of it.

        Returns whether that is allowed: if not, none of them is kept.
        """
        if not self._most:
            return refused is None
        if refused is not None:
            with self._counting:
                if not self._add(covered, refused):
                    return False
        forget(self._ledger, covered, but=refused.num_rows if refused is not None else 0)
        return True

    def _add(self, covered: KeyRange, refused: pa.RecordBatch) -> bool:
        place, name = _place(covered), _name(covered, refused.num_rows)
        known = name in self._ledger.names(place)
        save(self._ledger, covered, refused)
        # Counted only now, so that of several workers that do so at least the last sees all.
        if self._others(covered) + refused.num_rows > self._most:
            if not known:
                self._ledger.remove(f"{place}/{name}")
            return False
        return True

    def _others(self, covered: KeyRange) -> int:
        """Counts the rejected rows of the whole job, those of one interval left out."""
        own = f"{range_id(covered)}-"
        names = [name for place in _places(self._ledger) for name in self._ledger.names(place)]
        return sum(_rows(name) for name in names if not name.startswith(own))


def _places(ledger: Ledger) -> list[str]:
    return [f"{FOLDER}/{collection}" for collection in ledger.names(FOLDER)]


def _place(covered: KeyRange) -> str:
    return f"{FOLDER}/{covered.collection}"


def _name(covered: KeyRange, rows: int) -> str:
    return f"{range_id(covered)}-{rows}.parquet"


def _rows(name: str) -> int:
    return int(name.removesuffix(".parquet").rpartition("-")[2])
