"""The comparison that the other tests rest on finds a planted difference of each kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from tests import compare

Row = dict[str, Any]
KEY = 7


def _row(key: int = KEY, **changed: Any) -> Row:
    plain = {"key": key, "number": 1.0, "vector": [0.5, -0.0, 2.0, 3.0], "tags": [1, 2], "more": 1}
    return {**plain, **changed}


def _make(client: MilvusClient, name: str, *, keys: int = 0, **changed: Any) -> None:
    settings = {"M": 8, "description": "docs", "metric": "L2", "capacity": 4} | changed
    schema = MilvusClient.create_schema(
        enable_dynamic_field=True, description=settings["description"]
    )
    schema.add_field("key", DataType.INT64, is_primary=True)
    schema.add_field("number", DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    schema.add_field(
        "tags", DataType.ARRAY, element_type=DataType.INT8, max_capacity=settings["capacity"]
    )
    index = MilvusClient.prepare_index_params()
    params = {"M": settings["M"], "efConstruction": 40}
    metric = settings["metric"]
    index.add_index("vector", "HNSW", "hnsw_index", metric_type=metric, params=params)
    client.create_collection(name, schema=schema, num_shards=settings.get("shards", 1))
    if keys:
        client.insert(name, [_row(key) for key in range(keys)])
    for partition in settings.get("partitions", ()):
        client.create_partition(name, partition)
    client.create_index(name, index)
    for alias in settings.get("aliases", ()):
        client.create_alias(name, alias)


@pytest.fixture(scope="module")
def twins(source_client: MilvusClient) -> Iterator[MilvusClient]:
    """A server with two equal collections of 10 rows, ``left`` and ``right``."""
    for name in ("left", "right"):
        _make(source_client, name, keys=10)
        source_client.load_collection(name)
    yield source_client
    for name in ("left", "right"):
        source_client.drop_collection(name)


def _differences(client: MilvusClient) -> list[str]:
    return compare.differences(client, client, "left", target_name="right")


def test_equal_collections_have_no_differences(twins):
    assert _differences(twins) == []


Change = Callable[[MilvusClient], Any]


def _upsert(**changed: Any) -> Change:
    return lambda client: client.upsert("right", [_row(**changed)])


PLANTED: dict[str, tuple[Change, list[str]]] = {
    "one bit of a vector": (
        _upsert(vector=[0.5, 0.0, 2.0, 3.0]),
        ["key 7: vector: [0.5, -0.0, 2.0, 3.0] in the source, [0.5, 0.0, 2.0, 3.0] in the target"],
    ),
    "the last bit of a float": (
        _upsert(number=1.0000000000000002),
        ["key 7: number: 1.0 in the source, 1.0000000000000002 in the target"],
    ),
    "an array that is longer": (
        _upsert(tags=[1, 2, 3]),
        ["key 7: tags: [1, 2] in the source, [1, 2, 3] in the target"],
    ),
    "the type of a dynamic value": (
        _upsert(more=1.0),
        ["key 7: more: 1 in the source, 1.0 in the target"],
    ),
    "a dynamic field that is gone": (
        lambda client: client.upsert("right", [{k: v for k, v in _row().items() if k != "more"}]),
        ["key 7: more: 1 in the source, nothing in the target"],
    ),
    "a dynamic field that was not there": (
        _upsert(other="x"),
        ["key 7: other: nothing in the source, 'x' in the target"],
    ),
    "a missing key": (
        lambda client: client.delete("right", ids=[KEY]),
        ["missing in the target: 1 keys: 7"],
    ),
    "a key too many": (
        lambda client: client.insert("right", [_row(99)]),
        ["only in the target: 1 keys: 99"],
    ),
    "a doubled key": (
        lambda client: client.insert("right", [_row()]),
        ["11 rows in the target for 10 keys", "repeated in the target: 1 keys: 7"],
    ),
}


@pytest.fixture
def mended(twins) -> Iterator[MilvusClient]:
    """The twins, which are equal again afterwards."""
    yield twins
    twins.delete("right", ids=[KEY, 99])
    twins.insert("right", [_row()])


@pytest.mark.parametrize("kind", PLANTED)
def test_a_difference_of_a_row_is_found(mended, kind):
    plant, words = PLANTED[kind]
    plant(mended)
    assert _differences(mended) == [f"partition _default: {line}" for line in words]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"M": 16}, ["index hnsw_index: M: '8' in the source, '16' in the target"]),
        (
            {"metric": "IP"},
            ["index hnsw_index: metric_type: 'L2' in the source, 'IP' in the target"],
        ),
        ({"description": "other"}, ["description: 'docs' in the source, 'other' in the target"]),
        ({"shards": 2}, ["shards: 1 in the source, 2 in the target"]),
        (
            {"capacity": 5},
            [
                "field tags: params: {'max_capacity': 4} in the source, {'max_capacity': 5} in the target"
            ],
        ),
        (
            {"partitions": ["more"]},
            [
                "partition count: 1 in the source, 2 in the target",
                "partitions: ['_default'] in the source, ['_default', 'more'] in the target",
                "rows: not compared, for the collections are too different",
            ],
        ),
        ({"aliases": ["docs_alias"]}, ["aliases: [] in the source, ['docs_alias'] in the target"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_difference_of_the_collection_is_found(source_client, name, changed, words):
    plain, other = name("plain"), name("other")
    _make(source_client, plain)
    _make(source_client, other, **changed)
    left, right = (compare.Reader(source_client, each).shape() for each in (plain, other))
    found = [*compare.unlike(left, right)]
    assert found == [line for line in words if not line.startswith("rows:")]


def test_a_released_collection_is_a_difference(twins):
    twins.release_collection("right")
    left, right = (compare.Reader(twins, each).shape() for each in ("left", "right"))
    twins.load_collection("right")
    assert [*compare.unlike(left, right)] == [
        "load state: 'Loaded' in the source, 'NotLoad' in the target"
    ]
