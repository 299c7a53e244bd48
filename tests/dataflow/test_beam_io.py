"""Reading and writing in pipelines of others: what docs/beam-io.md says."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen.schema_pb2 import DataType

from kitelift import ReadFromMilvus, WriteToMilvus
from tests.clusters import described, schema
from tests.dataflow.jobs import keys_of, row, rows
from tests.docs import ROOT
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import LOST_ANSWER, REFUSED, Fault
from transforms import split
from transforms.batch import RecordBatchCoder
from transforms.duplicates import last_of_each_key
from transforms.errors import DataError
from transforms.io import rows as row_forms
from transforms.milvus import schema as schemas
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.read import row_type

COUNT = 40
GUIDE = (ROOT / "docs" / "beam-io.md").read_text(encoding="utf-8")

# As beam.Pipeline() is, but it does not look for another runner on the network first.
Pipeline = functools.partial(beam.Pipeline, runner=fn_runner.FnApiRunner())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMilvus]:
    monkeypatch.setattr(split, "MIN_RANGE_ROWS", 10)
    with FakeMilvus() as running:
        yield running


SEEN: list[Any] = []
"""What came out of a pipeline: it runs in this process, and functions find a module's names."""


def keep(element: Any) -> None:
    SEEN.append(element)


def read(transform: ReadFromMilvus) -> list[Any]:
    """Returns what is read, in no order."""
    SEEN.clear()
    with Pipeline() as pipeline:
        _ = pipeline | transform | beam.Map(keep)
    return SEEN


def write(transform: WriteToMilvus, *elements: Any) -> int:
    """Writes the elements; returns the rows that the receipts say."""
    SEEN.clear()
    with Pipeline() as pipeline:
        made = pipeline | beam.Create([0]) | beam.FlatMap(lambda _: elements)
        _ = made | transform | beam.Map(keep)
    return sum(receipt.rows for receipt in SEEN)


