"""What Milvus 2.3.5 cannot hold: copied between two milvus-lite, read there without Kitelift."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pymilvus import DataType, Function, FunctionType, MilvusClient

from tests import compare, kitelift
from tests.end_to_end.conftest import Desk, open_desk
from tests.kitelift import Ended
from tests.servers import Server

ROWS = 120


def _filled(
    client: MilvusClient, name: str, add: Callable[[object], None], row: Callable[[int], dict]
) -> None:
    """Makes a collection with a key and what `add` adds, and fills, indexes and loads it."""
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    add(schema)
    client.create_collection(name, schema=schema)
    client.insert(name, [{"id": key, **row(key)} for key in range(ROWS)])
    indexes = MilvusClient.prepare_index_params()
    for field in client.describe_collection(name)["fields"]:
        if field["type"] == DataType.SPARSE_FLOAT_VECTOR:
            made = any(
                field["name"] in function["output_field_names"] for function in _functions(schema)
            )
            metric = "BM25" if made else "IP"
            indexes.add_index(field["name"], "SPARSE_INVERTED_INDEX", metric_type=metric)
        elif field["type"] == DataType.FLOAT_VECTOR:
            indexes.add_index(field["name"], "FLAT", metric_type="L2")
    client.create_index(name, indexes)
    client.load_collection(name)


def _functions(schema: object) -> list[dict]:
    return schema.to_dict().get("functions", [])  # type: ignore[attr-defined]


def _vector(key: int) -> list[float]:
    return [random.Random(key).uniform(-1, 1) for _ in range(4)]


def sparse(client: MilvusClient) -> None:
    """Sparse vectors, dense ones beside them."""

    def add(schema):
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    def row(key):
        return {"words": {key + n: 0.5 + n for n in range(1 + key % 4)}, "vector": _vector(key)}

    _filled(client, "sparse", add, row)


def nullable(client: MilvusClient) -> None:
    """Every kind of scalar that may be null, and is in each third row."""
    kinds = {
        "flag": (DataType.BOOL, True),
        "small": (DataType.INT8, -3),
        "short": (DataType.INT16, 2**15 - 1),
        "middle": (DataType.INT32, -(2**31)),
        "single": (DataType.FLOAT, 0.5),
        "place": (DataType.GEOMETRY, "POINT (1 2)"),
        "at": (DataType.TIMESTAMPTZ, "2026-01-02T03:04:05+01:00"),
        "big": (DataType.INT64, 2**53 + 1),
        "ratio": (DataType.DOUBLE, 0.1),
        "text": (DataType.VARCHAR, "a"),
        "document": (DataType.JSON, {"a": [1, None]}),
    }

    def add(schema):
        for name, (kind, _) in kinds.items():
            extra = {"max_length": 9} if kind is DataType.VARCHAR else {}
            schema.add_field(name, kind, nullable=True, **extra)
        tags = {"element_type": DataType.INT64, "max_capacity": 4}
        schema.add_field("tags", DataType.ARRAY, nullable=True, **tags)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    def row(key):
        values = {name: value if key % 3 else None for name, (_, value) in kinds.items()}
        tags = [key] * (key % 5) if key % 2 else None
        return {**values, "tags": tags, "vector": _vector(key)}

    _filled(client, "nullable", add, row)


def tenants(client: MilvusClient) -> None:
    """A partition key, keys of text, defaults, dynamic fields, a scalar index, properties."""
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.VARCHAR, max_length=40, is_primary=True)
    schema.add_field("tenant", DataType.VARCHAR, max_length=20, is_partition_key=True)
    schema.add_field("level", DataType.INT64, default_value=7)
    schema.add_field("price", DataType.DOUBLE, default_value=0.5)
    for name, kind in ARRAYS.items():
        extra = {"max_length": 9} if kind is DataType.VARCHAR else {}
        schema.add_field(name, DataType.ARRAY, element_type=kind, max_capacity=4, **extra)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    properties = {"collection.ttl.seconds": "8640000", "timezone": "Asia/Tokyo"}
    client.create_collection("tenants", schema=schema, properties=properties)
    rows = [
        {
            "id": f"key {key}",
            "tenant": f"tenant {key % 5}",
            **({"level": key, "price": key / 4} if key % 2 else {}),
            **{name: [_element(kind, key)] * (key % 5) for name, kind in ARRAYS.items()},
            "vector": _vector(key),
            **({"more": {"deep": [key]}} if key % 3 else {}),
        }
        for key in range(ROWS)
    ]
    client.insert("tenants", rows)
    indexes = MilvusClient.prepare_index_params()
    params = {"M": 8, "efConstruction": 40}
    indexes.add_index("vector", "HNSW", metric_type="COSINE", params=params)
    indexes.add_index("level", "INVERTED")
    client.create_index("tenants", indexes)
    client.load_collection("tenants")


ARRAYS = {
    "flags": DataType.BOOL,
    "bytes": DataType.INT8,
    "shorts": DataType.INT16,
    "ints": DataType.INT32,
    "longs": DataType.INT64,
    "floats": DataType.FLOAT,
    "doubles": DataType.DOUBLE,
    "words": DataType.VARCHAR,
}


def _element(kind: DataType, key: int) -> object:
    if kind is DataType.VARCHAR:
        return f"word {key}"
    if kind is DataType.BOOL:
        return bool(key % 2)
    return key / 4 if kind in (DataType.FLOAT, DataType.DOUBLE) else key % 128


def places(client: MilvusClient) -> None:
    """Points and polygons."""

    def add(schema):
        schema.add_field("place", DataType.GEOMETRY)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    def row(key):
        polygon = f"POLYGON ((0 0, {key + 1} 0, {key + 1} 1, 0 0))"
        return {"place": polygon if key % 2 else f"POINT ({key} 2)", "vector": _vector(key)}

    _filled(client, "places", add, row)


def moments(client: MilvusClient) -> None:
    """Times with their zones."""

    def add(schema):
        schema.add_field("at", DataType.TIMESTAMPTZ)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    def row(key):
        return {"at": f"2026-01-{key % 28 + 1:02}T01:02:03+0{key % 9}:00", "vector": _vector(key)}

    _filled(client, "moments", add, row)


def searched(client: MilvusClient) -> None:
    """A text from which the server makes a sparse vector (BM25)."""

    def add(schema):
        schema.add_field("text", DataType.VARCHAR, max_length=200, enable_analyzer=True)
        schema.add_field("words", DataType.SPARSE_FLOAT_VECTOR)
        schema.add_function(Function("bm25", FunctionType.BM25, ["text"], ["words"]))

    def row(key):
        return {"text": f"number {key} is {'odd' if key % 2 else 'even'}"}

    _filled(client, "searched", add, row)


def departments(client: MilvusClient) -> None:
    """Named partitions, one of them empty, and aliases."""

    def add(schema):
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    _filled(client, "departments", add, lambda key: {"vector": _vector(key)})
    for name, keys in {"eu": range(1_000, 1_030), "us": range(2_000, 2_007), "none": ()}.items():
        client.create_partition("departments", name)
        if keys:
            rows = [{"id": key, "vector": _vector(key)} for key in keys]
            client.insert("departments", rows, partition_name=name)
    for alias in ("staff", "people"):
        client.create_alias("departments", alias)


SPECIMENS = (sparse, nullable, tenants, places, moments, searched, departments)


@pytest.fixture(scope="module")
def desk(
    tmp_path_factory: pytest.TempPathFactory, two_lites: tuple[Server, Server]
) -> Iterator[Desk]:
    source, target = two_lites
    folder = tmp_path_factory.mktemp("desk")
    with (
        contextlib.closing(MilvusClient(source.url)) as left,
        contextlib.closing(MilvusClient(target.url)) as right,
    ):
        for specimen in SPECIMENS:
            specimen(left)
        yield Desk(folder, source.url, target.url, "default", left, right)


@pytest.fixture(scope="module")
def ended(desk: Desk) -> Ended:
    return kitelift.run(desk.job())


@pytest.mark.milvus
def test_the_run_is_proven(ended: Ended) -> None:
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"


@pytest.mark.milvus
@pytest.mark.parametrize("name", [specimen.__name__ for specimen in SPECIMENS])
def test_the_copy_is_what_the_source_is(desk: Desk, ended: Ended, name: str) -> None:
    assert ended.code == 0, ended.text
    assert desk.count(name) == len(compare.Reader(desk.source, name).keys(None)) >= ROWS
    assert desk.differences(name) == []


@pytest.mark.milvus
def test_what_the_server_makes_of_a_text_is_made_again(desk: Desk, ended: Ended) -> None:
    assert ended.code == 0, ended.text
    hits = desk.target.search("searched", data=["odd"], anns_field="words", limit=5)
    assert all(hit["id"] % 2 for hit in hits[0])
    assert len(hits[0]) == 5


@pytest.mark.milvus
def test_aliases_are_carried_though_no_description_has_them(desk: Desk, ended: Ended) -> None:
    assert ended.code == 0, ended.text
    assert set(desk.target.list_aliases("departments")["aliases"]) == {"staff", "people"}


NAMES = (
    "a b",
    "x-y",
    "世界",
    "with.dot",
    'quote"d',
    "it's",
    ".hidden",
    "a,b",
    "star*",
    "Upper",
    "upper",
)


@pytest.mark.milvus
def test_every_name_that_the_server_takes_is_copied(
    two_lites: tuple[Server, Server], tmp_path: Path
) -> None:
    def add(schema):
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)

    with open_desk(tmp_path, *two_lites, "names") as odd:
        for name in NAMES:
            _filled(odd.source, name, add, lambda key: {"vector": _vector(key)})
        ended = kitelift.run(odd.job(env={"max_rejected": 1}))
        assert ended.code == 0, ended.text
        assert {each["name"]: each["outcome"] for each in ended.report["collections"]} == (
            dict.fromkeys(NAMES, "proven")
        )
        assert [odd.differences(name) for name in NAMES] == [[]] * len(NAMES)


# From a server that keeps more


@pytest.fixture
def shop(source: Server, source_client: MilvusClient, two_lites, tmp_path: Path) -> Iterator[Desk]:
    """A collection in Milvus 2.3.5 that has what milvus-lite does not keep."""
    schema = MilvusClient.create_schema(description="of a shop")
    schema.add_field("id", DataType.INT64, is_primary=True, description="as printed")
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=3, max_length=9
    )
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    source_client.drop_collection("shop")
    source_client.create_collection(
        "shop", schema=schema, num_shards=2, consistency_level="Session"
    )
    rows = [{"id": key, "tags": ["a"] * (key % 4), "vector": _vector(key)} for key in range(ROWS)]
    source_client.insert("shop", rows)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2", index_name="vector")
    source_client.create_index("shop", index)
    source_client.load_collection("shop")
    with contextlib.closing(MilvusClient(two_lites[1].url)) as client:
        yield Desk(tmp_path, source.url, two_lites[1].url, "default", source_client, client)
        client.drop_collection("shop")
    source_client.drop_collection("shop")


LOST = ("description", "fields.id.description", "fields.tags.item_max_length")


def test_what_a_target_does_not_keep_stops_the_run_unless_accepted(shop: Desk) -> None:
    conf = shop.job("shop")
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert "[lost:shop.*]" in refused.text
    detailed = kitelift.run(conf, "plan", "--verbose")
    for feature in LOST:
        assert f"[lost:shop.{feature}]" in detailed.text
    assert "shop" not in shop.target.list_collections()

    accepted = kitelift.run(conf, f"--accept={','.join(f'lost:shop.{each}' for each in LOST)}")
    assert accepted.code == 0, accepted.text
    assert accepted.report["outcome"] == "proven"
    warned = [each["code"] for each in accepted.report["findings"]]
    assert {"changed:shop.shards", "changed:shop.consistency_level"} <= set(warned)
    differ = {difference.partition(":")[0] for difference in shop.differences("shop")}
    assert not [each for each in differ if "missing" in each or "key" in each]
    assert compare.Reader(shop.target, "shop").rows(None).keys() == set(range(ROWS))
