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
"""So many keys are named for one kind of difference."""

SHOWN_CHARACTERS = 60

DEFAULT_PARTITION = "_default"


def differences(
    specimen: Specimen, source: CollectionReader, target: CollectionReader
) -> Iterator[str]:
    """Yields every difference in words; nothing if the target's collection equals the source's.

    A duplicate key of the source is expected once in the target.
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
        yield from (f"{where}{each}" for each in _read_as_written(specimen, surviving, name, left))
        for field in sorted({name for row in left.values() for name in source.stored - row.keys()}):
            yield f"{where}the source returns rows without {field}, which was not compared"
        yield from (f"{where}{each}" for each in _unequal_rows(left, right))
        if (count := target.count(partition)) != len(left):
            yield f"{where}{count} rows in the target, {len(left)} keys in the source"
    for vector, text in specimen.searches.items():
        if source.matches(vector, text) != target.matches(vector, text):
            yield f"full text search of {text!r} in {vector} finds other rows"


def keys_by_partition(specimen: Specimen) -> dict[str, set[SpecimenKey]]:
    """Returns the keys that were written and not deleted.

    Where keys are automatic, numbers stand for them.
    """
    found: dict[str, set[SpecimenKey]] = {}
    key = next(field for field in specimen.schema().fields if field.is_primary)
    for step in specimen.written():
        match step:
            case Insert(rows, partition, _):
                keys = range(len(rows)) if key.auto_id else [row[key.name] for row in rows]
                found.setdefault(partition or DEFAULT_PARTITION, set()).update(keys)
            case Delete(gone):
                found[DEFAULT_PARTITION].difference_update(gone)
            case Upsert():
                pass  # Replaces rows that are there.
    return found


def _read_as_written(
    specimen: Specimen,
    surviving: Mapping[str, set[SpecimenKey]],
    partition: str,
    rows: Mapping[SpecimenKey, Any],
) -> Iterator[str]:
    """Makes sure that the comparison itself has read what was written into the source."""
    written = surviving.get(partition, set())
    automatic = any(field.auto_id for field in specimen.schema().fields)
    if len(written) != len(rows) or not (automatic or written == rows.keys()):
        yield f"{len(written)} keys were written into the source, {len(rows)} were read from it"


def _lost(source: Mapping[str, Any], target: Mapping[str, Any]) -> Iterator[str]:
    """Yields what the target lacks; a newer server may have more to say."""
    for name, value in source.items():
        if name not in target:
            yield f"{name}: {_short(value)} in the source, nothing in the target"
        elif target[name] != value and not _regular_key(name, value):
            yield f"{name}: {_short(value)} in the source, {_short(target[name])} in the target"


def _regular_key(name: str, value: Any) -> bool:
    """Whether it is an automatic key, whose ids a regular key keeps on most targets."""
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
    """A value that equals another one only if both have the same type and the same bits.

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
