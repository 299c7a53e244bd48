"""Completes a collection after its rows are written: flush, indexes, load, aliases, count."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows

from transforms import completion
from transforms.completion import SetStatus
from transforms.errors import ServerError, Stalled
from transforms.ledger import temporary_changes, worker_limits
from transforms.ledger.ledger import Finished, Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.milvus import features
from transforms.milvus.client import LOAD_STALL_S, Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.row_counts import count_rows
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

FLUSH_TIMEOUT_S = 600.0

LATER_STALL_S = 120.0
"""After a load without progress, the target probably has no room: later loads are given up sooner,
so that many collections do not each wait for `LOAD_STALL_S`."""

FINISHED_AT_ONCE = 8
"""Collections that one worker finishes at the same time. A flush takes a second and a load five,
whatever the size of the collection (2.3.5, measured): most of it is waiting."""

PATIENCE_S = 60.0
"""With several collections, those that take longer than this are completed last, so that the others
are proven meanwhile."""


@dataclass(eq=False)
class Finish(beam.PTransform):
    """Completes each named collection; emits the names of those that are complete.

    A collection with a failed range is left for the next run. A collection that cannot be completed
    does not stop the others. The transform is idempotent; its two steps are `Seal` and `Complete`.

    Attributes:
        create_index: whether to create the source's indexes.
        prove: whether the target must be loaded at the end, for verification.
        touch: whether the target may be changed; if not, it is only counted.
        in_turn: the collections that are neither loaded nor counted here, since `VerifyInTurn` does
            both.
        last: whether the job writes no more rows. Then temporary changes that an index would make
            permanent can be restored.
    """

    source: Endpoint
    target: Endpoint
    plan: Plan
    ledger: Ledger
    create_index: bool
    prove: bool
    touch: bool = True
    in_turn: frozenset[str] = frozenset()
    last: bool = False

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[str]:
        complete, _ = names | Seal(self) | Complete(self)
        return complete


Sealed = tuple[str, Iterable[bool]]
"""A collection, and whether the target has stored its rows (once per attempt)."""


@dataclass(eq=False)
class Seal(beam.PTransform):
    """Flushes each named collection whose rows are written, and starts to build its indexes.

    All collections are sealed before the first wait, so that the server builds their indexes at the
    same time and the workers share the wait.
    """

    finish: Finish
    patience_s: float = math.inf

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[Sealed]:
        # They are distributed by name, which is a grouping: after a Reshuffle here, Flink would
        # silently drop that of Verify, and one subtask would compare all ranges of a collection.
        step = _Seal(self.finish, self.patience_s)
        return (
            names
            | "Seal" >> beam.ParDo(step).with_output_types(tuple[str, bool])
            | "Deal out" >> beam.GroupByKey()
        )


@dataclass(eq=False)
class Complete(beam.PTransform):
    """Completes sealed collections; emits the names of those that are complete, and the slow ones.

    A collection that takes longer than `patience_s` is slow: its step ends, the server goes on.
    """

    finish: Finish
    patience_s: float = math.inf

    def expand(
        self, sealed: beam.PCollection[Sealed]
    ) -> tuple[beam.PCollection[str], beam.PCollection[Sealed]]:
        step = _Complete(self.finish, self.patience_s)
        complete, slow = sealed | "Complete" >> beam.ParDo(step).with_outputs(_SLOW, main="done")
        complete.element_type = str
        return complete, slow


_SLOW = "slow"


class _FinishStep(beam.DoFn):
    """One step for each collection of a bundle; an error fails its collection only."""

    def __init__(self, finish: Finish, patience_s: float) -> None:
        self._finish, self._ledger, self._patience_s = finish, finish.ledger, patience_s

    def start_bundle(self) -> None:
        self._pool = ThreadPoolExecutor(FINISHED_AT_ONCE, thread_name_prefix="finish")
        self._outputs: list[Future[_Output | None]] = []
        self._stalled = threading.Event()

    def finish_bundle(self) -> Iterator[_Output]:
        with self._pool:
            for output in self._outputs:
                if (done := output.result()) is not None:
                    yield done

    def _begin(self, name: str, step: _Step) -> None:
        self._outputs.append(self._pool.submit(self._take, name, step))

    def _take(self, name: str, step: _Step) -> _Output | None:
        """Takes the step for one collection; returns what the next step gets, or None."""
        source = worker_limits.connect_unlimited(self._finish.source, self._ledger, "source")
        target = worker_limits.connect_unlimited(self._finish.target, self._ledger, "target")
        try:
            return step(source, target, self._finish.plan[name])
        except ServerError as error:
            self._ledger.finish(self._failed(name, str(error)))
            self._ledger.set_status(name, "failed")
            return None
        finally:
            source.close()
            target.close()

    def _failed(self, name: str, why: str) -> Finished:
        """Returns the failure; a complete collection that cannot be counted stays complete."""
        before = self._ledger.finished(name)
        if self._finish.touch or before is None or before.failed:
            return Finished(name, None, None, 0.0, time.time(), why)
        return replace(before, rows_source=None, rows_target=None, at=time.time(), uncounted=why)

    def _flush(self, target: Client, plan: CollectionPlan, timeout_s: float) -> None:
        self._ledger.set_status(plan.name, "flushing")
        target.flush(plan.target, timeout_s=timeout_s)


_Output = object
"""A WindowedValue, or a TaggedOutput with one: Beam gives neither a type."""


def _output(value: object) -> _Output:
    output: _Output = GlobalWindows.windowed_value(value)
    return output


_Step = Callable[[Client, Client, CollectionPlan], _Output | None]


class _Seal(_FinishStep):
    """Flushes a complete collection and starts to build its indexes."""

    def start_bundle(self) -> None:
        super().start_bundle()
        self._acknowledged = Acknowledged(self._ledger)
        self._acknowledged.refresh()

    def process(self, name: str) -> None:
        self._begin(name, self._seal)

    def _seal(self, source: Client, target: Client, plan: CollectionPlan) -> _Output | None:
        planned = self._ledger.frozen(plan.name)
        if planned is None:
            return None  # The collection could not be cut; the ledger has the reason.
        if any(self._acknowledged.missing(key_range) for key_range in planned):
            self._ledger.set_status(plan.name, "failed")
            return None
        flushed = True
        if self._finish.touch:
            if self._wrote(plan.name, planned):
                flushed = self._flush_in_time(target, plan)
            if self._finish.last:
                temporary_changes.restore_isolated(self._ledger, target, plan)
            if self._finish.create_index:
                completion.create_indexes(
                    target, plan
                )  # Those that the target rejects are retried later.
        return _output((plan.name, flushed))

    def _flush_in_time(self, target: Client, plan: CollectionPlan) -> bool:
        """Flushes a collection; returns False if that takes too long for the others."""
        try:
            self._flush(target, plan, min(FLUSH_TIMEOUT_S, self._patience_s))
        except Stalled:
            if self._patience_s >= FLUSH_TIMEOUT_S:
                raise
            return False
        return True

    def _wrote(self, name: str, planned: list[KeyRange]) -> bool:
        """Returns whether rows were written or deleted since the collection was last finished.

        Servers allow one flush of a collection in 10 s. The receipts of a sync record rows that
        were read; its verdicts record rows that were written.
        """
        before = self._ledger.finished(name)
        since = before.at if before and not before.failed else 0.0
        if self._finish.plan.copies:
            return not since or self._acknowledged.latest(planned) >= since
        return any(change.at >= since for change in self._ledger.changes(planned))


class _Slow(Exception):
    """A collection takes longer to complete than the others should wait for."""


class _Complete(_FinishStep):
    """Waits for the indexes, loads the collection, creates its aliases and counts both sides."""

    def process(self, sealed: Sealed) -> None:
        name, flushed = sealed
        self._begin(name, partial(self._complete, flushed=all(flushed)))

    def _complete(
        self, source: Client, target: Client, plan: CollectionPlan, *, flushed: bool
    ) -> _Output | None:
        started = time.monotonic()
        readable, refused = True, self._refused_before(plan)
        if self._finish.touch:
            set_status = partial(self._set_status, plan.name, started + self._patience_s)
            try:
                if not flushed:
                    self._flush(target, plan, min(FLUSH_TIMEOUT_S, self._patience_s))
                    flushed = True
                refused = self._index(target, plan, set_status)
                readable = self._load(target, plan, refused, set_status)
            except (_Slow, Stalled):
                if time.monotonic() - started < self._patience_s:
                    raise
                slow: _Output = TaggedOutput(_SLOW, _output((plan.name, [flushed])))
                return slow
            # Last, so that an alias always leads to a searchable collection.
            refused |= completion.reasons(completion.create_aliases(target, plan))
        rows_source, rows_target = self._count(source, target, plan, readable=readable)
        seconds = time.monotonic() - started
        counted = Finished(plan.name, rows_source, rows_target, seconds, time.time())
        self._ledger.finish(
            replace(counted, found=self._features(target, plan, refused), refused=refused)
        )
        return _output(plan.name) if readable else None

    def _count(
        self, source: Client, target: Client, plan: CollectionPlan, *, readable: bool
    ) -> tuple[int | None, int | None]:
        """Counts the rows of both sides; None where they cannot be counted."""
        rows_source = rows_target = None
        chosen = plan.chosen_partitions
        if plan.has_rows and temporary_changes.readable(source, plan.name):
            rows_source = count_rows(source, plan.source, chosen, plan.shape.where)
        if plan.name in self._finish.in_turn:
            before = self._ledger.finished(plan.name)
            rows_target = before.rows_target if before else None
        elif readable and not plan.append:  # Rows from elsewhere would be counted too.
            rows_target = count_rows(target, plan.wanted, chosen, collection=plan.target)
        return rows_source, rows_target

    def _set_status(self, name: str, until: float, step: str, done: int, total: int) -> None:
        """Reports the progress of a wait; ends the wait if it takes too long for the others.

        Raises:
            _Slow: it does.
        """
        self._ledger.set_status(name, step, done, total)
        if time.monotonic() > until:
            raise _Slow

    def _features(
        self, target: Client, plan: CollectionPlan, refused: Collection[str]
    ) -> dict[str, str]:
        """Returns the features of the target as the job leaves it: released if loaded for it."""
        existing = plan.closed(target.describe(plan.target))
        existing = replace(existing, indexes=completion.complete_indexes(target, plan, refused))
        is_temporary = temporary_changes.is_recorded(
            self._ledger, temporary_changes.loaded("target", plan.target)
        )
        return features.listed(replace(existing, loaded=False) if is_temporary else existing)

    def _refused_before(self, plan: CollectionPlan) -> dict[str, str]:
        before = self._ledger.finished(plan.name)
        return before.refused if before else {}

    def _index(self, target: Client, plan: CollectionPlan, set_status: SetStatus) -> dict[str, str]:
        """Waits for the indexes; returns why indexes are missing, by feature."""
        refused = (
            completion.reasons(completion.create_indexes(target, plan))
            if self._finish.create_index
            else {}
        )
        return refused | completion.wait_for_indexes(target, plan, set_status)

    def _load(
        self,
        target: Client,
        plan: CollectionPlan,
        refused: Collection[str],
        set_status: SetStatus,
    ) -> bool:
        """Loads the target if needed; returns whether its rows can be read, now or in turn."""
        # Milvus loads a collection only if every vector field has an index.
        usable = replace(plan.wanted, indexes=completion.complete_indexes(target, plan, refused))
        if usable.unindexed or not (self._finish.prove or plan.load):
            return False
        if plan.name in self._finish.in_turn:
            return True
        set_status("loading", 0, 0)
        if plan.load:
            temporary_changes.forget(self._ledger, temporary_changes.loaded("target", plan.target))
        else:
            temporary_changes.record_load(self._ledger, target, "target", plan.target)
        try:
            completion.load(
                target,
                plan,
                on_progress=lambda percent: set_status("loading", percent, 100),
                stall_s=LATER_STALL_S if self._stalled.is_set() else LOAD_STALL_S,
            )
        except Stalled:
            self._stalled.set()
            raise
        return True
