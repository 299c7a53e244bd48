"""The protobuf wire format, column by column.

Python reads messages field by field; numpy and Arrow handle the values inside a column, so that no
Python object is created per value. An unusual but legal layout (numbers that are not packed, a
packed field in several chunks, unknown fields inside a column) raises `Irregular`: then the caller
rewrites that one column with protobuf, in the usual layout.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.message import DecodeError, Message
from pymilvus.grpc_gen import schema_pb2

from transforms.milvus.codec import varints
from transforms.milvus.codec.varints import Bytes, Ints

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types. 3 and 4 are groups, which Milvus has never used."""

NumpyType = TypeVar("NumpyType", bound=np.generic)

_ITEM = 1 << 3 | BYTES
"""The tag of the repeated field with number 1 that all column messages have."""


class Irregular(ValueError):
    """Bytes without the usual layout; protobuf may be able to read them."""


def fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yields (number, wire type, value) of each field; values with a length are views.

    >>> list(fields(memoryview(number(1, 5) + number(2, 300))))
    [(1, 0, 5), (2, 0, 300)]
    """
    at, size = 0, len(message)
    while at < size:
        key, at = _varint_at(message, at)
        field, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint_at(message, at)
            yield field, kind, value
            continue
        length = {FIXED64: 8, FIXED32: 4}.get(kind)
        if kind == BYTES:
            length, at = _varint_at(message, at)
        if length is None or at + length > size:
            raise Irregular(f"wire type {kind} at byte {at} of {size}")
        yield field, kind, message[at : at + length]
        at += length


def messages(message: memoryview, number: int) -> list[memoryview]:
    """Returns each value of the repeated message field `number`, as a view."""
    parts = fields(message)
    return [value for field, _, value in parts if field == number and not isinstance(value, int)]


def only(message: memoryview, number: int) -> memoryview:
    """Returns the value of the field `number` of a message without other fields, or 0 bytes.

    Raises:
        Irregular: there are other fields, or the field occurs more than once.
    """
    parts = list(fields(message))
    if not parts:
        return message[:0]
    [(first, _, value), *others] = parts
    if others or first != number or isinstance(value, int):
        raise Irregular(f"expected field {number} alone")
    return value


def parsed(kind: type[Message], data: memoryview) -> Any:
    """Parses a message of this kind with protobuf; ValueError if it cannot."""
    try:
        return kind.FromString(bytes(data))
    except DecodeError as error:
        raise ValueError(str(error)) from error


def varint(value: int) -> bytes:
    """Writes one number of up to 64 bits; a negative number takes ten bytes.

    >>> varint(300).hex(), len(varint(-1))
    ('ac02', 10)
    """
    value &= (1 << 64) - 1
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def number(field: int, value: int) -> bytes:
    """Writes a varint field; nothing for 0, as protobuf does."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def head(field: int, length: int) -> bytes:
    """Writes the tag and the length before the `length` bytes of a field."""
    return varint(field << 3 | BYTES) + varint(length)


def text(field: int, value: str) -> bytes:
    """Writes a string field; nothing for "", as protobuf does."""
    data = value.encode()
    return head(field, len(data)) + data if data else b""


def fixed(packed: memoryview, dtype: type[NumpyType]) -> npt.NDArray[NumpyType]:
    """Reads packed little-endian numbers as a view on the same bytes."""
    if len(packed) % np.dtype(dtype).itemsize:
        raise Irregular("a number is cut off")
    return np.frombuffer(packed, dtype)


def pieces(message: memoryview) -> tuple[pa.BinaryArray, memoryview]:
    """Reads ``repeated bytes data = 1``: the pieces, and the fields after the last one.

    Arrow copies the bytes once.
    """
    heads, starts, end = find_pieces(np.frombuffer(message, np.uint8))
    return spans(message, starts, np.append(heads, end)[1:]), message[end:]


