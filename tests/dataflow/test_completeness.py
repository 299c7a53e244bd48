"""A source that counts rows and does not show them: it is noticed, and never proven."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, reads, row, rows
from transforms.errors import MigrationError
from transforms.read import ReadFromMilvus

COUNT = 40
EVERY_FIFTH = tuple(range(0, COUNT, 5))
ALL = tuple(range(COUNT))


def says(job: Job, *words: str) -> bool:
    """Whether a failure or a problem of docs in the report has all these words."""
    lines = [each["reason"] for each in job.report["failures"]] + job.collection()["problems"]
    return all(any(word in line for line in lines) for word in words)


# Rows that no query shows


def test_rows_that_the_source_hides_fail_their_ranges_and_are_counted(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*EVERY_FIFTH)
    assert job.run() == 4
    assert job.report["outcome"] == "failed"
    assert job.collection()["hidden"] == len(EVERY_FIFTH)
    assert says(job, "the source counts 8 rows in", "rows are hidden from every query")


def test_a_collection_of_which_no_row_is_shown_is_not_taken_for_empty(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*ALL)
    assert job.run() == 4
    assert job.collection()["hidden"] == COUNT
    assert "Proven" not in job.report["verdict"]


def test_duplicates_do_not_explain_rows_that_are_hidden(job: Job) -> None:
    made = job.source.create(schema(), rows(COUNT))
    made.insert(rows(4))
    job.source.hides(7)
    assert job.run() == 4
    assert job.collection()["hidden"] == 1


def test_duplicates_are_proven_by_counting_the_rows_of_the_keys_that_were_read(job: Job) -> None:
    made = job.source.create(schema(), rows(COUNT))
    made.insert(rows(4))
    assert job.run() == 0
    assert (job.report["outcome"], job.collection()["repeats"]) == ("proven", 4)
    assert any(" in [" in query.expr for query in job.source.asked("Query"))


def test_where_no_key_is_duplicated_none_is_counted_by_its_name(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    assert job.run() == 0
    assert not any(" in [" in query.expr for query in job.source.asked("Query"))


def test_what_can_be_read_is_copied_if_that_is_accepted_and_is_not_called_proven(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*EVERY_FIFTH)
    assert job.run() == 4
    job.env["accept"] = ["unreadable-rows"]
    assert job.run() == 0
    assert job.target.keys("docs") == [key for key in ALL if key not in EVERY_FIFTH]
    assert (job.report["outcome"], job.collection()["hidden"]) == ("copied", len(EVERY_FIFTH))
    assert "but 8 rows of the source could not be read" in job.report["verdict"]


def test_nothing_is_left_of_it_once_the_source_shows_its_rows(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*EVERY_FIFTH)
    assert job.run() == 4
    job.source.heal()
    assert job.run() == 0
    assert (job.report["outcome"], job.collection()["hidden"]) == ("proven", 0)
    assert job.target.keys("docs") == [*ALL]


# Rows that a page leaves out for once


@pytest.mark.parametrize("keys", [(12,), (10, 11, 12, 13), ALL], ids=["a row", "a page", "empty"])
def test_a_page_that_once_left_rows_out_is_noticed_and_the_next_run_copies_them(
    job: Job, keys: tuple[int, ...]
) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*keys, times=1, when=reads(12))
    assert job.run() == 4
    assert "Proven" not in job.report["verdict"]
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target.keys("docs") == [*ALL]


# Whatever else reads the source


def test_sync_deletes_nothing_that_the_source_only_hides(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    assert job.run() == 0
    job.source["docs"].insert([row(100)])
    job.source.hides(*EVERY_FIFTH)
    for accept in ([], ["unreadable-rows"]):
        job.env["accept"] = accept
        assert job.run("sync", "--delete") == 4
        assert set(ALL) <= {*job.target.keys("docs")}


def test_verify_without_an_earlier_run_notices_rows_that_the_source_hides(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.target.create(schema(), [each for each in rows(COUNT) if each["id"] not in EVERY_FIFTH])
    job.source.hides(*EVERY_FIFTH)
    assert job.run("verify") == 4


@pytest.mark.parametrize("hidden", [EVERY_FIFTH, ALL], ids=["some", "all"])
def test_read_from_milvus_fails_on_rows_that_are_hidden(job: Job, hidden: tuple[int, ...]) -> None:
    job.source.create(schema(), rows(COUNT))
    job.source.hides(*hidden)
    with (
        pytest.raises(Exception, match="hidden from every query") as caught,
        beam.Pipeline() as made,
    ):
        _ = made | ReadFromMilvus(job.source.url, "docs") | beam.Map(_forget)
    assert isinstance(caught.value, (MigrationError, RuntimeError))


def _forget(rows: Any) -> None:
    del rows
