"""Answers -> batches -> requests, compared with protobuf's own API on the same values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests import strategies
from transforms.errors import DataError
from transforms.milvus.codec import columns, row_data, varints, wire
from transforms.milvus.schema import Field, Schema

KEY = Field("id", DataType.Int64, primary=True)
TITLE = Field("title", DataType.VarChar)
DOCS = Schema("docs", (KEY, TITLE, Field("vector", DataType.FloatVector, dim=2)))


def rows_of(batch: pa.RecordBatch) -> str:
    """Returns rows in a form where NaN equals itself and -0.0 differs from 0.0."""
    return repr(batch.to_pylist())


def request(schema: Schema, batch: pa.RecordBatch) -> bytes:
    return row_data.insert_request(
        database="default", collection="docs", partition="", schema=schema, batch=batch
    )


def three_docs() -> pa.RecordBatch:
    of_rows = [{"id": i, "title": f"title {i}", "vector": [i, 0.5]} for i in range(3)]
    return strategies.batch_of(DOCS, of_rows)


# --- laws ----------------------------------------------------------------------------------------


@strategies.laws
@given(drawn=strategies.batches(), padded=st.booleans(), data=st.data())
def test_an_answer_is_decoded_to_its_rows(drawn, padded, data):
    schema, batch = drawn
    order = data.draw(st.permutations(range(len(schema.fields))))
    answer = strategies.answer(schema, batch, padded=padded, order=order)

    decoded = row_data.decode(schema, answer)

    decoded.validate(full=True)
    assert decoded.schema.equals(schema.arrow(), check_metadata=True)
    assert rows_of(decoded) == rows_of(batch)


@strategies.laws
@given(drawn=strategies.batches())
def test_a_request_is_byte_for_byte_what_protobuf_writes(drawn):
    schema, batch = drawn

    written = milvus_pb2.InsertRequest.FromString(request(schema, batch))

    expected = strategies.request(schema, batch)
    for ours, theirs in zip(written.fields_data, expected.fields_data, strict=True):
        assert ours == theirs
    assert request(schema, batch) == expected.SerializeToString()


@strategies.laws
@given(drawn=strategies.batches())
def test_a_slice_is_written_like_a_copy_of_it(drawn):
    schema, batch = drawn
    copy = pa.RecordBatch.from_arrays(
        [pa.array(column.to_pylist(), column.type) for column in batch.columns], schema=batch.schema
    )

    assert row_data.encode_fields(schema, batch) == row_data.encode_fields(schema, copy)


@strategies.laws
@given(drawn=strategies.batches())
def test_rows_are_unchanged_after_a_write_and_a_read(drawn):
    schema, batch = drawn
    sent = milvus_pb2.InsertRequest.FromString(request(schema, batch))
    answer = milvus_pb2.QueryResults(fields_data=sent.fields_data).SerializeToString()

    assert rows_of(row_data.decode(schema, answer)) == rows_of(batch)


@strategies.laws
@given(drawn=strategies.batches(), data=st.data())
def test_a_damaged_answer_raises_only_a_data_error(drawn, data):
    schema, batch = drawn
    answer = bytearray(strategies.answer(schema, batch))
    at = data.draw(st.integers(0, len(answer) - 1))
    answer[at] ^= data.draw(st.integers(1, 255))

    try:
        row_data.decode(schema, bytes(answer[: data.draw(st.integers(at, len(answer)))]))
    except DataError:
        return


@strategies.laws
@given(
    drawn=strategies.batches(), max_rows=st.integers(1, 5), max_bytes=st.sampled_from([1, 99, 9999])
)
def test_cutting_keeps_every_row_and_both_bounds(drawn, max_rows, max_bytes):
    _, batch = drawn

    slices = row_data.cut(batch, max_rows=max_rows, max_bytes=max_bytes)

    joined = pa.Table.from_batches(slices, batch.schema)
    assert repr(joined.to_pylist()) == rows_of(batch)
    assert all(1 <= slice_.num_rows <= max_rows for slice_ in slices)
    assert all(
        slice_.num_rows == 1 or row_data.row_sizes(slice_).sum() <= max_bytes for slice_ in slices
    )


@pytest.mark.parametrize(
    ("max_rows", "max_bytes", "lengths"),
    [
        (100, 10**6, [100]),
        (99, 10**6, [50, 50]),
        (40, 10**6, [34, 33, 33]),
        # A key takes ten bytes and a flag at most.
        (100, 99 * 11, [50, 50]),
        (34, 50 * 11, [34, 33, 33]),
    ],
)
def test_slices_of_similar_rows_have_about_equal_sizes(max_rows, max_bytes, lengths):
    batch = pa.RecordBatch.from_pydict({"id": pa.array(range(100), pa.int64())})
    slices = row_data.cut(batch, max_rows=max_rows, max_bytes=max_bytes)
    assert [slice_.num_rows for slice_ in slices] == lengths


@strategies.laws
@given(drawn=strategies.batches())
def test_no_row_has_more_bytes_than_its_row_size(drawn):
    schema, batch = drawn
    empty = len(request(schema, batch.slice(0, 0)))
    heads = 100 * len(schema.fields)

    assert len(request(schema, batch)) <= empty + heads + row_data.row_sizes(batch).sum()


# --- layouts that are legal, but not the usual one -----------------------------------------------

_LONGS = [1, -1, 300, 2**62]
_PACKED = [bytes(varints.write(np.array(part))[0]) for part in (_LONGS[:2], _LONGS[2:])]


def _scalars(values: bytes) -> bytes:
    member = wire.head(3, len(values)) + values
    return wire.head(3, len(member)) + member


def _chunk(packed: bytes) -> bytes:
    return wire.head(1, len(packed)) + packed


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(_scalars(_chunk(b"".join(_PACKED))), id="packed"),
        pytest.param(_scalars(b"".join(map(_chunk, _PACKED))), id="packed-in-two-chunks"),
        pytest.param(
            _scalars(b"".join(wire.varint(1 << 3) + wire.varint(v) for v in _LONGS)), id="unpacked"
        ),
        pytest.param(b"".join(_scalars(_chunk(p)) for p in _PACKED), id="member-in-two-messages"),
        pytest.param(
            _scalars(_chunk(b"".join(_PACKED)) + wire.number(99, 5)), id="unknown-field-inside"
        ),
        pytest.param(
            wire.number(99, 5) + _scalars(_chunk(b"".join(_PACKED))), id="unknown-field-outside"
        ),
        pytest.param(
            _scalars(_chunk(b"".join(_PACKED)))
            + b"".join(wire.varint(7 << 3) + b"\1" for _ in _LONGS),
            id="unpacked-valid-data",
        ),
    ],
)
def test_a_column_is_read_in_every_legal_layout(message):
    assert columns.read(KEY, memoryview(message)).to_pylist() == _LONGS


@pytest.mark.parametrize("between", [b"", wire.number(99, 5)])
def test_text_is_read_whatever_is_between_the_pieces(between):
    texts = ["", "\n", "ten bytes!", "\n" * 300, "é"]
    pieces = between.join(wire.head(1, len(t.encode())) + t.encode() for t in texts)
    member = wire.head(6, len(pieces)) + pieces
    message = wire.head(3, len(member)) + member

    assert columns.read(TITLE, memoryview(message)).to_pylist() == texts


@pytest.mark.parametrize("text", ["x" * 20_000, "\n" * 20_000, "ten bytes!", "line\n" * 30])
def test_long_columns_of_text_are_read_whatever_is_in_them(text):
    column = pa.array([text] * 40 + ["", "\n", text])
    message = b"".join(columns.write(TITLE, column))

    assert columns.read(TITLE, memoryview(message)).equals(column)


# --- tables --------------------------------------------------------------------------------------


def test_an_answer_without_columns_is_an_empty_batch():
    nothing = row_data.decode(DOCS, milvus_pb2.QueryResults().SerializeToString())

    assert nothing.num_rows == 0
    assert nothing.schema.equals(DOCS.arrow())


def test_an_answer_without_rows_is_an_empty_batch():
    answer = strategies.answer(DOCS, three_docs().slice(0, 0))

    assert row_data.decode(DOCS, answer).num_rows == 0


def test_columns_outside_of_the_schema_are_skipped():
    answer = strategies.answer(DOCS, three_docs())

    assert row_data.decode(DOCS.select(["title"]), answer).schema.names == ["title"]


def _without(batch: pa.RecordBatch, name: str) -> bytes:
    fewer = DOCS.select([each for each in DOCS.names if each != name])
    return strategies.answer(fewer, batch)


def _with(field: schema_pb2.FieldData) -> bytes:
    rest = milvus_pb2.QueryResults.FromString(_without(three_docs(), field.field_name))
    rest.fields_data.append(field)
    return rest.SerializeToString()


def _titles(texts: list[str], valid: tuple[bool, ...] = ()) -> schema_pb2.FieldData:
    message = schema_pb2.FieldData(field_name="title", valid_data=valid)
    message.scalars.string_data.data.extend(texts)
    return message


def _wrong_member() -> schema_pb2.FieldData:
    message = schema_pb2.FieldData(field_name="title")
    message.scalars.long_data.data.extend([1, 2, 3])
    return message


def _not_unicode() -> bytes:
    return _with(_titles(["aaa", "bbb", "ccc"])).replace(b"bbb", b"b\xffb")


def _odd_vector() -> schema_pb2.FieldData:
    message = schema_pb2.FieldData(field_name="vector")
    message.vectors.float_vector.data.extend([1.0, 2.0, 3.0])
    return message


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (_without(three_docs(), "title"), "docs.title: the answer does not have this column"),
        (_with(_titles(["a", "b"])), "docs.title: 2 values for 3 rows"),
        (_with(_titles(["a"], (True, True, False))), "docs.title: 1 values, but 2 of 3 rows"),
        (_with(_wrong_member()), "docs.title: its values are member 3 of the message, not 6"),
        (_not_unicode(), "docs.title: "),
        (_with(_odd_vector()), "docs.vector: "),
        (b"\xff", "docs: the answer is not a message: "),
    ],
)
def test_the_error_about_an_answer_names_the_field(answer, problem):
    with pytest.raises(DataError) as raised:
        row_data.decode(DOCS, answer)

    assert str(raised.value).startswith(problem)


def test_a_number_too_large_for_its_field_is_an_error():
    schema = Schema("docs", (Field("small", DataType.Int8),))
    message = schema_pb2.FieldData(field_name="small")
    message.scalars.int_data.data.append(128)
    answer = milvus_pb2.QueryResults(fields_data=[message]).SerializeToString()

    with pytest.raises(DataError, match=r"docs\.small: .*128"):
        row_data.decode(schema, answer)


def test_nulls_in_a_field_that_is_not_nullable_are_an_error():
    batch = three_docs()
    holes = batch.set_column(1, batch.schema.field("title"), pa.array(["a", None, None]))

    with pytest.raises(DataError, match=r"docs\.title: 2 nulls, but the field is not nullable"):
        request(DOCS, holes)


DYNAMIC = Schema("docs", (Field("$meta", DataType.JSON, dynamic=True),))


@pytest.mark.parametrize(
    ("sent", "valid", "rows"),
    [
        pytest.param([b'{"a":1}'], [], [b'{"a":1}'], id="before 2.6.8"),
        pytest.param([b'{"a":1}'], [True], [b'{"a":1}'], id="nullable"),
        pytest.param([b'{"a":1}', b""], [True, False], [b'{"a":1}', b"{}"], id="padded"),
        pytest.param([b'{"a":1}'], [False, True], [b"{}", b'{"a":1}'], id="compact"),
        pytest.param([], [False, False], [b"{}", b"{}"], id="null in all rows"),
        pytest.param([], [], [], id="no rows"),
    ],
)
def test_a_missing_dynamic_field_is_an_empty_object(sent, valid, rows):
    message = schema_pb2.FieldData(field_name="$meta", is_dynamic=True, valid_data=valid)
    message.scalars.json_data.data.extend(sent)
    message.scalars.json_data.SetInParent()
    answer = milvus_pb2.QueryResults(fields_data=[message]).SerializeToString()

    batch = row_data.decode(DYNAMIC, answer)

    assert batch["$meta"].to_pylist() == rows
    [written] = milvus_pb2.InsertRequest.FromString(request(DYNAMIC, batch)).fields_data
    # Up to 2.6.1 a field that is not nullable takes no `valid_data`; later ones take all as valid.
    assert (list(written.scalars.json_data.data), list(written.valid_data)) == (rows, [])
    assert written.is_dynamic


def test_a_request_has_only_the_columns_of_the_batch():
    batch = three_docs().select(["title", "vector"])

    sent = milvus_pb2.InsertRequest.FromString(request(DOCS, batch))

    assert [each.field_name for each in sent.fields_data] == ["title", "vector"]


def test_a_request_names_database_collection_and_partition():
    sent = milvus_pb2.InsertRequest.FromString(
        row_data.insert_request(
            database="db", collection="c", partition="p", schema=DOCS, batch=three_docs()
        )
    )

    assert (sent.db_name, sent.collection_name, sent.partition_name) == ("db", "c", "p")
    assert sent.num_rows == 3


def test_an_insert_request_is_an_upsert_request():
    insert = milvus_pb2.InsertRequest.DESCRIPTOR.fields_by_name
    upsert = milvus_pb2.UpsertRequest.DESCRIPTOR.fields_by_name
    used = ("db_name", "collection_name", "partition_name", "fields_data", "num_rows")

    assert [insert[name].number for name in used] == [upsert[name].number for name in used]
    assert [insert[name].type for name in used] == [upsert[name].type for name in used]


def test_columns_of_another_arrow_type_are_cast():
    batch = three_docs()
    large = batch.set_column(1, "title", batch["title"].cast(pa.large_string()))

    assert request(DOCS, large) == request(DOCS, batch)


def test_columns_that_cannot_be_cast_are_an_error():
    batch = three_docs().set_column(0, "id", pa.array(["a", "b", "c"]))

    with pytest.raises(DataError, match=r"docs\.id: "):
        request(DOCS, batch)


@pytest.mark.parametrize(("names", "view"), [(["id", "vector"], True), (DOCS.names, False)])
def test_vectors_are_views_if_they_are_half_of_the_answer(names, view):
    schema = DOCS.select(names)
    answer = strategies.answer(schema, three_docs().select(names))
    vectors = row_data.decode(schema, answer)["vector"].flatten().buffers()[1]
    start = pa.py_buffer(answer).address

    assert (start <= vectors.address < start + len(answer)) == view


def test_an_empty_list_is_sent_as_an_empty_member_of_its_type():
    tags = Field("tags", DataType.Array, element_type=DataType.Int8)

    message = b"".join(columns.write(tags, pa.array([[]], tags.arrow().type)))

    [row] = schema_pb2.FieldData.FromString(message).scalars.array_data.data
    assert row.WhichOneof("data") == "int_data"


def test_an_empty_list_is_read_with_or_without_a_member():
    tags = Field("tags", DataType.Array, element_type=DataType.Int8)
    message = schema_pb2.FieldData(field_name="tags")
    message.scalars.array_data.data.add()
    message.scalars.array_data.data.add().int_data.SetInParent()

    column = columns.read(tags, memoryview(message.SerializeToString()))

    assert column.to_pylist() == [[], []]


def test_sub_fields_are_read_with_both_forms_of_their_names():
    sub = Field("sub", DataType.Array, element_type=DataType.Int64)
    struct = Field("struct", DataType.ArrayOfStruct, children=(sub,))
    message = schema_pb2.FieldData(field_name="struct")
    part = message.struct_arrays.fields.add(field_name="struct[sub]")
    part.scalars.array_data.data.add().long_data.data.append(7)

    column = columns.read(struct, memoryview(message.SerializeToString()))

    assert column.to_pylist() == [{"sub": [7]}]


def test_a_missing_sub_field_is_an_error():
    sub = Field("sub", DataType.Array, element_type=DataType.Int64)
    schema = Schema("docs", (Field("struct", DataType.ArrayOfStruct, children=(sub,)),))
    message = schema_pb2.FieldData(field_name="struct")
    message.struct_arrays.fields.add(field_name="other")
    answer = milvus_pb2.QueryResults(fields_data=[message]).SerializeToString()

    with pytest.raises(DataError, match=r"docs\.struct: the answer has no sub-field sub"):
        row_data.decode(schema, answer)
