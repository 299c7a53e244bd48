"""Source collections that a Milvus 2.3 can hold, made through plain pymilvus from a seed.

Each function makes one collection, fills it, indexes it, loads it and returns its `Census`. None
of them knows Kitelift: what they make is what a user has.

    census = zoo.articles(client)                  # one
    census = zoo.fill(url, zoo.ZOO)                # all that can be copied without a finding
"""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import CollectionSchema, DataType, MilvusClient

Row = dict[str, Any]

INT64_MIN = -(2**63)
INT64_MAX = 2**63 - 1

# A request may have 64 MB; this is far below for every collection here.
_REQUEST_ROWS = 2_000

# pymilvus polls while a collection loads, so several can be made at once even on two cores.
_BUILDERS = 4


@dataclass(frozen=True)
class Census:
    """What a collection holds: `rows` as count(*) has them, `keys` distinct in their partition."""

    name: str
    rows: int
    keys: int

    @property
    def repeats(self) -> int:
        return self.rows - self.keys


Specimen = Callable[[MilvusClient], Census]


def fill(client: MilvusClient, specimens: Iterable[Specimen]) -> dict[str, Census]:
    """Makes the collections, several at a time; returns what each holds by its name."""
    with ThreadPoolExecutor(_BUILDERS) as builders:
        made = list(builders.map(lambda specimen: specimen(client), specimens))
    return {census.name: census for census in made}


def drop_all(client: MilvusClient) -> None:
    """Leaves the client's database without aliases and collections."""
    for name in client.list_collections():
        for alias in client.describe_collection(name)["aliases"]:
            client.drop_alias(alias)
        client.drop_collection(name)


# What a user's collections look like


def articles(
    client: MilvusClient, name: str = "medium_articles", *, seed: int = 1, rows: int = 20_000
) -> Census:
    """128-d HNSW with text, JSON and dynamic fields; keys in no order."""
    dice = np.random.default_rng(seed)
    schema = MilvusClient.create_schema(enable_dynamic_field=True, description="Articles of a blog")
    schema.add_field("id", DataType.INT64, is_primary=True, description="as in the blog")
    schema.add_field("title", DataType.VARCHAR, max_length=512)
    schema.add_field("meta", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=128)
    keys = dice.permutation(rows * 7)[:rows]
    vectors = dice.standard_normal((rows, 128), dtype=np.float32)

    def row(position: int) -> Row:
        key = int(keys[position])
        return {
            "id": key,
            "title": f"Article {key}, {'naïve café 世界 ' * (key % 5)}",
            "meta": {"claps": key % 100, "tags": ["a", "b"][: key % 3], "score": key / 4},
            "vector": vectors[position],
            **({"author": f"author-{key % 11}"} if key % 2 else {}),
        }

    _create(client, name, schema)
    _insert(client, name, map(row, range(rows)), flush_after=rows // 2)
    # Both servers build it, so not more thoroughly than it takes to have parameters of its own.
    hnsw = {"M": 16, "efConstruction": 40}
    serve(client, name, ("vector", "HNSW", "COSINE", hnsw), ("title", "Trie", "", {}))
    return Census(name, rows, rows)


def tenants(
    client: MilvusClient, name: str = "tenants", *, seed: int = 2, rows: int = 3_000
) -> Census:
    """Partition-key mode with 7 partitions and keys of text, most with one long prefix."""
    dice = random.Random(seed)
    schema = MilvusClient.create_schema(description="One tenant a customer")
    schema.add_field("key", DataType.VARCHAR, max_length=64, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=32, is_partition_key=True)
    schema.add_field("size", DataType.INT32)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=16)
    _create(client, name, schema, num_partitions=7)
    _insert(
        client,
        name,
        (
            {
                "key": f"customer/{dice.randrange(3)}/{dice.getrandbits(64):016x}-{position}",
                "tenant": f"tenant-{dice.randrange(23)}",
                "size": dice.randint(-(2**31), 2**31 - 1),
                "vector": _vector(dice, 16),
            }
            for position in range(rows)
        ),
    )
    serve(client, name, ("vector", "IVF_FLAT", "L2", {"nlist": 64}), ("size", "STL_SORT", "", {}))
    return Census(name, rows, rows)