def arrow(found: list[dict[str, Any]]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(found, schema=schemas.parse(schema()).arrow())


# -- the guide ------------------------------------------------------------------------------------


def run(example: str, url: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Runs an example of the guide, with our server for its own."""
    [code] = re.findall(rf"<!-- example: {example} -->\n```python\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.setattr(beam, "Pipeline", Pipeline)
    monkeypatch.setenv("MILVUS_TOKEN", "root:Milvus")
    monkeypatch.chdir(folder)
    exec(compile(code.replace("http://localhost:19530", url), example, "exec"), {})


def test_the_examples_move_a_collection_by_way_of_parquet_files(
    server: FakeMilvus,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.create(schema(), rows(COUNT))
    run("export", server.url, monkeypatch, tmp_path)
    files = list((tmp_path / "export").iterdir())
    assert sum(pq.read_metadata(file).num_rows for file in files) == COUNT
    assert pq.read_schema(files[0]).field("title").metadata[b"milvus.type"] == b"VarChar"
    with FakeMilvus() as target:
        target.create(schema())
        run("import", target.url, monkeypatch, tmp_path)
        assert target["docs"].rows() == rows(COUNT)
    assert capsys.readouterr().out.split() == [str(COUNT)]


@pytest.mark.parametrize("transform", [ReadFromMilvus, WriteToMilvus])
def test_the_guide_explains_every_argument(transform: type[Any]) -> None:
    arguments = {*transform.__dataclass_fields__} - {"url", "collection"}
    explained = {
        each
        for line in re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
        for each in re.findall(r"`(\w+)`", line)
    }
    assert arguments <= explained


# -- reading --------------------------------------------------------------------------------------


def test_batches_hold_every_row_once(server: FakeMilvus) -> None:
    server.create(schema(), rows(COUNT))
    found = read(ReadFromMilvus(server.url, "docs", page_rows=7))
    assert len(found) > 4
    assert sorted(
        (each for page in found for each in page.to_pylist()), key=lambda r: r["id"]
    ) == rows(COUNT)


def test_what_a_job_has_written_to_files_is_read_too(tmp_path: Path) -> None:
    endpoint = Endpoint(f"parquet:{tmp_path}")
    client, wanted = Client(endpoint), schemas.parse(schema())
    client.create_collection("docs", described())
    client.insert("docs", "", wanted, arrow(rows(COUNT)))
    client.flush("docs", timeout_s=1.0)
    [page] = read(ReadFromMilvus(endpoint.url, "docs"))
    assert page.to_pylist() == rows(COUNT)


def test_columns_filter_and_partition_are_asked_of_the_server(server: FakeMilvus) -> None:
    made = server.create(schema(), rows(COUNT), partitions=("_default", "eu"))
    made.insert([row(key) for key in range(100, 105)], "eu")
    transform = ReadFromMilvus(
        server.url, "docs", columns=["title"], where="id > 101", partition="eu"
    )
    assert transform.schema.names == ["id", "title"]
    [page] = read(transform)
    assert page.to_pylist() == [{"id": key, "title": f"title of {key}"} for key in (102, 103, 104)]


def test_rows_have_a_type_and_may_travel(server: FakeMilvus) -> None:
    server.create(schema(dynamic=True), [{**row(1), "$meta": b'{"a":1}'}])
    with Pipeline() as pipeline:
        made = pipeline | ReadFromMilvus(server.url, "docs", elements="rows") | beam.Reshuffle()
        found = made | beam.Map(lambda each: (each.id, each.title, list(each.vector), each.meta))
        assert_that(found, equal_to([(1, "title of 1", [0.25, 1.0], b'{"a":1}')]))


def test_a_row_type_says_what_a_schema_says() -> None:
    fields = [
        pa.field("a", pa.int64(), nullable=False),
        pa.field("b", pa.string()),
        pa.field("c", pa.list_(pa.bool_()), nullable=False),
        pa.field("d", pa.binary(4), nullable=False),
    ]
    made = dict(row_type(pa.schema(fields))._fields)
    assert made["a"] is np.int64
    assert made["d"] is bytes
    assert str(made["b"]) in ("Optional[<class 'str'>]", "Optional[str]", "str | None")
    with pytest.raises(DataError, match="_a: a field of a Row cannot have this name"):
        row_type(pa.schema([pa.field("_a", pa.int64())]))


def test_what_cannot_be_read_fails_the_pipeline(server: FakeMilvus) -> None:
    server.create(schema(), rows(COUNT))
    transform = ReadFromMilvus(server.url, "docs")
    assert transform.plan
    server.fails("Query", REFUSED, times=100, when=lambda page: "title" in page.output_fields)
    with pytest.raises(Exception, match="the server does not like it"):
        read(transform)


@pytest.mark.parametrize(
    ("collection", "columns", "words"),
    [
        (
            "docs",
            ["titel"],
            "docs.titel: there is no such field; the fields are: id, title, vector",
        ),
        ("released", [], "released is not loaded in http://127.0.0.1:"),
        ("nothing", [], "collection not found"),
    ],
)
def test_a_wrong_name_is_told_when_the_pipeline_is_built(
    server: FakeMilvus, collection: str, columns: list[str], words: str
) -> None:
    server.create(schema())
    server.create(schema("released")).loaded = False
    with pytest.raises(Exception, match=words):
        _ = Pipeline() | ReadFromMilvus(server.url, collection, columns=columns)


def test_a_slice_travels_without_the_batch_that_it_is_a_part_of() -> None:
    whole = pa.record_batch({"id": list(range(10_000))})
    coder = RecordBatchCoder()
    encoded = coder.encode(whole.slice(5, 2))
    assert len(encoded) < 1_000
    assert coder.decode(encoded).to_pydict() == {"id": [5, 6]}
    assert coder.estimate_size(whole) == whole.nbytes
    assert beam.coders.registry.get_coder(pa.RecordBatch) == coder


# -- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "form",
    [
        lambda found: [arrow(found)],
        lambda found: [pa.Table.from_batches([arrow(found[:20]), arrow(found[20:])])],
        lambda found: [beam.Row(**each) for each in found],
        lambda found: found,
    ],
    ids=["batch", "table", "rows", "mappings"],
)
def test_whatever_comes_in_is_written_in_writes_of_one_size(
    server: FakeMilvus, form: Callable[[Any], list[Any]]
) -> None:
    server.create(schema())
    transform = WriteToMilvus(server.url, "docs", request_rows=15)
    assert write(transform, *form(rows(COUNT))) == COUNT
    assert server["docs"].rows() == rows(COUNT)
    sizes = [len(keys_of(each)) for each in server.asked("Upsert")]
    assert (len(sizes), max(sizes) <= 15) == (3, True)
    assert server.asked("Insert") == []


def test_without_upsert_rows_are_inserted_and_a_lost_answer_doubles_nothing(
    server: FakeMilvus,
) -> None:
    server.create(schema())
    server.fails("Insert", LOST_ANSWER)
    assert write(WriteToMilvus(server.url, "docs", upsert=False), arrow(rows(COUNT))) == COUNT
    assert server["docs"].rows() == rows(COUNT)


def refuse_repeats(server: FakeMilvus) -> None:
    """Has upserts of one key twice refused, as 2.6.8 and later do."""

    def repeats(request: Any) -> bool:
        keys = keys_of(request)
        return len(keys) > len({*keys})

    words = "duplicate primary keys are not allowed in the same batch: invalid parameter"
    server.fails("Upsert", Fault(code=1100, text=words), when=repeats, times=None)


@pytest.mark.parametrize("form", [lambda found: [arrow(found)], lambda found: found])
def test_of_rows_with_one_key_the_last_one_is_written(
    server: FakeMilvus, form: Callable[[Any], list[Any]]
) -> None:
    server.create(schema())
    refuse_repeats(server)
    changed = [row(key) | {"title": "changed"} for key in (3, 3, 5)]
    changed[0]["title"] = "in between"
    transform = WriteToMilvus(server.url, "docs", request_rows=100)
    assert write(transform, *form([*rows(COUNT), *changed])) == COUNT
    wanted = [each | ({"title": "changed"} if each["id"] in (3, 5) else {}) for each in rows(COUNT)]
    assert server["docs"].rows() == wanted


def test_rows_of_one_key_in_writes_of_their_own_end_with_the_last_of_their_batch(
    server: FakeMilvus,
) -> None:
    """Several writes of one batch are under way at the same time, in no order."""
    server.create(schema())
    changed = [row(key) | {"title": "changed"} for key in range(COUNT)]
    transform = WriteToMilvus(server.url, "docs", request_rows=7)
    assert write(transform, arrow([*rows(COUNT), *changed])) == COUNT
    assert server["docs"].rows() == changed


def test_without_upsert_rows_with_one_key_are_all_inserted_also_after_a_lost_answer(
    server: FakeMilvus,
) -> None:
    server.create(schema())
    refuse_repeats(server)
    server.fails("Insert", LOST_ANSWER)
    transform = WriteToMilvus(server.url, "docs", upsert=False)
    assert write(transform, arrow([*rows(COUNT), row(3)])) == COUNT + 1
    assert server.keys("docs") == sorted([*range(COUNT), 3])


@given(st.lists(st.one_of(st.integers(0, 5), st.integers()), max_size=30))
def test_the_last_row_of_each_key_stays_where_it_is(keys: list[int]) -> None:
    keys = [key % 2**63 for key in keys]
    found = pa.record_batch(
        {"id": pa.array(keys, pa.int64()), "place": pa.array([*range(len(keys))], pa.int64())}
    )
    wanted = {key: place for place, key in enumerate(keys)}
    left = last_of_each_key(found, "id")
    assert dict(zip(left["id"].to_pylist(), left["place"].to_pylist(), strict=True)) == wanted
    assert left["place"].to_pylist() == sorted(wanted.values())
    assert left.schema == found.schema


def test_where_the_server_makes_the_keys_rows_come_without(server: FakeMilvus) -> None:
    server.create(schema(auto_id=True))
    without = [{"title": each["title"], "vector": each["vector"]} for each in rows(COUNT)]
    assert write(WriteToMilvus(server.url, "docs"), *without) == COUNT
    assert sorted(each["title"] for each in server["docs"].rows()) == sorted(
        each["title"] for each in without
    )


def test_what_the_server_refuses_fails_the_pipeline(server: FakeMilvus) -> None:
    server.create(schema())
    server.fails("Upsert", REFUSED, times=100)
    with pytest.raises(Exception, match="the server does not like it"):
        write(WriteToMilvus(server.url, "docs"), arrow(rows(3)))


def test_columns_go_by_name_and_are_cast() -> None:
    wanted = schemas.parse(schema())
    table = pa.record_batch(
        {
            "vector": pa.array([[1, 2], [3, 4]], pa.list_(pa.float64())),
            "title": pa.array(["a", "b"], pa.large_string()),
            "id": pa.array([1, 2], pa.int32()),
        }
    )
    made = row_forms.conformed(table, wanted)
    assert made.schema == wanted.arrow()
    assert made.to_pylist() == [
        {"id": 1, "title": "a", "vector": [1.0, 2.0]},
        {"id": 2, "title": "b", "vector": [3.0, 4.0]},
    ]


DYNAMIC = schemas.parse(schema(dynamic=True, note=DataType.JSON))


@pytest.mark.parametrize(
    ("more", "meta"),
    [
        ({}, {}),
        ({"a": 1, "b": "ö"}, {"a": 1, "b": "ö"}),
        ({"meta": b'{"c":3}'}, {"c": 3}),
        ({"meta": {"c": 3}, "a": 1}, {"c": 3, "a": 1}),
        ({"$meta": b'{"c":3}', "a": 1}, {"c": 3, "a": 1}),
    ],
)
def test_what_has_no_field_goes_into_the_dynamic_fields(
    more: dict[str, Any], meta: dict[str, Any]
) -> None:
    made = row_forms.batch_of([{**row(1), "note": [1], **more}], DYNAMIC)
    assert made.schema == DYNAMIC.arrow()
    assert json.loads(made["$meta"][0].as_py()) == meta
    assert made["note"][0].as_py() == b"[1]"


def test_the_dynamic_fields_of_a_batch_are_its_other_columns() -> None:
    table = pa.record_batch({"id": [1], "title": ["a"], "vector": [[1, 2]], "note": ["[1]"]})
    assert row_forms.conformed(table, DYNAMIC)["$meta"].to_pylist() == [b"{}"]
    more = row_forms.conformed(table.append_column("x", pa.array([5])), DYNAMIC)
    assert (more["$meta"].to_pylist(), more["note"].to_pylist()) == ([b'{"x":5}'], [b"[1]"])
    given = row_forms.conformed(more.append_column("y", pa.array(["b"])), DYNAMIC)
    assert json.loads(given["$meta"][0].as_py()) == {"x": 5, "y": "b"}
    assert row_forms.conformed(given, DYNAMIC).equals(given)


def test_vectors_come_as_their_bytes_and_sparse_ones_as_mappings() -> None:
    kinds = {"half": DataType.Float16Vector, "sparse": DataType.SparseFloatVector}
    half = np.array([1, 2], np.float16)
    given = [{**row(1), "half": half, "sparse": {9: 2.0, 4: 1.0}}]
    made = row_forms.batch_of(given, schemas.parse(schema(**kinds)))
    assert made["half"][0].as_py() == half.tobytes()
    pairs = np.frombuffer(made["sparse"][0].as_py(), [("index", "<u4"), ("value", "<f4")])
    assert pairs.tolist() == [(4, 1.0), (9, 2.0)]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {**row(1), "titel": "a"},
            "docs.titel: no writable field has this name; the fields are: id",
        ),
        ({"id": 1, "title": "a"}, "docs.vector: the rows do not have this field"),
        ({**row(1), "id": "one"}, "docs.id: "),
        ({**row(1), "vector": [1.0]}, "docs.vector: "),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(given: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        row_forms.batch_of([given], schemas.parse(schema()))
    if not isinstance(given["id"], str) and "vector" in given and len(given["vector"]) == 2:
        table = pa.RecordBatch.from_pylist([given])
        with pytest.raises(DataError, match=words):
            row_forms.conformed(table, schemas.parse(schema()))


def test_a_token_shows_nowhere() -> None:
    for transform in (ReadFromMilvus, WriteToMilvus):
        assert "secret" not in repr(transform("http://host", "docs", token="secret"))
