"""Filter expressions: they select exactly the keys of a range, whatever is in the keys.

Expressions are read back by `tests.fakes.expressions`, which knows what servers can parse.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import keys
from tests.fakes import expressions
from transforms.milvus import filters
from transforms.milvus.filters import MAX_INT64, MIN_INT64
from transforms.ranges import Key, KeyRange

Bounds = tuple[Key | None, Key | None, Key]


def bounds(kind: keys.Kind) -> st.SearchStrategy[Bounds]:
    return st.tuples(st.none() | kind, st.none() | kind, kind)


def selects(expression: str, key: Key) -> bool:
    return expressions.parse(expression, "id")(key)


@given(keys.of_one_kind(bounds))
def test_a_filter_selects_the_keys_of_its_range_and_no_others(case: Bounds) -> None:
    after, upto, key = case
    planned = KeyRange("docs", after, upto)
    assert selects(filters.within("id", planned), key) == (key in planned)


@given(keys.of_one_kind(lambda kind: st.tuples(st.lists(kind, min_size=1), kind)))
def test_a_filter_among_keys_selects_those_and_no_others(case: tuple[list[Key], Key]) -> None:
    among, key = case
    assert selects(filters.among("id", among), key) == (key in among)


@given(keys.of_one_kind(bounds), st.sampled_from(["", "id > 3 or id < 1", 'id == "a"']))
def test_a_second_filter_narrows_the_first_one(case: Bounds, second: str) -> None:
    after, upto, key = case
    first = filters.within("id", KeyRange("docs", after, upto))
    if isinstance(key, str) == ('"' in second) or not second:
        expected = selects(first, key) and selects(second, key)
        assert selects(filters.both(first, second), key) == expected


@pytest.mark.parametrize(
    ("key", "literal"),
    [
        (0, "0"),
        (-5, "-5"),
        (MAX_INT64, "9223372036854775807"),
        ("", '""'),
        ('say "hi"', r'"say \"hi\""'),
        ("C:\\temp", r'"C:\\temp"'),
        ("a\nb\rc\td", r'"a\nb\rc\td"'),
        ("it's", '"it\'s"'),
        ("世界 \U0001f600", '"世界 \U0001f600"'),
        ("\0\x7f\u2028", '"\0\x7f\u2028"'),
        (r"\u4e00", r'"\\u4e00"'),
    ],
)
def test_a_key_is_escaped_as_little_as_servers_need(key: Key, literal: str) -> None:
    assert filters.literal(key) == literal


@pytest.mark.parametrize(
    ("after", "upto", "expression"),
    [
        (None, None, ""),
        (None, 7, "id <= 7"),
        (7, None, "id > 7"),
        (-7, 7, "id > -7 and id <= 7"),
        (MIN_INT64, None, "id >= -9223372036854775807"),
        (None, MIN_INT64, "id < -9223372036854775807"),
        (MAX_INT64, None, "id > 9223372036854775807"),
        (None, MAX_INT64, "id <= 9223372036854775807"),
    ],
)
def test_minus_2_to_the_63_is_never_written_because_servers_cannot_parse_it(
    after: int | None, upto: int | None, expression: str
) -> None:
    assert filters.within("id", KeyRange("docs", after, upto)) == expression


def test_the_partition_is_not_part_of_the_filter() -> None:
    assert filters.within("id", KeyRange("docs", 1, partition="eu")) == "id > 1"
