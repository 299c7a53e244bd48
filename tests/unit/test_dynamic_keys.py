"""Keys of the dynamic field as columns: what each value becomes, and what stays."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import strategies
from transforms.reshape.column import Column, DynamicKey
from transforms.reshape.dynamic_keys import Extracted, extract

KEYS = st.sampled_from(["a", "aa", "b", "é", 'q"', "\\", "author", "{", ""])
SCALARS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
TEXTS = st.text(max_size=8) | st.sampled_from(['"', "\\", '\\"', "{}[],:", "\u2028"])
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def column(name: str, kind: str, key: str = "a", **more: Any) -> Column:
    return Column(name, "$meta", kind=kind, extracted=DynamicKey(key, kind, **more))


def taken(
    texts: list[str | None], *columns: Column, removed: tuple[str, ...] = ("a",)
) -> Extracted:
    objects = pa.array([text and text.encode() for text in texts], pa.binary())
    return extract(objects, columns, removed)


@st.composite
def written(draw: st.DrawFn) -> list[str]:
    """Objects as clients write them: with and without spaces, escapes and line breaks."""
    objects = draw(st.lists(OBJECTS, max_size=5))
    forms: list[dict[str, Any]] = [{}, {"ensure_ascii": False}, {"indent": 1}]
    forms.append({"separators": (",", ":")})
    return [json.dumps(item, **draw(st.sampled_from(forms))) for item in objects]


@strategies.laws
@given(written(), KEYS, st.integers(0, 3))
@example(['{"a":1,"b":2,"a":3}', '{"a":1}', "{}", '{"b":{"a":1}}'], "a", 1)
def test_the_value_of_a_key_is_taken_and_all_others_stay(texts, key: str, at: int) -> None:
    objects = pa.array([text.encode() for text in texts], pa.binary())[at:]
    found = extract(objects, [column("field", "JSON", key, nullable=True)], (key,))
    for text, value, rest in zip(texts[at:], found.values["field"], found.rest, strict=True):
        expected = json.loads(text)
        wanted = expected.pop(key, None)
        assert (json.loads(value.as_py()) if value.is_valid else None) == wanted
        assert json.loads(rest.as_py()) == expected
    assert found.refusals is None


@pytest.mark.parametrize(
    ("text", "key", "rest"),
    [
        ('{"a": 1, "b": 2.50}', "a", '{ "b": 2.50}'),
        ('{"b": 2.50, "a": 1}', "a", '{"b": 2.50}'),
        ('{"b":1e2,"a":{"a":[1,{}]},"c":"a"}', "a", '{"b":1e2,"c":"a"}'),
        ('{"a":1}', "a", "{}"),
        ('{"caf\\u00e9":1,"b":1}', "café", '{"b":1}'),
        ('{"a":1,"b":2,"a":3}', "a", '{"b":2}'),
        ('{"a":1,"b":2,"a":3}', "b", '{"a":1,"a":3}'),
        (' { "b" : "\\\\" , "a" : "\\"" } ', "a", ' { "b" : "\\\\" } '),
        ('{"b":"a"}', "a", '{"b":"a"}'),
    ],
)
def test_what_stays_keeps_its_bytes(text: str, key: str, rest: str) -> None:
    found = taken([text], removed=(key,)).rest[0].as_py().decode()
    assert "".join(found.split()) == "".join(rest.split())


ROWS = [
    ("VarChar", '"x"', "x"),
    ("VarChar", '"\\u00e9\\n\\\\"', "é\n\\"),
    ("VarChar", '""', ""),
    ("VarChar", "7", "a number"),
    ("VarChar", '["x"]', "an array"),
    ("VarChar", '"\\ud800"', "text that does not fit"),
    ("Bool", "true", True),
    ("Bool", "false", False),
    ("Bool", "1", "a number"),
    ("Int8", "-128", -128),
    ("Int8", "128", "a number that does not fit"),
    ("Int64", "9223372036854775807", 2**63 - 1),
    ("Int64", "9223372036854775808", "a number that does not fit"),
    ("Int64", "1.0", "a number that does not fit"),
    ("Int64", '"1"', "text"),
    ("Float", "0.5", 0.5),
    ("Float", "1e39", "a number that does not fit"),
    ("Float", "16777216", 16777216.0),
    ("Float", "16777217", "a number that does not fit"),
    ("Float", "-3000000000", -3e9),
    ("Float", "-3000000001", "a number that does not fit"),
    ("Float", "1e8", 1e8),
    ("Double", "1", 1.0),
    ("Double", "1e999", "a number that does not fit"),
    ("Double", "9007199254740992", 2.0**53),
    ("Double", "9007199254740993", "a number that does not fit"),
    ("Double", "9007199254740993.0", 2.0**53),
    ("Double", str(2**70), 2.0**70),
    ("Double", str(2**70 + 1), "a number that does not fit"),
    ("Double", "1" + 400 * "0", "a number that does not fit"),
    ("Double", "{}", "an object"),
    ("Double", "NaN", "not JSON"),
    ("JSON", '{"b": [1]}', b'{"b": [1]}'),
    ("JSON", "1", b"1"),
]


@pytest.mark.parametrize(("kind", "text", "value"), ROWS)
def test_a_value_has_the_type_of_its_field_or_its_row_is_rejected(kind, text, value) -> None:
    """Between two rows that are in order."""
    good = next(text for of, text, value in ROWS if of == kind)
    found = taken([f'{{"a":{each}}}' for each in (good, text, good)], column("f", kind))
    values = found.values["f"].to_pylist()
    assert values[0] == values[2] is not None
    if isinstance(value, str) and value != json.loads(text if "NaN" not in text else "0"):
        reason = f"key `a` of the dynamic field is {value}, but field `f` is {kind}"
        assert found.refusals is not None
        assert (values[1], found.refusals.to_pylist()) == (None, [None, reason, None])
        assert found.rest[1].as_py().decode() == f'{{"a":{text}}}'
    else:
        assert (values[1], found.refusals) == (value, None)
        assert found.rest.to_pylist() == [b"{}"] * 3


@pytest.mark.parametrize(
    ("element", "text", "value"),
    [
        ("VarChar", '["x", "\\""]', ["x", '"']),
        ("VarChar", "[]", []),
        ("VarChar", '["x", 1]', None),
        ("Int8", "[1, 127]", [1, 127]),
        ("Int8", "[1, 128]", None),
        ("Int64", "[1, null]", None),
        ("Float", "[1,\n0.5]", [1.0, 0.5]),
        ("Float", "[1, 1e39]", None),
        ("Float", "[0.123456789, 16777216]", [np.float32(0.123456789), 16777216.0]),
        ("Float", "[16777217\n,1]", None),
        ("Double", "[1,9007199254740993]", None),
        ("Double", "[9007199254740993.5]", [2.0**53 + 2]),
        ("Bool", "[true]", [True]),
        ("Int64", "[[1]]", None),
        ("Int64", "1", None),
    ],
)
def test_an_array_has_items_of_one_type(element: str, text: str, value: object) -> None:
    texts = [f'{{"a":{each}}}' for each in ("[]", text, "[]")]
    found = taken(texts, column("f", "Array", element=element))
    assert found.values["f"].to_pylist() == [[], value, []]
    assert (found.refusals is None) == (value is not None)


@pytest.mark.parametrize("missing", ["{}", '{"a":null}', '{"b":1}', None])
@pytest.mark.parametrize(
    ("more", "value", "refused"),
    [
        ({"nullable": True}, None, False),
        ({"default": "x"}, "x", False),
        ({"default": "x", "nullable": True}, "x", False),
        ({}, None, True),
    ],
)
def test_a_missing_key_is_the_default_or_null(missing, more, value, refused: bool) -> None:
    found = taken([missing, '{"a":"y"}'], column("f", "VarChar", **more))
    assert found.values["f"].to_pylist() == [value, "y"]
    assert (found.refusals is not None) == refused
    if found.refusals is not None:
        assert "has no key `a`, but field `f` is VarChar, not nullable" in str(found.refusals[0])


def test_rows_that_are_not_json_are_rejected_alone() -> None:
    texts = ['{"a":"x"}', "", "[1]", '{"a":', '{"a": }', '{"a":"y"}']
    found = taken(texts, column("f", "VarChar", nullable=True))
    assert found.values["f"].to_pylist() == ["x", None, None, None, None, "y"]
    assert found.refusals is not None
    assert found.refusals.is_valid().to_pylist() == [False, True, True, True, True, False]
    assert [text.as_py().decode() for text in found.rest] == ["{}", *texts[1:5], "{}"]


@pytest.mark.parametrize(
    "broken", [b'{"a\\q":1,"a":"x"}', b'{"a\\u00":1}', b'{"\\n\n":1}', b'{"\\n\xff":1}']
)
def test_a_row_with_a_key_that_is_not_json_is_rejected_alone(broken: bytes) -> None:
    objects = pa.array([b'{"a":"x"}', broken, b'{"a":"y"}'], pa.binary())
    found = extract(objects, [column("f", "VarChar", nullable=True)], ("a",))
    assert found.values["f"].to_pylist() == ["x", None, "y"]
    assert found.refusals is not None
    assert found.refusals.is_valid().to_pylist() == [False, True, False]
    assert found.rest.to_pylist() == [b"{}", broken, b"{}"]


def test_several_keys_are_taken_at_once_and_a_rejected_row_keeps_all_of_them() -> None:
    columns = [column("f", "VarChar"), column("g", "Int64", "b")]
    texts = ['{"a":"x","b":1,"c":0}', '{"a":"x","b":"1","c":0}', '{"a":1,"b":"1"}']
    found = taken(texts, *columns, removed=("a", "b"))
    assert found.values["f"].to_pylist() == ["x", "x", None]
    assert found.values["g"].to_pylist() == [1, None, None]
    assert [json.loads(text.as_py()) for text in found.rest] == [
        {"c": 0},
        *map(json.loads, texts[1:]),
    ]
    assert found.refusals is not None
    assert "key `a`" in found.refusals[2].as_py()
