"""Jobs on servers that fail: for a while, which costs time, or for good, which costs one range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NoReturn

import grpc
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, reads, row, rows, was_read, writes, written
from tests.fakes.script import AWAY, LOST_ANSWER, RATE_LIMIT, REFUSED, Fault
from transforms.errors import LedgerError
from transforms.ledger import Ledger
from transforms.ranges import Key

RESET = Fault(grpc.StatusCode.INTERNAL, text="RST_STREAM", done=True)
TOO_LARGE = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text="message larger than max (9 vs. 4)")
PANIC = Fault(code=65535, text="panic")

pytestmark = pytest.mark.usefixtures("at_once")


def rows_a_page(query: Any) -> int:
    return next((int(pair.value) for pair in query.query_params if pair.key == "limit"), 0)


def small_page(key: Key) -> Callable[[Any], bool]:
    """Whether a query reads a key, the very first page aside, which tells the width of rows."""
    return lambda query: reads(key)(query) and rows_a_page(query) < 1_000


# For a while


def test_a_write_that_may_have_arrived_is_repeated_by_key(job: Job) -> None:
    job.source.create(schema(), rows(40))
    for key, fault in ((5, LOST_ANSWER), (15, AWAY), (35, RESET)):
        job.target.fails("Insert", fault, when=writes(key))
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target.keys("docs") == list(range(40))
    again = set(written(job.target, "Upsert"))
    assert {5, 15, 35} <= again
    assert len(job.target.asked("Upsert")) == 3


def test_an_upsert_is_repeated_until_it_is_answered(job: Job) -> None:
    job.source.create(schema(), rows(10))
    job.target.fails("Insert", LOST_ANSWER, when=writes(5))
    job.target.fails("Upsert", LOST_ANSWER, times=3)
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(10))
    assert len(job.target.asked("Upsert")) == 4


def test_without_upsert_the_keys_are_deleted_and_inserted_again(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.to_sink["enable_upsert"] = False
    job.target.fails("Insert", LOST_ANSWER, times=3)
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(40))
    assert (len(job.target.asked("Upsert")), len(job.target.asked("Delete"))) == (0, 3)


@pytest.mark.xfail(reason="the second insert is the last one")
def test_without_upsert_a_write_that_fails_again_is_repeated_again(job: Job) -> None:
    job.source.create(schema(), rows(10))
    job.to_sink["enable_upsert"] = False
    job.target.fails("Insert", LOST_ANSWER, times=3, when=writes(5))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(10))


def test_new_ids_that_may_stand_twice_are_counted(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    job.target.fails("Insert", LOST_ANSWER)
    job.run()
    doubled = len(job.target.keys("docs")) - 30
    assert doubled in (1, 2, 3)
    assert job.collection["doubled"] == doubled


@pytest.mark.xfail(reason="the second insert is the last one")
def test_with_new_ids_a_target_that_is_away_for_a_while_is_waited_for(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.to_sink["enable_auto_id"] = True
    job.target.fails("Insert", AWAY, times=12)
    assert job.run() == 0


def test_a_rate_limit_is_waited_for_and_what_it_refused_is_inserted(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", RATE_LIMIT, times=4)
    job.target.fails("Insert", replace(RATE_LIMIT, code=0, legacy=49), times=4)
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(40))
    assert job.target.asked("Upsert") == []


@pytest.mark.xfail(reason="it is inserted again, which doubles rows if it had been done")
def test_a_write_that_failed_for_an_unknown_reason_is_repeated_by_key(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", replace(PANIC, done=True))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(40))


def test_a_source_that_fails_for_a_while_is_read_on(job: Job) -> None:
    job.source.create(schema(), rows(40))
    for key, fault in ((5, AWAY), (15, RATE_LIMIT), (35, PANIC)):
        job.source.fails("Query", fault, times=2, when=small_page(key))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(40))
    assert job.target.asked("Upsert") == []


@pytest.mark.parametrize(
    "largest",
    [1_000, pytest.param(2, marks=pytest.mark.xfail(reason="the first page is not halved"))],
    ids=["pages", "the first page too"],
)
def test_pages_and_requests_that_are_too_large_are_halved(job: Job, largest: int) -> None:
    job.source.create(schema(), rows(20))
    refused = (3, 4, *range(largest + 1, 1_001))
    job.source.fails("Query", TOO_LARGE, times=None, when=lambda page: rows_a_page(page) in refused)
    job.target.fails("Insert", TOO_LARGE, times=None, when=lambda insert: insert.num_rows > 1)
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(20)


def test_a_row_that_is_too_large_alone_fails_its_range_with_the_reason(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", TOO_LARGE, times=None, when=writes(15))
    assert job.run() == 4
    assert "one row" in job.report["failures"][0]["reason"]
    assert {*range(40)} - {*job.target.keys("docs")} <= {*range(10, 20)}


# For good


def test_a_range_that_fails_for_good_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", REFUSED, times=None, when=writes(15))
    assert job.run() == 4
    lost = {*range(40)} - {*job.target.keys("docs")}
    assert {15} <= lost <= {*range(10, 20)}
    assert (job.report["outcome"], job.collection["ranges"]["failed"]) == ("failed", 1)
    [failure] = job.report["failures"]
    assert failure["range"] == "docs(9..19]"
    assert "the server does not like it" in failure["reason"]
    assert "Run the same command again" in job.report["next"][0]
    # The next run completes it, and does nothing else.
    job.target.heal()
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == rows(40)
    assert was_read(job.source, [*range(10), *range(20, 40)]) == set()
    # They may have arrived before, so they are not inserted.
    assert written(job.target, "Insert") == []
    assert lost <= {*written(job.target, "Upsert")} <= {*range(10, 20)}


def test_a_range_that_cannot_be_read_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.source.fails("Query", REFUSED, times=None, when=small_page(25))
    assert job.run() == 4
    lost = {*range(40)} - {*job.target.keys("docs")}
    assert {25} <= lost <= {*range(20, 40)}
    assert "the server does not like it" in job.report["failures"][0]["reason"]
    job.source.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)


def test_of_two_collections_the_one_that_is_whole_is_finished(job: Job) -> None:
    job.source.create(schema("bad"), rows(20))
    job.source.create(schema("good"), rows(20))
    job.target.fails("Insert", REFUSED, times=None, when=lambda each: each.collection_name == "bad")
    assert job.run() == 4
    assert [each["outcome"] for each in job.report["collections"]] == ["failed", "proven"]
    assert job.target["good"].loaded
    assert job.target["bad"].indexes == []


def test_with_fail_fast_the_first_range_that_fails_ends_the_job(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.env["fail_fast"] = True
    job.target.fails("Insert", REFUSED, times=None, when=writes(5))
    assert job.run() == 4
    assert len(job.target.keys("docs")) < 30
    job.target.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)


def test_an_index_that_cannot_be_made_fails_its_collection_until_it_is_made(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.target.fails("CreateIndex", REFUSED)
    assert job.run() == 4
    assert "the server does not like it" in str(job.collection["problems"])
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target.asked("Insert", "Upsert") == []


@pytest.mark.xfail(reason="the whole job ends, without a report")
def test_a_collection_that_cannot_be_cut_does_not_stop_the_others(job: Job) -> None:
    job.source.create(schema("bad"), rows(30))
    job.source.create(schema("good"), rows(30))
    job.source.fails(
        "Query",
        REFUSED,
        times=None,
        when=lambda each: each.collection_name == "bad" and list(each.output_fields) == ["id"],
    )
    assert job.run() == 4
    assert [each["outcome"] for each in job.report["collections"]] == ["failed", "proven"]


def test_a_full_disk_ends_the_job_and_the_next_run_goes_on(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise LedgerError("/state/job/intents", "No space left on device")

    job.source.create(schema(), rows(40))
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "begin", full)
        assert job.run() == 4
    assert "No space left on device" in capsys.readouterr().err
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(40)


def test_a_source_that_grows_while_it_is_copied_is_told(job: Job) -> None:
    made = job.source.create(schema(), rows(40))

    def grow(request: Any) -> bool:
        if len(made.rows()) == 40:
            made.insert([row(1_000)])
        return False

    job.target.fails("Insert", REFUSED, when=grow)
    job.run()
    assert "source changed while it was copied" in job.collection["source_changed"]
