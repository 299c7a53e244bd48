"""Tells how one collection differs between two Milvus, reading both through plain pymilvus.

Nothing of Kitelift is used. Rows are read in closed key ranges whose count(*) fits into one
answer, so neither the order of rows nor repeated keys can hide any; values are compared with
their type and all their bits.

    assert compare.differences(source, target, "docs") == []
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

Key = int | str

# 500 of the widest rows that Milvus allows, 64 kB, are 32 MB: half of what 2.3.5 can send.
_PAGE_KEYS = 500

# No query may return more.
_WINDOW = 16_384

# So many keys are named for one kind of difference.
_NAMED = 5

# What differs between any two collections, or changes by itself.
_OWN = {"field_id", "name"}
_COUNTERS = {"total_rows", "indexed_rows", "pending_index_rows", "state", "index_name"}


def differences(
    source: MilvusClient, target: MilvusClient, name: str, *, target_name: str = ""
) -> list[str]:
    """All differences in words; empty if the target's collection is what the source's is.

    A key that stands more than once in the source is expected once in the target, as the source
    answers it.
    """
    left, right = Reader(source, name), Reader(target, target_name or name)
    found = [*unlike(left.shape(), right.shape())]
    if left.key != right.key or left.partitions() != right.partitions():
        return [*found, "rows: not compared, for the collections are too different"]
    for partition in left.partitions() or [None]:
        found += _row_differences(left, right, partition)
    return found


@dataclass(frozen=True)
class Reader:
    """One collection of one Milvus."""

    client: MilvusClient
    collection: str

    def shape(self) -> dict[str, Any]:
        """Everything but the rows, by what it is."""
        described = self.client.describe_collection(self.collection)
        loaded = self.client.get_load_state(self.collection)["state"]
        return {
            "description": described["description"],
            "shards": described["num_shards"],
            "partition count": described["num_partitions"],
            "consistency level": described["consistency_level_name"],
            "dynamic field": described["enable_dynamic_field"],
            "properties": described["properties"],
            "functions": described["functions"],
            "aliases": sorted(described["aliases"]),
            "partitions": sorted(self.client.list_partitions(self.collection)),
            "load state": str(loaded),
            "fields": [field["name"] for field in described["fields"]],
            **dict(chain.from_iterable(_field_shape(field) for field in described["fields"])),
            **dict(chain.from_iterable(self._indexes())),
        }

    def _indexes(self) -> Iterator[Iterator[tuple[str, Any]]]:
        for name in self.client.list_indexes(self.collection):
            index = self.client.describe_index(self.collection, name)
            yield ((f"index {name}: {k}", v) for k, v in index.items() if k not in _COUNTERS)

    @cached_property
    def key(self) -> str:
        fields = self.client.describe_collection(self.collection)["fields"]
        return next(field["name"] for field in fields if field.get("is_primary"))

    def partitions(self) -> list[str]:
        """Names of the partitions; none where a partition key forbids to ask by name."""
        fields = self.client.describe_collection(self.collection)["fields"]
        if any(field.get("is_partition_key") for field in fields):
            return []
        return sorted(self.client.list_partitions(self.collection))

    def count(self, partition: str | None) -> int:
        """All rows, each copy of a repeated key counted; Strong, so what was written counts."""
        # Without a filter milvus-lite counts the rows of all partitions.
        return self._count(partition, self._anything() if partition else "", "Strong")

    def _anything(self) -> str:
        fields = self.client.describe_collection(self.collection)["fields"]
        text = any(f.get("is_primary") and f["type"] == DataType.VARCHAR for f in fields)
        return f'{self.key} >= ""' if text else f"{self.key} < 0 or {self.key} >= 0"

    def _count(self, partition: str | None, between: str, level: str = "Bounded") -> int:
        return int(self._query(partition, between, ["count(*)"], level)[0]["count(*)"])

    def keys(self, partition: str | None) -> list[Key]:
        """The distinct keys in order, as far as paging shows them."""
        found: list[Key] = []
        while page := self._query(
            partition,
            self._between(found[-1] if found else None, None),
            [self.key],
            "Bounded",
            limit=_WINDOW,
            iterator="True",  # pymilvus hands it on as it is
            reduce_stop_for_best=True,
        ):
            found += sorted({row[self.key] for row in page}, key=_byte_order)
        return found

    def rows(self, partition: str | None) -> dict[Key, dict[str, Any]]:
        """Each row by its key; where a key is repeated, the row that the server answers with."""
        self.count(partition)  # Strong: what was written before is visible from here on
        keys = self.keys(partition)
        edges = [None, *keys[_PAGE_KEYS - 1 : -1 : _PAGE_KEYS], None]
        found: dict[Key, dict[str, Any]] = {}
        for after, upto in pairwise(edges):
            for row in self._closed_range(partition, after, upto):
                found[row[self.key]] = row
        return found

    def _closed_range(
        self, partition: str | None, after: Key | None, upto: Key | None
    ) -> list[dict[str, Any]]:
        between = self._between(after, upto)
        count = self._count(partition, between)
        assert count <= _WINDOW, f"{count} rows of {self.collection} with {between}"
        return self._query(partition, between, ["*"], "Bounded", limit=_WINDOW)

    def repeated(self, partition: str | None, keys: list[Key]) -> Iterator[Key]:
        """The keys, of those given in order, that stand more than once: found by halving."""
        ranges = [(0, len(keys))]
        while ranges:
            first, last = ranges.pop()
            after = keys[first - 1] if first else None
            if self._count(partition, self._between(after, keys[last - 1])) <= last - first:
                continue
            if last - first == 1:
                yield keys[first]
            else:
                middle = (first + last) // 2
                ranges += [(middle, last), (first, middle)]

    def _between(self, after: Key | None, upto: Key | None) -> str:
        lower = [] if after is None else [f"{self.key} > {_literal(after)}"]
        upper = [] if upto is None else [f"{self.key} <= {_literal(upto)}"]
        return " and ".join(lower + upper)

    def _query(
        self, partition: str | None, between: str, fields: list[str], level: str, **extra: Any
    ) -> list[dict[str, Any]]:
        named = {"partition_names": [partition]} if partition else {}
        return self.client.query(
            self.collection,
            filter=between,
            output_fields=fields,
            consistency_level=level,
            **named,
            **extra,
        )


def exact(value: Any) -> Any:
    """A value that equals another one only if both have the same type and the same bits.

    >>> exact(1) == exact(1.0), exact(0.0) == exact(-0.0), exact(float("nan")) == exact(float("nan"))
    (False, False, True)
    >>> exact({"a": [1], "b": None}) == exact({"b": None, "a": [1]})
    True
    """
    match value:
        case float() | np.floating():
            return "float", struct.pack("<d", value)
        case bool() | int() | str() | bytes() | None:
            return type(value).__name__, value
        case Mapping():
            return "object", {name: exact(inner) for name, inner in value.items()}
        case _:
            return "list", [exact(inner) for inner in value]


def _row_differences(left: Reader, right: Reader, partition: str | None) -> Iterator[str]:
    where = f"partition {partition}: " if partition else ""
    expected, found = left.rows(partition), right.rows(partition)
    missing = sorted(expected.keys() - found.keys(), key=_byte_order)
    extra = sorted(found.keys() - expected.keys(), key=_byte_order)
    yield from _named(f"{where}missing in the target", missing)
    yield from _named(f"{where}only in the target", extra)
    yield from _value_differences(where, expected, found)
    if (count := right.count(partition)) != len(found):
        keys = sorted(found, key=_byte_order)
        yield f"{where}{count} rows in the target for {len(found)} keys"
        yield from _named(f"{where}repeated in the target", [*right.repeated(partition, keys)])


def _value_differences(
    where: str, expected: dict[Key, dict[str, Any]], found: dict[Key, dict[str, Any]]
) -> Iterator[str]:
    unequal = [
        key for key in expected.keys() & found.keys() if exact(expected[key]) != exact(found[key])
    ]
    for key in sorted(unequal, key=_byte_order)[:_NAMED]:
        for text in unlike(expected[key], found[key]):
            yield f"{where}key {key!r}: {text}"
    if len(unequal) > _NAMED:
        yield f"{where}{len(unequal)} keys with other values"


def unlike(left: Mapping[str, Any], right: Mapping[str, Any]) -> Iterator[str]:
    for name in [*left, *(right.keys() - left.keys())]:
        if name not in right:
            yield f"{name}: {_short(left[name])} in the source, nothing in the target"
        elif name not in left:
            yield f"{name}: nothing in the source, {_short(right[name])} in the target"
        elif exact(left[name]) != exact(right[name]):
            yield f"{name}: {_short(left[name])} in the source, {_short(right[name])} in the target"


def _named(what: str, keys: list[Key]) -> Iterator[str]:
    if keys:
        more = ", …" if len(keys) > _NAMED else ""
        yield f"{what}: {len(keys)} keys: {', '.join(map(repr, keys[:_NAMED]))}{more}"


def _field_shape(field: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for attribute, value in field.items():
        if attribute not in _OWN:
            plain = value if isinstance(value, dict | bool | int | str) else str(value)
            yield f"field {field['name']}: {attribute}", plain


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _byte_order(key: Key) -> Key | bytes:
    # Milvus compares text as UTF-8.
    return key.encode() if isinstance(key, str) else key


def _literal(key: Key) -> str:
    if isinstance(key, int):
        return str(key)
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    for raw, written in {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.items():
        escaped = escaped.replace(raw, written)
    return f'"{escaped}"'
