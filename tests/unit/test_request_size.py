"""The size of requests: a refusal halves it, and successes let it grow again."""

from __future__ import annotations

import pytest

from transforms.errors import Refused, TooLarge
from transforms.milvus.calls import SMALLEST_BYTES, FlowControl
from transforms.milvus.pages import PageSize
from transforms.milvus.request_size import RequestSize

MB = 1_000_000
REFUSAL = TooLarge("http://a:19530", "Query", "exceed the limit size")


def test_a_refusal_halves_the_size_and_successes_let_it_grow_to_its_limit() -> None:
    request_size = RequestSize(1_000)
    request_size.shrink(1_000)
    assert request_size.size == 500
    sizes = []
    for _ in range(10):
        request_size.grow(request_size.size)
        sizes.append(request_size.size)
    assert sizes[:2] == [563, 634]
    assert sizes[-1] == 1_000


def test_refusals_of_parallel_calls_count_once() -> None:
    request_size = RequestSize(64 * MB)
    for _ in range(3):
        request_size.shrink(4 * MB)
    assert request_size.size == 2 * MB


def test_a_small_success_does_not_let_the_size_grow() -> None:
    request_size = RequestSize(64 * MB)
    request_size.shrink(4 * MB)
    for _ in range(1_000):
        request_size.grow(MB // 2)
    assert request_size.size == 2 * MB


def test_in_a_long_job_few_writes_are_too_large_for_the_server() -> None:
    request_size, refused, taken = FlowControl().write_bytes, 0, 0
    while taken < 1_000:
        size = min(4 * MB, request_size.size)
        if size > 1.2 * MB:
            refused += 1
            request_size.shrink(size)
        else:
            taken += 1
            request_size.grow(size)
    assert 2 <= refused <= taken / 20


def test_one_row_that_is_too_large_does_not_make_all_writes_tiny() -> None:
    request_size = FlowControl().write_bytes
    for rows in (4_096, 1_024, 256, 64, 2):
        request_size.shrink(rows * 100)
    assert request_size.size == SMALLEST_BYTES


def test_pages_grow_again_after_a_refusal() -> None:
    size = PageSize(1_000)
    size.shrink(REFUSAL)
    assert size.rows == 500
    size.adapt(500, 500, asked=500)
    assert size.rows == 500
    asked = []
    for _ in range(10):
        size.adapt(size.rows, size.rows, asked=size.rows)
        asked.append(size.rows)
    assert (asked[0], asked[-1]) == (563, 1_000)


@pytest.mark.parametrize(
    ("rows", "size_bytes", "then"),
    [
        (1_000, 1_000_000, 1_000),  # The same width as before.
        (1_000, 2_000_000, 500),
        (63, 126_000, 500),
        (62, 124_000, 500),  # Few rows, but many bytes.
        (62, 12_400, 1_000),  # The end of a range: mostly column names.
        (1, 3_000, 1_000),
        (0, 2_000, 1_000),
    ],
)
def test_the_width_of_rows_is_not_learned_from_the_end_of_a_range(
    rows: int, size_bytes: int, then: int
) -> None:
    size = PageSize(16_384, page_bytes=1_000_000)
    size.adapt(1_000, 1_000_000, asked=1_000)
    size.adapt(rows, size_bytes, asked=1_000)
    assert size.rows == then


def test_a_page_of_one_row_that_is_too_large_is_refused() -> None:
    with pytest.raises(Refused, match=r"a single row is too large.*env\.memory"):
        PageSize(1).shrink(REFUSAL)
