"""The laws of fingerprints, and their definition byte by byte."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import assume, given
from hypothesis import strategies as st
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests import strategies
from transforms import fingerprint
from transforms.milvus.schema import Field, Schema

DEFINITION = Path(__file__).parents[2] / "docs" / "fingerprint.md"
TITLE = Field("title", DataType.VarChar, nullable=True)


def one(field: Field, value: object) -> pa.RecordBatch:
    """A batch of one row and one column."""
    return strategies.batch_of(Schema("docs", (field,)), [{field.name: value}])


def of_value(field: Field, value: object, **options: bool) -> int:
    return fingerprint.of(one(field, value), **options)


# --- laws ----------------------------------------------------------------------------------------


@strategies.laws
@given(drawn=strategies.batches(), data=st.data())
def test_the_order_of_rows_does_not_count(drawn, data):
    _, batch = drawn
    order = data.draw(st.permutations(range(batch.num_rows)))

    assert fingerprint.of(batch.take(pa.array(order, pa.int64()))) == fingerprint.of(batch)


@strategies.laws
@given(drawn=strategies.batches(), data=st.data())
def test_batches_add_up_however_they_are_cut(drawn, data):
    _, batch = drawn
    cut = data.draw(st.integers(0, batch.num_rows))

    parts = [fingerprint.of(batch.slice(0, cut)), fingerprint.of(batch.slice(cut))]

    assert fingerprint.add(*parts) == fingerprint.of(batch)


@strategies.laws
@given(drawn=strategies.batches())
def test_a_slice_has_the_fingerprint_of_a_copy(drawn):
    schema, batch = drawn

    copy = strategies.batch_of(schema, batch.to_pylist())

    assert fingerprint.of(copy) == fingerprint.of(batch)


@strategies.laws
@given(drawn=strategies.batches(), data=st.data())
def test_the_order_of_columns_does_not_count(drawn, data):
    schema, batch = drawn
    names = data.draw(st.permutations(schema.names))

    assert fingerprint.of(batch.select(names)) == fingerprint.of(batch)


@strategies.laws
@given(drawn=strategies.batches(), data=st.data())
def test_any_change_of_a_cell_changes_it_and_is_named(drawn, data):
    schema, batch = drawn
    assume(batch.num_rows)
    row = data.draw(st.integers(0, batch.num_rows - 1))
    field = data.draw(st.sampled_from(schema.fields))
    rows = batch.to_pylist()
    before = strategies.batch_of(schema, rows[row : row + 1])
    rows[row][field.name] = data.draw(strategies.values(field))
    changed = strategies.batch_of(schema, rows)
    after = changed.slice(row, 1)

    named = {name.split("[")[0] for name in fingerprint.cell_differences(before, after)}

    same = named == set()
    assert same or named == {field.name}
    assert same == (fingerprint.of(changed) == fingerprint.of(batch))
    assert same == _canonically_equal(field, before, after)


def _canonically_equal(field: Field, before: pa.RecordBatch, after: pa.RecordBatch) -> bool:
    """Compares two values one by one, as the definition says, without the code under test."""
    left, right = (_canonical(field, each[field.name][0].as_py()) for each in (before, after))
    return left == right


def _canonical(field: Field, value: object) -> object:
    if isinstance(value, dict):
        return {child.name: _canonical(child, value[child.name]) for child in field.children}
    if isinstance(value, bytes) and field.type.sparse:
        pairs = [value[at : at + 8] for at in range(0, len(value), 8)]
        return sorted(pairs, key=lambda pair: int.from_bytes(pair[:4], "little"))
    if isinstance(value, list) and field.data_type in (
        DataType.FloatVector,
        DataType.ArrayOfVector,
    ):
        return repr(value)
    if isinstance(value, list):
        return [_number(each) for each in value]
    return _number(value)


def _number(value: object) -> object:
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


@strategies.laws
@given(drawn=strategies.batches())
def test_a_renamed_field_changes_every_row(drawn):
    _, batch = drawn
    names = ["renamed", *batch.schema.names[1:]]

    renamed = fingerprint.row_hashes(batch.rename_columns(names))

    assert not (renamed == fingerprint.row_hashes(batch)).all(axis=1).any()


@given(hashes=st.lists(st.tuples(*[st.integers(0, 2**64 - 1)] * 2), max_size=5))
def test_the_sum_of_hashes_is_exact(hashes):
    words = np.array(hashes, np.uint64).reshape(-1, 2)

    assert fingerprint.total(words) == sum((h << 64) + low for h, low in hashes) % 2**128


@given(value=st.integers(0, 2**128 - 1))
def test_text_is_read_back(value):
    text = fingerprint.to_text(value)

    assert len(text) == 32
    assert fingerprint.from_text(text) == value


# --- tables --------------------------------------------------------------------------------------


def test_no_rows_are_zero():
    assert fingerprint.of(one(TITLE, "a").slice(0, 0)) == 0


def test_many_rows_add_up_like_few():
    batch = pa.record_batch({"text": [f"{n}" * (n % 300) for n in range(30_000)]})

    parts = [fingerprint.of(batch.slice(at, 777)) for at in range(0, batch.num_rows, 777)]

    assert fingerprint.add(*parts) == fingerprint.of(batch)


@pytest.mark.parametrize(
    ("field", "default"),
    [
        (Field("f", DataType.Int64, nullable=True), 0),
        (Field("f", DataType.Bool, nullable=True), False),
        (Field("f", DataType.Double, nullable=True), 0.0),
        (TITLE, ""),
        (Field("f", DataType.JSON, nullable=True), b""),
        (Field("f", DataType.Array, DataType.Int64, nullable=True), []),
        (Field("f", DataType.FloatVector, dim=2, nullable=True), [0.0, 0.0]),
        (Field("f", DataType.SparseFloatVector, nullable=True), b""),
    ],
)
def test_null_is_not_the_default(field, default):
    assert of_value(field, None) != of_value(field, default)


@pytest.mark.parametrize("kind", [DataType.Float, DataType.Double])
def test_every_nan_is_one_and_the_sign_of_zero_does_not_count(kind):
    field = Field("f", kind)
    dtype = np.float32 if kind == DataType.Float else np.float64
    odd_nan = -np.array([np.nan], dtype)

    assert of_value(field, -0.0) == of_value(field, 0.0)
    odd = pa.record_batch([pa.array(odd_nan)], schema=pa.schema([field.arrow()]))
    assert fingerprint.of(odd) == of_value(field, math.nan)


def test_vectors_are_compared_bit_by_bit():
    field = Field("f", DataType.FloatVector, dim=2)

    assert of_value(field, [0.0, 1.0]) != of_value(field, [-0.0, 1.0])


def test_integers_of_every_width_are_the_same_number():
    widths = [DataType.Int8, DataType.Int16, DataType.Int32, DataType.Int64]

    assert len({of_value(Field("f", kind), -7) for kind in widths}) == 1


def test_sparse_vectors_are_compared_by_index():
    field = Field("f", DataType.SparseFloatVector)
    first, second = struct.pack("<If", 3, 0.5), struct.pack("<If", 7, 0.25)

    assert of_value(field, second + first) == of_value(field, first + second)
    assert of_value(field, first) != of_value(field, second)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (b'{"a": 1, "b": [1.0, "\\u00e9"]}', '{"b":[1,"é"],"a":1}'.encode(), True),
        (b'{"a": 1e2}', b'{"a": 100}', True),
        (b'{"a": 9007199254740993}', b'{"a": 9007199254740992}', False),
        (b'{"a": [1, 2]}', b'{"a": [2, 1]}', False),
        (b'{"a": "1"}', b'{"a": 1}', False),
        (b'{"a": true}', b'{"a": 1}', False),
        (b'{"a": null}', b"{}", False),
        (b"{not json", b"{not  json", False),
    ],
)
def test_json_by_value_sees_values_only(left, right, same):
    field = Field("$meta", DataType.JSON, dynamic=True)

    by_value = [of_value(field, text, json_by_value=True) for text in (left, right)]

    assert (by_value[0] == by_value[1]) == same
    assert of_value(field, left) != of_value(field, right)


def test_items_do_not_run_into_each_other():
    tags = Field("tags", DataType.Array, DataType.VarChar)

    assert of_value(tags, ["ab", "c"]) != of_value(tags, ["a", "bc"])
    assert of_value(tags, [""]) != of_value(tags, [])


def test_cells_do_not_run_into_each_other():
    left = pa.record_batch({"a": ["xy"], "b": ["z"]})
    right = pa.record_batch({"a": ["x"], "b": ["yz"]})

    assert fingerprint.of(left) != fingerprint.of(right)


def test_how_arrow_holds_text_does_not_count():
    batch = one(TITLE, "text")
    wide = TITLE.arrow().with_type(pa.large_string())
    large = batch.set_column(0, wide, batch["title"].cast(pa.large_string()))

    assert fingerprint.of(large) == fingerprint.of(batch)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("2025-01-01T00:00:00Z", "2025-01-01T02:00:00+02:00", True),
        ("2025-01-01T00:00:00Z", "2025-01-01 00:00:00.000000Z", True),
        ("2025-01-01T00:00:00Z", "2025-01-01T00:00:00.000001Z", False),
        ("now", "now ", False),
    ],
)
def test_moments_are_compared_in_utc(left, right, same):
    field = Field("at", DataType.Timestamptz)
    batch = strategies.batch_of(Schema("docs", (field,)), [{"at": t} for t in (left, right, "odd")])

    first, second, _ = fingerprint.row_hashes(batch).tolist()

    assert (first == second) == same
    assert fingerprint.of(batch.slice(0, 1)) == (first[0] << 64) + first[1]


def test_a_field_that_only_one_side_has_is_named():
    left, right = pa.record_batch({"a": [1], "b": [2]}), pa.record_batch({"a": [1]})

    assert fingerprint.cell_differences(left, right) == ["b"]


def test_a_changed_sub_field_is_named():
    sub = Field("sub", DataType.Array, DataType.Int64)
    other = Field("other", DataType.Array, DataType.Int64)
    field = Field("chunks", DataType.ArrayOfStruct, children=(sub, other))
    left, right = (one(field, {"sub": [n], "other": [5]}) for n in (1, 2))

    assert fingerprint.cell_differences(left, right) == ["chunks[sub]"]


# --- the definition ------------------------------------------------------------------------------


def test_the_definition_in_the_docs_gives_the_same_number():
    """The row of docs/fingerprint.md, put together by hand."""
    fields = (
        Field("id", DataType.Int64, primary=True),
        Field("note", DataType.VarChar, nullable=True),
        Field("score", DataType.Float),
        Field("tags", DataType.Array, DataType.VarChar),
        Field("title", DataType.VarChar),
        Field("vector", DataType.FloatVector, dim=2),
    )
    row = {
        "id": -2,
        "note": None,
        "score": 0.5,
        "tags": ["a", "bc"],
        "title": "Café",
        "vector": [1.0, -0.0],
    }

    def eight(number: int) -> bytes:
        return number.to_bytes(8, "little", signed=True)

    names = b"".join(eight(len(field.name)) + field.name.encode() for field in fields)
    tags = eight(1) + b"a" + eight(2) + b"bc"
    title = "Café".encode()
    vector = struct.pack("<2f", 1.0, -0.0)
    record = (
        xxhash.xxh3_128(names).digest()
        + (b"\1" + eight(-2))
        + (b"\0" + eight(0))
        + (b"\1" + struct.pack("<d", 0.5))
        + (b"\1" + eight(len(tags)))
        + (b"\1" + eight(len(title)))
        + (b"\1" + eight(len(vector)))
        + tags
        + title
        + xxhash.xxh3_128(vector).digest()
    )

    found = fingerprint.of(strategies.batch_of(Schema("docs", fields), [row]))

    assert found == xxhash.xxh3_128(record).intdigest()
    assert f"`{fingerprint.to_text(found)}`" in DEFINITION.read_text()
