"""Completes a collection once its rows are there: flush, indexes, load, aliases, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import apache_beam as beam

from transforms.errors import AccessDenied, Busy, Refused, ServerError
from transforms.ledger import temporary_changes, worker_limits
from transforms.ledger.ledger import Finished, Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.ledger.temporary_changes import LOAD_TIMEOUT_S
from transforms.milvus import features, index_types
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Description, Index, lacking
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

FLUSH_TIMEOUT_S = 600.0

STALL_S = 3600.0
"""Indexing takes what it takes; it ends early only when the server says that it failed, or makes no
progress for so long."""

_POLL_S = 0.2


@dataclass(eq=False)
class Finish(beam.PTransform):
    """Completes each named collection; emits the names of those that are complete.

    A collection of which a range failed is left as it is, for the next run; one that cannot be
    completed does not stop the others. Done twice, it changes nothing.

    Attributes:
        create_index: whether the source's indexes are made.
        prove: whether the target must be loaded at the end, for verification.
        touch: whether the target may be changed; if not, it is only counted.
        last: whether the job writes no more rows, so that temporary changes can be restored that
            an index would make permanent.
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
        # All collections are sealed before the first is waited for: the server builds their
        # indexes meanwhile, and the workers share the waiting. They are dealt out by name, which
        # is a grouping: after a Reshuffle here Flink would drop that of Verify, silently, and all
        # of a collection would be compared by one subtask.
        return (
            names
            | "Seal" >> beam.ParDo(_Seal(self))
            | "Deal out" >> beam.Distinct()
            | "Complete" >> beam.ParDo(_Complete(self))
        )


class _FinishStep(beam.DoFn):
    """One step for one collection; an error ends the collection, not the others."""

    def __init__(self, finish: Finish) -> None:
        self._finish, self._ledger = finish, finish.ledger

    def process(self, name: str) -> Iterator[str]:
        source = worker_limits.connect_unlimited(self._finish.source, self._ledger, "source")
        target = worker_limits.connect_unlimited(self._finish.target, self._ledger, "target")
        try:
            if self._done(source, target, self._finish.plan[name]):
                yield name
        except ServerError as error:
            self._ledger.set_status(name, "failed")
            self._ledger.finish(self._failed(name, str(error)))
        finally:
            source.close()
            target.close()

    def _failed(self, name: str, why: str) -> Finished:
        """A collection that could not be counted again is as complete as it was."""
        before = self._ledger.finished(name)
        if self._finish.touch or before is None or before.failed:
            return Finished(name, None, None, 0.0, time.time(), why)
        return replace(before, rows_source=None, rows_target=None, at=time.time(), uncounted=why)

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        """Does the step; returns whether the next one follows."""
        raise NotImplementedError


class _Seal(_FinishStep):
    """Flushes a collection that is there as a whole, and has its indexes begun."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        acknowledged = Acknowledged(self._ledger)
        acknowledged.refresh()
        planned = self._ledger.frozen(plan.name)
        if planned is None:
            return False  # It could not be cut; the ledger has the reason.
        if any(acknowledged.missing(each) for each in planned):
            self._ledger.set_status(plan.name, "failed")
            return False
        if self._finish.touch:
            if self._wrote(plan.name, planned, acknowledged):
                self._ledger.set_status(plan.name, "flushing")
                target.flush(plan.target, timeout_s=FLUSH_TIMEOUT_S)
            if self._finish.last:
                temporary_changes.restore_isolated(self._ledger, target, plan)
            if self._finish.create_index:
                create_indexes(target, plan)  # What is refused is asked for again at the end.
        return True

    def _wrote(self, name: str, planned: list[KeyRange], acknowledged: Acknowledged) -> bool:
        """Whether rows were written or deleted since the collection was finished last.

        Servers allow one flush of a collection in 10 s. The receipts of a sync are of rows that
        were read; its verdicts say what was written.
        """
        before = self._ledger.finished(name)
        since = before.at if before and not before.failed else 0.0
        if self._finish.plan.copies:
            return not since or acknowledged.latest(planned) >= since
        return any(change.at >= since for change in self._ledger.changes(planned))


class _Complete(_FinishStep):
    """Waits for the indexes, loads the collection, gives it its aliases and counts both sides."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        started = time.monotonic()
        readable, refused = True, self._refused_before(plan)
        if self._finish.touch:
            refused = self._index(target, plan)
            readable = self._load(target, plan, refused)
            # Last, so that whoever asks for an alias finds what can be searched.
            refused |= reasons(create_aliases(target, plan))
        rows_source = None
        if temporary_changes.readable(source, plan.name):
            rows_source = source.count(plan.name, where=plan.shape.where)
        # Among rows of others, a count of all says nothing.
        rows_target = target.count(plan.target) if readable and not plan.append else None
        seconds = time.monotonic() - started
        counted = Finished(plan.name, rows_source, rows_target, seconds, time.time())
        self._ledger.finish(
            replace(counted, found=self._found(target, plan, refused), refused=refused)
        )
        return readable

    def _found(
        self, target: Client, plan: CollectionPlan, refused: Collection[str]
    ) -> dict[str, str]:
        """Lists what the target has, as it is left: unloaded again where it was only lent."""
        there = plan.closed(target.describe(plan.target))
        there = replace(there, indexes=_complete(target, plan, refused))
        lent = temporary_changes.is_recorded(
            self._ledger, temporary_changes.loaded("target", plan.target)
        )
        return features.listed(replace(there, loaded=False) if lent else there)

    def _refused_before(self, plan: CollectionPlan) -> dict[str, str]:
        before = self._ledger.finished(plan.name)
        return before.refused if before else {}

    def _index(self, target: Client, plan: CollectionPlan) -> dict[str, str]:
        """Waits for the indexes; returns why there are none of those that do not come."""
        refused = reasons(create_indexes(target, plan)) if self._finish.create_index else {}
        return refused | wait_for_indexes(target, plan, partial(self._ledger.set_status, plan.name))

    def _load(self, target: Client, plan: CollectionPlan, refused: Collection[str]) -> bool:
        """Returns whether the target can be read now."""
        # Milvus loads only a collection whose vectors all have an index.
        usable = replace(plan.wanted, indexes=_complete(target, plan, refused))
        if usable.unindexed or not (self._finish.prove or plan.load):
            return False
        tell = partial(self._ledger.set_status, plan.name, "loading")
        tell()
        if plan.load:
            temporary_changes.forget(self._ledger, temporary_changes.loaded("target", plan.target))
        else:
            temporary_changes.record_load(self._ledger, target, "target", plan.target)
        load(target, plan, on_progress=lambda percent: tell(percent, 100))
        return True


