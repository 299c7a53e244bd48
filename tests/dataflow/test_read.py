"""Cutting and reading: intervals that tile, counts that are made sure of, failures that stay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from pipeline.planning import planner
from tests.clusters import described, job, schema, side, survey
from tests.dataflow.jobs import keys_shown, reads, row, rows
from tests.fakes import expressions
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Fault
from transforms import split
from transforms.batch import Batch
from transforms.milvus import pages
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.milvus.snapshot import NO_TIMESTAMP
from transforms.plan import CollectionPlan
from transforms.ranges import KeyRange
from transforms.read import read
from transforms.split import cut

COUNT = 40
WHOLE = KeyRange("docs")


@pytest.fixture
def server() -> Iterator[FakeMilvus]:
    with FakeMilvus() as running:
        running.create(schema(), rows(COUNT))
        yield running


@pytest.fixture
def client(server: FakeMilvus) -> Iterator[Client]:
    made = Client(Endpoint(server.url))
    yield made
    made.close()


def plan(**changes: Any) -> CollectionPlan:
    found = survey(side(described(schema(), **changes), rows=None))
    return planner.build_plan(job(), found, (), plan_id="p1", made_at=1.5)["docs"]


def reader(client: Client, page_rows: int = 4) -> Reader:
    return Reader(client, "docs", plan().source.schema, page_rows=page_rows, snapshot=NO_TIMESTAMP)


def batches(
    client: Client, missing: list[KeyRange] | None = None, *, before: int = 0, page_rows: int = 4
) -> list[Batch]:
    whole = missing if missing is not None else [WHOLE]
    return list(read(reader(client, page_rows), WHOLE, whole, before=before))


def keys(found: list[Batch]) -> list[int]:
    return [key for batch in found if batch.rows for key in batch.rows["id"].to_pylist()]


# Reading


@pytest.mark.parametrize("page_rows", [1, 3, 4, COUNT - 1, COUNT, COUNT + 1])
def test_the_intervals_tile_the_range_whatever_the_size_of_pages(
    client: Client, page_rows: int
) -> None:
    found = batches(client, page_rows=page_rows)
    assert keys(found) == list(range(COUNT))
    assert (found[0].covered.after, found[-1].covered.upto) == (None, None)
    for left, right in pairwise(found):
        assert left.covered.upto == right.covered.after
    for batch in found:
        assert all(key in batch.covered for key in keys([batch]))


def test_the_end_of_a_range_is_an_empty_batch_that_covers_its_tail(client: Client) -> None:
    last = batches(client)[-1]
    assert last.covered == KeyRange("docs", COUNT - 1)
    assert last.rows is not None
    assert last.rows.num_rows == 0


def test_a_range_that_ends_with_its_last_key_needs_no_empty_page(
    client: Client, server: FakeMilvus
) -> None:
    planned = KeyRange("docs", None, 7)
    found = list(read(reader(client), planned, [planned]))
    assert [batch.covered.upto for batch in found] == [3, 7]


@pytest.mark.parametrize(("page_rows", "sizes"), [(40, [40]), (30, [39, 1]), (10, [19, 19, 2])])
def test_what_is_left_of_a_range_is_one_page_once_it_fits(page_rows: int, sizes: list[int]) -> None:
    with FakeMilvus() as server:
        # Two segments: a page that has to end somewhere ends with the first of them.
        server.create(schema(), rows(COUNT)[::2]).insert(rows(COUNT)[1::2])
        client = Client(Endpoint(server.url))
        planned = KeyRange("docs", None, COUNT - 1)
        found = list(read(reader(client, page_rows), planned, [planned]))
        client.close()
    assert keys(found) == list(range(COUNT))
    assert [batch.rows.num_rows for batch in found if batch.rows] == sizes


def test_an_empty_range_is_one_empty_batch(client: Client) -> None:
    planned = KeyRange("docs", 1_000, 2_000)
    [batch] = read(reader(client), planned, [planned])
    assert (batch.covered, batch.counted) == (planned, 0)


def test_the_batch_that_ends_a_range_and_no_other_tells_its_count(client: Client) -> None:
    found = batches(client)
    assert [batch.counted for batch in found] == [None] * (len(found) - 1) + [COUNT]


def test_only_what_is_missing_is_read(client: Client, server: FakeMilvus) -> None:
    missing = [KeyRange("docs", 4, 9), KeyRange("docs", 29, None)]
    found = batches(client, missing, before=25)
    assert keys(found) == [*range(5, 10), *range(30, COUNT)]
    assert keys_shown(server) == {*range(5, 10), *range(30, COUNT)}
    assert [batch.counted for batch in found if batch.counted is not None] == [COUNT]


def test_nothing_is_read_of_a_range_of_which_nothing_is_missing(
    client: Client, server: FakeMilvus
) -> None:
    assert batches(client, []) == []
    assert server.asked("Query") == []


def test_a_page_is_requested_while_the_page_before_is_processed(
    client: Client, server: FakeMilvus
) -> None:
    found = read(reader(client), WHOLE, [WHOLE])
    next(found)
    deadline = time.monotonic() + 5
    while len(server.asked("Query")) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert len(server.asked("Query")) == 2
    found.close()


def pages_after(server: FakeMilvus, key: int) -> int:
    """Returns how many requested pages begin after a key."""
    asked = server.asked("Query")
    return sum(f"id > {key} " in each.expr and "id" in each.output_fields for each in asked)


def test_at_the_end_of_a_range_the_next_one_is_begun(client: Client, server: FakeMilvus) -> None:
    first, second = KeyRange("docs", None, 7), KeyRange("docs", 7, 15)
    shared = reader(client)
    found = read(shared, first, [first], then=lambda: shared.begin(second))
    assert keys([next(found)]) == [0, 1, 2, 3]
    assert pages_after(server, 7) == 0
    assert keys([next(found)]) == [4, 5, 6, 7]
    deadline = time.monotonic() + 5
    while not pages_after(server, 7) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert keys(list(read(shared, second, [second]))) == [*range(8, 16)]
    assert pages_after(server, 7) == 1


def test_what_was_begun_and_is_not_read_does_no_harm(client: Client) -> None:
    shared = reader(client)
    shared.begin(KeyRange("docs", 20, 30))
    assert keys(list(read(shared, WHOLE, [WHOLE]))) == [*range(COUNT)]


def test_the_pieces_that_are_missing_follow_each_other_without_a_pause(
    client: Client, server: FakeMilvus
) -> None:
    found = read(reader(client), WHOLE, [KeyRange("docs", 0, 4), KeyRange("docs", 9, 13)])
    assert keys([next(found)]) == [1, 2, 3, 4]
    deadline = time.monotonic() + 5
    while not pages_after(server, 9) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert pages_after(server, 9) == 1
    found.close()


def test_a_server_that_fails_for_good_ends_the_range_where_it_stands(
    client: Client, server: FakeMilvus
) -> None:
    server.fails("Query", REFUSED, when=lambda page: reads(20)(page) and not reads(19)(page))
    *good, failed = batches(client)
    assert keys(good) == [*range(20)]
    assert failed.rows is None
    assert failed.covered.after == 19
    assert "the server does not like it" in failed.failed


def test_fewer_rows_than_counted_are_duplicates_only_if_each_key_was_read(
    client: Client, server: FakeMilvus
) -> None:
    server["docs"].insert(rows(3))
    assert batches(client)[-1].counted == COUNT + 3
    # What was acknowledged before is not all that lies between: a key appeared meanwhile.
    missing = [KeyRange("docs", 9, None)]
    assert batches(client, missing, before=10)[-1].failed == ""
    words = batches(client, missing, before=9)[-1].failed
    assert "the source counts 43 rows. Its pages had 39 keys, and 1 more on a second read:" in words
    assert "Stop the writes, then run the same command again" in words


@pytest.mark.parametrize("hidden", [(), (3,)], ids=["all shown", "one hidden"])
def test_a_key_may_be_duplicated_more_often_than_a_page_has_rows(
    client: Client, server: FakeMilvus, monkeypatch: pytest.MonkeyPatch, hidden: tuple[int, ...]
) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", 8)
    server["docs"].insert([row(key) for key in (5, *[7] * 20)])
    if hidden:
        server.hides(*hidden)
    account = reader(client).account(WHOLE, COUNT - len(hidden))
    assert (account.counted, account.keys) == (COUNT + 21, COUNT - len(hidden))
    assert account.hidden == len(hidden)


# Cutting


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split, "MIN_RANGE_ROWS", 10)


@pytest.mark.usefixtures("small")
def test_ranges_tile_the_collection_and_hold_a_step_of_keys_each(client: Client) -> None:
    pieces = list(cut(client, plan(), workers=1))
    assert (pieces[0].after, pieces[-1].upto) == (None, None)
    assert all(left.upto == right.after for left, right in pairwise(pieces))
    sizes = [sum(key in piece for key in range(COUNT)) for piece in pieces]
    assert sizes == [10, 10, 10, 10]


@pytest.mark.usefixtures("small")
def test_each_partition_is_cut_by_itself(client: Client, server: FakeMilvus) -> None:
    server["docs"].partitions.append("eu")
    server["docs"].insert(rows(3), "eu")
    pieces = list(cut(client, plan(partitions=("_default", "eu")), workers=1))
    assert [piece.partition for piece in pieces] == ["_default"] * 4 + ["eu"]
    assert str(pieces[-1]) == "docs/eu(..)"


def test_a_small_collection_is_one_range_and_its_keys_are_not_read(
    client: Client, server: FakeMilvus
) -> None:
    assert list(cut(client, plan(), workers=4)) == [WHOLE]
    assert [each for each in server.asked("Query") if each.output_fields == ["id"]] == []


@pytest.mark.usefixtures("small")
def test_cutting_reads_keys_alone(client: Client, server: FakeMilvus) -> None:
    list(cut(client, plan(), workers=1))
    asked = {tuple(each.output_fields) for each in server.asked("Query")}
    assert asked == {("id", "title", "vector"), ("count(*)",), ("id",)}
    assert len([each for each in server.asked("Query") if "title" in each.output_fields]) == 1


EVERY = 17
ALL = 4 * 10 * EVERY


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range is 170 rows, which are enough to be told by ten multiples of 17."""
    monkeypatch.setattr(split, "MIN_RANGE_ROWS", 10 * EVERY)
    monkeypatch.setattr(split, "MANY_KEYS", 10)


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("found", "keys_read"),
    [
        (range(ALL), ALL // EVERY),
        (range(-300, ALL - 300), ALL // EVERY),
        (range(7, 10 * ALL, 10), ALL // EVERY),
        (range(0, 17 * ALL, 17), ALL),  # All are multiples,
        (range(1, 17 * ALL, 17), ALL),  # or none.
    ],
)
def test_whole_numbers_are_cut_among_multiples_where_these_are_their_share(
    client: Client, server: FakeMilvus, found: range, keys_read: int
) -> None:
    server.drop("docs")
    server.create(schema(), [row(key) for key in found])
    pieces = list(cut(client, plan(), workers=1))
    sizes = [sum(key in piece for key in found) for piece in pieces]
    assert len(sizes) == 4
    assert max(abs(size - ALL // 4) for size in sizes) <= EVERY
    assert len(cut_among(server)) == keys_read


@pytest.mark.usefixtures("many")
def test_a_source_that_cannot_filter_multiples_is_asked_for_all_keys(
    client: Client, server: FakeMilvus
) -> None:
    server["docs"].insert([row(key) for key in range(COUNT, ALL)])
    server.fails("Query", REFUSED, when=lambda query: "%" in query.expr)
    assert len(list(cut(client, plan(), workers=1))) == 4
    assert cut_among(server) == [*range(ALL)]


def cut_among(server: FakeMilvus) -> list[int]:
    """The keys that were read to cut a collection."""
    asked = {each.expr for each in server.asked("Query") if each.output_fields == ["id"]}
    tests = [expressions.parse(expr, "id") for expr in asked]
    return [key for key in server.keys("docs") if any(test(key) for test in tests)]


# Politeness


def test_pages_that_take_longer_than_they_may_slow_the_reader_down(server: FakeMilvus) -> None:
    client = Client(Endpoint(server.url, max_latency_s=0.02))
    server.fails("Query", Fault(delay_s=0.1), times=None)
    made = reader(client)
    made.page(WHOLE)
    assert client.flow.throttle.pause_s == 0  # The first one waits for the writes before it.
    made.page(WHOLE)
    assert client.flow.throttle.pause_s > 0
    client.close()


def test_the_row_of_a_key_is_read_after_all_writes_before(
    client: Client, server: FakeMilvus
) -> None:
    assert reader(client).row(3).num_rows == 1
    [query] = server.asked("Query")
    assert query.guarantee_timestamp == 0
    assert query.consistency_level == 0
