"""Rows that the target refuses for good, kept whole with the server's words, to be sent again.

rejected.parquet/COLLECTION/INTERVAL-ROWS.parquet      one object for each write
"""

from __future__ import annotations

import io
import threading

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.errors import RangeFailed
from transforms.ledger import Ledger, range_id
from transforms.ranges import KeyRange
from transforms.receipts import Acknowledged

FOLDER = "rejected.parquet"

REASON = "$reason"
"""The column with the server's words; Milvus has no such field name."""


def with_reasons(refused: list[tuple[pa.RecordBatch, str]]) -> pa.RecordBatch:
    """Joins refused rows to one batch, with the column of reasons last."""
    rows = pa.Table.from_batches([row for row, _ in refused]).combine_chunks().to_batches()[0]
    reasons = pa.array([reason for _, reason in refused], pa.string())
    return rows.append_column(REASON, reasons)


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


def sweep(ledger: Ledger) -> None:
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
    """The rows that a whole job may set aside. Threads may share it, and each worker has one."""

    def __init__(self, ledger: Ledger, most: int) -> None:
        self._ledger, self._most = ledger, most
        self._counting = threading.Lock()

    def left(self, covered: KeyRange) -> int:
        """Returns how many rows of an interval may be refused, as far as is known now."""
        return self._most - self._others(covered) if self._most else 0

    def use(self, covered: KeyRange, refused: pa.RecordBatch | None) -> None:
        """Sets the refused rows of an interval aside, in place of what was recorded of it.

        Raises:
            RangeFailed: others have used the allowance up meanwhile.
        """
        if not self._most:
            return
        rows = refused.num_rows if refused is not None else 0
        if refused is not None:
            with self._counting:
                self._add(covered, refused)
        forget(self._ledger, covered, but=rows)

    def _add(self, covered: KeyRange, refused: pa.RecordBatch) -> None:
        place, name = _place(covered), _name(covered, refused.num_rows)
        known = name in self._ledger.names(place)
        save(self._ledger, covered, refused)
        # Counted only now, so that of several workers that do so at least the last sees all.
        if self._others(covered) + refused.num_rows > self._most:
            if not known:
                self._ledger.remove(f"{place}/{name}")
            many = f"the job has more such rows than env.max_rejected allows ({self._most:,})"
            raise RangeFailed(str(covered), f"{refused.column(REASON)[0]}; {many}")

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
