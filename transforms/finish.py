"""Completes a collection once its rows are there: flush, indexes, aliases, load, count."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import apache_beam as beam

from transforms.errors import ServerError, Unreachable
from transforms.ledger import Acknowledged, Finished, Ledger
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan

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
        return names | "Complete" >> beam.ParDo(_Finish(self))


class _Finish(beam.DoFn):
    def __init__(self, finish: Finish) -> None:
        self._source, self._target = finish.source, finish.target
        self._plan, self._ledger = finish.plan, finish.ledger
        self._create_index, self._prove = finish.create_index, finish.prove
        self._touch = finish.touch

    def process(self, name: str) -> Iterator[str]:
        acknowledged = Acknowledged(self._ledger)
        acknowledged.refresh()
        if any(acknowledged.missing(planned) for planned in self._ledger.frozen(name) or []):
            self._ledger.tell(name, "failed")
            return
        started = time.monotonic()
        source, target = Client(self._source), Client(self._target)
        try:
            rows_source: int | None
            rows_source, rows_target = self._counts(source, target, self._plan[name])
            failed = ""
        except ServerError as error:
            self._ledger.tell(name, "failed")
            rows_source, rows_target, failed = None, None, str(error)
        finally:
            source.close()
            target.close()
        seconds = time.monotonic() - started
        self._ledger.finish(Finished(name, rows_source, rows_target, seconds, time.time(), failed))
        if rows_target is not None:
            yield name

    def _counts(
        self, source: Client, target: Client, plan: CollectionPlan
    ) -> tuple[int, int | None]:
        """Completes the collection and returns the rows of source and target."""
        readable = self._complete(target, plan) if self._touch else True
        return source.count(plan.name), target.count(plan.target) if readable else None

    def _complete(self, target: Client, plan: CollectionPlan) -> bool:
        """Does the work; returns whether the target can be read now."""

        def tell(phase: str, done: int = 0, total: int = 0) -> None:
            self._ledger.tell(plan.name, phase, done, total)

        tell("flushing")
        target.flush(plan.target, timeout_s=FLUSH_TIMEOUT_S)
        if self._create_index:
            index(target, plan, tell)
        alias(target, plan)
        if not ((self._prove or plan.load) and _loadable(target, plan)):
            return False
        target.load(
            plan.target,
            timeout_s=LOAD_TIMEOUT_S,
            told=lambda percent: tell("loading", percent, 100),
        )
        return True


def index(target: Client, plan: CollectionPlan, tell: Callable[[str, int, int], None]) -> None:
    """Makes the indexes that are missing, with the source's exact parameters, and waits for them.

    Raises:
        Refused: the target does not take an index, or cannot build it.
    """
    there = {each.name for each in target.indexes(plan.target)}
    for wanted in plan.wanted.indexes:
        if wanted.name not in there:
            target.create_index(plan.target, wanted)
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
    vectors = {field.name for field in plan.source.schema.fields if field.type.vector}
    return vectors <= {each.field for each in target.indexes(plan.target)}
