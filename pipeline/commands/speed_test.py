"""A short trial before a job: how wide rows are, and how fast servers give and take them.

Reads for seconds; writes only when asked to, into a collection of its own that is dropped again.
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
"""Long enough that pages and inserts have found their size."""

MEASURED = 50
"""Collections whose rows are looked at, the largest first; a look takes a query."""


def measure(
    config: JobConfig, plan: Plan, done: Mapping[str, int], *, write: bool = False
) -> Estimate:
    """Tries the servers and returns what that says of what is left of a job.

    A server's no becomes a problem of the estimate. `done` are rows that the target has, by
    collection.
    """
    proves = config.env.verify not in ("none", "count")
    loaded = (
        collection for collection in plan.collections if collection.source.loaded is not False
    )
    by_size = sorted((each for each in loaded if each.rows), key=lambda each: -each.rows)
    source = Client(config.source_endpoint, SURVEY)
    problems: list[str] = []
    widths: dict[str, float] = {}
    read: Speed | None = None
    written: Speed | None = None
    try:
        for each in by_size[:MEASURED]:
            widths[each.name] = width(source, each)
        if by_size:
            read, rows = reading(source, by_size[0], config.source.batch_size)
            if write:
                written = writing(config, by_size[0], rows)
    except MigrationError as error:
        problems.append(f"{error}")
    finally:
        source.close()
    sizes = tuple(
        _size(
            collection,
            collection.rows - done.get(collection.name, 0),
            widths,
            config.env.parallelism,
        )
        for collection in plan.collections
    )
    return Estimate(sizes, read, written, proves, tuple(problems), config.env.parallelism)


def ranges(config: JobConfig, plan: Plan) -> Iterator[KeyRange]:
    """Yields the key ranges of every collection as a run would cut them; records nothing."""
    source = Client(config.source_endpoint, SURVEY)
    try:
        for collection in plan.collections:
            yield from cut(source, collection, workers=config.env.parallelism)
    finally:
        source.close()


def width(source: Client, plan: CollectionPlan) -> float:
    """Returns the bytes of a row in memory: of those on the first page."""
    rows = _reader(source, plan).page(_first(plan))
    return rows.nbytes / rows.num_rows if rows.num_rows else 0.0


def reading(source: Client, plan: CollectionPlan, page_rows: int) -> tuple[Speed, pa.Table]:
    """Reads for `READ_S` and returns the speed of one stream, with the rows."""
    started = time.perf_counter()
    pages = _reader(source, plan, page_rows).scan(_first(plan))
    first = next(pages)[1]
    began, found = time.perf_counter(), []
    for _, rows in pages:
        found.append(rows)
        if time.perf_counter() - began > READ_S:
            break
    if not any(each.num_rows for each in found):
        return _speed([first], started), pa.Table.from_batches([first])
    # The first page is small, and waits for all writes before it.
    return _speed(found, began), pa.Table.from_batches([first, *found])


def _speed(batches: list[pa.RecordBatch], began: float) -> Speed:
    rows, size = (sum(getattr(batch, n) for batch in batches) for n in ("num_rows", "nbytes"))
    return Speed(rows, size, time.perf_counter() - began)


def writing(config: JobConfig, plan: CollectionPlan, rows: pa.Table) -> Speed:
    """Writes rows for `WRITE_S` into a scratch collection and returns the speed of one stream.

    Raises:
        MigrationError: the target does not make such a collection, or refuses the rows.
    """
    target = Client(config.target_endpoint, SURVEY)
    batches = [_shaped(each, plan, config.sink.batch_size) for each in rows.to_batches()]
    count = size = 0
    try:
        with scratch(target, config.job_id, plan.wanted) as name:
            began = time.perf_counter()
            for piece in (piece for batch in batches for piece in batch):
                target.insert(name, "", plan.written, piece)
                count, size = count + piece.num_rows, size + piece.nbytes
                if time.perf_counter() - began > WRITE_S:
                    break
            return Speed(count, size, time.perf_counter() - began)
    finally:
        target.close()


def _shaped(rows: pa.RecordBatch, plan: CollectionPlan, request_rows: int) -> list[pa.RecordBatch]:
    whole = KeyRange(plan.name)
    try:
        cut_up = list(pieces(Batch(whole, whole, rows), plan, request_rows))
    except DataError:
        return []  # What cannot be reshaped is told by the run, with its keys.
    return [each.rows for each in cut_up if each.rows is not None and each.rows.num_rows]


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
    return KeyRange(plan.name)


def _size(plan: CollectionPlan, rows: int, widths: dict[str, float], workers: int) -> JobSize:
    row_bytes = widths.get(plan.name)
    if row_bytes is None and widths:
        row_bytes = sum(widths.values()) / len(widths)
    return estimate.job_size(plan.name, max(0, rows), row_bytes, workers=workers)
