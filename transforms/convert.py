"""Gives batches the form in which they are written, and fingerprints that form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import apache_beam as beam
import pyarrow as pa

from transforms import fingerprint
from transforms.batch import Batch
from transforms.milvus import codec
from transforms.plan import CollectionPlan, Plan

MAX_REQUEST_BYTES = 8 * 1024 * 1024
"""Aim of one write. A proxy receives at most 64 MB on every version, 3 to 15 MB go fastest (2.3.5),
and each worker holds three, twice: as the request and in gRPC's own buffers."""


@dataclass(eq=False)
class Convert(beam.PTransform):
    """Cuts batches to the size of one write, each with its own interval and fingerprint."""

    plan: Plan
    request_rows: int

    def expand(self, batches: beam.PCollection[Batch]) -> beam.PCollection[Batch]:
        return batches | "Cut" >> beam.ParDo(_Convert(self)).with_output_types(Batch)


class _Convert(beam.DoFn):
    def __init__(self, convert: Convert) -> None:
        self._plan, self._request_rows = convert.plan, convert.request_rows

    def process(self, batch: Batch) -> Iterator[Batch]:
        for piece in pieces(batch, self._plan[batch.planned.collection], self._request_rows):
            yield fingerprinted(piece, json_by_value=self._plan.json_by_value)


def pieces(batch: Batch, plan: CollectionPlan, request_rows: int) -> Iterator[Batch]:
    """Cuts a batch into writes; their intervals tile its own, an empty batch is one piece."""
    if batch.rows is None or batch.rows.num_rows == 0:
        yield replace(batch, rows=None if batch.rows is None else written(batch.rows, plan))
        return
    primary = plan.source.schema.primary.name
    slices = codec.cut(batch.rows, max_rows=request_rows, max_bytes=MAX_REQUEST_BYTES)
    after = batch.covered.after
    for rows in slices[:-1]:
        upto = rows.column(primary)[rows.num_rows - 1].as_py()
        covered = replace(batch.covered, after=after, upto=upto)
        yield replace(batch, covered=covered, rows=written(rows, plan), counted=None)
        after = upto
    covered = replace(batch.covered, after=after)
    yield replace(batch, covered=covered, rows=written(slices[-1], plan))


def written(rows: pa.RecordBatch, plan: CollectionPlan) -> pa.RecordBatch:
    """Returns the columns that are written."""
    names = list(plan.written.names)
    return rows if names == rows.schema.names else rows.select(names)


def fingerprinted(batch: Batch, *, json_by_value: bool) -> Batch:
    """Returns the batch with the fingerprint of its rows."""
    if batch.rows is None:
        return batch
    return replace(batch, fingerprint=fingerprint.of(batch.rows, json_by_value=json_by_value))
