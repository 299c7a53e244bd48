"""The wire format, against protobuf's own writer and reader."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2

from tests import strategies
from transforms.milvus.codec import varints, wire

int64s = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 127, 128, -1, 2**63 - 1, -(2**63)])
pieces = st.lists(strategies.texts | st.sampled_from(["x" * 127, "x" * 128, "y" * 20_000]))


def longs(values: list[int]) -> bytes:
    """The packed numbers of a message, without its head."""
    message = schema_pb2.LongArray(data=values).SerializeToString()
    return bytes(wire.only(memoryview(message), 1))


@given(values=st.lists(int64s))
def test_numbers_are_packed_as_protobuf_packs_them(values):
    packed, sizes = varints.write(np.array(values, np.int64))

    assert packed.tobytes() == longs(values)
    assert sizes.tolist() == [len(wire.varint(value)) for value in values]


@given(values=st.lists(int64s))
def test_packed_numbers_are_read_as_they_were(values):
    assert varints.read(memoryview(longs(values))).tolist() == values


@given(values=st.lists(st.booleans()))
def test_packed_booleans_are_numbers_of_one_byte(values):
    message = schema_pb2.BoolArray(data=values).SerializeToString()

    assert varints.read(wire.only(memoryview(message), 1)).tolist() == values


@given(values=st.lists(st.floats()))
def test_packed_floats_are_a_view_on_the_message(values):
    message = schema_pb2.DoubleArray(data=values).SerializeToString()
    packed = wire.only(memoryview(message), 1)

    read = wire.fixed(packed, np.float64)

    assert read.tobytes() == np.array(values).tobytes()
    assert not len(read) or np.shares_memory(read, np.frombuffer(packed, np.uint8))


@given(texts=pieces)
def test_pieces_are_written_as_protobuf_writes_them(texts):
    written = wire.pack_pieces(pa.array(texts, pa.string()).cast(pa.binary()))

    assert written.to_pybytes() == schema_pb2.StringArray(data=texts).SerializeToString()


@given(texts=pieces, before=st.integers(0, 3))
def test_pieces_of_a_slice_are_those_of_a_copy(texts, before):
    column = pa.array(["x"] * before + texts, pa.string()).cast(pa.binary())

    written = wire.pack_pieces(column.slice(before))

    assert written.to_pybytes() == schema_pb2.StringArray(data=texts).SerializeToString()


@given(
    lengths=st.lists(st.sampled_from([0, 1, 10, 127, 128, 1_290, 16_383, 16_384]), max_size=150),
    fill=st.sampled_from(["x", "\n"]),
    cut=st.integers(1, 3),
)
def test_pieces_of_all_lengths_are_found_also_in_line_feeds(lengths, fill, cut):
    """A line feed looks like the head of a piece, and in 1,290 as a length there is one, too."""
    texts = [*(fill * length for length in lengths), "end"]
    written = schema_pb2.StringArray(data=texts).SerializeToString()
    read, rest = wire.pieces(memoryview(written))
    assert read.to_pylist() == [text.encode() for text in texts]
    assert not rest
    with pytest.raises(ValueError):
        wire.pieces(memoryview(written)[:-cut])


@given(texts=pieces, element_type=st.sampled_from([0, 5, 10]))
def test_pieces_are_read_up_to_the_fields_that_follow(texts, element_type):
    written = schema_pb2.StringArray(data=texts).SerializeToString()
    tail = wire.number(2, element_type)

    read, rest = wire.pieces(memoryview(written + tail))

    assert read.cast(pa.string()).to_pylist() == texts
    assert bytes(rest) == tail


@given(
    values=st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary() | st.integers(0, 2**64 - 1)))
)
def test_fields_are_read_as_they_were_written(values):
    message = b"".join(
        wire.varint(field << 3) + wire.varint(value)
        if isinstance(value, int)
        else wire.head(field, len(value)) + value
        for field, value in values
    )

    read = [
        (n, v if isinstance(v, int) else bytes(v)) for n, _, v in wire.fields(memoryview(message))
    ]

    assert read == values


@given(message=st.binary(max_size=40))
def test_damaged_bytes_raise_only_a_value_error(message):
    for read in (
        lambda view: list(wire.fields(view)),
        wire.pieces,
        varints.read,
        lambda view: wire.only(view, 1),
    ):
        try:
            read(memoryview(message))
        except ValueError:
            continue


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\x0b", "wire type 3"),
        (b"\x0c", "wire type 4"),
        (b"\x0a\x05abc", "wire type 2"),
        (b"\x0d\x00", "wire type 5"),
        (b"\x08", "no number"),
        (b"\x08" + b"\xff" * 11, "no number"),
    ],
)
def test_groups_and_cut_off_fields_are_refused(message, problem):
    with pytest.raises(wire.Irregular, match=problem):
        list(wire.fields(memoryview(message)))


@pytest.mark.parametrize(
    "packed", [b"\x80", b"\x01\x80", b"\x80" * 11 + b"\x01"], ids=["open", "open-end", "too-long"]
)
def test_numbers_that_are_cut_off_or_too_long_are_refused(packed):
    with pytest.raises(ValueError, match="a number"):
        varints.read(memoryview(packed))


def test_half_a_float_is_refused():
    with pytest.raises(wire.Irregular):
        wire.fixed(memoryview(b"\x00" * 6), np.float32)


def test_fixed_numbers_are_found_by_their_wire_type():
    message = b"\x0d\x01\x00\x00\x00" + b"\x11" + bytes(range(8))

    assert [(n, t, bytes(v)) for n, t, v in wire.fields(memoryview(message))] == [
        (1, wire.FIXED32, b"\x01\x00\x00\x00"),
        (2, wire.FIXED64, bytes(range(8))),
    ]
