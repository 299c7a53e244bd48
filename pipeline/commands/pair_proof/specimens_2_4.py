"""The specimens of features that came with Milvus 2.4 and 2.5."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, Function, FunctionType

from pipeline.commands.pair_proof import values
from pipeline.commands.pair_proof.specimen import Specimen, SpecimenStep, WantedIndex
from pipeline.commands.pair_proof.specimens import (
    DIM,
    KEY,
    ROWS,
    TEXT,
    VECTOR,
    FieldSpec,
    in_two_segments,
    schema_of,
    tenants,
)

# -- 2.4 ------------------------------------------------------------------------------------------


def _half_schema() -> CollectionSchema:
    return schema_of(
        KEY,
        ("float16", DataType.FLOAT16_VECTOR, {"dim": DIM}),
        ("bfloat16", DataType.BFLOAT16_VECTOR, {"dim": DIM}),
    )


def _half(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {
                "id": key,
                "float16": values.numpy_vector(dice, DIM, np.float16),
                "bfloat16": values.bfloat16_vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


def _sparse_schema() -> CollectionSchema:
    return schema_of(KEY, ("sparse", DataType.SPARSE_FLOAT_VECTOR, {}))


def _sparse(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [{"id": key, "sparse": values.sparse_vector(dice)} for key in range(ROWS)]
    )


def _several_schema() -> CollectionSchema:
    fields: list[FieldSpec] = [
        ("year", DataType.INT64, {"is_clustering_key": True}),
        ("text", DataType.VARCHAR, {**TEXT, "mmap_enabled": True}),
        ("other", DataType.FLOAT_VECTOR, {"dim": 2 * DIM}),
    ]
    return schema_of(KEY, *fields, VECTOR)


def _several(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {
                "id": key,
                "year": 1900 + dice.randrange(120),
                "text": dice.choice(values.OF["text"]),
                "other": values.vector(dice, 2 * DIM),
                "vector": values.vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


# -- 2.5 ------------------------------------------------------------------------------------------

_NULLABLE: dict[str, tuple[DataType, dict[str, Any]]] = {
    **{name: (kind, TEXT if name == "text" else {}) for name, kind in values.SCALARS.items()},
    "json": (DataType.JSON, {}),
    "texts": (
        DataType.ARRAY,
        {"element_type": DataType.VARCHAR, "max_capacity": 12, **TEXT},
    ),
}


def _nullable_schema() -> CollectionSchema:
    fields = ((name, kind, {"nullable": True, **more}) for name, (kind, more) in _NULLABLE.items())
    return schema_of(KEY, *fields, VECTOR, enable_dynamic_field=True)


def _nullable(dice: random.Random) -> Iterator[SpecimenStep]:
    def value(name: str) -> Any:
        if name == "json":
            return {"value": dice.choice(values.JSON)}
        return dice.choices(values.OF["text"], k=3) if name == "texts" else _one(dice, name)

    def row(key: int) -> dict[str, Any]:
        filled = {name: value(name) if dice.random() < 0.5 else None for name in _NULLABLE}
        return {"id": key, **filled, "vector": values.vector(dice, DIM), "more": key}

    yield from in_two_segments([row(key) for key in range(ROWS)])


def _one(dice: random.Random, name: str) -> Any:
    return dice.choice(values.OF[name])


_DEFAULTS: dict[str, Any] = {
    "bool": True, "int8": -8, "int32": 32, "int64": 64, "float": 0.5, "double": 0.1, "text": "none",
}  # fmt: skip


def _defaults_schema() -> CollectionSchema:
    fields: list[FieldSpec] = []
    for name, default in _DEFAULTS.items():
        more = TEXT if name == "text" else {}
        fields.append((name, values.SCALARS[name], {"default_value": default, **more}))
    return schema_of(KEY, *fields, VECTOR)


def _defaults(dice: random.Random) -> Iterator[SpecimenStep]:
    """Every second row leaves all of them out."""

    def row(key: int) -> dict[str, Any]:
        optional = {name: _one(dice, name) if key % 2 else None for name in _DEFAULTS}
        return {"id": key, **optional, "vector": values.vector(dice, DIM)}

    yield from in_two_segments([row(key) for key in range(ROWS)])


_WORDS = ("kite", "milvus", "wind", "rain", "harbour", "vector", "naïve", "世界", "seventeen")


def _full_text_schema() -> CollectionSchema:
    text: FieldSpec = ("text", DataType.VARCHAR, {**TEXT, "enable_analyzer": True})
    schema = schema_of(KEY, text, ("sparse", DataType.SPARSE_FLOAT_VECTOR, {}))
    schema.add_function(
        Function(
            name="words",
            function_type=FunctionType.BM25,
            input_field_names=["text"],
            output_field_names=["sparse"],
        )
    )
    return schema


def _full_text(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [{"id": key, "text": " ".join(dice.choices(_WORDS, k=5))} for key in range(ROWS)]
    )


def _matched_schema() -> CollectionSchema:
    settings = {
        "enable_analyzer": True,
        "enable_match": True,
        "analyzer_params": {"type": "english"},
    }
    return schema_of(KEY, ("text", DataType.VARCHAR, {**TEXT, **settings}), VECTOR)


def worded(dice: random.Random) -> Iterator[SpecimenStep]:
    """Yields rows with a text of five words."""
    rows = [
        {"id": key, "text": " ".join(dice.choices(_WORDS, k=5)), "vector": values.vector(dice, DIM)}
        for key in range(ROWS)
    ]
    yield from in_two_segments(rows)


def _paths_schema() -> CollectionSchema:
    fields: list[FieldSpec] = [("json", DataType.JSON, {}), ("kind", DataType.INT32, {})]
    return schema_of(KEY, *fields, VECTOR)


def _paths(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {
                "id": key,
                "json": {"a": {"b": dice.randrange(99)}, "word": dice.choice(_WORDS)},
                "kind": dice.randrange(5),
                "vector": values.vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


def _isolated_schema() -> CollectionSchema:
    tenant: FieldSpec = ("tenant", DataType.VARCHAR, {"max_length": 32, "is_partition_key": True})
    return schema_of(KEY, tenant, VECTOR)


SPECIMENS_2_4 = (
    Specimen(
        "half_vectors",
        _half_schema,
        _half,
        (WantedIndex("float16", "FLAT", "L2"), WantedIndex("bfloat16", "FLAT", "IP")),
        needs=("Float16Vector", "BFloat16Vector", "several_vectors"),
    ),
    Specimen(
        "sparse_vectors",
        _sparse_schema,
        _sparse,
        (WantedIndex("sparse", "SPARSE_INVERTED_INDEX", "IP", {"drop_ratio_build": 0.0}),),
        needs=("SparseFloatVector",),
    ),
    Specimen(
        "several_vectors",
        _several_schema,
        _several,
        (
            WantedIndex("vector", "HNSW", "COSINE", {"M": 8, "efConstruction": 40}),
            WantedIndex("other", "IVF_FLAT", "L2", {"nlist": 16}),
            WantedIndex("year", "INVERTED"),
            WantedIndex("text", "INVERTED"),
        ),
        needs=("several_vectors", "fields.x.clustering_key", "fields.x.mmap.enabled"),
    ),
    Specimen(
        "nullable_fields",
        _nullable_schema,
        _nullable,
        (WantedIndex("vector", "HNSW", "L2", {"M": 8, "efConstruction": 40}),),
        needs=("fields.x.nullable", "Array", "fields.x.item_max_length"),
    ),
    Specimen(
        "default_values",
        _defaults_schema,
        _defaults,
        (WantedIndex("vector", "AUTOINDEX", "L2"),),
        needs=("fields.x.default_value",),
        since=(2, 5, 0),
    ),
    Specimen(
        "full_text",
        _full_text_schema,
        _full_text,
        (WantedIndex("sparse", "SPARSE_INVERTED_INDEX", "BM25"),),
        needs=("functions.bm25.x", "fields.x.enable_analyzer", "SparseFloatVector"),
        searches={"sparse": "kite wind"},
    ),
    Specimen(
        "text_match",
        _matched_schema,
        worded,
        (WantedIndex("vector", "FLAT", "L2"),),
        needs=("fields.x.enable_match", "fields.x.analyzer_params"),
    ),
    Specimen(
        "json_paths",
        _paths_schema,
        _paths,
        (
            WantedIndex("vector", "HNSW_SQ", "L2", {"M": 8, "sq_type": "SQ8"}),
            WantedIndex("kind", "BITMAP"),
            WantedIndex(
                "json",
                "INVERTED",
                params={"json_path": 'json["a"]["b"]', "json_cast_type": "double"},
                name="a_b",
            ),
        ),
        since=(2, 5, 0),
    ),
    Specimen(
        "isolated_tenants",
        _isolated_schema,
        tenants,
        (WantedIndex("vector", "HNSW", "L2", {"M": 8, "efConstruction": 40}),),
        needs=("partitionkey.isolation", "fields.x.partition_key", "partitions"),
        creation={"num_partitions": 5, "properties": {"partitionkey.isolation": "true"}},
    ),
)
"""Collections that need Milvus 2.4 or 2.5."""
