"""differences.parquet: every key that differs, for scripts and notebooks.

| column | content |
|---|---|
| ``sign`` | ``+`` only in the target, ``-`` missing there, ``*`` differs, ``#`` more than once |
| ``collection`` | its name in the source |
| ``key`` | the primary key as text, also if it is a number |
| ``field`` | with ``*``: a field that differs, one row per field; else null |
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.reports.ledger_facts import Evidence

NAME = "differences.parquet"

SCHEMA = pa.schema(
    [
        pa.field("sign", pa.string(), nullable=False),
        pa.field("collection", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("field", pa.string()),
    ]
)


def to_parquet(evidence: Evidence) -> bytes | None:
    """Returns the file with all keys that the verdicts name; None if there are none."""
    rows = [dict(zip(SCHEMA.names, row, strict=True)) for row in _rows(evidence)]
    if not rows:
        return None
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), stream)
    return stream.getvalue()


def _rows(evidence: Evidence) -> Iterator[tuple[str, str, str, str | None]]:
    for collection in evidence.collections:
        for verdict in collection.verdicts:
            for difference in verdict.differences:
                for field in difference.fields or (None,):
                    yield difference.sign, collection.name, str(difference.key), field