def partitions(
    client: MilvusClient, name: str = "partitions", *, seed: int = 3, many: int = 5_000
) -> Census:
    """Named partitions with none, one and thousands of rows, and a few rows in the default one."""
    dice = random.Random(seed)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    _create(client, name, schema)
    first = 0
    for partition, rows in {"nothing": 0, "just_1": 1, "many": many, "_default": 10}.items():
        if partition != "_default":
            client.create_partition(name, partition)
        chunk = [{"id": first + n, "vector": _vector(dice, 8)} for n in range(rows)]
        _insert(client, name, chunk, partition_name=partition)
        first += rows
    serve(client, name, ("vector", "FLAT", "IP", {}))
    return Census(name, first, first)


def settings(client: MilvusClient, name: str = "settings", *, seed: int = 4) -> Census:
    """Two shards, a lifetime of rows, a consistency level, descriptions, a default, an alias."""
    dice = random.Random(seed)
    rows = 300
    schema = MilvusClient.create_schema(description='With "quotes" and\nlines')
    schema.add_field("key", DataType.VARCHAR, max_length=64, is_primary=True, description="a UUID")
    schema.add_field("level", DataType.INT64, default_value=7, description="the default is 7")
    schema.add_field("tags", DataType.ARRAY, element_type=DataType.INT64, max_capacity=3)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8, description="of a model")
    _create(
        client,
        name,
        schema,
        num_shards=2,
        consistency_level="Session",
        properties={"collection.ttl.seconds": "8640000"},
    )
    _insert(
        client,
        name,
        (
            {
                "key": f"{dice.getrandbits(128):032x}"[: 1 + position % 32] + f"-{position}",
                "level": position,
                "tags": [position] * (position % 4),
                "vector": _vector(dice, 8),
            }
            for position in range(rows)
        ),
    )
    pq = {"nlist": 8, "m": 4, "nbits": 8}
    serve(client, name, ("vector", "IVF_PQ", "L2", pq), index_names={"vector": "of_the_model"})
    client.create_alias(name, f"{name}_alias")
    return Census(name, rows, rows)


def automatic_keys(client: MilvusClient, name: str = "automatic_keys", *, seed: int = 5) -> Census:
    """Keys that the server made."""
    dice = random.Random(seed)
    rows = 500
    schema = MilvusClient.create_schema(auto_id=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    _create(client, name, schema)
    made = ({"text": f"row {n}", "vector": _vector(dice, 8)} for n in range(rows))
    _insert(client, name, made)
    serve(client, name, ("vector", "AUTOINDEX", "IP", {}))
    return Census(name, rows, rows)


# Every type


def every_type(client: MilvusClient, name: str = "every_type", *, seed: int = 6) -> Census:
    """Each scalar type and an array of each, with their extremes, and dynamic fields."""
    dice = random.Random(seed)
    rows = 400
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    for field, data_type in _SCALARS.items():
        extra = {"max_length": 300} if data_type is DataType.VARCHAR else {}
        schema.add_field(field, data_type, **extra)
        schema.add_field(
            f"{field}s", DataType.ARRAY, element_type=data_type, max_capacity=12, **extra
        )
    schema.add_field("json", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)

    def row(position: int) -> Row:
        scalars = {field: dice.choice(_VALUES[field]) for field in _SCALARS}
        arrays = {
            f"{field}s": [dice.choice(_VALUES[field]) for _ in range(position % 13)]
            for field in _SCALARS
        }
        dynamic = {f"more_{n}": dice.choice(_JSON) for n in range(position % 4)}
        document = {"value": dice.choice(_JSON), "again": {"deep": [dice.choice(_JSON)]}}
        return {
            "id": position,
            "json": document,
            "vector": dice.choices(_VALUES["float"][:-1], k=8),  # NaN is refused in vectors
            **scalars,
            **arrays,
            **dynamic,
        }

    _create(client, name, schema)
    _insert(client, name, map(row, range(rows)), flush_after=rows // 2)
    serve(client, name, ("vector", "HNSW", "L2", {"M": 8, "efConstruction": 40}))
    return Census(name, rows, rows)


_SCALARS = {
    "bool": DataType.BOOL,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float": DataType.FLOAT,
    "double": DataType.DOUBLE,
    "text": DataType.VARCHAR,
}

# Where float32 rounds, its neighbours are told apart by their bits only: denormals, both zeros.
_VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, -1, 0, 127],
    "int16": [-(2**15), 0, 2**15 - 1],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64": [INT64_MIN, -1, 0, 2**53 + 1, INT64_MAX],
    "float": [0.0, -0.0, 0.1, -3.4028234663852886e38, 1.401298464324817e-45, 1.0, math.nan],
    "double": [0.0, -0.0, 0.1, 5e-324, -1.7976931348623157e308, math.inf, -math.inf, math.nan],
    "text": [
        "",
        " ",
        "plain",
        '"',
        "\\",
        "\\n",
        "a\nb",
        "\t",
        "世界",
        "🚀",
        "{}",
        "null",
        "x" * 300,
    ],
}

