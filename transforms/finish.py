"""Completes a collection after its rows are written: flush, indexes, load, aliases, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.errors import AccessDenied, Busy, Refused, ServerError
from transforms.ledger import temporary_changes, worker_limits
from transforms.ledger.ledger import Finished, Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.milvus import codes, features, index_types
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Index, missing_indexes
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

FLUSH_TIMEOUT_S = 600.0

STALL_S = 600.0
"""Indexing may take hours. It is given up if the server reports a failure, or makes no progress for
this long."""

FINISHED_AT_ONCE = 8
"""Collections that one worker finishes at the same time. A flush takes a second and a load five,
whatever the size of the collection (2.3.5, measured): most of it is waiting."""

_POLL_S = 0.2


@dataclass(eq=False)
class Finish(beam.PTransform):
    """Completes each named collection; emits the names of those that are complete.

    A collection with a failed range is left for the next run. A collection that cannot be completed
    does not stop the others. The transform is idempotent.

    Attributes:
        create_index: whether to create the source's indexes.
        prove: whether the target must be loaded at the end, for verification.
        touch: whether the target may be changed; if not, it is only counted.
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
    last: bool = False

    def expand(self, names: beam.PCollection[str]) -> beam.PCollection[str]:
        # All collections are sealed before the first wait, so that the server builds their indexes
        # at the same time and the workers share the wait. They are distributed by name, which is a
        # grouping: after a Reshuffle here, Flink would silently drop that of Verify, and one
        # subtask would compare all ranges of a collection.
        return (
            names
            | "Seal" >> beam.ParDo(_Seal(self)).with_output_types(str)
            | "Deal out" >> beam.Distinct()
            | "Complete" >> beam.ParDo(_Complete(self)).with_output_types(str)
        )


class _FinishStep(beam.DoFn):
    """One step for each collection of a bundle; an error fails its collection only."""

    def __init__(self, finish: Finish) -> None:
        self._finish, self._ledger = finish, finish.ledger

    def start_bundle(self) -> None:
        self._pool = ThreadPoolExecutor(FINISHED_AT_ONCE, thread_name_prefix="finish")
        self._steps: list[tuple[str, Future[bool]]] = []

    def process(self, name: str) -> None:
        self._steps.append((name, self._pool.submit(self._take, name)))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        with self._pool:
            for name, step in self._steps:
                if step.result():
                    yield GlobalWindows.windowed_value(name)

    def _take(self, name: str) -> bool:
        """Takes the step for one collection; returns whether the next step follows."""
        source = worker_limits.connect_unlimited(self._finish.source, self._ledger, "source")
        target = worker_limits.connect_unlimited(self._finish.target, self._ledger, "target")
        try:
            return self._done(source, target, self._finish.plan[name])
        except ServerError as error:
            self._ledger.set_status(name, "failed")
            self._ledger.finish(self._failed(name, str(error)))
            return False
        finally:
            source.close()
            target.close()

    def _failed(self, name: str, why: str) -> Finished:
        """Returns the failure; a complete collection that cannot be counted stays complete."""
        before = self._ledger.finished(name)
        if self._finish.touch or before is None or before.failed:
            return Finished(name, None, None, 0.0, time.time(), why)
        return replace(before, rows_source=None, rows_target=None, at=time.time(), uncounted=why)

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        """Does the step; returns whether the next step follows."""
        raise NotImplementedError


