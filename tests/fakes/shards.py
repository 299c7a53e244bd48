"""Which shard a row goes to: servers decide it by a hash of the key (typeutil.HashPK2Channels)."""

from __future__ import annotations

import struct
import zlib

_MASK = 0xFFFFFFFF
_HASHED_CHARACTERS = 100


def shard_of(key: int | str, shards: int) -> int:
    """Returns the number of the shard of a key.

    >>> [shard_of(key, 2) for key in range(6)]
    [0, 0, 0, 1, 0, 1]
    """
    if shards == 1:
        return 0
    if isinstance(key, str):
        return zlib.crc32(key[:_HASHED_CHARACTERS].encode()) % shards
    return (_murmur3(struct.pack("<q", key)) & 0x7FFFFFFF) % shards


def _murmur3(data: bytes) -> int:
    """MurmurHash3 of 32 bits with seed 0, of whole words."""
    hashed = 0
    for (word,) in struct.iter_unpack("<I", data):
        hashed ^= _turned(word * 0xCC9E2D51 & _MASK, 15) * 0x1B873593 & _MASK
        hashed = (_turned(hashed, 13) * 5 + 0xE6546B64) & _MASK
    hashed ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        hashed = (hashed ^ hashed >> shift) * factor & _MASK
    return hashed


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & _MASK
