"""Rows that the target refuses for good, kept whole with the server's words, to be sent again.

rejected.parquet/COLLECTION/INTERVAL-ROWS.parquet      one object for each write
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from transforms.ledger import Ledger, range_id
from transforms.ranges import KeyRange

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
    """Records the refused rows of one interval, in place of what was recorded before."""
    forget(ledger, covered)
    if refused.num_rows:
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_batches([refused]), stream)
        name = f"{range_id(covered)}-{refused.num_rows}.parquet"
        ledger.replace(f"{FOLDER}/{covered.collection}/{name}", stream.getvalue())


def forget(ledger: Ledger, covered: KeyRange) -> None:
    """Removes what is recorded of an interval."""
    for name in ledger.names(f"{FOLDER}/{covered.collection}"):
        if name.startswith(f"{range_id(covered)}-"):
            ledger.remove(f"{FOLDER}/{covered.collection}/{name}")


def load(ledger: Ledger, covered: KeyRange) -> pa.RecordBatch | None:
    """Returns the refused rows of one interval with their reasons; None if there are none."""
    for name in ledger.names(f"{FOLDER}/{covered.collection}"):
        if name.startswith(f"{range_id(covered)}-"):
            data = ledger.read(f"{FOLDER}/{covered.collection}/{name}") or b""
            return pq.read_table(io.BytesIO(data)).combine_chunks().to_batches()[0]
    return None


def count(ledger: Ledger, *, except_for: KeyRange) -> int:
    """Returns how many rows of the whole job are rejected, those of one interval left out."""
    own = f"{range_id(except_for)}-"
    return sum(rows for name, rows in _counts(ledger) if not name.startswith(own))


def _counts(ledger: Ledger) -> Iterator[tuple[str, int]]:
    for collection in ledger.names(FOLDER):
        for name in ledger.names(f"{FOLDER}/{collection}"):
            yield name, int(name.removesuffix(".parquet").rpartition("-")[2])
