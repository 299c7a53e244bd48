"""Packed varints <-> int64, eight bytes of each number at a time.

A varint has seven bits per byte, the lowest first; all but its last byte have the highest bit set.
So each number is loaded as a word from where it starts, and its bits are moved together: pairs of
groups of 7 bits, then of 14, then of 28. That takes 10 to 25 ns per number of any size; byte by
byte, with a mask for each place, it took 10 to 50 ns (measured on columns of 10,000).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
_Words = npt.NDArray[np.uint64]

_WORD_BYTES = 8
_MOST_BYTES = 10


def _of_word(byte: int, count: int) -> int:
    """Returns a word with this byte in its `count` lowest bytes."""
    return int.from_bytes(bytes([byte]) * count, "little")


_BITS = np.array([_of_word(0x7F, min(n, _WORD_BYTES)) for n in range(_MOST_BYTES + 1)], np.uint64)
"""The mask of the value bits in the word of a number, by its number of bytes."""

_MORE = np.array(
    [_of_word(0x80, min(max(n - 1, 0), _WORD_BYTES)) for n in range(_MOST_BYTES + 1)], np.uint64
)
"""The bits that mean "more bytes follow", by the number of bytes."""

_PAIRS = {
    7: np.uint64(0x007F_007F_007F_007F),
    14: np.uint64(0x0000_3FFF_0000_3FFF),
    28: np.uint64(0x0000_0000_0FFF_FFFF),
}
"""The mask of the lower group of each pair, by the bits of a group."""

_WORD_BITS = np.uint64(7 * _WORD_BYTES)


def read(packed: memoryview) -> Ints:
    """Reads packed varints: bytes -> int64 values.

    Raises:
        ValueError: a varint is cut off, or too long.
    """
    data = np.frombuffer(packed, np.uint8)
    ends = np.flatnonzero(data < 0x80)
    if len(ends) == len(data):
        return data.astype(np.int64)
    if not len(ends) or ends[-1] != len(data) - 1:
        raise ValueError("a number is cut off")
    starts = np.append(0, ends[:-1] + 1)
    taken = ends - starts + 1
    longest = int(taken.max())
    if longest > _MOST_BYTES:
        raise ValueError("a number of more than ten bytes")
    padded = np.append(data, np.zeros(_WORD_BYTES, np.uint8))
    words: _Words = _words(padded).take(starts)
    words &= _BITS.take(taken)
    for bits, low in _PAIRS.items():
        if 7 * longest > bits:
            high = words >> np.uint64(bits // 7)
            high &= low << np.uint64(bits)
            words &= low
            words |= high
    if longest > _WORD_BYTES:
        rows = np.flatnonzero(taken > _WORD_BYTES)
        after = starts[rows] + _WORD_BYTES
        # The byte after a number of nine bytes belongs to the next number.
        last = np.where(taken[rows] == _MOST_BYTES, padded[after + 1], 0)
        high = (padded[after] & 0x7F).astype(np.uint64) | last.astype(np.uint64) << np.uint64(7)
        words[rows] |= high << _WORD_BITS
    return words.view(np.int64)


def write(values: Ints) -> tuple[Bytes, Ints]:
    """Writes packed varints; returns the bytes, and the number of bytes of each value."""
    taken = sizes(values)
    longest = int(taken.max(initial=1))
    if longest == 1:
        return values.astype(np.uint8), taken
    ends = np.cumsum(taken)
    starts = ends - taken
    unsigned = values.view(np.uint64)
    words = unsigned & ((np.uint64(1) << _WORD_BITS) - np.uint64(1))
    for bits, low in reversed(_PAIRS.items()):
        if 7 * longest > bits:
            high = words & (low << np.uint64(bits))
            high <<= np.uint64(bits // 7)
            words &= low
            words |= high
    words |= _MORE.take(taken)
    data = np.empty(int(ends[-1]) + _WORD_BYTES, np.uint8)
    _words(data)[starts] = words  # In order: each word overwrites the surplus bytes of the last.
    if longest > _WORD_BYTES:
        rows = np.flatnonzero(taken > _WORD_BYTES)
        after, high = starts[rows] + _WORD_BYTES, unsigned[rows] >> _WORD_BITS
        more = taken[rows] == _MOST_BYTES
        data[after] = (high & np.uint64(0x7F)).astype(np.uint8) | more.view(np.uint8) << 7
        data[after[more] + 1] = 1
    return data[:-_WORD_BYTES], taken


def sizes(values: Ints) -> Ints:
    """Returns the number of bytes of each value: 1 to 10."""
    unsigned = values.view(np.uint64)
    taken = np.ones(len(values), np.int64)
    for bits in range(7, 64, 7):
        longer = unsigned >= np.uint64(1 << bits)
        if not longer.any():
            break
        taken += longer
    return taken


def at(data: Bytes, places: Ints) -> tuple[Ints, Ints]:
    """Reads the varint (a length: up to five bytes) at each place; returns (values, sizes)."""
    last = len(data) - 1
    byte = data[np.minimum(places, last)].astype(np.int64)
    values, taken = byte & 0x7F, np.ones(len(places), np.int64)
    more = np.flatnonzero(byte & 0x80)
    for shift in range(7, 35, 7):
        if not len(more):
            break
        byte = data[np.minimum(places[more] + shift // 7, last)].astype(np.int64)
        values[more] |= (byte & 0x7F) << shift
        taken[more] += 1
        more = more[byte >= 0x80]
    return values, taken


def _words(data: Bytes) -> _Words:
    """Returns the word that starts at each byte, as overlapping views."""
    return np.ndarray((len(data) - _WORD_BYTES + 1,), "<u8", data.data, strides=(1,))