_JSON: list[Any] = [
    None, True, 0, 1, 1.0, -0.0, 0.1, 2**53 + 1, INT64_MIN, INT64_MAX, 1e300, "", "null",
    "1", '{"a": 1}', 'quote " and \\', "世界 🚀", "a\nb", [], {}, [[], {}], {"": ""}, {"a b": [1, "1"]},
]  # fmt: skip


def binary_vectors(client: MilvusClient, name: str = "binary_vectors", *, seed: int = 7) -> Census:
    """Vectors of bits."""
    dice = random.Random(seed)
    rows = 500
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("bits", DataType.BINARY_VECTOR, dim=64)
    _create(client, name, schema)
    _insert(client, name, ({"id": n, "bits": dice.randbytes(8)} for n in range(rows)))
    serve(client, name, ("bits", "BIN_IVF_FLAT", "JACCARD", {"nlist": 16}))
    return Census(name, rows, rows)


def half_vectors(client: MilvusClient, name: str = "half_vectors", *, seed: int = 8) -> Census:
    """float16 vectors, which 2.3.5 takes although they came with 2.4."""
    dice = np.random.default_rng(seed)
    rows = 20
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT16_VECTOR, dim=8)
    _create(client, name, schema)
    vectors = dice.random((rows, 8)).astype(np.float16)
    _insert(client, name, ({"id": n, "vector": vectors[n]} for n in range(rows)))
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, rows, rows)


# Keys that are hard to page through


def extreme_integers(
    client: MilvusClient, name: str = "extreme_integers", *, seed: int = 9, rows: int = 6_000
) -> Census:
    """Keys over all of int64 and at its ends, the very last one aside (see `last_integer`)."""
    dice = random.Random(seed)
    ends = {INT64_MIN, INT64_MIN + 1, -(2**53) - 1, -1, 0, 1, 2**53 + 1, INT64_MAX - 1}
    while len(ends) < rows:
        ends.add(dice.randint(INT64_MIN, INT64_MAX - 1))
    keys = sorted(ends)
    dice.shuffle(keys)
    return _plain(client, name, DataType.INT64, keys, seed)


def last_integer(client: MilvusClient, name: str = "last_integer", *, seed: int = 10) -> Census:
    """The key 2^63-1, which servers before 2.6 count and never return, and 99 others."""
    return _plain(client, name, DataType.INT64, [*range(99), INT64_MAX], seed)


def awkward_texts(
    client: MilvusClient, name: str = "awkward_texts", *, seed: int = 11, rows: int = 6_000
) -> Census:
    """Keys of quotes, backslashes, control characters, every script, and the empty text."""
    dice = random.Random(seed)
    alphabet = [
        *"\"\\'\n\r\t\0\b %_;,{}[]()`$",
        "\\n",
        "\\u4e00",
        "é",
        "ß",
        "世",
        "界",
        "🚀",
        "👩‍🚀",
    ]
    alphabet += ["\u200b", "\u202e", "\ufeff", "\U0010ffff", "a", "Z", "0", " and ", "null"]
    keys = {"", " ", '"', "\\", '\\"', "\n", "\0", "'", "x" * 200, "世" * 60}
    while len(keys) < rows:
        keys.add("".join(dice.choices(alphabet, k=dice.randint(1, 12))))
    shuffled = sorted(keys)
    dice.shuffle(shuffled)
    return _plain(client, name, DataType.VARCHAR, shuffled, seed)


