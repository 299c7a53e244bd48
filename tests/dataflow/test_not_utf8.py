"""Rows with a text that is not UTF-8: no server can send them, and all others arrive."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows
from tests.fakes import expressions
from tests.fakes.script import Fault
from transforms.milvus import invalid_text

pytestmark = pytest.mark.slow

COUNT = 40
WORDS = "grpc: error while marshaling: string field contains invalid UTF-8"


def spoil(job: Job, *keys: int) -> None:
    """Has the title of some rows no UTF-8: each page that would show it fails, as of a server."""

    def shows(request: Any) -> bool:
        if "title" not in request.output_fields:
            return False
        limit = next((int(p.value) for p in request.query_params if p.key == "limit"), 10**6)
        matches = expressions.parse(request.expr, "id") if request.expr else lambda key: True
        return bool({*[key for key in range(COUNT) if matches(key)][:limit]} & {*keys})

    fault = Fault(grpc.StatusCode.INTERNAL, text=WORDS)
    job.source.fails("Query", fault, when=shows, times=None)


def left_out(job: Job) -> list[int]:
    there = {*job.target.keys("docs")}
    return [key for key in range(COUNT) if key not in there]


def reasons(job: Job) -> str:
    return " ".join(each["reason"] for each in job.report["failures"])


@pytest.mark.parametrize(
    "keys",
    [(14,), (0,), (COUNT - 1,), (9, 10), (4, 5, 6), (19,), (0, 3, 12, 13, 39), tuple(range(10))],
    ids=str,
)
def test_the_rows_are_named_and_all_others_are_there(job: Job, keys: tuple[int, ...]) -> None:
    job.source.create(schema(), rows(COUNT))
    spoil(job, *keys)
    assert job.run() == 4
    assert left_out(job) == [*keys]
    assert [f"key {key} (field `title`)" in reasons(job) for key in keys[:5]] == [True] * len(
        keys[:5]
    )
    assert "Filter" in reasons(job)
    job.source.heal()
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(COUNT)]
    assert job.collection()["outcome"] == "proven"


def test_the_same_command_reads_those_rows_only(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    spoil(job, 14, 25)
    assert job.run() == 4
    assert job.run() == 4
    assert left_out(job) == [14, 25]
    assert job.target.asked("Insert") == job.target.asked("Upsert") == []
    assert "key 14 (field `title`)" in reasons(job)
    assert "key 25 (field `title`)" in reasons(job)


def test_after_as_many_as_are_read_around_the_range_is_given_up(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invalid_text, "MAX_ROWS", 3)
    job.source.create(schema(), rows(COUNT))
    spoil(job, *range(12, 18))
    assert job.run() == 4
    assert left_out(job) == [*range(12, 20)]
    assert "There may be more" in reasons(job)


def test_sync_and_compare_name_the_row_at_once(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    assert job.run() == 0
    spoil(job, 14)
    assert job.run("sync") == 4
    assert "key 14 (field `title`)" in reasons(job)
    assert job.target.keys("docs") == [*range(COUNT)]