def spans(data: memoryview, starts: Ints, ends: Ints) -> pa.BinaryArray:
    """Returns ``data[start:end]`` of each row; the spans are in order and do not overlap."""
    count = len(starts)
    if not count:
        return pa.array([], pa.binary())
    # Spans and the gaps between them alternate, as one binary array over the unchanged bytes.
    edges = np.empty(2 * count, np.int32)
    edges[0::2] = starts
    edges[1::2] = ends
    buffers = [None, pa.py_buffer(edges), pa.py_buffer(data)]
    with_gaps = pa.BinaryArray.from_buffers(pa.binary(), 2 * count - 1, buffers)
    return with_gaps.take(pa.array(np.arange(0, 2 * count, 2, dtype=np.int32)))


def pack_pieces(values: pa.BinaryArray) -> pa.Buffer:
    """Writes each value as one piece of ``repeated bytes data = 1``."""
    lengths = byte_lengths(values)
    heads = np.zeros((len(lengths), 1 + _LENGTH_BYTES), np.uint8)
    heads[:, 0] = _ITEM
    sizes = varints.sizes(lengths)
    for place in range(int(sizes.max(initial=1))):
        more = (sizes > place + 1).view(np.uint8) << 7
        heads[:, 1 + place] = (lengths >> (7 * place) & 0x7F).astype(np.uint8) | more
    starts = np.arange(0, heads.size, 1 + _LENGTH_BYTES)
    return join(spans(heads.reshape(-1).data, starts, starts + 1 + sizes), values)


_LENGTH_BYTES = 5
"""The maximum bytes of a length: messages have less than 2^31 bytes."""


def interleaved(numbers: Ints, keep: npt.NDArray[np.bool_]) -> pa.BinaryArray:
    """Writes each row of numbers as consecutive varints; only those in `keep`."""
    packed, sizes = varints.write(numbers[keep])
    taken = np.zeros(numbers.shape, np.int64)
    taken[keep] = sizes
    return binary(packed, taken.sum(axis=1))