def repeated(
    client: MilvusClient, name: str = "repeated", *, seed: int = 12, keys: int = 20_000
) -> Census:
    """1,968 more rows than keys on two shards: keys that stand twice, thrice and ten times.

    All rows of a key are alike, so it does not matter which of them a server answers with.
    """
    once = list(range(keys))
    random.Random(seed).shuffle(once)
    twice_in_a_segment = range(984)
    twice = range(9_000, 9_375)
    thrice = [*range(5_000, 5_300)] * 2
    ten_times = [keys - 1] * 9
    early = [*twice_in_a_segment, *once]
    late = [*twice, *thrice, *ten_times]
    repeats = len(early) + len(late) - keys
    _create(client, name, _plain_schema(DataType.INT64), num_shards=2)
    _insert(client, name, (_plain_row(key, key) for key in early), flush_after=keys // 2)
    client.flush(name)
    _insert(client, name, (_plain_row(key, key) for key in late))
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, keys + repeats, keys)


def edited(client: MilvusClient, name: str = "edited", *, rows: int = 3_000) -> Census:
    """The first 500 rows are deleted again, and 300 have other values than at first."""
    census = _plain(client, name, DataType.INT64, range(rows), 15)
    client.delete(name, ids=list(range(500)))
    client.upsert(name, [_plain_row(key, -key) for key in range(1_000, 1_300)])
    return Census(name, census.rows - 500, census.keys - 500)


def one_key_in_two_partitions(
    client: MilvusClient, name: str = "one_key_in_two_partitions"
) -> Census:
    """Keys 0 to 99 in each of two partitions, with other values: two rows each, for Milvus."""
    _create(client, name, _plain_schema(DataType.INT64))
    for shift, partition in enumerate(["left", "right"]):
        client.create_partition(name, partition)
        rows = (_plain_row(key, key + 1_000 * shift) for key in range(100))
        _insert(client, name, rows, partition_name=partition)
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, 200, 200)


# Sizes


def empty(client: MilvusClient, name: str = "empty") -> Census:
    """No row at all."""
    return _plain(client, name, DataType.INT64, [], 0)


def single(client: MilvusClient, name: str = "single") -> Census:
    """One row, with a negative key."""
    return _plain(client, name, DataType.INT64, [-5], 0)


def wide(client: MilvusClient, name: str = "wide", *, seed: int = 13, rows: int = 600) -> Census:
    """Rows of 60 kB: 16384 of them would be a gigabyte."""
    dice = random.Random(seed)
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=65_535)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    _create(client, name, schema)
    for first in range(0, rows, 200):
        _insert(
            client,
            name,
            (
                {
                    "id": first + n,
                    "text": dice.choice(string.ascii_letters) * (60_000 + n),
                    "vector": _vector(dice, 8),
                }
                for n in range(min(200, rows - first))
            ),
        )
    serve(client, name, ("vector", "IVF_SQ8", "L2", {"nlist": 16}))
    return Census(name, rows, rows)


def released(client: MilvusClient, name: str = "released") -> Census:
    """A collection that is not loaded."""
    census = _plain(client, name, DataType.INT64, range(100), 14)
    client.release_collection(name)
    return census


def bare(client: MilvusClient, name: str = "bare") -> Census:
    """A collection without an index, which cannot be loaded."""
    census = released(client, name)
    client.drop_index(name, client.list_indexes(name)[0])
    return census


def key_named_in(client: MilvusClient, name: str = "key_named_in") -> Census:
    """A key with the name of a word of filter expressions, which no filter can name."""
    schema = MilvusClient.create_schema()
    schema.add_field("in", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    _create(client, name, schema)
    _insert(client, name, ({"in": key, "vector": [key / 4] * 4} for key in range(10)))
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, 10, 10)


WORDS = ("and", "AND", "count", "exists", "in", "json_contains", "like", "not", "null", "true")