class _Seal(_FinishStep):
    """Flushes a complete collection and starts to build its indexes."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        acknowledged = Acknowledged(self._ledger)
        acknowledged.refresh()
        planned = self._ledger.frozen(plan.name)
        if planned is None:
            return False  # The collection could not be cut; the ledger has the reason.
        if any(acknowledged.missing(key_range) for key_range in planned):
            self._ledger.set_status(plan.name, "failed")
            return False
        if self._finish.touch:
            if self._wrote(plan.name, planned, acknowledged):
                self._ledger.set_status(plan.name, "flushing")
                target.flush(plan.target, timeout_s=FLUSH_TIMEOUT_S)
            if self._finish.last:
                temporary_changes.restore_isolated(self._ledger, target, plan)
            if self._finish.create_index:
                create_indexes(target, plan)  # Those that the target rejects are retried later.
        return True

    def _wrote(self, name: str, planned: list[KeyRange], acknowledged: Acknowledged) -> bool:
        """Returns whether rows were written or deleted since the collection was last finished.

        Servers allow one flush of a collection in 10 s. The receipts of a sync record rows that
        were read; its verdicts record rows that were written.
        """
        before = self._ledger.finished(name)
        since = before.at if before and not before.failed else 0.0
        if self._finish.plan.copies:
            return not since or acknowledged.latest(planned) >= since
        return any(change.at >= since for change in self._ledger.changes(planned))


class _Complete(_FinishStep):
    """Waits for the indexes, loads the collection, creates its aliases and counts both sides."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        started = time.monotonic()
        readable, refused = True, self._refused_before(plan)
        if self._finish.touch:
            refused = self._index(target, plan)
            readable = self._load(target, plan, refused)
            # Last, so that an alias always leads to a searchable collection.
            refused |= reasons(create_aliases(target, plan))
        rows_source = None
        if temporary_changes.readable(source, plan.name):
            rows_source = source.count(plan.name, where=plan.shape.where)
        # If the target also has rows from elsewhere, their total proves nothing.
        rows_target = target.count(plan.target) if readable and not plan.append else None
        seconds = time.monotonic() - started
        counted = Finished(plan.name, rows_source, rows_target, seconds, time.time())
        self._ledger.finish(
            replace(counted, found=self._features(target, plan, refused), refused=refused)
        )
        return readable

    def _features(
        self, target: Client, plan: CollectionPlan, refused: Collection[str]
    ) -> dict[str, str]:
        """Returns the features of the target as the job leaves it: released if loaded for it."""
        existing = plan.closed(target.describe(plan.target))
        existing = replace(existing, indexes=_complete(target, plan, refused))
        is_temporary = temporary_changes.is_recorded(
            self._ledger, temporary_changes.loaded("target", plan.target)
        )
        return features.listed(replace(existing, loaded=False) if is_temporary else existing)

    def _refused_before(self, plan: CollectionPlan) -> dict[str, str]:
        before = self._ledger.finished(plan.name)
        return before.refused if before else {}

    def _index(self, target: Client, plan: CollectionPlan) -> dict[str, str]:
        """Waits for the indexes; returns why indexes are missing, by feature."""
        refused = reasons(create_indexes(target, plan)) if self._finish.create_index else {}
        return refused | wait_for_indexes(target, plan, partial(self._ledger.set_status, plan.name))

    def _load(self, target: Client, plan: CollectionPlan, refused: Collection[str]) -> bool:
        """Loads the target if needed; returns whether its rows can be read."""
        # Milvus loads a collection only if every vector field has an index.
        usable = replace(plan.wanted, indexes=_complete(target, plan, refused))
        if usable.unindexed or not (self._finish.prove or plan.load):
            return False
        set_status = partial(self._ledger.set_status, plan.name, "loading")
        set_status()
        if plan.load:
            temporary_changes.forget(self._ledger, temporary_changes.loaded("target", plan.target))
        else:
            temporary_changes.record_load(self._ledger, target, "target", plan.target)
        load(target, plan, on_progress=lambda percent: set_status(percent, 100))
        return True


def load(
    target: Client, plan: CollectionPlan, on_progress: Callable[[int], None] | None = None
) -> None:
    """Loads a collection with as many replicas as the source has, or the server's default.

    The default applies if the source has one replica or the target has too few nodes. A loaded
    collection keeps its replicas; its released partitions are loaded.
    """
    existing = target.describe(plan.target)
    began = _begin_load(target, plan, existing)
    wait = target.wait_for_load if began else target.load
    wait(plan.target, on_progress=on_progress)


def _begin_load(target: Client, plan: CollectionPlan, existing: Description) -> bool:
    """Begins a load that differs from the server's default; returns whether it began one."""
    if existing.loaded:
        return _load_released_partitions(target, existing)
    replicas = plan.wanted.replicas
    if replicas < 2 or target.released(plan.target) is False:
        return False
    quick = Client(target.endpoint, NO_RETRIES)
    try:
        quick.begin_load(plan.target, replicas)
    except (Refused, Busy):
        return False
    finally:
        quick.close()
    return True


