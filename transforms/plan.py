"""The Plan: what will be created and copied. Values only; `planner` builds them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from transforms.finding import Finding
from transforms.milvus.description import Description, Pairs
from transforms.milvus.features import NO_FUNCTION_CHECK
from transforms.milvus.schema import Schema
from transforms.milvus.snapshot import NO_TIMESTAMP, Snapshot
from transforms.reshape.reshape import AS_IT_IS, Shape

VerifyMethod = Literal["full", "sample", "count", "none"]


@dataclass(frozen=True)
class CollectionPlan:
    """One collection to be copied.

    Attributes:
        source: the collection as the source describes it.
        target: its name in the target.
        wanted: the collection as it should be in the target.
        partitions: read and written one by one; ("",) if a partition key decides; () for no rows.
        rows: ``count(*)`` of the source at `snapshot`, with the filter of `shape`.
        snapshot: the timestamp at which every worker, retry and resume reads the source.
        unreadable: how many of `rows` the source never returns (key 2^63-1 before 2.6.8).
        recomputed: function outputs that the target computes; neither written nor compared.
        while_writing: temporary properties of the target while it is written.
        put_back: the values of these properties before and after.
        new_ids: whether the target makes new primary keys.
        load: whether the target stays loaded at the end.
        append: whether the target may have rows from elsewhere; then only keys of the source are
            compared.
        replaces: what is dropped in the target first: the rows of the collection ("data"), or the
            whole collection ("schema").
        shape: how rows of the source become rows of the target.
        requested_indexes: the indexes of `wanted` that the job file asks for, by feature.
        unfiltered: ``count(*)`` of the source without the filter of `shape`; None if there is no
            filter, or the rows were not counted.
    """

    source: Description
    target: str
    wanted: Description
    partitions: tuple[str, ...]
    rows: int
    new_ids: bool = False
    load: bool = True
    append: bool = False
    replaces: Literal["", "data", "schema"] = ""
    snapshot: Snapshot = NO_TIMESTAMP
    unreadable: int = 0
    recomputed: tuple[str, ...] = ()
    while_writing: Pairs = ()
    put_back: Pairs = ()
    shape: Shape = AS_IT_IS
    unfiltered: int | None = None
    requested_indexes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the collection in the source."""
        return self.source.name

    @property
    def has_rows(self) -> bool:
        """Whether rows are copied, and not only everything else."""
        return self.partitions != ()

    @property
    def chosen_partitions(self) -> tuple[str, ...]:
        """The partitions that are copied, if these are not all; else ()."""
        is_all = self.partitions in (("",), self.source.partitions)
        return () if is_all else self.partitions

    @cached_property
    def read(self) -> Schema:
        """The columns that are read from the source."""
        if self.shape.stages:
            return self.source.columns(self.shape.origins)
        return _without(self.source.schema, self.computed)

    @cached_property
    def written(self) -> Schema:
        """The columns that are written, with the target's types, in the order of the source.

        Without those that the target makes itself: new primary keys and function outputs.
        """
        schema = self.wanted.schema
        left_out = {*self.computed, *([schema.primary.name] if self.new_ids else [])}
        shaped = self.shape.names or self.source.schema.names
        names = (name for name in shaped if name in schema.names)
        return schema.select(name for name in names if name not in left_out)

    @property
    def compared(self) -> Schema:
        """The columns of the target that are compared."""
        return _without(self.wanted.schema, self.computed)

    @property
    def computed(self) -> tuple[str, ...]:
        """The columns that functions of the target compute; none if it has no functions."""
        return tuple(name for name in self.recomputed if name in self.wanted.outputs)

    @property
    def upserts(self) -> bool:
        """Whether rows can be upserted: with an auto-ID key, an upsert makes new keys."""
        return not self.wanted.schema.primary.auto_id

    @property
    def created(self) -> Description:
        """The collection as it is created: without calls to function providers, if so planned.

        All other properties of `while_writing` are set after the collection is created.
        """
        early = [pair for pair in self.while_writing if pair == NO_FUNCTION_CHECK]
        others = [pair for pair in self.wanted.properties if pair[0] not in dict(early)]
        return replace(self.wanted, properties=(*others, *early)) if early else self.wanted

    def closed(self, existing: Description) -> Description:
        """Returns the description of the target with its temporary properties restored."""
        keys = {key for key, _ in self.while_writing}
        others = [pair for pair in existing.properties if pair[0] not in keys]
        return replace(existing, properties=(*others, *self.put_back)) if keys else existing

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in self.__dataclass_fields__}


def _without(schema: Schema, names: Collection[str]) -> Schema:
    return schema.select(name for name in schema.names if name not in names) if names else schema


@dataclass(frozen=True)
class Plan:
    """What one job will create and copy.

    Attributes:
        settings: the settings of the job file that change the result; a resumed job must have the
            same.
        databases: of a job that copies several databases, these and their names in the target; its
            collections are named `database.collection`.
        json_by_value: whether a server rewrites JSON, so that its bytes cannot be compared.
        copies: whether the receipts are of written rows; the receipts of a comparison or a sync are
            of rows that were only read.
    """

    job_id: str
    plan_id: str
    made_at: float
    source_url: str
    target_url: str
    source_version: str
    target_version: str
    collections: tuple[CollectionPlan, ...]
    findings: tuple[Finding, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    json_by_value: bool = False
    copies: bool = True
    databases: Pairs = ()

    @property
    def proven_in_turn(self) -> frozenset[str]:
        """The collections that are loaded only for the proof, if several: one after the other.

        So the target needs room for one of them, not for all.
        """
        released = [plan.name for plan in self.collections if not plan.load]
        return frozenset(released if len(released) > 1 else ())

    def __getitem__(self, name: str) -> CollectionPlan:
        return next(plan for plan in self.collections if plan.name == name)