def load(
    target: Client, plan: CollectionPlan, on_progress: Callable[[int], None] | None = None
) -> None:
    """Loads a collection with as many replicas as the source has, or the server's default.

    The default is used if the source has one replica, or the target too few nodes. A collection
    that is loaded keeps its replicas; what it lacks of its partitions is loaded.
    """
    there = target.describe(plan.target)
    began = _begin_load(target, plan, there)
    wait = target.wait_for_load if began else target.load
    wait(plan.target, timeout_s=LOAD_TIMEOUT_S, on_progress=on_progress)


def _begin_load(target: Client, plan: CollectionPlan, there: Description) -> bool:
    """Begins to load a collection if that needs more than the default; returns whether it did."""
    if there.loaded:
        return _load_rest(target, there)
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


def _load_rest(target: Client, there: Description) -> bool:
    """Loads the partitions that a loaded collection lacks; returns whether there are any."""
    named = () if there.partition_key or len(there.partitions) < 2 else there.partitions
    lacking = any(target.loaded(there.name, each) is False for each in named)
    if lacking:
        # Before 2.6.6 another number than that of the loaded partitions is refused.
        target.begin_load(there.name, there.replicas if there.replicas > 1 else 0)
    return lacking


Refusals = dict[str, Refused | AccessDenied]
"""What a target does not make of that which is asked, by feature."""


def reasons(refusals: Refusals) -> dict[str, str]:
    """Says in the server's words why there is no such feature."""
    return {
        feature: f"the target refuses it: {error.call}: {' '.join(error.detail.split())}"
        for feature, error in refusals.items()
    }


def create_indexes(target: Client, plan: CollectionPlan) -> Refusals:
    """Makes the indexes that are missing, with the source's exact parameters."""
    refusals: Refusals = {}
    for wanted in lacking(plan.wanted.indexes, target.indexes(plan.target)):
        try:
            _create_index(target, plan, wanted)
        except (Refused, AccessDenied) as error:
            refusals[wanted.feature] = error
    return refusals


def _create_index(target: Client, plan: CollectionPlan, wanted: Index) -> None:
    """Makes an index; what can only be altered later and is not is `changed` in the report."""
    first, later = index_types.in_steps(wanted, plan.wanted.vectors)
    target.create_index(plan.target, first)
    for pair in later:
        with suppress(Refused, AccessDenied):
            target.alter_index(plan.target, first, (pair,))


def wait_for_indexes(
    target: Client, plan: CollectionPlan, tell: Callable[[str, int, int], None]
) -> dict[str, str]:
    """Waits until the server has built a collection's indexes.

    Returns why it does not build some of those that are wanted, by feature.
    """
    before, changed = (-1, -1), time.monotonic()
    stalled = ""
    while not stalled and (progress := target.indexing(plan.target)) != (0, 0):
        tell("indexing", *progress)
        if progress != before:
            before, changed = progress, time.monotonic()
        elif time.monotonic() - changed > STALL_S:
            stalled = f"it has not grown for {STALL_S / 60:.0f} minutes"
        time.sleep(_POLL_S)
    left = {each.place: why or stalled for each, why in target.unbuilt(plan.target).items()}
    return {
        index.feature: f"the target does not build it: {' '.join(left[index.place].split())}"
        for index in plan.wanted.indexes
        if left.get(index.place)
    }


def create_aliases(target: Client, plan: CollectionPlan) -> Refusals:
    """Gives the collection the aliases that it does not have yet."""
    refusals: Refusals = {}
    there = target.describe(plan.target).aliases if plan.wanted.aliases else ()
    for wanted in plan.wanted.aliases:
        if wanted not in there:
            try:
                target.create_alias(plan.target, wanted)
            except (Refused, AccessDenied) as error:
                refusals[f"aliases.{wanted}"] = error
    return refusals


def _complete(target: Client, plan: CollectionPlan, refused: Collection[str]) -> tuple[Index, ...]:
    """Returns the indexes that are there, without those that failed or do not come to their end."""
    given_up = {index.place for index in plan.wanted.indexes if index.feature in refused}
    unbuilt = target.unbuilt(plan.target).items()
    without = {each for each, failed in unbuilt if failed or each.place in given_up}
    return tuple(index for index in target.indexes(plan.target) if index not in without)
