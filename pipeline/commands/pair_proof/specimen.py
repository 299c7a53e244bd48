"""A specimen: a small collection with one kind of feature, and which servers support it."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pymilvus import CollectionSchema

from transforms.milvus import features, types
from transforms.milvus.description import Index
from transforms.milvus.versions import ReleaseNumber, Version, has, release

SpecimenRow = dict[str, Any]

OLDEST = release("2.3.7")
"""The assumed version of a server that hides its own: an unknown type can crash it."""


@dataclass(frozen=True)
class Insert:
    """Rows of one insert request. With `flush`, they are sealed before the next one is sent."""

    rows: Sequence[SpecimenRow]
    partition: str = ""
    flush: bool = False


@dataclass(frozen=True)
class Delete:
    """Keys that are deleted after they were inserted."""

    keys: Sequence[int | str]


@dataclass(frozen=True)
class Upsert:
    """Rows that replace those with the same keys."""

    rows: Sequence[SpecimenRow]


SpecimenStep = Insert | Delete | Upsert


@dataclass(frozen=True)
class WantedIndex:
    """An index of a specimen; `name` is "" for the name of the field."""

    field: str
    kind: str
    metric: str = ""
    params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    name: str = ""

    def known_to(self, version: Version) -> bool:
        """Whether a server of this version builds it."""
        if version.lite and "json_path" in self.params:
            return False
        params = {"index_type": self.kind, **self.params}
        pairs = tuple((name, str(value)) for name, value in params.items())
        return features.supports_index(Index(self.field, self.name, pairs), at_least(version))


@dataclass(frozen=True)
class Specimen:
    """One collection: its schema, what is written into it, and its indexes.

    Attributes:
        needs: names of field types (`Array`), and of features as `accept` has them
            (`fields.x.nullable`).
        since: the first Milvus on which it is tried, where `needs` do not say it.
        lite: whether it is tried on milvus-lite, where `needs` do not say it.
        creation: arguments of create_collection.
        searches: texts for full text search by field; both sides must find the same rows.
    """

    name: str
    schema: Callable[[], CollectionSchema]
    steps: Callable[[random.Random], Iterator[SpecimenStep]]
    indexes: tuple[WantedIndex, ...]
    needs: tuple[str, ...] = ()
    since: ReleaseNumber = (2, 3, 0)
    lite: bool = True
    creation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    partitions: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    searches: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def written(self) -> list[SpecimenStep]:
        """Returns what is written, in order: always the same, whoever asks."""
        return list(self.steps(random.Random(self.name)))

    def unknown_to(self, version: Version) -> list[str]:
        """Returns what it needs that a server of this version does not know."""
        version = at_least(version)
        number = version.number or (0, 0, 0)
        missing = [need for need in self.needs if not _knows(version, need)]
        if version.lite and not self.lite:
            missing.append("it")
        if not version.lite and number < self.since:
            missing.append(f"Milvus {'.'.join(map(str, self.since))}")
        return missing

    def indexes_for(self, versions: Sequence[Version]) -> tuple[WantedIndex, ...]:
        """Returns the indexes that servers of all these versions build.

        A vector needs one, so FLAT replaces another of its types; a scalar field does without.
        """
        chosen = []
        for index in self.indexes:
            if all(index.known_to(version) for version in versions):
                chosen.append(index)
            elif index.metric:
                chosen.append(replace(index, kind="FLAT", params={}))
        return tuple(chosen)


def at_least(version: Version) -> Version:
    """Returns the version, or the oldest one that is supported where a server hides its own."""
    return version if version.known else OLDEST


def _knows(version: Version, need: str) -> bool:
    if kind := types.BY_NAME.get(need):
        return kind.lite if version.lite else has(version, *kind.releases)
    feature = features.kind_of(need)
    # milvus-lite has a value of its own for a fixed feature.
    return feature.supported_by(version) and not (version.lite and feature.fixed)