def _load_released_partitions(target: Client, existing: Description) -> bool:
    """Loads the released partitions of a loaded collection; returns whether it has any."""
    named = () if existing.partition_key or len(existing.partitions) < 2 else existing.partitions
    has_released = any(target.loaded(existing.name, partition) is False for partition in named)
    if has_released:
        # Servers before 2.6.6 reject another number of replicas than the loaded partitions have.
        target.begin_load(existing.name, existing.replicas if existing.replicas > 1 else 0)
    return has_released


Refusals = dict[str, Refused | AccessDenied]
"""The errors of a target that does not create an index or an alias, by feature."""


def reasons(refusals: Refusals) -> dict[str, str]:
    """Returns, in the server's words, why the target does not have these features."""
    return {
        feature: f"the target rejects it: {error.call}: {' '.join(error.detail.split())}"
        for feature, error in refusals.items()
    }


def create_indexes(target: Client, plan: CollectionPlan) -> Refusals:
    """Creates missing indexes with the exact parameters of the source; returns the rejections."""
    refusals: Refusals = {}
    for wanted in missing_indexes(plan.wanted.indexes, target.indexes(plan.target)):
        try:
            _create_index(target, plan, wanted)
        except (Refused, AccessDenied) as error:
            refusals[wanted.feature] = error
    return refusals


def _create_index(target: Client, plan: CollectionPlan, wanted: Index) -> None:
    """Creates an index; the report lists parameters that cannot be altered later as `changed`."""
    first, later = index_types.split_params(wanted, plan.wanted.vectors)
    target.create_index(plan.target, first)
    for pair in later:
        with suppress(Refused, AccessDenied):
            target.alter_index(plan.target, first, (pair,))


def wait_for_indexes(
    target: Client, plan: CollectionPlan, set_status: Callable[[str, int, int], None]
) -> dict[str, str]:
    """Waits until the server has built the indexes of a collection.

    Returns why it does not build some of the wanted indexes, by feature.
    """
    before, changed = (-1, -1), time.monotonic()
    stalled = ""
    while not stalled and (progress := target.indexing(plan.target)) != (0, 0):
        set_status("indexing", *progress)
        if progress != before:
            before, changed = progress, time.monotonic()
        elif time.monotonic() - changed > STALL_S:
            stalled = f"no progress for {STALL_S / 60:.0f} minutes"
        time.sleep(_POLL_S)
    failures = {index.place: why or stalled for index, why in target.unbuilt(plan.target).items()}
    return {
        index.feature: f"the target does not build it: {' '.join(failures[index.place].split())}"
        for index in plan.wanted.indexes
        if failures.get(index.place)
    }


def create_aliases(target: Client, plan: CollectionPlan) -> Refusals:
    """Creates the aliases that the collection does not have yet; returns the rejections."""
    refusals: Refusals = {}
    existing = target.describe(plan.target).aliases if plan.wanted.aliases else ()
    for alias in plan.wanted.aliases:
        if alias not in existing:
            try:
                _create_alias(target, plan.target, alias)
            except (Refused, AccessDenied) as error:
                refusals[f"aliases.{alias}"] = error
    return refusals


def _create_alias(target: Client, collection: str, alias: str) -> None:
    """Creates an alias, also one that a dropped collection has left behind (2.3.5, measured)."""
    try:
        target.create_alias(collection, alias)
    except Refused as error:
        if error.code != codes.ALIAS_TAKEN or target.resolve(alias):
            raise
        target.alter_alias(collection, alias)


def _complete(target: Client, plan: CollectionPlan, refused: Collection[str]) -> tuple[Index, ...]:
    """Returns the built indexes of the target, without those that failed or are stalled."""
    given_up = {index.place for index in plan.wanted.indexes if index.feature in refused}
    unbuilt = target.unbuilt(plan.target).items()
    without = {index for index, failed in unbuilt if failed or index.place in given_up}
    return tuple(index for index in target.indexes(plan.target) if index not in without)
