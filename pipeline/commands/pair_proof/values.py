"""Values that are hard to carry: extremes, rounding, signs of zero, quotes, every script."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from pymilvus import DataType

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

SCALARS = {
    "bool": DataType.BOOL,
    "int8": DataType.INT8,
    "int16": DataType.INT16,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "float": DataType.FLOAT,
    "double": DataType.DOUBLE,
    "text": DataType.VARCHAR,
}
"""The scalar types that every server has, by the name of a field."""

TEXT_BYTES = 300

# NaN and infinity are refused by servers. Where float32 rounds, its neighbours differ only in bits.
OF: dict[str, list[Any]] = {
    "bool": [True, False],
    "int8": [-128, -1, 0, 127],
    "int16": [-(2**15), 0, 2**15 - 1],
    "int32": [-(2**31), 0, 2**31 - 1],
    "int64": [INT64_MIN, -1, 0, 2**53 + 1, INT64_MAX],
    "float": [0.0, -0.0, 0.1, -3.4028234663852886e38, 1.401298464324817e-45, 1.0],
    "double": [0.0, -0.0, 0.1, 5e-324, -1.7976931348623157e308, 1e300],
    "text": [
        *("", " ", "plain", '"', "'", "\\", "\\n", "a\nb", "\t", "世界", "🚀", "{}", "null"),
        "x" * TEXT_BYTES,
    ],
}
"""Values of each of these types."""

JSON: list[Any] = [
    None, True, 0, 1, 1.0, -0.0, 0.1, 2**53 + 1, INT64_MIN, INT64_MAX, 1e300, "", "null",
    "1", '{"a": 1}', 'quote " and \\', "世界 🚀", "a\nb", [], {}, [[], {}], {"a b": [1, "1"]},
]  # fmt: skip
"""Values inside of JSON."""

_LETTERS = [*"\"\\'\n\r\t %_;,{}[]()`$aZ0", "\\n", "\\u4e00", "é", "ß", "世", "🚀", "👩‍🚀", " and "]


def integer_keys(dice: random.Random, count: int) -> list[int]:
    """Returns distinct keys over all of int64, in no order.

    Not its last number: servers before 2.6.8 count such a row and never return it.
    """
    keys = {INT64_MIN, INT64_MIN + 1, -(2**53) - 1, -1, 0, 1, 2**53 + 1, INT64_MAX - 1}
    while len(keys) < count:
        keys.add(dice.randint(INT64_MIN, INT64_MAX - 1))
    return _shuffled(dice, keys)


def text_keys(dice: random.Random, count: int) -> list[str]:
    """Returns distinct keys of quotes, backslashes and every script, the empty text included."""
    keys = {"", " ", '"', "\\", '\\"', "\n", "'", "x" * 200, "世" * 60}
    while len(keys) < count:
        keys.add("".join(dice.choices(_LETTERS, k=dice.randint(1, 12))))
    return _shuffled(dice, keys)


def _shuffled(dice: random.Random, keys: set[Any]) -> list[Any]:
    ordered = sorted(keys)
    dice.shuffle(ordered)
    return ordered


def vector(dice: random.Random, dim: int) -> list[float]:
    """Returns a vector of float32."""
    return [dice.uniform(-1, 1) for _ in range(dim)]


def numpy_vector(dice: random.Random, dim: int, kind: Any) -> Any:
    """Returns a vector of numpy's type `kind`, as pymilvus takes them."""
    if np.dtype(kind) == np.int8:
        return np.array([dice.randint(-128, 127) for _ in range(dim)], dtype=kind)
    return np.array(vector(dice, dim), dtype=kind)


def bfloat16_vector(dice: random.Random, dim: int) -> bytes:
    """Returns the bytes of a vector of bfloat16: the upper halves of float32."""
    halves = np.array(vector(dice, dim), dtype="<f4").view("<u4") >> 16
    return halves.astype("<u2").tobytes()


def sparse_vector(dice: random.Random) -> dict[int, float]:
    """Returns a sparse vector, often with a large index."""
    return {dice.randrange(2**31): dice.uniform(0.1, 1) for _ in range(dice.randint(1, 9))}


def arrays(dice: random.Random, count: int) -> Iterator[dict[str, list[Any]]]:
    """Yields, for each of `count` rows, an array of each scalar type: none to 12 values long."""
    for position in range(count):
        many = range(position % 13)
        yield {f"{field}s": [dice.choice(OF[field]) for _ in many] for field in SCALARS}
