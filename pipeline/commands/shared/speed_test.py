"""Speed test: measures row widths and the read and write speed of both servers for an estimate.

Reads for `READ_S`. Writes only on request, into a scratch collection that is dropped again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import pyarrow as pa

from pipeline.jobfile.job import JobConfig
from pipeline.planning import estimate
from pipeline.planning.estimate import Estimate, JobSize, Speed
from pipeline.planning.survey import SURVEY
from pipeline.target.scratch import scratch
from transforms.batch import Batch
from transforms.convert import pieces
from transforms.errors import DataError, MigrationError
from transforms.milvus.client import Client
from transforms.milvus.pages import Reader
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange
from transforms.split import cut

READ_S = 2.0
WRITE_S = 3.0
"""Long enough for pages and inserts to reach their final size."""

MEASURED = 50
"""Collections whose row width is measured, the largest first; each takes one query."""


def estimate_job(
    config: JobConfig, plan: Plan, done: Mapping[str, int], *, write: bool = False
) -> Estimate:
    """Measures both servers and returns an estimate for the rest of a job.

    `done` is the number of rows that the target already has, by collection. If a server refuses a
    call, the estimate has a problem instead of a speed.
    """
    proves = config.env.verify not in ("none", "count")
    by_size = _readable_by_size(plan)
    source = Client(config.source_endpoint, SURVEY)
    problems: list[str] = []
    widths: dict[str, float] = {}
    read: Speed | None = None
    written: Speed | None = None
    try:
        for collection in by_size[:MEASURED]:
            widths[collection.name] = _row_width(source, collection)
        if by_size:
            read, rows = _measure_reading(source, by_size[0], config.source.batch_size)
            if write:
                written = _measure_writing(config, by_size[0], rows)
    except MigrationError as error:
        problems.append(f"{error}")
    finally:
        source.close()
    workers = config.env.parallelism
    sizes = tuple(
        _size(collection, collection.rows - done.get(collection.name, 0), widths, workers)
        for collection in plan.collections
    )
    return Estimate(sizes, read, written, proves, tuple(problems), workers)


def _readable_by_size(plan: Plan) -> list[CollectionPlan]:
    """Returns the loaded collections that have rows, the largest first."""
    readable = (
        collection
        for collection in plan.collections
        if collection.rows and collection.source.loaded is not False
    )
    return sorted(readable, key=lambda collection: -collection.rows)


def cut_ranges(config: JobConfig, plan: Plan) -> Iterator[KeyRange]:
    """Yields the key ranges of every collection as a run would cut them; records nothing."""
    source = Client(config.source_endpoint, SURVEY)
    try:
        for collection in plan.collections:
            yield from cut(source, collection, workers=config.env.parallelism)
    finally:
        source.close()


def _row_width(source: Client, plan: CollectionPlan) -> float:
    """Returns the mean bytes of a row in memory, measured on the first page."""
    rows = _reader(source, plan).page(_first(plan))
    return rows.nbytes / rows.num_rows if rows.num_rows else 0.0


def _measure_reading(
    source: Client, plan: CollectionPlan, page_rows: int
) -> tuple[Speed, pa.Table]:
    """Reads for `READ_S` and returns the speed of one stream, and the rows."""
    started = time.perf_counter()
    pages = _reader(source, plan, page_rows).scan(_first(plan))
    first = next(pages)[1]
    began, batches = time.perf_counter(), []
    for _, rows in pages:
        batches.append(rows)
        if time.perf_counter() - began > READ_S:
            break
    if not any(batch.num_rows for batch in batches):
        return _speed([first], started), pa.Table.from_batches([first])
    # The first page is not timed: it is small, and it waits for all earlier writes.
    return _speed(batches, began), pa.Table.from_batches([first, *batches])


def _speed(batches: list[pa.RecordBatch], began: float) -> Speed:
    rows, size = (sum(getattr(batch, n) for batch in batches) for n in ("num_rows", "nbytes"))
    return Speed(rows, size, time.perf_counter() - began)


def _measure_writing(config: JobConfig, plan: CollectionPlan, rows: pa.Table) -> Speed:
    """Writes rows for `WRITE_S` into a scratch collection and returns the speed of one stream.

    Raises:
        MigrationError: the target refuses to create the scratch collection, or rejects the rows.
    """
    target = Client(config.target_endpoint, SURVEY)
    batches = [_convert(batch, plan, config.sink.batch_size) for batch in rows.to_batches()]
    count = size = 0
    try:
        with scratch(target, config.job_id, plan.wanted, beside=plan.target) as name:
            began = time.perf_counter()
            for piece in (piece for batch in batches for piece in batch):
                target.insert(name, "", plan.written, piece)
                count, size = count + piece.num_rows, size + piece.nbytes
                if time.perf_counter() - began > WRITE_S:
                    break
            return Speed(count, size, time.perf_counter() - began)
    finally:
        target.close()


def _convert(rows: pa.RecordBatch, plan: CollectionPlan, request_rows: int) -> list[pa.RecordBatch]:
    """Returns the rows as requests of the target; none if they cannot be converted."""
    whole = KeyRange(plan.name)
    try:
        requests = list(pieces(Batch(whole, whole, rows), plan, request_rows))
    except DataError:
        return []  # The run reports such rows, with their keys.
    return [batch.rows for batch in requests if batch.rows is not None and batch.rows.num_rows]


def _reader(source: Client, plan: CollectionPlan, page_rows: int = 1_000) -> Reader:
    return Reader(
        source,
        plan.name,
        plan.read,
        page_rows=page_rows,
        where=plan.shape.where,
        snapshot=plan.snapshot,
    )


def _first(plan: CollectionPlan) -> KeyRange:
    return KeyRange(plan.name, partition=[*plan.chosen_partitions, ""][0])


def _size(plan: CollectionPlan, rows: int, widths: dict[str, float], workers: int) -> JobSize:
    row_bytes = widths.get(plan.name)
    if row_bytes is None and widths:
        row_bytes = sum(widths.values()) / len(widths)
    return estimate.job_size(plan.name, max(0, rows), row_bytes, workers=workers)
