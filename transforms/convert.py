"""Reshapes batches, cuts them to the size of one write, and fingerprints the result."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms import fingerprint
from transforms.batch import Batch
from transforms.errors import DataError
from transforms.milvus.codec import row_data
from transforms.plan import CollectionPlan, Plan
from transforms.reshape.reshape import reshape

MAX_REQUEST_BYTES = 4 * 1024 * 1024
"""Target size of one write. A proxy of any version receives at most 64 MB. 3 to 15 MB are fastest
(2.3.5). Each worker has three writes in memory, each twice: as a request and in gRPC's buffers."""


@dataclass(eq=False)
class Convert(beam.PTransform):
    """Reshapes batches and cuts them into writes, each with its own interval and fingerprint.

    A range that cannot be reshaped ends with a batch that has the reason; other ranges continue.
    """

    plan: Plan
    request_rows: int
    request_bytes: int = MAX_REQUEST_BYTES

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        return batches | "Cut" >> beam.ParDo(_Convert(self)).with_output_types(Batch)


class _Convert(beam.DoFn):
    def __init__(self, convert: Convert) -> None:
        self._plan, self._request_rows = convert.plan, convert.request_rows
        self._request_bytes = convert.request_bytes

    def process(self, batch: Batch) -> Iterator[Batch]:
        try:
            plan, most = self._plan[batch.planned.collection], self._request_bytes
            for piece in pieces(batch, plan, self._request_rows, most):
                yield fingerprinted(piece, json_by_value=self._plan.json_by_value)
        except DataError as error:
            yield replace(batch, rows=None, counted=None, hidden=0, late=0, failed=str(error))


def pieces(
    batch: Batch, plan: CollectionPlan, request_rows: int, request_bytes: int = MAX_REQUEST_BYTES
) -> Iterator[Batch]:
    """Yields the writes of a batch; their intervals tile its interval. An empty batch is one write.

    Raises:
        FunctionFailed: the rows cannot be reshaped.
    """
    if batch.rows is None:
        yield batch
        return
    shaped = reshape(batch.rows, plan.shape)
    if not shaped.rows.num_rows:
        yield replace(batch, rows=written(shaped.rows, plan))
        return
    primary, after, at = plan.wanted.schema.primary.name, batch.covered.after, 0
    slices = row_data.cut(shaped.rows, max_rows=request_rows, max_bytes=request_bytes)
    for place, rows in enumerate(slices, 1):
        keys, refusals = rows.column(primary), shaped.refusals
        part = replace(
            batch,
            covered=replace(batch.covered, after=after),
            rows=written(rows, plan),
            keys=keys,
            refusals=refusals and refusals.slice(at, rows.num_rows),
        )
        if place == len(slices):
            yield part
            return
        after, at = keys[-1].as_py(), at + rows.num_rows
        covered = replace(part.covered, upto=after)
        yield replace(part, covered=covered, counted=None, hidden=0, late=0)


def reshaped(rows: pa.RecordBatch, plan: CollectionPlan) -> pa.RecordBatch:
    """Returns rows of the source in the shape of the target, with the key."""
    return reshape(rows, plan.shape).rows


def written(rows: pa.RecordBatch, plan: CollectionPlan) -> pa.RecordBatch:
    """Returns the columns to be written, of rows in the shape of the target."""
    names = list(plan.written.names)
    return rows if names == rows.schema.names else rows.select(names)


def fingerprinted(batch: Batch, *, json_by_value: bool) -> Batch:
    """Returns a batch with the fingerprint of its rows."""
    if batch.rows is None:
        return batch
    return replace(batch, fingerprint=fingerprint.of(batch.rows, json_by_value=json_by_value))
