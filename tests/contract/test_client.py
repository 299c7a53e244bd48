"""The same behaviour of the client on every kind of server: the fake, milvus-lite and Milvus 2.3.5.

So the fake may stand for a server in the tests of the dataflow. Where servers differ, a test says
so in the table of what each one `does`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import pyarrow as pa
import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import described, schema
from tests.dataflow.jobs import row, rows
from tests.fakes.memory import Row
from tests.fakes.milvus import FakeMilvus
from transforms.errors import Refused, ServerError
from transforms.milvus import filters
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Index
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.milvus.schema import Schema
from transforms.milvus.snapshot import BOUNDED, STRONG
from transforms.ranges import Key, KeyRange, split

FLAT = Index("vector", "by_vector", (("index_type", "FLAT"), ("metric_type", "L2")))
TIMEOUT_S = 60.0
NASTY = ("", "a", 'say "a"', "a\\b", "it's", "line\nfeed", "tab\t", "世界", "\U0001f600", "%_")


@dataclass(frozen=True)
class Kind:
    """The differences between kinds of servers.

    Attributes:
        repeats: whether an insert of an existing key adds a row, instead of replacing it.
        shows_last_key: whether a row with the key 2^63-1 can be read.
        rewrites_json: whether JSON comes back in other words.
        names_indexes: whether an index has the requested name, and not that of its field.
        tells_load_state: whether the server distinguishes never loaded from loaded collections.
        counts_partitions: whether ``count(*)`` without a filter heeds the partition.
        tells_replicas: whether it says how often a collection is loaded.
        ends_with_first_shard: whether a page ends where the first shard has no more rows.
        tells_multiples: whether keys that are multiples of a number can be asked for.
    """

    version: tuple[int, int, int]
    repeats: bool = True
    shows_last_key: bool = False
    rewrites_json: bool = False
    names_indexes: bool = True
    tells_load_state: bool = True
    counts_partitions: bool = True
    tells_replicas: bool = True
    ends_with_first_shard: bool = True
    tells_multiples: bool = True


KINDS = {
    "fake": Kind((2, 3, 7)),
    "source": Kind((2, 3, 5)),
    "lite": Kind(
        (3, 2, 2),
        repeats=False,
        shows_last_key=True,
        rewrites_json=True,
        names_indexes=False,
        tells_load_state=False,
        counts_partitions=False,
        tells_replicas=False,
        ends_with_first_shard=False,
        tells_multiples=False,
    ),
}
SERVERS = [
    pytest.param("fake", id="fake"),
    pytest.param("lite", id="milvus-lite", marks=pytest.mark.milvus),
    pytest.param("source", id="milvus-2.3.5", marks=pytest.mark.milvus),
]


@pytest.fixture(scope="module", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(kind: str, request: pytest.FixtureRequest) -> Iterator[Client]:
    if kind == "fake":
        with FakeMilvus() as server:
            yield from _client(server.url)
    else:
        yield from _client(request.getfixturevalue(kind).url)


def _client(url: str) -> Iterator[Client]:
    client = Client(Endpoint(url))
    yield client
    client.close()


@pytest.fixture(scope="module")
def does(kind: str) -> Kind:
    return KINDS[kind]


Fill = Callable[..., str]


@pytest.fixture(scope="module")
def fill(client: Client) -> Iterator[Fill]:
    """Creates loaded collections with rows; drops them after the tests."""
    created: list[str] = []

    def fill(
        *parts: list[Row], message: schema_pb2.CollectionSchema | None = None, shards: int = 1
    ) -> str:
        message = message or schema()
        message.name = f"contract_{len(created)}"
        created.append(message.name)
        client.create_collection(message.name, described(message, shards=shards))
        client.create_index(message.name, FLAT)
        client.load(message.name)
        for part in parts:
            insert(client, message.name, part)
        return message.name

    yield fill
    for name in created:
        client.drop_collection(name)


@pytest.fixture(scope="module")
def numbers(fill: Fill) -> str:
    """A collection with the keys 0 to 99; no test changes it."""
    return fill(rows(100))


def shape(client: Client, name: str) -> Schema:
    return client.describe(name).schema


def batch(client: Client, name: str, rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=shape(client, name).arrow())


def insert(client: Client, name: str, rows: list[Row], partition: str = "") -> int:
    return client.insert(name, partition, shape(client, name), batch(client, name, rows))


def reader(client: Client, name: str, page_rows: int = 1_000) -> Reader:
    return Reader(client, name, shape(client, name), page_rows=page_rows)


def read(client: Client, name: str, planned: KeyRange | None = None) -> list[Row]:
    """Returns all rows of a range, in the order of the scan."""
    scan = reader(client, name).scan(planned or KeyRange(name))
    return [each for _, found in scan for each in found.to_pylist()]


# The server


def test_the_version_is_reported(client: Client, does: Kind) -> None:
    assert client.version().number == does.version


def test_the_database_is_listed(client: Client) -> None:
    assert "default" in client.databases()


# Collections


def test_a_collection_is_described_as_it_was_created(client: Client, fill: Fill) -> None:
    message = schema(price=DataType.Double, rank=DataType.Int32, dynamic=True)
    found = client.describe(fill(message=message))
    assert found.name in client.collections()
    assert found.schema.names == ("id", "title", "vector", "price", "rank", "$meta")
    assert [field.data_type for field in found.schema.fields] == [
        *(DataType.Int64, DataType.VarChar, DataType.FloatVector),
        *(DataType.Double, DataType.Int32, DataType.JSON),
    ]
    assert (found.schema.primary.name, found.schema.field("vector").dim) == ("id", 2)
    assert (found.partitions, found.aliases, found.loaded) == (("_default",), (), True)
    assert (found.partition_key, found.auto_id) == ("", False)


def test_a_collection_that_is_dropped_is_gone(client: Client) -> None:
    client.create_collection("contract_dropped", described(schema("contract_dropped")))
    client.drop_collection("contract_dropped")
    assert "contract_dropped" not in client.collections()


def test_a_collection_is_found_by_its_alias(client: Client, numbers: str) -> None:
    client.create_alias(numbers, "contract_alias")
    found = client.describe("contract_alias")
    assert found.name == numbers
    assert found.aliases == ("contract_alias",)


def test_a_loaded_collection_is_in_memory_once(client: Client, numbers: str, does: Kind) -> None:
    assert client.describe(numbers).replicas == int(does.tells_replicas)


def test_properties_are_set_and_dropped(client: Client, fill: Fill, kind: str) -> None:
    name = fill()
    client.set_properties(name, (("collection.ttl.seconds", "60"),))
    assert client.describe(name).properties == (("collection.ttl.seconds", "60"),)
    if kind != "source":  # 2.3 drops none.
        client.set_properties(name, (), drop=["collection.ttl.seconds"])
        assert client.describe(name).properties == ()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.describe("contract_none"),
        lambda client: client.partitions("contract_none"),
        lambda client: client.count("contract_none"),
        lambda client: client.create_index("contract_none", FLAT),
        lambda client: client.create_partition("contract_none", "eu"),
        lambda client: client.release("contract_none"),
    ],
    ids=["describe", "partitions", "count", "create_index", "create_partition", "release"],
)
def test_the_error_names_a_collection_that_does_not_exist(
    client: Client, ask: Callable[[Client], object]
) -> None:
    with pytest.raises(Refused) as caught:
        ask(client)
    assert "contract_none" in caught.value.detail


def test_an_index_is_described_with_its_exact_parameters(
    client: Client, numbers: str, does: Kind
) -> None:
    name = FLAT.name if does.names_indexes else FLAT.field
    assert client.indexes(numbers) == (replace(FLAT, name=name),)


def test_a_collection_without_an_index_has_none(client: Client, does: Kind) -> None:
    client.create_collection("contract_bare", described(schema("contract_bare")))
    assert client.indexes("contract_bare") == ()
    assert client.indexing("contract_bare") == (0, 0)
    assert client.loaded("contract_bare") is not does.tells_load_state
    client.drop_collection("contract_bare")


def test_a_collection_that_is_released_cannot_be_read_until_it_is_loaded_again(
    client: Client, fill: Fill
) -> None:
    name = fill(rows(5))
    client.release(name)
    assert client.loaded(name) is False
    impatient = Client(client.endpoint, NO_RETRIES)
    with pytest.raises(ServerError, match=r"(?i)load|released"):
        impatient.page(name, shape(client, name), rows=10)
    impatient.close()
    percents: list[int] = []
    client.load(name, on_progress=percents.append)
    assert client.loaded(name) is True
    assert read(client, name) == rows(5)
    assert all(0 <= percent < 100 for percent in percents)


def test_what_is_flushed_is_counted_in_storage(client: Client, fill: Fill) -> None:
    name = fill(rows(5))
    client.flush(name, timeout_s=TIMEOUT_S)
    assert client.stored_rows(name) == 5
    while client.indexing(name) != (0, 0):
        pass


# Writing


def test_an_insert_returns_the_number_of_rows(client: Client, fill: Fill) -> None:
    name = fill()
    assert insert(client, name, rows(7)) == 7
    assert read(client, name) == rows(7)


def test_a_key_that_is_inserted_again_counts_twice_or_is_replaced(
    client: Client, fill: Fill, does: Kind
) -> None:
    name = fill(rows(5), rows(3))
    assert client.count(name) == (8 if does.repeats else 5)
    assert read(client, name) == rows(5)


def test_an_upsert_replaces_and_adds_by_key(client: Client, fill: Fill) -> None:
    name = fill(rows(5))
    changed = [row(4) | {"title": "changed"}, row(5)]
    upserted = client.upsert(name, "", shape(client, name), batch(client, name, changed))
    assert upserted == 2
    assert client.count(name) == 6
    assert read(client, name) == [*rows(4), *changed]


def test_a_repeated_upsert_changes_nothing(client: Client, fill: Fill) -> None:
    name = fill()
    for _ in range(2):
        client.upsert(name, "", shape(client, name), batch(client, name, rows(5)))
    assert client.count(name) == 5
    assert read(client, name) == rows(5)


def test_the_keys_that_a_filter_names_are_deleted(client: Client, fill: Fill) -> None:
    name = fill(rows(10))
    client.delete(name, "", filters.among("id", [2, 3, 77]))
    assert [each["id"] for each in read(client, name)] == [0, 1, 4, 5, 6, 7, 8, 9]
    assert client.count(name) == 8


def test_the_smallest_key_can_be_named(client: Client, fill: Fill) -> None:
    smallest = -(2**63)
    name = fill([row(smallest), row(0)])
    assert client.count(name) == 2
    assert reader(client, name).row(smallest).num_rows == 1
    client.delete(name, "", filters.among("id", [smallest]))
    assert client.count(name) == 1


def test_rows_stay_in_the_partition_that_they_were_written_to(
    client: Client, fill: Fill, does: Kind
) -> None:
    name = fill(rows(3))
    client.create_partition(name, "eu")
    assert client.partitions(name) == ["_default", "eu"]
    insert(client, name, [row(key) for key in range(100, 104)], "eu")
    assert client.count(name) == 7
    assert client.count(name, partition="eu") == (4 if does.counts_partitions else 7)
    assert reader(client, name).count(KeyRange(name, partition="eu")) == 4
    for partition, first in (("_default", 0), ("eu", 100)):
        found = read(client, name, KeyRange(name, partition=partition))
        assert found == [row(first + each) for each in range(len(found))]
        assert len(found) == (3 if partition == "_default" else 4)


def test_dynamic_fields_come_back(client: Client, fill: Fill, does: Kind) -> None:
    sent = [row(1) | {"$meta": b'{"a":1}'}, row(2) | {"$meta": b"{}"}]
    back = [row(1) | {"$meta": b'{"a": 1}'}, sent[1]] if does.rewrites_json else sent
    assert read(client, fill(sent, message=schema(dynamic=True))) == back


# Reading


@pytest.mark.parametrize("page_rows", [1, 7, 99, 100, 101, 16_384])
def test_a_scan_tiles_its_range_whatever_the_size_of_pages(
    client: Client, numbers: str, page_rows: int
) -> None:
    scanned = list(reader(client, numbers, page_rows).scan(KeyRange(numbers)))
    assert [each for _, found in scanned for each in found.to_pylist()] == rows(100)
    covered = [each for each, _ in scanned]
    assert (covered[0].after, covered[-1].upto) == (None, None)
    assert all(left.upto == right.after for left, right in pairwise(covered))
    for each, found in scanned:
        assert all(key in each for key in found["id"].to_pylist())


@pytest.mark.parametrize("cuts", [[], [49], [0, 1, 2], [-5, 200], [*range(0, 100, 13)]])
def test_ranges_together_have_each_key_of_the_whole_once(
    client: Client, numbers: str, cuts: list[int]
) -> None:
    pieces = split(KeyRange(numbers), cuts)
    assert [each for piece in pieces for each in read(client, numbers, piece)] == rows(100)
    counts = reader(client, numbers)
    assert sum(counts.count(piece) for piece in pieces) == 100


def test_an_empty_range_is_one_empty_batch(client: Client, numbers: str) -> None:
    planned = KeyRange(numbers, 1_000, 2_000)
    [(covered, found)] = reader(client, numbers).scan(planned)
    assert (covered, found.num_rows) == (planned, 0)
    assert found.schema.names == ["id", "title", "vector"]


def test_a_page_that_fits_has_all_rows(client: Client, fill: Fill, does: Kind) -> None:
    name = fill(rows(100)[::2], rows(100)[1::2], shards=2)
    asked = partial(client.page, name, shape(client, name), rows=100, seen=STRONG)
    cut_off, whole = asked()[0].num_rows, asked(fits=True)[0].num_rows
    assert (cut_off < 100, whole) == (does.ends_with_first_shard, 100)


@pytest.mark.parametrize(("key", "found"), [(3, [row(3)]), (1_000, [])])
def test_a_row_is_found_by_its_key(
    client: Client, numbers: str, key: int, found: list[object]
) -> None:
    assert reader(client, numbers).row(key).to_pylist() == found


def test_keys_are_scanned_in_order(client: Client, numbers: str) -> None:
    pages = reader(client, numbers).scan_keys(KeyRange(numbers), 100)
    assert [key.as_py() for page in pages for key in page] == [*range(100)]


def test_keys_can_be_filtered_by_multiples(client: Client, fill: Fill, does: Kind) -> None:
    name = fill([row(key) for key in range(-50, 50)])
    where = filters.both("id > -40", filters.multiples("id", 17))
    found = Reader(client, name, shape(client, name), where=where)
    if does.tells_multiples:
        assert found.count(KeyRange(name)) == 5
        pages = found.scan_keys(KeyRange(name, None, 40), 5)
        assert [key.as_py() for page in pages for key in page] == [-34, -17, 0, 17, 34]
    else:
        with pytest.raises(Refused):
            found.count(KeyRange(name))


@pytest.mark.parametrize("page_rows", [1, 3, 100])
def test_text_keys_are_read_in_order_whatever_is_in_them(
    client: Client, kind: str, fill: Fill, texts: str, page_rows: int
) -> None:
    found = [
        each
        for _, page in reader(client, texts, page_rows).scan(KeyRange(texts))
        for each in page["id"].to_pylist()
    ]
    assert found == sorted(NASTY)


@pytest.fixture(scope="module")
def texts(fill: Fill) -> str:
    return fill([row(key) for key in NASTY], message=schema(key=DataType.VarChar))


def test_text_keys_can_be_read_by_name(client: Client, texts: str) -> None:
    found = reader(client, texts)
    assert [found.row(key)["id"].to_pylist() for key in NASTY] == [[key] for key in NASTY]


EDGES: tuple[Key, ...] = (-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2)


@pytest.fixture(scope="module")
def edges(fill: Fill) -> str:
    return fill([row(key) for key in EDGES])


@pytest.mark.parametrize("cuts", [[], [-(2**63)], [2**63 - 2], [*EDGES]])
def test_keys_at_the_ends_of_int64_are_read(client: Client, edges: str, cuts: list[int]) -> None:
    pieces = split(KeyRange(edges), cuts)
    found = [each["id"] for piece in pieces for each in read(client, edges, piece)]
    assert found == [*EDGES]


def test_the_last_key_is_counted_by_all_and_returned_only_by_some(
    client: Client, fill: Fill, does: Kind
) -> None:
    name = fill([row(0), row(2**63 - 1)])
    assert client.count(name) == 2
    assert client.count(name, where=f"id == {2**63 - 1}", seen=BOUNDED) == 1
    assert len(read(client, name)) == (2 if does.shows_last_key else 1)


@pytest.mark.parametrize("page_rows", [1, 2, 5, 50, 70])
def test_duplicate_keys_are_read_once_each_and_none_is_lost(
    client: Client, repeated: str, does: Kind, page_rows: int
) -> None:
    scan = reader(client, repeated, page_rows).scan(KeyRange(repeated))
    assert [each["id"] for _, found in scan for each in found.to_pylist()] == [*range(30)]
    assert client.count(repeated) == (70 if does.repeats else 30)


@pytest.fixture(scope="module")
def repeated(fill: Fill) -> str:
    """Thirty keys, several of them three times, in three inserts."""
    every_third = rows(30)[::3]
    return fill(rows(30), every_third * 2, rows(20))


def test_checked_pages_give_the_same(client: Client, repeated: str) -> None:
    checked = Reader(client, repeated, shape(client, repeated), page_rows=4, checked=True)
    scan = checked.scan(KeyRange(repeated))
    assert [each["id"] for _, found in scan for each in found.to_pylist()] == [*range(30)]
