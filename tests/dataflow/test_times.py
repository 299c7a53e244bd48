"""Times of rows: TIMESTAMPTZ through any zone, and rows that expire while they are copied."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, reads, row, rows
from tests.fakes.script import Fault

COUNT = 40

TIMES = [
    "0001-01-01T00:00:00Z",
    "1900-01-01T00:00:00Z",  # Before the zone's first standard offset: 43 s off, shown in it.
    "2026-01-02T03:04:05.123456Z",
    "9999-12-31T23:59:59Z",  # In the zone that is the year 10000, which no server takes.
]


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with between_fakes(tmp_path, source_version="2.6.19", target_version="2.6.19") as made:
        yield made


def test_a_time_arrives_exactly_whatever_the_zone_of_the_collection(job: Job) -> None:
    made = job.source.create(schema(when=DataType.Timestamptz))
    made.request.properties.add(key="timezone", value="Asia/Shanghai")
    made.insert([{**row(key), "when": text} for key, text in enumerate(TIMES)])
    assert job.run() == 0
    assert job.report["outcome"] == "proven"
    assert job.target["docs"].rows() == made.rows()


def test_a_page_without_rows_of_a_collection_with_times_is_read(job: Job) -> None:
    job.source.create(schema(when=DataType.Timestamptz))
    assert job.run() == 0
    assert job.report["outcome"] == "proven"


def test_rows_that_expire_while_they_are_copied_are_told_and_not_proven(job: Job) -> None:
    made = job.source.create(schema(), rows(COUNT))
    made.request.properties.add(key="collection.ttl.seconds", value="3600")
    begun: list[bool] = []

    def hour_passes(request: object) -> bool:
        if not begun and reads(35)(request):
            begun.append(True)
            job.source.clock.advance(4_000)
        return False

    job.source.fails("Query", Fault(), times=None, when=hour_passes)
    assert job.run() == 4
    assert job.report["outcome"] != "proven"
    assert "rows-expire" in [each["code"] for each in job.report["findings"]]
