"""The Plan: what will be created and copied. Values only; `planner` builds them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

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
        wanted: the collection as it is to stand in the target.
        partitions: read and written one by one; ("",) where rows decide their partition themselves.
        rows: ``count(*)`` of the source at `snapshot`, of the rows that `shape` chooses.
        snapshot: when the source is read: all its ranges, by every worker, retry and resume.
        unreadable: rows among them that the source never returns (key 2^63-1 before 2.6.8).
        recomputed: outputs of functions that the target makes itself; neither written nor compared.
        while_writing: properties that the target has only as long as it is written; `put_back` is
            what it has in their place before and after.
        new_ids: whether the target makes new primary keys.
        load: whether the target is left loaded.
        append: whether the target may hold rows of others; only keys of the source are compared.
        replaces: what there is of the target's collection is dropped first: its rows ("data"), or
            all of it ("schema").
        shape: how the rows of the source become those of the target.
        unfiltered: ``count(*)`` of the source without the filter of `shape`; None where there is
            none, or it was not counted.
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

    @property
    def name(self) -> str:
        """The collection's name in the source."""
        return self.source.name

    @cached_property
    def read(self) -> Schema:
        """The columns that are asked of the source: those that the target's are made of."""
        if self.shape.stages:
            return self.source.columns(self.shape.origins)
        return _without(self.source.schema, self.computed)

    @cached_property
    def written(self) -> Schema:
        """The columns that are written, as the target has them; in the order of the source.

        Not what the target makes itself: new primary keys, outputs of functions.
        """
        there = self.wanted.schema
        left_out = {*self.computed, *([there.primary.name] if self.new_ids else [])}
        shaped = self.shape.names or self.source.schema.names
        names = (name for name in shaped if name in there.names)
        return there.select(name for name in names if name not in left_out)

    @property
    def compared(self) -> Schema:
        """The columns that are read of the target to be compared."""
        return _without(self.wanted.schema, self.computed)

    @property
    def computed(self) -> tuple[str, ...]:
        """The columns that the target's functions make; a target without functions makes none."""
        return tuple(name for name in self.recomputed if name in self.wanted.outputs)

    @property
    def upserts(self) -> bool:
        """Whether rows can be written by key: an upsert into automatic keys makes new ones."""
        return not self.wanted.schema.primary.auto_id

    @property
    def created(self) -> Description:
        """The collection as it is created: without the providers of functions, if so planned.

        All other properties of `while_writing` are set once it exists.
        """
        early = [pair for pair in self.while_writing if pair == NO_FUNCTION_CHECK]
        left = [pair for pair in self.wanted.properties if pair[0] not in dict(early)]
        return replace(self.wanted, properties=(*left, *early)) if early else self.wanted

    def closed(self, there: Description) -> Description:
        """Returns a description of the target as it is when it is no longer written."""
        keys = {key for key, _ in self.while_writing}
        left = [pair for pair in there.properties if pair[0] not in keys]
        return replace(there, properties=(*left, *self.put_back)) if keys else there

    def __getstate__(self) -> dict[str, Any]:
        return {key: self.__dict__[key] for key in self.__dataclass_fields__}


def _without(schema: Schema, names: Collection[str]) -> Schema:
    return schema.select(name for name in schema.names if name not in names) if names else schema


@dataclass(frozen=True)
class Finding:
    """One thing that preflight noticed.

    Attributes:
        code: stable; what ``accept`` names.
        where: the server, collection or field.
        what: the fact, in a sentence.
        remedy: what to do; "" where nothing needs doing.
        severity: "error" stops the job.
        acceptable: whether ``accept`` may override an error.
        accepted: whether it did.
    """

    code: str
    where: str
    what: str
    remedy: str = ""
    severity: Literal["error", "warning", "info"] = "error"
    acceptable: bool = False
    accepted: bool = False

    @property
    def stops(self) -> bool:
        """Whether the job must not start because of it."""
        return self.severity == "error" and not self.accepted

    def __str__(self) -> str:
        words = f"{self.where}: {self.what}"
        return f"{words} {self.remedy}" if self.remedy else words


@dataclass(frozen=True)
class Plan:
    """What one job will create and copy.

    `settings` are those of the job file that change the result; a job that goes on must have the
    same. `json_by_value` is set where a server rewrites JSON, so that bytes cannot be compared.
    `copies` is whether the receipts are of rows that were written; those of a comparison or a sync
    are of rows that were only read.
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

    def __getitem__(self, name: str) -> CollectionPlan:
        return next(plan for plan in self.collections if plan.name == name)
