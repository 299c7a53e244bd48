"""The values of `transform.Constant`: of which Milvus type each is, and whether it is one."""

from __future__ import annotations

import json
import math
import struct
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.jobfile.values import suggestion
from transforms.reshape.column import ConstantValue

_BITS = {"Int8": 8, "Int16": 16, "Int32": 32, "Int64": 64}
_FLOATS = {"Float": "<f", "Double": "<d"}
"""The types of numbers: bits, and formats of `struct`."""

_KINDS = {bool: "Bool", int: "Int64", float: "Double", str: "VarChar"}
_CONSTANTS = ("Bool", *_BITS, *_FLOATS, "VarChar", "JSON")


def problem(kind: str, value: ConstantValue) -> str:
    """Says why a value is none of a Milvus type; "" if it is one.

    >>> problem("Int8", 127), problem("Int8", 128)
    ('', '128 is no Int8')
    """
    return "" if _is(kind, value) else f"{value!r} is no {kind}"


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
    """Whether a number is finite, and not too large; Milvus takes no others."""
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
    """Refuses NaN and Infinity, which Python takes and Milvus does not."""
    raise ValueError(word)


def _constants(value: object) -> dict[str, tuple[str, ConstantValue]]:
    if not isinstance(value, dict) or not value:
        raise ValueError('must be a block, as { region = "eu", version = 7 }')
    return {str(name).strip('"'): _constant(str(name), given) for name, given in value.items()}


def _constant(name: str, given: object) -> tuple[str, ConstantValue]:
    kind = ""
    if isinstance(given, dict) and {*given} == {"type", "value"}:
        kind, given = str(given["type"]), given["value"]
    if not isinstance(given, bool | int | float | str):
        raise ValueError(f"has {name}, which must be text, a number, true or false")
    kind = kind or _KINDS[type(given)]
    if kind not in _CONSTANTS:
        hint = suggestion(kind, _CONSTANTS) or f"; known are {', '.join(_CONSTANTS)}"
        raise ValueError(f"has {name} of type {kind}{hint}")
    if found := problem(kind, given):
        raise ValueError(f"has {name}: {found}")
    return kind, given


Constants = Annotated[
    dict[str, tuple[str, ConstantValue]], BeforeValidator(_constants), Field(title="values by name")
]
