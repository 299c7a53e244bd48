"""The values of `transform.Constant`, and the Milvus type of each."""

from __future__ import annotations

import json
import math
import struct
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.jobfile.spelling import suggestion
from transforms.reshape.column import ConstantValue

_BITS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_FLOATS = {"Float": "<f", "Double": "<d"}
"""The numeric types, with their formats in `struct`; integer types have bits above."""

_KINDS = {bool: "Bool", int: "Int64", float: "Double", str: "VarChar"}
_CONSTANTS = ("Bool", *_BITS, *_FLOATS, "VarChar", "JSON")


def problem(kind: str, value: ConstantValue) -> str:
    """Returns why a value is not valid for a Milvus type; "" if it is.

    >>> problem("Int8", 127), problem("Int8", 128)
    ('', '128 is not a valid Int8 value')
    """
    return "" if _is(kind, value) else f"{value!r} is not a valid {kind} value"


def _is(kind: str, value: ConstantValue) -> bool:
    if isinstance(value, bool) or kind == "Bool":
        return isinstance(value, bool) and kind == "Bool"
    if isinstance(value, str):
        return kind == "VarChar" or (kind == "JSON" and _is_json(value))
    if kind in _BITS:
        half = 1 << (_BITS[kind] - 1)
        return -half <= value < half and value == int(value)
    return kind in _FLOATS and _has_room(value, _FLOATS[kind])


def _has_room(value: float, form: str) -> bool:
    """Whether a number is finite and within the range; Milvus rejects all others."""
    try:
        struct.pack(form, float(value))
    except OverflowError:
        return False
    return math.isfinite(value)


def _is_json(value: str) -> bool:
    try:
        json.loads(value, parse_constant=_not_json)
    except ValueError:
        return False
    return True


def _not_json(word: str) -> None:
    """Refuses NaN and Infinity, which Python accepts and Milvus rejects."""
    raise ValueError(word)


def _constants(value: object) -> dict[str, tuple[str, ConstantValue]]:
    if not isinstance(value, dict) or not value:
        raise ValueError('must be a block such as { region = "eu", version = 7 }')
    return {str(name).strip('"'): _constant(str(name), item) for name, item in value.items()}


def _constant(name: str, value: object) -> tuple[str, ConstantValue]:
    kind = ""
    if isinstance(value, dict) and {*value} == {"type", "value"}:
        kind, value = str(value["type"]), value["value"]
    if not isinstance(value, bool | int | float | str):
        raise ValueError(f"{name} must be text, a number, true or false")
    kind = kind or _KINDS[type(value)]
    if kind not in _CONSTANTS:
        hint = suggestion(kind, _CONSTANTS) or f"; use one of {', '.join(_CONSTANTS)}"
        raise ValueError(f"{name} has the unknown type {kind}{hint}")
    if why := problem(kind, value):
        raise ValueError(f"{name}: {why}")
    return kind, value


Constants = Annotated[
    dict[str, tuple[str, ConstantValue]], BeforeValidator(_constants), Field(title="values by name")
]