def odd_names(client: MilvusClient, name: str = "Odd_" + "x" * 251) -> Census:
    """The longest names, words of filter expressions as fields, and one partition for all keys."""
    rows = 200
    schema = MilvusClient.create_schema(enable_dynamic_field=True, description='🚀 "世界"\n\t')
    schema.add_field("id", DataType.INT64, is_primary=True, description="🔑")
    tenant = "tenant" + "_" * 249
    schema.add_field(tenant, DataType.VARCHAR, max_length=9, is_partition_key=True)
    for word in WORDS:
        schema.add_field(word, DataType.INT64)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    def row(key: int) -> Row:
        dynamic = {"Id": key, "a b": [key], "": "no name", "nested": {"id": key, "$meta": {}}}
        words = dict.fromkeys(WORDS, key)
        return {"id": key, tenant: f"t{key % 7}", **words, "vector": [key / 4] * 4, **dynamic}

    _create(client, name, schema, num_partitions=1)
    _insert(client, name, map(row, range(rows)))
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, rows, rows)


ZOO: Sequence[Specimen] = (
    articles,
    tenants,
    partitions,
    settings,
    every_type,
    binary_vectors,
    extreme_integers,
    awkward_texts,
    repeated,
    edited,
    one_key_in_two_partitions,
    empty,
    single,
    wide,
)
"""Loaded collections that a run copies with nothing accepted but the version."""


def numbers(client: MilvusClient, name: str, *, rows: int = 100, seed: int = 0) -> Census:
    """Keys 0 to rows-1 with a number, a text and an 8-d vector: the plainest collection."""
    return _plain(client, name, DataType.INT64, range(rows), seed)


def _plain(
    client: MilvusClient, name: str, key_type: DataType, keys: Iterable[int | str], seed: int
) -> Census:
    listed = list(keys)
    _create(client, name, _plain_schema(key_type))
    rows = (_plain_row(key, seed + position) for position, key in enumerate(listed))
    _insert(client, name, rows, flush_after=len(listed) // 2)
    serve(client, name, ("vector", "FLAT", "L2", {}))
    return Census(name, len(listed), len(listed))


def _plain_schema(key_type: DataType) -> CollectionSchema:
    schema = MilvusClient.create_schema()
    extra = {"max_length": 200} if key_type is DataType.VARCHAR else {}
    schema.add_field("key", key_type, is_primary=True, **extra)
    schema.add_field("number", DataType.INT64)
    schema.add_field("text", DataType.VARCHAR, max_length=100)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=8)
    return schema


def _plain_row(key: int | str, number: int) -> Row:
    vector = _vector(random.Random(number), 8)
    return {"key": key, "number": number, "text": f"number {number}", "vector": vector}


def _vector(dice: random.Random, dim: int) -> list[float]:
    return [dice.uniform(-1, 1) for _ in range(dim)]


def _create(client: MilvusClient, name: str, schema: CollectionSchema, **extra: Any) -> None:
    client.create_collection(name, schema=schema, **extra)


def _insert(
    client: MilvusClient,
    name: str,
    rows: Iterable[Row],
    *,
    partition_name: str = "",
    flush_after: int = 0,
) -> None:
    """Inserts; a flush after so many rows leaves part of them sealed and the rest growing."""
    everything = list(rows)
    for first in range(0, len(everything), _REQUEST_ROWS):
        chunk = everything[first : first + _REQUEST_ROWS]
        if partition_name:
            client.insert(name, chunk, partition_name=partition_name)
        else:
            client.insert(name, chunk)
        if first < flush_after <= first + len(chunk):
            client.flush(name)


def serve(
    client: MilvusClient,
    name: str,
    *indexes: tuple[str, str, str, dict[str, Any]],
    index_names: dict[str, str] | None = None,
) -> None:
    """Builds the indexes (field, kind, metric, parameters) and loads the collection."""
    for field, kind, metric, params in indexes:
        wanted = MilvusClient.prepare_index_params()
        named = (index_names or {}).get(field, f"{field}_index")
        extra = {"metric_type": metric, "params": params} if metric else {}
        wanted.add_index(field, index_type=kind, index_name=named, **extra)
        client.create_index(name, wanted)
    client.load_collection(name)
