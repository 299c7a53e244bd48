"""The specimens of features that came with Milvus 2.6 and 3.0."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient

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
)
from pipeline.commands.pair_proof.specimens_2_4 import worded


def _int8_schema() -> CollectionSchema:
    return schema_of(KEY, ("vector", DataType.INT8_VECTOR, {"dim": DIM}))


def _int8(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [{"id": key, "vector": values.numpy_vector(dice, DIM, np.int8)} for key in range(ROWS)]
    )


def _structs_schema() -> CollectionSchema:
    struct = MilvusClient.create_struct_field_schema()
    struct.add_field("page", DataType.INT64)
    struct.add_field("text", DataType.VARCHAR, **TEXT)
    struct.add_field("vector", DataType.FLOAT_VECTOR, dim=DIM)
    schema = schema_of(KEY, VECTOR)
    schema.add_field(
        "chunks",
        DataType.ARRAY,
        element_type=DataType.STRUCT,
        struct_schema=struct,
        max_capacity=8,
    )
    return schema


def _structs(dice: random.Random) -> Iterator[SpecimenStep]:
    def chunk(page: int) -> dict[str, Any]:
        text = dice.choice(values.OF["text"])
        return {"page": page, "text": text, "vector": values.vector(dice, DIM)}

    yield from in_two_segments(
        [
            {
                "id": key,
                "chunks": [chunk(page) for page in range(1 + key % 7)],
                "vector": values.vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


def _places_schema() -> CollectionSchema:
    return schema_of(KEY, ("place", DataType.GEOMETRY, {}), VECTOR)


def _places(dice: random.Random) -> Iterator[SpecimenStep]:
    shapes = ("POINT ({x} {y})", "POLYGON ((0 0, 90 0, {x} {y}, 0 0))")
    yield from in_two_segments(
        [
            {
                "id": key,
                "place": shapes[key % 2].format(x=dice.randint(1, 89), y=dice.randint(1, 89)),
                "vector": values.vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


_TIMES = (
    "1900-01-01T00:00:00Z",
    "1970-01-01T00:00:00Z",
    "2024-02-29T23:59:59.123456Z",
    "2026-03-29T02:30:00+02:00",
)


def _times_schema() -> CollectionSchema:
    return schema_of(KEY, ("time", DataType.TIMESTAMPTZ, {}), VECTOR)


def _times(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {"id": key, "time": dice.choice(_TIMES), "vector": values.vector(dice, DIM)}
            for key in range(ROWS)
        ]
    )


def _grams_schema() -> CollectionSchema:
    return schema_of(KEY, ("text", DataType.VARCHAR, TEXT), VECTOR)


def _no_vectors_schema() -> CollectionSchema:
    nullable: FieldSpec = ("maybe", DataType.FLOAT_VECTOR, {"dim": DIM, "nullable": True})
    return schema_of(KEY, nullable, VECTOR)


def _no_vectors(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {
                "id": key,
                "maybe": values.vector(dice, DIM) if key % 3 else None,
                "vector": values.vector(dice, DIM),
            }
            for key in range(ROWS)
        ]
    )


def _long_texts_schema() -> CollectionSchema:
    return schema_of(KEY, ("text", DataType.TEXT, {}), VECTOR)


SPECIMENS_2_6 = (
    Specimen(
        "int8_vectors",
        _int8_schema,
        _int8,
        (WantedIndex("vector", "HNSW", "COSINE", {"M": 8, "efConstruction": 40}),),
        needs=("Int8Vector",),
    ),
    Specimen(
        "struct_arrays",
        _structs_schema,
        _structs,
        (
            WantedIndex("vector", "FLAT", "L2"),
            WantedIndex("chunks[vector]", "HNSW", "MAX_SIM_COSINE", {"M": 8, "efConstruction": 40}),
        ),
        needs=("ArrayOfStruct", "ArrayOfVector"),
    ),
    Specimen(
        "geometry",
        _places_schema,
        _places,
        (WantedIndex("vector", "FLAT", "L2"), WantedIndex("place", "RTREE")),
        needs=("Geometry",),
    ),
    Specimen(
        "times",
        _times_schema,
        _times,
        (WantedIndex("vector", "FLAT", "L2"),),
        needs=("Timestamptz",),
    ),
    Specimen(
        "ngrams",
        _grams_schema,
        worded,
        (
            WantedIndex("vector", "IVF_RABITQ", "L2", {"nlist": 16}),
            WantedIndex("text", "NGRAM", params={"min_gram": 2, "max_gram": 3}),
        ),
        since=(2, 6, 0),
    ),
    Specimen(
        "nullable_vectors",
        _no_vectors_schema,
        _no_vectors,
        (WantedIndex("vector", "FLAT", "L2"), WantedIndex("maybe", "FLAT", "L2")),
        needs=("fields.x.nullable_vector", "several_vectors"),
    ),
    Specimen(
        "long_texts",
        _long_texts_schema,
        worded,
        (WantedIndex("vector", "FLAT", "L2"),),
        needs=("Text",),
        since=(3, 0, 0),
    ),
)
"""Collections that need Milvus 2.6 or later."""