def binary(data: Bytes, sizes: Ints) -> pa.BinaryArray:
    """Cuts bytes into values of these sizes, without a copy."""
    offsets = np.zeros(len(sizes) + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.BinaryArray.from_buffers(pa.binary(), len(sizes), buffers)


def join(*columns: pa.BinaryArray) -> pa.Buffer:
    """Joins columns row by row, then all rows: the bytes of a message."""
    return content(pc.binary_join_element_wise(*columns, pa.scalar(b"", pa.binary())))


def content(values: pa.BinaryArray) -> pa.Buffer:
    """Returns the bytes of all values of a column, joined, as a view."""
    if not len(values):
        return pa.py_buffer(b"")
    ends = offsets(values)
    return values.buffers()[2].slice(int(ends[0]), int(ends[-1] - ends[0]))


def offsets(values: pa.Array) -> npt.NDArray[np.int32]:
    """Returns the `len + 1` offsets of a binary, string or list column, as a view."""
    if not len(values):
        return np.zeros(1, np.int32)
    return np.frombuffer(values.buffers()[1], np.int32)[values.offset :][: len(values) + 1]


def byte_lengths(values: pa.Array) -> Ints:
    """Returns the bytes (elements, for a list) of each value."""
    return np.diff(offsets(values)).astype(np.int64)


def _varint_at(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise Irregular(f"no number at byte {at}")


def find_pieces(data: Bytes) -> tuple[Ints, Ints, int]:
    """Returns where the head and the content of each piece start, and where the last piece ends.

    A piece has its length at its start, so the start of the next one is known only after it. There
    are three ways to find them. For long pieces, Python goes from head to head (`_stepped`): a step
    takes 200 ns and reads only the head. A short piece starts with the tag, a byte (line feed) that
    is rare inside text and JSON. So all such bytes are examined together as candidates, each with
    the place to which its length points (`_chained`). A candidate to which none points is not a
    tag. If each of the others points to the next one, all are tags: 10 to 50 ns per piece. If not,
    or if few are tags, protobuf parses in 60 ns per step, and copies each piece (`_walked`).
    """
    if not len(data) or data[0] != _ITEM:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), 0
    if stepped := _stepped(data):
        return stepped
    if len(data) > _PROBE_BYTES:
        probe = data[:_PROBE_BYTES]
        alike = np.flatnonzero(probe == _ITEM)
        tags, _, ends = _links(probe, alike)
        if len(alike) > _MOST_ALIKE * len(tags) or _first_break(tags, ends):
            return _walked(data)
    alike = np.flatnonzero(data == _ITEM)
    return _walked(data) if len(alike) > _MOST_TAGS else _chained(data, alike) or _walked(data)


_LONG_BYTES = 512
"""For pieces of this average length, a step costs less than a scan of all their bytes."""

_LONG_PIECES = 64
"""After each group of this many pieces, their average length is checked."""

_PROBE_BYTES = 64 * 1024
"""This much is scanned first, so that text full of line feeds costs no more than `_walked`."""

_MOST_ALIKE = 2
"""If there are more candidates per tag, `_walked` costs less than a check of all candidates."""

_ROUNDS = 4
"""After this many rounds without a result, `_walked` is used."""

_MOST_TAGS = 1024 * 1024
"""Each candidate takes some 50 bytes of memory during the check."""


def _stepped(data: Bytes) -> tuple[Ints, Ints, int] | None:
    """Goes from head to head; returns None if the pieces are too short for that."""
    view, end = data.data, len(data) - 3
    heads: list[int] = []
    starts: list[int] = []
    at = 0
    while at < len(view) and view[at] == _ITEM:
        heads.append(at)
        if at < end and (low := view[at + 1]) >= 0x80 > (high := view[at + 2]):  # 128 to 16,383
            length, start = low & 0x7F | high << 7, at + 3
        else:
            length, start = _varint_at(view, at + 1)
        starts.append(start)
        at = start + length
        if not len(heads) % _LONG_PIECES and at < _LONG_BYTES * len(heads):
            return None
    if at < _LONG_BYTES * len(heads):
        return None
    return np.array(heads), np.array(starts), _inside(at, data)


def _links(data: Bytes, alike: Ints) -> tuple[Ints, Ints, Ints]:
    """Returns the places of possible tags, and where the content after each starts and ends.

    All tags are among them: the first is at the start of the data, and each piece ends where the
    next one starts. Other candidates are removed if no piece ends there. A false candidate may
    remain if the content after another false one ends there by chance; each round keeps only a few
    of a hundred.
    """
    lengths, sizes = varints.at(data, alike + 1)
    starts = alike + 1 + sizes
    tags, ends = alike, starts + lengths
    for _ in range(_ROUNDS):
        if not _first_break(tags, ends):
            break
        reached = np.zeros(len(data) + 1, bool)
        reached[0] = True
        reached[np.minimum(ends, len(data))] = True
        kept = reached[tags]
        tags, starts, ends = tags[kept], starts[kept], ends[kept]
    return tags, starts, ends


def _first_break(tags: Ints, ends: Ints) -> int:
    """Returns the number of pieces until one does not end at the next tag; 0 if all do."""
    broken = np.flatnonzero(ends[:-1] != tags[1:])
    return int(broken[0]) + 1 if len(broken) else 0


def _chained(data: Bytes, alike: Ints) -> tuple[Ints, Ints, int] | None:
    """Returns the pieces, up to where other fields follow; None if the tags are not certain."""
    tags, starts, ends = _links(data, alike)
    count = _first_break(tags, ends) or len(tags)
    end = int(ends[count - 1])
    if end < len(data) and data[end] == _ITEM:
        return None
    return tags[:count], starts[:count], _inside(end, data)


def _inside(end: int, data: Bytes) -> int:
    if end > len(data):
        raise Irregular("a piece is cut off")
    return end


def _walked(data: Bytes) -> tuple[Ints, Ints, int]:
    walked = parsed(schema_pb2.BytesArray, data.data).data
    lengths = np.fromiter(map(len, walked), np.int64, len(walked))
    ends = np.cumsum(1 + varints.sizes(lengths) + lengths)
    end = _inside(int(ends[-1]), data)
    heads = np.append(0, ends[:-1])
    stored, sizes = varints.at(data, heads + 1)
    if (data[heads] != _ITEM).any() or (stored != lengths).any():
        raise Irregular("fields between the pieces")
    return heads, heads + 1 + sizes, end
