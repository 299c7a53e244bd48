"""Verifies collections that do not stay loaded: one is loaded, compared and released at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import apache_beam as beam

from transforms.completion import load
from transforms.errors import ServerError, Stalled
from transforms.finish import LATER_STALL_S
from transforms.ledger import temporary_changes, worker_limits
from transforms.ledger.ledger import Finished, Verdict
from transforms.milvus.client import LOAD_STALL_S, Client
from transforms.milvus.row_counts import count_rows
from transforms.plan import CollectionPlan
from transforms.verify import RangeComparer, RangeTask, Verify, range_tasks


@dataclass(eq=False)
class VerifyInTurn(beam.PTransform):
    """Does what `verify` does, for one of the named collections after the other.

    The target has at most one of them in memory for the proof. So one worker verifies all of them,
    `threads` ranges at the same time. A collection that cannot be loaded does not stop the others.
    A collection that others have loaded stays loaded.
    """

    verify: Verify
    threads: int
    touch: bool

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[Verdict]:
        return (
            names
            | "To one worker" >> beam.Map(_keyed).with_output_types(tuple[str, str])
            | "Gather" >> beam.GroupByKey()
            | "Compare in turn" >> beam.ParDo(_InTurn(self))
        )


def _keyed(name: str) -> tuple[str, str]:
    return "", name


class _InTurn(beam.DoFn):
    def __init__(self, in_turn: VerifyInTurn) -> None:
        self._verify, self._threads = in_turn.verify, in_turn.threads
        self._ledger, self._touch = in_turn.verify.ledger, in_turn.touch
        self._stalled = False

    def process(self, group: tuple[str, Iterable[str]]) -> Iterator[Verdict]:
        target = worker_limits.connect_unlimited(self._verify.target, self._ledger, "target")
        try:
            for name in sorted(group[1]):
                yield from self._one(target, self._verify.plan[name])
        finally:
            target.close()

    def _one(self, target: Client, plan: CollectionPlan) -> list[Verdict]:
        """Loads, compares and releases one collection; returns its verdicts."""
        loaded = temporary_changes.loaded("target", plan.target)
        try:
            temporary_changes.record_load(self._ledger, target, "target", plan.target)
            self._ledger.set_status(plan.name, "loading")
            load(target, plan, stall_s=LATER_STALL_S if self._stalled else LOAD_STALL_S)
            verdicts = self._compare(plan)
            # After the comparison: a sync has written rows.
            self._record(plan, rows=None if plan.append else _count(target, plan))
            return verdicts
        except ServerError as error:
            self._stalled = self._stalled or isinstance(error, Stalled)
            self._record_failure(plan, str(error))
            self._ledger.set_status(plan.name, "failed")
            return []
        finally:
            if temporary_changes.is_recorded(self._ledger, loaded):
                with suppress(ServerError):  # It stays recorded; the end of the job restores it.
                    temporary_changes.restore(self._ledger, target, [loaded])

    def _compare(self, plan: CollectionPlan) -> list[Verdict]:
        verify = self._verify
        comparers = _Comparers(verify)
        tasks = range_tasks(plan.name, verify.plan, self._ledger, verify.method)
        try:
            with ThreadPoolExecutor(self._threads, thread_name_prefix="verify") as pool:
                return list(pool.map(comparers.judge, tasks))
        finally:
            comparers.close()

    def _record(self, plan: CollectionPlan, *, rows: int | None) -> None:
        done = self._finished(plan)
        # After a sync, the rows that it wrote are still to be flushed: they must be the newer ones.
        at = done.at if self._verify.sync else time.time()
        self._ledger.finish(replace(done, rows_target=rows, failed="", uncounted="", at=at))

    def _record_failure(self, plan: CollectionPlan, why: str) -> None:
        """Records why a collection was not compared; a complete one stays complete."""
        done = replace(self._finished(plan), rows_target=None, at=time.time())
        self._ledger.finish(
            replace(done, failed=why) if self._touch else replace(done, uncounted=why)
        )

    def _finished(self, plan: CollectionPlan) -> Finished:
        before = self._ledger.finished(plan.name)
        return before or Finished(plan.name, None, None, 0.0, time.time())


def _count(target: Client, plan: CollectionPlan) -> int:
    return count_rows(target, plan.wanted, plan.chosen_partitions, collection=plan.target)


class _Comparers:
    """Comparers of ranges, one for each thread: each has its own connections and readers."""

    def __init__(self, verify: Verify) -> None:
        self._verify = verify
        self._local = threading.local()
        self._all: list[RangeComparer] = []

    def judge(self, task: RangeTask) -> Verdict:
        """Returns the verdict on one range, and records it."""
        if not hasattr(self._local, "comparer"):
            self._local.comparer = RangeComparer(self._verify)
            self._all.append(self._local.comparer)
        comparer: RangeComparer = self._local.comparer
        return comparer.judge(*task)

    def close(self) -> None:
        """Closes all connections."""
        for comparer in self._all:
            comparer.close()
