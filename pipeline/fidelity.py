"""What a collection has beside its rows: source and target side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from transforms.milvus import types
from transforms.milvus.description import Description, Index, Pairs

_CONSISTENCY = ("Strong", "Session", "Bounded", "Eventually", "Customized")
_FUNCTIONS = ("unknown", "BM25", "TextEmbedding", "Rerank", "MinHash", "MolFingerprint")


@dataclass(frozen=True)
class Feature:
    """One thing that a collection has; "" where that side has none."""

    what: str
    source: str
    target: str

    @property
    def same(self) -> bool:
        """Whether both sides have it alike."""
        return self.source == self.target


def compare(source: Description, wanted: Description) -> tuple[Feature, ...]:
    """Lists what a collection has in the source beside what it was given in the target."""
    left, right = dict(_features(source)), dict(_features(wanted))
    names = [*left, *(name for name in right if name not in left)]
    return tuple(Feature(name, left.get(name, ""), right.get(name, "")) for name in names)


def _features(described: Description) -> Iterator[tuple[str, str]]:
    message = described.message
    for field in message.fields:
        yield f"field {field.name}", _field(message, field)
    for function in message.functions:
        kind = _named(_FUNCTIONS, function.type)
        outputs = ", ".join(function.output_field_names)
        yield f"function {function.name}", f"{kind}, makes {outputs}"
    for index in described.indexes:
        yield f"index {index.name or index.field}", _index(index)
    yield "dynamic field", "yes" if message.enable_dynamic_field else "no"
    yield "partitions", _partitions(described)
    yield "shards", str(described.shards)
    yield "consistency", _named(_CONSISTENCY, described.consistency_level)
    if described.aliases:
        yield "aliases", ", ".join(sorted(described.aliases))
    for key, value in described.properties:
        yield f"property {key}", value


def _field(message: Any, field: Any) -> str:
    marks = {
        "primary key": field.is_primary_key,
        "auto id": field.autoID or (field.is_primary_key and message.autoID),
        "partition key": field.is_partition_key,
        "nullable": field.nullable,
        "default value": field.HasField("default_value"),
    }
    kind = types.name_of(field.data_type)
    if field.element_type:
        kind = f"{kind} of {types.name_of(field.element_type)}"
    params = _pairs(tuple((pair.key, pair.value) for pair in field.type_params))
    return ", ".join(filter(None, [kind, params, *(mark for mark, has in marks.items() if has)]))


def _index(index: Index) -> str:
    params = dict(index.params)
    kind, metric = params.pop("index_type", ""), params.pop("metric_type", "")
    rest = _pairs(tuple(params.items()))
    return " ".join(filter(None, [f"on {index.field}:", kind, metric, rest]))


def _partitions(described: Description) -> str:
    if described.partition_key:
        return f"{described.partition_count} by key {described.partition_key}"
    return ", ".join(sorted(described.partitions)) or str(described.partition_count)


def _named(names: tuple[str, ...], value: int) -> str:
    return names[value] if value < len(names) else f"number {value}"


def _pairs(pairs: Pairs) -> str:
    return " ".join(f"{key}={value}" for key, value in pairs)
