"""Verifies, range by range, that the target has the rows that it acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import apache_beam as beam

from transforms import counters, fingerprint
from transforms.errors import DataError, ServerError
from transforms.ledger import temporary_changes, worker_limits
from transforms.ledger.ledger import Ledger, Verdict
from transforms.ledger.receipts import Acknowledged
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import loses_rows
from transforms.milvus.versions import returns_newest
from transforms.plan import Plan
from transforms.range_comparison import Comparison, RangeMethod
from transforms.ranges import KeyRange

Method = Literal["full", "sample", "count"]

SyncMode = Literal["", "keep", "all"]

SAMPLED_ONE_IN = 10
"""``sample`` fingerprints one of this many ranges, beginning with the first."""


@dataclass(eq=False)
class Verify(beam.PTransform):
    """Compares each range of the named collections with its receipts; emits one verdict per range.

    ``full`` fingerprints the rows of the target, so that the proof costs one scan of the target and
    none of the source. ``count`` counts rows. ``sample`` fingerprints one range in ten and counts
    the others. If a range is unequal, both sides of this range are read to name the keys.

    With `sync`, an unequal range is first made equal to the source and then compared again; "all"
    deletes extra keys, "keep" leaves them.

    With `auto_load`, the source is loaded for the job if a comparison needs it.
    """

    source: Endpoint
    target: Endpoint
    plan: Plan
    ledger: Ledger
    method: Method
    run_id: str
    sync: SyncMode = ""
    auto_load: bool = False

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[Verdict]:
        return (
            names
            | "List ranges" >> beam.FlatMap(range_tasks, self.plan, self.ledger, self.method)
            | "Spread" >> beam.Reshuffle()
            | "Compare" >> beam.ParDo(_Compare(self))
        )


RangeTask = tuple[KeyRange, RangeMethod]
"""A range, and how it is compared."""


def range_tasks(name: str, plan: Plan, ledger: Ledger, method: Method) -> Iterator[RangeTask]:
    """Yields the ranges of a collection, each with its comparison method."""
    for place, planned in enumerate(_ranges(name, plan, ledger)):
        if method == "sample":
            yield planned, "count" if place % SAMPLED_ONE_IN else "full"
        else:
            yield planned, method


def _ranges(name: str, plan: Plan, ledger: Ledger) -> list[KeyRange]:
    frozen = ledger.frozen(name) or []
    if not plan[name].new_ids:
        return frozen
    # With new IDs, the target has other keys than the ranges, so the unit is a partition.
    return [KeyRange(name, partition=partition) for partition in plan[name].partitions]


class _Compare(beam.DoFn):
    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._compared = counters.counter("compared_ranges")
        self._unequal = counters.counter("unequal_ranges")

    def setup(self) -> None:
        self._comparer = RangeComparer(self._verify)

    def start_bundle(self) -> None:
        self._comparer.refresh()

    def teardown(self) -> None:
        self._comparer.close()

    def process(self, task: RangeTask) -> Iterator[Verdict]:
        verdict = self._comparer.judge(*task)
        self._compared.inc()
        self._unequal.inc(not verdict.equal)
        yield verdict


class RangeComparer:
    """Compares ranges with their receipts, over its own connections; for one thread at a time."""

    def __init__(self, verify: Verify) -> None:
        self._plan, self._ledger = verify.plan, verify.ledger
        self._run_id, self._sync, self._auto_load = verify.run_id, verify.sync, verify.auto_load
        self._clients = (
            worker_limits.connect(verify.source, self._ledger, "source"),
            worker_limits.connect(verify.target, self._ledger, "target"),
        )
        versions = [client.version() for client in self._clients]
        self._checked = tuple(map(loses_rows, versions))
        self._decided = returns_newest(versions[0])
        self._comparisons: dict[str, Comparison] = {}
        self.refresh()

    def refresh(self) -> None:
        """Reads the receipts again."""
        self._acknowledged = Acknowledged(self._ledger)
        self._acknowledged.refresh()

    def close(self) -> None:
        """Closes the connections."""
        for client in self._clients:
            client.close()

    def judge(self, planned: KeyRange, method: RangeMethod) -> Verdict:
        """Returns the verdict on a range, and records it; with `sync`, makes it equal first."""
        rows, total = self._sum(planned)
        comparison = self._comparison(planned.collection)
        verdict = comparison.compare(planned, rows, total, method)
        if self._sync and not verdict.equal:
            try:
                result = comparison.sync_range(planned, delete=self._sync == "all")
                verdict = comparison.compare(planned, rows, total, method)
                failed = result.rejected or verdict.failed
                verdict = replace(
                    verdict, written=result.written, deleted=result.deleted, failed=failed
                )
            except (ServerError, DataError) as error:
                verdict = replace(verdict, failed=str(error))
        self._ledger.record_verdict(self._run_id, verdict)
        return verdict

    def _sum(self, planned: KeyRange) -> tuple[int, int]:
        """Returns the number and the fingerprint of the acknowledged rows of a range."""
        within = [planned]
        if self._plan[planned.collection].new_ids:
            frozen = self._ledger.frozen(planned.collection) or []
            within = [piece for piece in frozen if piece.partition == planned.partition]
        rows, total = 0, 0
        for piece in within:
            part_rows, part = self._acknowledged.sum(piece)
            rows, total = rows + part_rows, fingerprint.add(total, part)
        return rows, total

    def _comparison(self, name: str) -> Comparison:
        if name not in self._comparisons:
            self._comparisons[name] = Comparison(
                *self._clients,
                self._plan[name],
                json_by_value=self._plan.json_by_value,
                checked=self._checked,
                decided=self._decided,
                ensure_source=partial(self._ensure_source, name),
            )
        return self._comparisons[name]

    def _ensure_source(self, name: str) -> None:
        source, _ = self._clients
        temporary_changes.ensure_source_readable(
            self._ledger, source, name, may_load=self._auto_load
        )
