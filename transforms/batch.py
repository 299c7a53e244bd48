"""What travels between reading and writing: columns, and the interval of keys that they cover."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from transforms.ranges import KeyRange


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one range, with the interval that they cover completely.

    Attributes:
        planned: the range that this is a part of.
        covered: the interval that `rows` cover; the intervals of all batches tile `planned`.
        rows: the columns; None where the rows of the interval could not be read.
        keys: the primary key of each row, in ascending order; None if it is not known.
        counted: ``count(*)`` of the whole range in the source; in the last batch read of it only.
        hidden: counted rows of the whole range that no page shows; in the same batch.
        late: keys that the source, being written to, showed once the range was read; in the same
            batch.
        fingerprint: of `rows`, once they have their final form.
        failed: why the interval could not be read; "" if it could.
        continues: whether the range goes on after an interval that could not be read.
    """

    planned: KeyRange
    covered: KeyRange
    rows: pa.RecordBatch | None
    counted: int | None = None
    hidden: int = 0
    late: int = 0
    fingerprint: int = 0
    failed: str = ""
    keys: pa.Array | None = None
    continues: bool = False


class BatchCoder(beam.coders.Coder):
    """Makes Beam see the size of a batch, and refuse to carry one anywhere.

    Batches pass by reference between fused steps. A graph in which one would have to be encoded
    (a Reshuffle, Flatten or side input between read and write) would hold the whole collection in
    memory, amplified four to eight times, so it must not run at all.
    """

    def encode(self, value: Batch) -> bytes:
        raise NotImplementedError("a batch must not leave the stage that read it")

    def decode(self, encoded: bytes) -> Batch:
        raise NotImplementedError("a batch must not leave the stage that read it")

    def is_deterministic(self) -> bool:
        return False

    def estimate_size(self, value: Batch) -> int:
        # Beam samples sizes by encoding where this is missing.
        return value.rows.nbytes if value.rows is not None else 0

    def to_type_hint(self) -> type[Batch]:
        return Batch


beam.coders.registry.register_coder(Batch, BatchCoder)


class RecordBatchCoder(beam.coders.Coder):
    """Carries the columns that others read: a slice as itself, not as all that it is a part of."""

    def encode(self, value: pa.RecordBatch) -> bytes:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, value.schema) as stream:
            stream.write_batch(value)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def decode(self, encoded: bytes) -> pa.RecordBatch:
        return pa.ipc.open_stream(encoded).read_next_batch()

    def is_deterministic(self) -> bool:
        return False

    def estimate_size(self, value: pa.RecordBatch) -> int:
        # Beam samples sizes by encoding where this is missing.
        return value.nbytes  # type: ignore[no-any-return]

    def to_type_hint(self) -> type[pa.RecordBatch]:
        return pa.RecordBatch  # type: ignore[no-any-return]


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
