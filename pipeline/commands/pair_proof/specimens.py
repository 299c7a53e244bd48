"""The specimens that every supported server can have: features of Milvus 2.3, each in one place.

Those of 2.4 and 2.5 are in `specimens_2_4`, those of 2.6 and 3.0 in `specimens_2_6`. Rows follow
from the name of the specimen, so two runs write the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from pymilvus import CollectionSchema, DataType, MilvusClient

from pipeline.commands.pair_proof import values
from pipeline.commands.pair_proof.specimen import (
    Delete,
    Insert,
    Specimen,
    SpecimenStep,
    Upsert,
    WantedIndex,
)

ROWS = 300
"""Enough for several pages of keys in each of two segments."""

DIM = 8

FieldSpec = tuple[str, DataType, dict[str, Any]]

TEXT: dict[str, Any] = {"max_length": values.TEXT_BYTES}
VECTOR: FieldSpec = ("vector", DataType.FLOAT_VECTOR, {"dim": DIM})
KEY: FieldSpec = ("id", DataType.INT64, {"is_primary": True})


def schema_of(*fields: FieldSpec, **settings: Any) -> CollectionSchema:
    """Returns a schema of fields, each a name, a type and its settings."""
    schema = MilvusClient.create_schema(**settings)
    for name, kind, extra in fields:
        schema.add_field(name, kind, **extra)
    return schema


def in_two_segments(rows: list[dict[str, Any]]) -> Iterator[SpecimenStep]:
    """Yields rows so that one half is sealed and the other half is still growing."""
    middle = len(rows) // 2
    yield Insert(rows[:middle], flush=True)
    yield Insert(rows[middle:])


# -- types ----------------------------------------------------------------------------------------


def _scalars_schema() -> CollectionSchema:
    fields = ((name, kind, TEXT if name == "text" else {}) for name, kind in values.SCALARS.items())
    return schema_of(KEY, *fields, VECTOR)


def _scalars(dice: random.Random) -> Iterator[SpecimenStep]:
    keys = values.integer_keys(dice, ROWS)
    yield from in_two_segments(
        [
            {
                "id": key,
                **{name: dice.choice(values.OF[name]) for name in values.SCALARS},
                "vector": dice.choices(values.OF["float"], k=DIM),
            }
            for key in keys
        ]
    )


def _arrays_schema() -> CollectionSchema:
    fields = (
        (
            f"{name}s",
            DataType.ARRAY,
            {"element_type": kind, "max_capacity": 12, **(TEXT if name == "text" else {})},
        )
        for name, kind in values.SCALARS.items()
    )
    return schema_of(KEY, *fields, VECTOR)


def _arrays(dice: random.Random) -> Iterator[SpecimenStep]:
    arrays = enumerate(values.arrays(dice, ROWS))
    rows = [{"id": key, **fields, "vector": values.vector(dice, DIM)} for key, fields in arrays]
    yield from in_two_segments(rows)


def _documents_schema() -> CollectionSchema:
    return schema_of(KEY, ("json", DataType.JSON, {}), VECTOR, enable_dynamic_field=True)


def _documents(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from in_two_segments(
        [
            {
                "id": key,
                "json": {
                    "value": dice.choice(values.JSON),
                    "deep": {"list": values.JSON[: key % 9]},
                },
                "vector": values.vector(dice, DIM),
                **{f"more_{n}": dice.choice(values.JSON) for n in range(key % 4)},
            }
            for key in range(ROWS)
        ]
    )


def _binary_schema() -> CollectionSchema:
    return schema_of(KEY, ("bits", DataType.BINARY_VECTOR, {"dim": 64}))


def _binary(dice: random.Random) -> Iterator[SpecimenStep]:
    yield Insert([{"id": key, "bits": dice.randbytes(8)} for key in range(ROWS)])


# -- keys -----------------------------------------------------------------------------------------


def _text_keys_schema() -> CollectionSchema:
    key: FieldSpec = ("key", DataType.VARCHAR, {"max_length": 200, "is_primary": True})
    return schema_of(key, ("number", DataType.INT64, {}), VECTOR)


def _text_keys(dice: random.Random) -> Iterator[SpecimenStep]:
    keys = enumerate(values.text_keys(dice, ROWS))
    yield from in_two_segments(
        [{"key": key, "number": n, "vector": values.vector(dice, DIM)} for n, key in keys]
    )


def _automatic_schema() -> CollectionSchema:
    return schema_of(KEY, ("text", DataType.VARCHAR, TEXT), VECTOR, auto_id=True)


def _automatic(dice: random.Random) -> Iterator[SpecimenStep]:
    yield Insert([{"text": f"row {n}", "vector": values.vector(dice, DIM)} for n in range(ROWS)])


def _plain_schema() -> CollectionSchema:
    return schema_of(KEY, ("number", DataType.INT64, {}), VECTOR)


def _plain_row(key: int, number: int) -> dict[str, Any]:
    """Returns a row that depends on nothing else, so that duplicates of it are alike."""
    vector = values.vector(random.Random(number), DIM)
    return {"id": key, "number": number, "vector": vector}


def _duplicates(dice: random.Random) -> Iterator[SpecimenStep]:
    keys = list(range(ROWS))
    dice.shuffle(keys)
    yield Insert([_plain_row(key, key) for key in [*keys, *range(20)]], flush=True)
    yield Insert([_plain_row(key, key) for key in range(100, 150)])


def _edited(dice: random.Random) -> Iterator[SpecimenStep]:
    yield Insert([_plain_row(key, key) for key in range(ROWS)], flush=True)
    yield Delete(range(50))
    yield Upsert([_plain_row(key, -key) for key in range(100, 150)])


def _nothing(dice: random.Random) -> Iterator[SpecimenStep]:
    yield from ()


# -- partitions and settings ----------------------------------------------------------------------


def _partitions(dice: random.Random) -> Iterator[SpecimenStep]:
    yield Insert([_plain_row(key, key) for key in range(10)])
    yield Insert([_plain_row(key, key) for key in range(10, ROWS)], partition="many")
    yield Insert([_plain_row(1_000, 1)], partition="just_1")


def _one_key_twice(dice: random.Random) -> Iterator[SpecimenStep]:
    """The same keys in two partitions, with other values: two rows each, for Milvus."""
    yield Insert([_plain_row(key, key) for key in range(100)], partition="left")
    yield Insert([_plain_row(key, -key) for key in range(100)], partition="right")


def _tenants_schema() -> CollectionSchema:
    tenant: FieldSpec = ("tenant", DataType.VARCHAR, {"max_length": 32, "is_partition_key": True})
    return schema_of(KEY, tenant, VECTOR)


def tenants(dice: random.Random) -> Iterator[SpecimenStep]:
    """Yields rows of 23 tenants."""
    yield from in_two_segments(
        [
            {"id": key, "tenant": f"t-{dice.randrange(23)}", "vector": values.vector(dice, DIM)}
            for key in range(ROWS)
        ]
    )


def _settings_schema() -> CollectionSchema:
    return schema_of(
        ("id", DataType.INT64, {"is_primary": True, "description": "the key"}),
        ("level", DataType.INT64, {"default_value": 7, "description": 'the "default" is 7'}),
        ("vector", DataType.FLOAT_VECTOR, {"dim": DIM, "description": "of a model"}),
        description='With "quotes" and\nlines',
    )


def _settings(dice: random.Random) -> Iterator[SpecimenStep]:
    yield Insert(
        [{"id": n, "level": n, "vector": values.vector(dice, DIM)} for n in range(ROWS)], flush=True
    )


_SETTINGS: dict[str, Any] = {
    "num_shards": 2,
    "consistency_level": "Session",
    "properties": {"collection.ttl.seconds": "8640000"},
}

SPECIMENS = (
    Specimen(
        "scalars",
        _scalars_schema,
        _scalars,
        (
            WantedIndex("vector", "HNSW", "L2", {"M": 8, "efConstruction": 40}),
            WantedIndex("int32", "STL_SORT"),
            WantedIndex("text", "Trie"),
        ),
    ),
    Specimen(
        "arrays",
        _arrays_schema,
        _arrays,
        (WantedIndex("vector", "IVF_FLAT", "IP", {"nlist": 16}),),
        needs=("Array", "fields.x.item_max_length"),
    ),
    Specimen(
        "documents",
        _documents_schema,
        _documents,
        (WantedIndex("vector", "AUTOINDEX", "COSINE"),),
        needs=("JSON", "dynamic_field"),
    ),
    Specimen(
        "binary_vectors",
        _binary_schema,
        _binary,
        (WantedIndex("bits", "BIN_IVF_FLAT", "JACCARD", {"nlist": 16}),),
        needs=("BinaryVector",),
    ),
    Specimen(
        "text_keys",
        _text_keys_schema,
        _text_keys,
        (WantedIndex("vector", "IVF_SQ8", "L2", {"nlist": 16}),),
    ),
    Specimen(
        "automatic_ids", _automatic_schema, _automatic, (WantedIndex("vector", "AUTOINDEX", "IP"),)
    ),
    Specimen(
        "duplicate_keys",
        _plain_schema,
        _duplicates,
        (WantedIndex("vector", "FLAT", "L2"),),
        needs=("shards",),
        creation={"num_shards": 2},
    ),
    Specimen(
        "deleted_rows",
        _plain_schema,
        _edited,
        (WantedIndex("vector", "SCANN", "L2", {"nlist": 16}),),
    ),
    Specimen("no_rows", _plain_schema, _nothing, (WantedIndex("vector", "FLAT", "L2"),)),
    Specimen(
        "partitions",
        _plain_schema,
        _partitions,
        (WantedIndex("vector", "FLAT", "IP"),),
        partitions=("nothing", "just_1", "many"),
    ),
    Specimen(
        "equal_keys",
        _plain_schema,
        _one_key_twice,
        (WantedIndex("vector", "FLAT", "COSINE"),),
        lite=False,  # It keeps one row of a key.
        partitions=("left", "right"),
    ),
    Specimen(
        "partition_key",
        _tenants_schema,
        tenants,
        (WantedIndex("vector", "IVF_FLAT", "L2", {"nlist": 16}),),
        needs=("fields.x.partition_key", "partitions"),
        creation={"num_partitions": 7},
    ),
    Specimen(
        "settings",
        _settings_schema,
        _settings,
        (WantedIndex("vector", "IVF_PQ", "L2", {"nlist": 8, "m": 4, "nbits": 8}, "of_the_model"),),
        needs=(
            *("description", "fields.x.description", "fields.x.default_value"),
            *("shards", "consistency_level", "ttl", "aliases.x"),
        ),
        creation=_SETTINGS,
        aliases=("settings_alias",),
    ),
)
"""Collections that a Milvus 2.3 can have."""
