"""Batches, which are passed from read to write: columns and the interval of keys they cover."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import pyarrow as pa

from transforms.ranges import KeyRange


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one range, with the interval of keys that they cover completely.

    Attributes:
        planned: the range that the batch is a part of.
        covered: the interval that `rows` cover; the intervals of all batches tile `planned`.
        rows: the columns; None if the rows of the interval could not be read.
        keys: the primary key of each row, in ascending order; None if unknown.
        counted: ``count(*)`` of the whole range in the source; in its last batch only.
        hidden: the number of counted rows of the whole range that no page contains; in its last
            batch only.
        late: the number of keys that appeared in the source while the range was read; in its last
            batch only.
        fingerprint: the fingerprint of `rows` in their final form.
        failed: why the interval could not be read; "" if it could.
        refusals: why a row cannot be written, or null, for each row; None if all can be written.
        continues: whether more batches of the range follow an interval that could not be read.
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
    refusals: pa.StringArray | None = None


class BatchCoder(beam.coders.Coder):
    """Tells Beam the size of a batch and raises an error if Beam encodes one.

    Batches pass by reference between fused steps. A graph that encodes them (with a Reshuffle,
    Flatten or side input between read and write) would need four to eight times the size of the
    collection in memory, so it must not run at all.
    """

    def encode(self, value: Batch) -> bytes:
        raise NotImplementedError("a batch must not leave the stage that read it")

    def decode(self, encoded: bytes) -> Batch:
        raise NotImplementedError("a batch must not leave the stage that read it")

    def is_deterministic(self) -> bool:
        return False

    def estimate_size(self, value: Batch) -> int:
        # Without this method, Beam encodes samples to estimate sizes.
        return value.rows.nbytes if value.rows is not None else 0

    def to_type_hint(self) -> type[Batch]:
        return Batch


beam.coders.registry.register_coder(Batch, BatchCoder)


class RecordBatchCoder(beam.coders.Coder):
    """Encodes record batches for other pipelines; encodes only the rows of a slice."""

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
        # Without this method, Beam encodes samples to estimate sizes.
        return value.nbytes  # type: ignore[no-any-return]

    def to_type_hint(self) -> type[pa.RecordBatch]:
        return pa.RecordBatch  # type: ignore[no-any-return]


beam.coders.registry.register_coder(pa.RecordBatch, RecordBatchCoder)
