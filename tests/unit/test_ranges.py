"""Key ranges: the pieces of a range tile it, and what is left is planned minus done."""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import keys
from transforms.ranges import Key, KeyRange, split, subtract


def ranges(kind: keys.Kind) -> st.SearchStrategy[KeyRange]:
    """A range with keys in it; either end may be open."""
    ends = st.tuples(st.none() | kind, st.none() | kind)
    return ends.map(_in_order).filter(_has_keys).map(lambda pair: KeyRange("docs", *pair))


def _in_order(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    after, upto = pair
    return (upto, after) if None not in pair and upto < after else pair


def _has_keys(pair: tuple[Any, Any]) -> bool:
    return pair[0] is None or pair[0] != pair[1]


def inside(planned: KeyRange, pieces: list[KeyRange], key: Key) -> int:
    """How many of the pieces hold the key."""
    return sum(key in piece for piece in pieces)


# A range


@pytest.mark.parametrize(
    ("key_range", "words"),
    [
        (KeyRange("docs"), "docs(..)"),
        (KeyRange("docs", 10, 20), "docs(10..20]"),
        (KeyRange("docs", None, -1), "docs(..-1]"),
        (KeyRange("docs", 7), "docs(7..)"),
        (KeyRange("docs", 'say "a"', "b"), "docs('say \"a\"'..'b']"),
        (KeyRange("docs", 1, 2, partition="eu"), "docs/eu(1..2]"),
    ],
)
def test_a_range_reads_as_an_interval(key_range: KeyRange, words: str) -> None:
    assert str(key_range) == words


@pytest.mark.parametrize(
    ("key", "held"), [(9, False), (10, False), (11, True), (20, True), (21, False)]
)
def test_a_range_holds_its_upper_bound_and_not_its_lower_one(key: int, held: bool) -> None:
    assert (key in KeyRange("docs", 10, 20)) is held


@pytest.mark.parametrize("key", [-(2**63), 0, 2**63 - 1, "", "a", "\U0010ffff"])
def test_an_open_range_holds_every_key(key: Key) -> None:
    assert key in KeyRange("docs")


@given(keys.of_one_kind(ranges))
def test_a_range_survives_pickling(key_range: KeyRange) -> None:
    assert pickle.loads(pickle.dumps(key_range)) == key_range


@given(st.lists(keys.TEXTS))
def test_python_orders_text_keys_as_milvus_does_by_their_utf8_bytes(texts: list[str]) -> None:
    assert sorted(texts) == sorted(texts, key=str.encode)


# split


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(kind), kind)))
def test_every_key_of_a_range_falls_in_exactly_one_piece(
    case: tuple[KeyRange, list[Key], Key],
) -> None:
    whole, cuts, key = case
    assert inside(whole, split(whole, cuts), key) == (key in whole)


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(kind))))
def test_the_pieces_tile_the_range_in_order_whatever_the_order_of_the_cuts(
    case: tuple[KeyRange, list[Key]],
) -> None:
    whole, cuts = case
    pieces = split(whole, cuts)
    assert (pieces[0].after, pieces[-1].upto) == (whole.after, whole.upto)
    assert all(left.upto == right.after for left, right in pairwise(pieces))
    assert pieces == split(whole, sorted(set(cuts)))  # type: ignore[type-var]


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(kind), kind)))
def test_a_cut_is_the_last_key_of_its_piece(case: tuple[KeyRange, list[Key], Key]) -> None:
    whole, cuts, cut = case
    ends = [piece.upto for piece in split(whole, [*cuts, cut])]
    assert (cut in ends) == (cut in whole)


def test_the_pieces_lie_in_the_partition_of_the_range() -> None:
    whole = KeyRange("docs", partition="eu")
    assert all(piece.same_place(whole) for piece in split(whole, [1, 2]))


# subtract


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(ranges(kind)), kind)))
def test_a_key_is_left_once_if_it_is_planned_and_not_done(
    case: tuple[KeyRange, list[KeyRange], Key],
) -> None:
    planned, done, key = case
    left = subtract(planned, done)
    assert inside(planned, left, key) == (key in planned and not inside(planned, done, key))


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(ranges(kind)))))
def test_what_is_left_and_what_is_done_tile_the_range_again(
    case: tuple[KeyRange, list[KeyRange]],
) -> None:
    planned, done = case
    assert subtract(planned, [*done, *subtract(planned, done)]) == []


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(ranges(kind)))), st.data())
def test_neither_the_order_of_what_is_done_nor_doing_it_twice_matters(
    case: tuple[KeyRange, list[KeyRange]], data: st.DataObject
) -> None:
    planned, done = case
    assert subtract(planned, data.draw(st.permutations(done + done))) == subtract(planned, done)


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(ranges(kind)))))
def test_what_is_left_is_in_key_order_with_something_done_between(
    case: tuple[KeyRange, list[KeyRange]],
) -> None:
    planned, done = case
    for left, right in pairwise(subtract(planned, done)):
        assert left.upto is not None
        assert right.after is not None
        assert left.upto < right.after  # type: ignore[operator]


@given(keys.of_one_kind(lambda kind: st.tuples(ranges(kind), st.lists(kind))), st.data())
def test_of_the_pieces_of_a_range_those_that_are_not_done_are_left(
    case: tuple[KeyRange, list[Key]], data: st.DataObject
) -> None:
    whole, cuts = case
    pieces = split(whole, cuts)
    done = data.draw(st.sets(st.sampled_from(pieces)))
    left = subtract(whole, done)
    again = [piece for each in left for piece in split(each, cuts)]
    assert again == [piece for piece in pieces if piece not in done]


@pytest.mark.parametrize("elsewhere", [KeyRange("other"), KeyRange("docs", partition="eu")])
def test_what_is_done_elsewhere_does_not_count(elsewhere: KeyRange) -> None:
    assert subtract(KeyRange("docs"), [elsewhere]) == [KeyRange("docs")]


@pytest.mark.parametrize(
    ("done", "left"),
    [
        ([], "(..)"),
        ([(None, None)], ""),
        ([(None, -(2**63))], "(-9223372036854775808..)"),
        ([(2**63 - 1, None)], "(..9223372036854775807]"),
        ([(None, 2**63 - 2), (2**63 - 2, 2**63 - 1)], "(9223372036854775807..)"),
        ([(0, 10), (5, 20)], "(..0] (20..)"),
        ([(5, 20), (0, None)], "(..0]"),
    ],
)
def test_what_is_left_of_all_keys(done: list[tuple[Any, Any]], left: str) -> None:
    pieces = subtract(KeyRange(""), [KeyRange("", *pair) for pair in done])
    assert " ".join(map(str, pieces)) == left
