"""What a collection gets after its rows: indexes, memory, aliases. Doing it twice is safe."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress

from transforms.errors import AccessDenied, Busy, Refused
from transforms.milvus import codes, index_types
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import LOAD_STALL_S, Client, OnProgress
from transforms.milvus.description import Description, Index, missing_indexes
from transforms.plan import CollectionPlan

STALL_S = 600.0
"""Indexing may take hours. It is given up if the server reports a failure, or makes no progress for
this long."""

_POLL_S = 0.2

SetStatus = Callable[[str, int, int], None]
"""Reports a phase, and how much of it is done of how much."""


def load(
    target: Client,
    plan: CollectionPlan,
    on_progress: OnProgress = None,
    stall_s: float = LOAD_STALL_S,
) -> None:
    """Loads a collection with as many replicas as the source has, or the server's default.

    The default applies if the source has one replica or the target has too few nodes. A loaded
    collection keeps its replicas; its released partitions are loaded.
    """
    existing = target.describe(plan.target)
    began = _begin_load(target, plan, existing)
    wait = target.wait_for_load if began else target.load
    wait(plan.target, on_progress=on_progress, stall_s=stall_s)


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


def wait_for_indexes(target: Client, plan: CollectionPlan, set_status: SetStatus) -> dict[str, str]:
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
        taken = error.code == codes.ALIAS_TAKEN
        if not taken or target.resolve(target.beside(collection, alias)):
            raise
        target.alter_alias(collection, alias)


def complete_indexes(
    target: Client, plan: CollectionPlan, refused: Collection[str]
) -> tuple[Index, ...]:
    """Returns the built indexes of the target, without those that failed or are stalled."""
    given_up = {index.place for index in plan.wanted.indexes if index.feature in refused}
    unbuilt = target.unbuilt(plan.target).items()
    without = {index for index, failed in unbuilt if failed or index.place in given_up}
    return tuple(index for index in target.indexes(plan.target) if index not in without)
