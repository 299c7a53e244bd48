"""Completes a collection once its rows are there: flush, indexes, aliases, load, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import apache_beam as beam

from transforms import pacing
from transforms.errors import Busy, Refused, ServerError, Unreachable
from transforms.ledger import Finished, Ledger
from transforms.milvus import features
from transforms.milvus.channel import AT_ONCE
from transforms.milvus.client import Client
from transforms.milvus.description import lacking
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan
from transforms.receipts import Acknowledged

FLUSH_TIMEOUT_S = 600.0
LOAD_TIMEOUT_S = 24 * 3600.0
"""Loading and indexing take what they take; they end early only when the server says that it
failed, or makes no progress for `STALL_S`."""

STALL_S = 3600.0
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
    """

    source: Endpoint
    target: Endpoint
    plan: Plan
    ledger: Ledger
    create_index: bool
    prove: bool
    touch: bool = True

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


class _Step(beam.DoFn):
    """One step for one collection; an error ends the collection, not the others."""

    def __init__(self, finish: Finish) -> None:
        self._finish, self._ledger = finish, finish.ledger

    def process(self, name: str) -> Iterator[str]:
        source = pacing.visit(self._finish.source, self._ledger, "source")
        target = pacing.visit(self._finish.target, self._ledger, "target")
        try:
            if self._done(source, target, self._finish.plan[name]):
                yield name
        except ServerError as error:
            self._ledger.tell(name, "failed")
            self._ledger.finish(Finished(name, None, None, 0.0, time.time(), str(error)))
        finally:
            source.close()
            target.close()

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        """Does the step; returns whether the next one follows."""
        raise NotImplementedError


class _Seal(_Step):
    """Flushes a collection that is there as a whole, and has its indexes begun."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        acknowledged = Acknowledged(self._ledger)
        acknowledged.refresh()
        planned = self._ledger.frozen(plan.name)
        if planned is None:
            return False  # It could not be cut; the ledger has the reason.
        if any(acknowledged.missing(each) for each in planned):
            self._ledger.tell(plan.name, "failed")
            return False
        if self._finish.touch:
            self._ledger.tell(plan.name, "flushing")
            target.flush(plan.target, timeout_s=FLUSH_TIMEOUT_S)
            if self._finish.create_index:
                begin_indexes(target, plan)
            alias(target, plan)
        return True


class _Complete(_Step):
    """Waits for the indexes, loads the collection and counts both sides."""

    def _done(self, source: Client, target: Client, plan: CollectionPlan) -> bool:
        started = time.monotonic()
        readable = self._load(target, plan) if self._finish.touch else True
        rows_source = source.count(plan.name, where=plan.shape.where)
        # Among rows of others, a count of all says nothing.
        rows_target = target.count(plan.target) if readable and not plan.append else None
        seconds = time.monotonic() - started
        found = _found(target, plan)
        self._ledger.finish(
            Finished(plan.name, rows_source, rows_target, seconds, time.time(), found=found)
        )
        return readable

    def _load(self, target: Client, plan: CollectionPlan) -> bool:
        """Returns whether the target can be read now."""

        def tell(phase: str, done: int = 0, total: int = 0) -> None:
            self._ledger.tell(plan.name, phase, done, total)

        wait_for_indexes(target, plan, tell)
        if not ((self._finish.prove or plan.load) and _loadable(target, plan)):
            return False
        tell("loading")
        load(target, plan, told=lambda percent: tell("loading", percent, 100))
        return True


def _found(target: Client, plan: CollectionPlan) -> dict[str, str]:
    """Lists what the target has, as it is left: unloaded again where it was loaded for proof."""
    there = plan.closed(target.describe(plan.target))
    return features.listed(there if plan.load else replace(there, loaded=False))


def load(target: Client, plan: CollectionPlan, told: Callable[[int], None] | None = None) -> None:
    """Loads a collection as often as the source has it, or once where the nodes are too few."""
    loaded = target.describe(plan.target).replicas
    many = loaded or plan.wanted.replicas
    if many > 1 and not loaded:
        quick = Client(target.endpoint, AT_ONCE)
        try:
            quick.begin_load(plan.target, many)
        except (Refused, Busy):
            many = 1
        finally:
            quick.close()
    target.load(plan.target, timeout_s=LOAD_TIMEOUT_S, replicas=max(many, 1), told=told)


def begin_indexes(target: Client, plan: CollectionPlan) -> None:
    """Makes the indexes that are missing, with the source's exact parameters.

    Raises:
        Refused: the target does not take an index.
    """
    for wanted in lacking(plan.wanted.indexes, target.indexes(plan.target)):
        target.create_index(plan.target, wanted)


def wait_for_indexes(
    target: Client, plan: CollectionPlan, tell: Callable[[str, int, int], None]
) -> None:
    """Waits until the server has built a collection's indexes.

    Raises:
        Refused: it could not.
        Unreachable: it makes no progress.
    """
    before, changed = (-1, -1), time.monotonic()
    while (progress := target.indexing(plan.target)) != (0, 0):
        tell("indexing", *progress)
        if progress != before:
            before, changed = progress, time.monotonic()
        elif time.monotonic() - changed > STALL_S:
            raise Unreachable(
                target.endpoint.url,
                "CreateIndex",
                f"no index of {plan.target} has grown for {STALL_S / 60:.0f} minutes",
            )
        time.sleep(_POLL_S)


def alias(target: Client, plan: CollectionPlan) -> None:
    """Gives the collection the aliases that it does not have yet."""
    there = target.describe(plan.target).aliases
    for wanted in plan.wanted.aliases:
        if wanted not in there:
            target.create_alias(plan.target, wanted)


def _loadable(target: Client, plan: CollectionPlan) -> bool:
    """Milvus loads only a collection whose vectors all have an index."""
    return not replace(plan.wanted, indexes=target.indexes(plan.target)).unindexed
