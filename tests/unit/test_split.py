"""Cutting a collection: how many rows a range has, and after which keys it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import keys
from transforms.ranges import Key
from transforms.split import (
    MAX_RANGE_ROWS,
    MIN_RANGE_ROWS,
    RANGE_BYTES,
    RANGES_PER_WORKER,
    cut_points,
    rows_per_range,
)

ROWS = st.integers(0, 10**10)
ROW_BYTES = st.floats(0, 10**6)
WORKERS = st.integers(1, 500)


@pytest.mark.parametrize(
    ("rows", "row_bytes", "workers", "expected"),
    [
        (0, 0.0, 1, 2_000),
        (500, 3_200.0, 1, 2_000),
        (16_000, 3_200.0, 1, 2_000),
        (160_000, 3_200.0, 1, 20_000),
        (160_000, 3_200.0, 4, 5_000),
        (10_000_000, 3_200.0, 4, 41_943),
        (10_000_000, 60_000.0, 4, 2_236),
        (10_000_000, 1_000_000.0, 4, 2_000),
        (10_000_000, 0.0, 1, 250_000),
        (1_000_001, 0.0, 1, 125_000),
    ],
)
def test_rows_of_a_range(rows: int, row_bytes: float, workers: int, expected: int) -> None:
    assert rows_per_range(rows, row_bytes=row_bytes, workers=workers) == expected


@given(ROWS, ROW_BYTES, WORKERS)
def test_a_range_is_no_larger_than_its_bytes_allow_and_gives_each_worker_its_share(
    rows: int, row_bytes: float, workers: int
) -> None:
    step = rows_per_range(rows, row_bytes=row_bytes, workers=workers)
    assert MIN_RANGE_ROWS <= step <= MAX_RANGE_ROWS
    if step > MIN_RANGE_ROWS:
        assert step * row_bytes <= RANGE_BYTES
        assert step * RANGES_PER_WORKER * workers <= rows


def pages(found: list[Key], data: st.DataObject) -> Iterator[pa.Array]:
    """The keys in pages of any sizes, some of them empty."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(found)))))
    for start, stop in zip([0, *cuts], [*cuts, len(found)], strict=True):
        yield pa.array(found[start:stop], pa.string() if isinstance(found[0], str) else pa.int64())


@given(
    keys.of_one_kind(lambda kind: st.lists(kind, min_size=1, unique=True).map(sorted)),
    st.integers(1, 7),
    st.data(),
)
def test_the_cut_points_are_every_nth_key_however_the_keys_come_in_pages(
    found: list[Key], step: int, data: st.DataObject
) -> None:
    assert list(cut_points(pages(found, data), step)) == found[step - 1 :: step]


@given(st.integers(1, 500), st.integers(1, 7), st.integers(0, 9), st.data())
def test_no_cut_point_has_fewer_keys_behind_it_than_a_tail(
    count: int, step: int, tail: int, data: st.DataObject
) -> None:
    found: list[Key] = list(range(count))
    cuts = cut_points(pages(found, data), step, tail=tail)
    assert list(cuts) == [key for key in found[step - 1 :: step] if count - 1 - key >= tail]


@given(st.integers(10**5, 2 * 10**5), st.integers(1, 6))
def test_each_worker_has_its_ranges_whatever_the_number_of_rows(rows: int, workers: int) -> None:
    step = rows_per_range(rows, row_bytes=0.0, workers=workers)
    cuts = cut_points([pa.array(range(rows))], step, tail=max(step // 2, MIN_RANGE_ROWS))
    assert len(list(cuts)) + 1 >= RANGES_PER_WORKER * workers


def test_no_keys_no_cuts() -> None:
    assert list(cut_points([], 3)) == []
