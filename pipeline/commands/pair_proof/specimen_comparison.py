"""Compares a specimen's collection in source and target, value by value and bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.commands.pair_proof.reader import CollectionReader, SpecimenKey
from pipeline.commands.pair_proof.specimen import Delete, Insert, Specimen, Upsert
from pipeline.console.formatting import plural

NAMED_KEYS = 3
"""Number of keys that are named per kind of difference."""

SHOWN_CHARACTERS = 60

DEFAULT_PARTITION = "_default"


def differences(
    specimen: Specimen, source: CollectionReader, target: CollectionReader
) -> Iterator[str]:
    """Yields every difference as a sentence; nothing if the collections are equal.

    A duplicate key of the source must be in the target once.
    """
    yield from _lost(source.shape(), target.shape())
    if source.partitions != target.partitions:
        return
    surviving = keys_by_partition(specimen)
    partitions: Sequence[str | None] = source.partitions or [None]
    for partition in partitions:
        name = partition or DEFAULT_PARTITION
        where = f"partition {partition}: " if len(source.partitions) > 1 else ""
        left, right = source.rows(partition), target.rows(partition)
        unread = _read_as_written(specimen, surviving, name, left)
        yield from (f"{where}{difference}" for difference in unread)
        for field in sorted({name for row in left.values() for name in source.stored - row.keys()}):
            yield f"{where}the source returns rows without {field}, which was not compared"
        yield from (f"{where}{difference}" for difference in _unequal_rows(left, right))
        if (count := target.count(partition)) != len(left):
            yield f"{where}{count} rows in the target, {len(left)} keys in the source"
    for vector, text in specimen.searches.items():
        if source.matches(vector, text) != target.matches(vector, text):
            yield f"full text search of {text!r} in {vector} finds other rows"


def keys_by_partition(specimen: Specimen) -> dict[str, set[SpecimenKey]]:
    """Returns the keys that were written and not deleted, by partition.

    For auto-ID keys, it returns row numbers instead.
    """
    keys_of: dict[str, set[SpecimenKey]] = {}
    key = next(field for field in specimen.schema().fields if field.is_primary)
    for step in specimen.written():
        match step:
            case Insert(rows, partition, _):
                keys = range(len(rows)) if key.auto_id else [row[key.name] for row in rows]
                keys_of.setdefault(partition or DEFAULT_PARTITION, set()).update(keys)
            case Delete(gone):
                keys_of[DEFAULT_PARTITION].difference_update(gone)
            case Upsert():
                pass  # It replaces existing rows.
    return keys_of


def _read_as_written(
    specimen: Specimen,
    surviving: Mapping[str, set[SpecimenKey]],
    partition: str,
    rows: Mapping[SpecimenKey, Any],
) -> Iterator[str]:
    """Checks that the comparison has read from the source what was written into it."""
    written = surviving.get(partition, set())
    automatic = any(field.auto_id for field in specimen.schema().fields)
    if len(written) != len(rows) or not (automatic or written == rows.keys()):
        yield f"{len(written)} keys were written into the source, {len(rows)} were read from it"


def _lost(source: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the target lacks; a newer server may describe more than the source."""
    for name, value in source.items():
        if name not in target:
            yield f"{name}: {_short(value)} in the source, nothing in the target"
        elif target[name] != value and not _regular_key(name, value):
            yield f"{name}: {_short(value)} in the source, {_short(target[name])} in the target"


def _regular_key(name: str, value: Any) -> bool:
    """Whether it is an auto-ID key; on most targets a regular key keeps its ids."""
    return name.endswith(": auto_id") and value is True


def _unequal_rows(
    source: Mapping[SpecimenKey, Mapping[str, Any]], target: Mapping[SpecimenKey, Mapping[str, Any]]
) -> Iterator[str]:
    yield from _named("missing in the target", source.keys() - target.keys())
    yield from _named("only in the target", target.keys() - source.keys())
    both = sorted(source.keys() & target.keys(), key=_byte_order)
    unequal = [key for key in both if exact(source[key]) != exact(target[key])]
    for key in unequal[:NAMED_KEYS]:
        for field in sorted({*source[key], *target[key]}):
            left, right = source[key].get(field), target[key].get(field)
            if exact(left) != exact(right) or (field in source[key]) != (field in target[key]):
                yield f"key {key!r}: {field} is {_short(left)}, in the target {_short(right)}"
    if len(unequal) > NAMED_KEYS:
        yield f"{len(unequal)} keys with other values"


def exact(value: Any) -> Any:
    """Returns a value that equals another only if both have the same type and the same bits.

    >>> exact(1) == exact(1.0), exact(0.0) == exact(-0.0), exact([1]) == exact((1,))
    (False, False, True)
    """
    match value:
        case float() | np.floating():
            return "float", struct.pack("<d", value)
        case bool() | int() | str() | bytes() | None:
            return type(value).__name__, value
        case np.generic():
            return "number", value.tobytes()
        case Mapping():
            return "object", {name: exact(inner) for name, inner in value.items()}
        case _:
            return "list", [exact(inner) for inner in value]


def _named(what: str, keys: set[SpecimenKey]) -> Iterator[str]:
    if keys:
        first = sorted(keys, key=_byte_order)[:NAMED_KEYS]
        more = ", …" if len(keys) > NAMED_KEYS else ""
        number = f"{plural(len(keys), 'key')} {'is' if len(keys) == 1 else 'are'}"
        yield f"{number} {what}: {', '.join(map(repr, first))}{more}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def _byte_order(key: SpecimenKey) -> SpecimenKey | bytes:
    # Milvus compares text as UTF-8.
    return key.encode() if isinstance(key, str) else key
