"""A folder of Parquet files behind the client of a Milvus."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests import strategies
from tests.clusters import described, schema
from transforms import fingerprint
from transforms.errors import DataError, Refused, ServerError
from transforms.milvus import schema as schemas
from transforms.milvus.client import Client
from transforms.milvus.description import Index
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.filters import MAX_INT64, MIN_INT64, among, anything, both, literal, within
from transforms.milvus.pages import Reader
from transforms.milvus.parquet import key_filters
from transforms.milvus.parquet.key_filters import Keys
from transforms.ranges import Key, KeyRange

WHOLE = KeyRange("docs")
FLUSH_S = 1.0


def connect(folder: Path | str) -> Client:
    return Client(Endpoint(f"parquet:{folder}"))


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = connect(tmp_path)
    client.create_collection("docs", described())
    return client


def batch(keys: Iterable[Key], text: str = "") -> pa.RecordBatch:
    wanted = schemas.parse(schema())
    rows = [{"id": key, "title": f"{text}{key}", "vector": [0.5, 1.0]} for key in keys]
    return strategies.batch_of(wanted, rows)


def put(client: Client, *batches: pa.RecordBatch, partition: str = "") -> None:
    for batch in batches:
        client.insert("docs", partition, schemas.parse(schema()), batch)
    client.flush("docs", timeout_s=FLUSH_S)


def reader(client: Client, page_rows: int = 100) -> Reader:
    return Reader(client, "docs", client.describe("docs").schema, page_rows=page_rows)


def titles(client: Client, keys: KeyRange = WHOLE, page_rows: int = 100) -> list[str]:
    pages = [rows for _, rows in reader(client, page_rows).scan(keys)]
    return [title for rows in pages for title in rows["title"].to_pylist()]


def paths(client: Client) -> list[Path]:
    return sorted(Path(client.endpoint.folder).glob("docs/*/*.parquet"))


# -- what a collection is -------------------------------------------------------------------------


@strategies.laws
@given(message=strategies.collections(), data=st.data())
def test_any_collection_is_read_back_unchanged(message: Any, data: st.DataObject) -> None:
    wanted = schemas.parse(message)
    drawn = data.draw(strategies.rows(wanted))
    unique = {row[wanted.primary.name]: row for row in drawn}
    rows = strategies.batch_of(wanted, [unique[key] for key in sorted(unique)])
    with tempfile.TemporaryDirectory() as folder:
        client = connect(folder)
        client.create_collection("docs", described(message))
        if rows.num_rows:
            client.insert("docs", "", wanted, rows)
        client.flush("docs", timeout_s=FLUSH_S)

        found = connect(folder).describe("docs")
        assert found.message == message
        pages = list(Reader(connect(folder), "docs", found.schema).scan(WHOLE))

    assert all(page.schema.equals(wanted.arrow(), check_metadata=True) for _, page in pages)
    total = fingerprint.add(*(fingerprint.of(page, json_by_value=False) for _, page in pages))
    assert total == fingerprint.of(rows, json_by_value=False)


def test_the_description_of_a_collection_is_stored(client: Client, tmp_path: Path) -> None:
    index = Index("vector", "flat", (("index_type", "FLAT"), ("metric_type", "L2")))
    client.create_partition("docs", "eu")
    client.create_alias("docs", "papers")
    client.create_index("docs", index)
    client.set_properties("docs", (("ttl", "5"), ("other", "x")))
    client.set_properties("docs", (), drop=["other"])
    client.flush("docs", timeout_s=FLUSH_S)
    client.load("docs", replicas=2)
    found = connect(tmp_path).describe("docs")
    assert found.partitions == ("_default", "eu")
    assert (found.aliases, found.indexes) == (("papers",), (index,))
    assert (found.properties, found.loaded, found.replicas) == ((("ttl", "5"),), True, 2)
    client.release("docs")
    assert connect(tmp_path).describe("docs").loaded is False
    assert client.collections() == ["docs"]
    assert client.version().files


def test_a_partition_key_has_its_partitions(tmp_path: Path) -> None:
    client = connect(tmp_path)
    wanted = described(schema(partition_key="title"), partition_count=3)
    client.create_collection("docs", wanted)
    assert client.describe("docs").partitions == ("_default_0", "_default_1", "_default_2")


def test_a_dropped_collection_leaves_no_file(client: Client, tmp_path: Path) -> None:
    put(client, batch(range(5)))
    client.drop_collection("docs")
    assert client.collections() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_new_folder_is_empty(tmp_path: Path) -> None:
    client = connect(tmp_path / "new")
    assert client.collections() == []
    with pytest.raises(Refused, match="collection not found"):
        client.describe("docs")


def test_what_only_a_server_can_do_is_refused(client: Client) -> None:
    put(client, batch(range(5)))
    with pytest.raises(Refused, match="Parquet files do not support this call"):
        client.delete("docs", "", "id in [1]")
    with pytest.raises(
        Refused, match="Parquet files can be filtered by primary key only: price > 3"
    ):
        client.count("docs", where="price > 3")


# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_rows", [1, 3, 100])
def test_pages_are_in_key_order_whatever_the_files(client: Client, page_rows: int) -> None:
    put(client, batch([7, 8, 9]), batch([1, 2]), batch([20, 3]))
    assert titles(client, page_rows=page_rows) == ["1", "2", "3", "7", "8", "9", "20"]
    assert titles(client, KeyRange("docs", 2, 8), page_rows) == ["3", "7", "8"]
    assert reader(client).count(KeyRange("docs", 2, 8)) == 3


@pytest.mark.parametrize("page_rows", [1, 2, 100])
def test_if_two_files_contain_a_key_the_later_row_applies(client: Client, page_rows: int) -> None:
    put(client, batch([1, 2, 3], "a"), batch([5], "a"), batch([2, 3, 4], "b"))
    assert titles(client, page_rows=page_rows) == ["a1", "b2", "b3", "b4", "a5"]
    assert (client.count("docs"), client.stored_rows("docs")) == (5, 5)
    assert reader(client).count(KeyRange("docs", 1, 3)) == 2


def test_a_later_row_applies_whatever_the_clock_says(client: Client) -> None:
    put(client, batch([1, 2, 3], "a"))
    [path] = paths(client)
    time_ns, _, rest = path.name.partition("-")
    path.rename(path.with_name(f"{int(time_ns) + 3_600 * 10**9:020d}-{rest}"))
    client.upsert("docs", "", schemas.parse(schema()), batch([2], "b"))
    client.flush("docs", timeout_s=FLUSH_S)
    assert titles(client) == ["a1", "b2", "a3"]


def test_a_retried_write_leaves_one_file(client: Client) -> None:
    put(client, batch([1, 2]), batch([1, 2]), batch([3]))
    assert len(paths(client)) == 2
    assert client.count("docs") == 3


def test_partitions_are_separate(client: Client) -> None:
    client.create_partition("docs", "eu")
    put(client, batch([1, 2], "a"))
    put(client, batch([2, 3], "eu"), partition="eu")
    assert titles(client, KeyRange("docs", partition="eu")) == ["eu2", "eu3"]
    assert client.count("docs", partition="_default") == 2
    assert client.count("docs") == client.stored_rows("docs") == 4


@given(
    writes=st.lists(st.sets(st.integers(-5, 30), min_size=1), max_size=5),
    bounds=st.tuples(st.none() | st.integers(-6, 31), st.none() | st.integers(-6, 31)),
    page_rows=st.integers(1, 8),
)
@settings(max_examples=25)
def test_reads_give_the_same_as_a_dictionary(
    writes: list[set[int]], bounds: tuple[int | None, int | None], page_rows: int
) -> None:
    kept: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        client = connect(folder)
        client.create_collection("docs", described())
        for number, keys in enumerate(writes):
            rows = batch(sorted(keys), f"{number}:")
            client.insert("docs", "", schemas.parse(schema()), rows)
            kept |= {key: f"{number}:{key}" for key in keys}
        client.flush("docs", timeout_s=FLUSH_S)
        planned = KeyRange("docs", *bounds)
        wanted = [kept[key] for key in sorted(kept) if key in planned]
        assert titles(client, planned, page_rows) == wanted
        assert reader(client).count(planned) == len(wanted)
        found = [reader(client).row(key)["title"].to_pylist() for key in [*sorted(kept), 99]]
        assert found == [[kept[key]] for key in sorted(kept)] + [[]]


@pytest.mark.parametrize("page_rows", [1, 100])
def test_text_keys_are_sorted_by_their_bytes(tmp_path: Path, page_rows: int) -> None:
    client = connect(tmp_path)
    client.create_collection("docs", described(schema(key=DataType.VarChar)))
    wanted = schemas.parse(schema(key=DataType.VarChar))
    keys = ["", " ", 'say "hi"', "a\\b", "tab\t", "é", "\U0001f600", "zz"]
    row = {"title": "t", "vector": [0.5, 1.0]}
    client.insert(
        "docs", "", wanted, strategies.batch_of(wanted, [{**row, "id": key} for key in keys])
    )
    client.flush("docs", timeout_s=FLUSH_S)
    found = [rows for _, rows in reader(client, page_rows).scan(WHOLE)]
    assert [key for page in found for key in page["id"].to_pylist()] == sorted(keys)
    for after, upto in itertools.combinations([None, *sorted(keys)], 2):
        inside = [key for key in keys if key in KeyRange("docs", after, upto)]
        assert reader(client).count(KeyRange("docs", after, upto)) == len(inside)


# -- files that were changed ----------------------------------------------------------------------


def test_a_changed_or_missing_file_is_an_error(client: Client, tmp_path: Path) -> None:
    put(client, batch(range(5)), batch(range(5, 9)))
    first, second = paths(client)
    pq.write_table(pq.read_table(first).slice(1), first)
    with pytest.raises(DataError, match=rf"{first.name} is damaged \(its content has changed\)"):
        titles(connect(tmp_path))
    second.unlink()
    with pytest.raises(ServerError, match="No such file"):
        connect(tmp_path).count("docs", where="id > 6")
    with pytest.raises(DataError, match=f"{second.name} is missing. Copy the file here again"):
        titles(connect(tmp_path), KeyRange("docs", 4, None))


def test_an_incomplete_collection_is_not_read(client: Client, tmp_path: Path) -> None:
    client.insert("docs", "", schemas.parse(schema()), batch([1]))
    other = connect(tmp_path)
    with pytest.raises(Refused, match=r"has no manifest.json, so it is incomplete"):
        other.count("docs")
    assert (other.loaded("docs"), other.stored_rows("docs")) == (None, 1)
    client.flush("docs", timeout_s=FLUSH_S)
    assert other.count("docs") == 1


def test_others_see_added_rows_once_the_collection_is_complete_again(
    client: Client, tmp_path: Path
) -> None:
    put(client, batch([1], "a"))
    client.upsert("docs", "", schemas.parse(schema()), batch([1, 2], "b"))
    assert (titles(client), titles(connect(tmp_path))) == (["b1", "b2"], ["a1"])
    client.flush("docs", timeout_s=FLUSH_S)
    assert titles(connect(tmp_path)) == ["b1", "b2"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Refused, match="Not a directory"):
        connect(tmp_path / "file").create_collection("docs", described())


def test_a_file_is_one_row_group_that_any_tool_reads(client: Client) -> None:
    put(client, batch(range(5)))
    [path] = paths(client)
    assert pq.read_metadata(path).num_row_groups == 1
    assert pq.read_table(path)["title"].to_pylist() == ["0", "1", "2", "3", "4"]
    assert pq.read_schema(path).field("title").metadata[b"milvus.type"] == b"VarChar"


# -- filters --------------------------------------------------------------------------------------

_keys = st.integers(MIN_INT64, MAX_INT64) | st.sampled_from(
    [MIN_INT64, MIN_INT64 + 1, MAX_INT64, 0]
)
_texts = st.text(max_size=5) | st.sampled_from(["", '"', "\\", '\\"', "\n", " and ", "in [1]"])


NUMBER, TEXT = (
    schemas.parse(schema(key=kind)).primary for kind in (DataType.Int64, DataType.VarChar)
)


def read_back(text: str, key: Key) -> Keys:
    """The keys of a filter on a key of this type."""
    keys = key_filters.parse(text, TEXT if isinstance(key, str) else NUMBER)
    assert keys is not None, text
    return keys


def holds(keys: Keys, key: Key) -> bool:
    return bool(keys.of(pa.record_batch({"id": [key]}), "id").num_rows)


def _ranges(keys: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    return st.tuples(st.none() | keys, st.none() | keys, keys)


@given(_ranges(_keys) | _ranges(_texts))
def test_a_filter_of_a_range_is_read_back(drawn: tuple[Any, Any, Any]) -> None:
    after, upto, key = drawn
    planned = KeyRange("docs", after, upto)
    keys = read_back(within("id", planned), key)
    assert holds(keys, key) == (key in planned)
    assert not keys.include(key, key) or key in planned
    assert keys.meets(key, key) or key not in planned


@given(_ranges(_keys) | _ranges(_texts))
def test_a_filter_beside_that_of_a_range_is_read_back(drawn: tuple[Any, Any, Any]) -> None:
    after, upto, key = drawn
    more = [among("id", [key]), within("id", KeyRange("docs", None, key)), f"id == {literal(key)}"]
    planned = KeyRange("docs", after, upto)
    for text in more:
        keys = read_back(both(within("id", planned), text), key)
        assert holds(keys, key) == (key in planned)


@given(st.tuples(st.lists(_keys), _keys) | st.tuples(st.lists(_texts), _texts))
def test_a_filter_of_named_keys_is_read_back(drawn: tuple[list[Any], Any]) -> None:
    named, key = drawn
    keys = read_back(among("id", named), key)
    assert holds(keys, key) == keys.meets(key, key) == (key in named)


@pytest.mark.parametrize("key", [-3, ""])
def test_a_filter_that_matches_every_key_is_read_back(key: Key) -> None:
    keys = read_back(anything(TEXT if key == "" else NUMBER), key)
    assert holds(keys, key)
    assert keys.include(key, key)


@pytest.mark.parametrize(
    ("sign", "matching"),
    [("<", [1, 2]), ("<=", [1, 2, 3]), (">", [4, 5]), (">=", [3, 4, 5]), ("==", [3])],
)
def test_each_sign_selects_its_keys(sign: str, matching: list[int]) -> None:
    for convert in (int, str):
        rows = pa.record_batch({"id": [convert(key) for key in range(1, 6)]})
        keys = read_back(f"id {sign} {literal(convert(3))}", convert(3))
        wanted = [convert(key) for key in matching]
        assert keys.of(rows, "id")["id"].to_pylist() == wanted
        for first, last in itertools.combinations_with_replacement(rows["id"].to_pylist(), 2):
            inside = [first <= key <= last for key in wanted]
            assert keys.meets(first, last) or not any(inside)
            span = [first <= key <= last for key in rows["id"].to_pylist()]
            assert not keys.include(first, last) or sum(inside) == sum(span)


@pytest.mark.parametrize(
    "text",
    [
        *('id > "3"', "id > 1.5", "id > true", "id > ", "id", "id in 3", "id not in [3]"),
        *("id != 3", "id > 3 or id < 1", "not id > 3", "id > 3 and price > 3", "ids > 3"),
        *(f"id > {MAX_INT64 + 1}", f"id in [{MIN_INT64 - 1}]", "id > 03"),
        "id in [1753000000000000001, 1753000000000000002, 1753000000000000003] and price > 3",
    ],
)
def test_another_expression_is_not_a_filter_on_keys(text: str) -> None:
    assert key_filters.parse(text, NUMBER) is None


def test_a_text_that_is_no_literal_is_not_a_filter_on_keys() -> None:
    assert key_filters.parse(r'id == "\d"', TEXT) is None
    assert key_filters.parse("id == 'a'", TEXT) is None
    assert key_filters.parse("id == 3", TEXT) is None
