"""Rows that the target rejects beyond `env.max_rejected`: named, and all others are there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, keys_of, row, rows, written
from tests.fakes.script import Fault

pytestmark = pytest.mark.slow

COUNT = 40
BAD = (3, 4, 17)
"""Keys of rows that the target rejects; 3 and 4 are of one range, and of two writes."""


def rejects(job: Job, *keys: int) -> None:
    """Has the target reject the rows of these keys, whatever is in them."""
    fault = Fault(code=1100, text="no")
    for method in ("Insert", "Upsert"):
        job.target.fails(
            method, fault, when=lambda request: bool({*keys} & {*keys_of(request)}), times=None
        )


def left_out(job: Job) -> list[Any]:
    there = {*job.target.keys("docs")}
    return [key for key in job.source.keys("docs") if key not in there]


def reasons(job: Job) -> str:
    return " ".join(each["reason"] for each in job.report["failures"])


@pytest.mark.parametrize("allowed", [0, 1, 2, 3])
def test_all_other_rows_are_there_and_the_rejected_ones_are_named(job: Job, allowed: int) -> None:
    job.source.create(schema(), rows(COUNT))
    rejects(job, *BAD)
    job.env["max_rejected"] = allowed
    assert job.run() == 4
    assert left_out(job) == [*BAD]
    if allowed == len(BAD):
        assert (reasons(job), job.collection()["outcome"]) == ("", "proven")
    elif not allowed:
        assert [f"key {key}: " in reasons(job) for key in BAD] == [True] * 3
        assert "the target rejects 2 rows of docs(..9]" in reasons(job)
        assert "Kitelift wrote all other rows of the range." in reasons(job)
        assert "Allow rejected rows (`env.max_rejected`)" in reasons(job)


def test_the_same_command_sends_the_rejected_rows_only_and_is_exact(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    rejects(job, *BAD)
    assert job.run() == 4
    assert job.run() == 4
    assert {*written(job.target, "Upsert"), *written(job.target, "Insert")} == {*BAD}
    assert left_out(job) == [*BAD]
    job.target.heal()
    assert job.run() == 0
    assert sorted(written(job.target, "Upsert")) == [*BAD]
    assert (job.collection()["outcome"], job.collection()["keys"]) == ("proven", COUNT)
    assert job.target.keys("docs") == [*range(COUNT)]


def test_a_job_that_failed_for_rejected_rows_may_be_allowed_them_later(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    rejects(job, *BAD)
    assert job.run() == 4
    job.env["max_rejected"] = 3
    assert job.run() == 4
    found = job.collection()
    assert (found["outcome"], found["rejected"], reasons(job)) == ("proven", 3, "")
    job.target.heal()
    assert job.run("replay") == 0
    assert job.target.keys("docs") == [*range(COUNT)]


def test_where_the_target_makes_the_keys_no_row_is_there_twice(job: Job) -> None:
    nameless = [{k: v for k, v in row(key).items() if k != "id"} for key in range(COUNT)]
    job.source.create(schema(auto_id=True), nameless)
    job.to_sink["enable_auto_id"] = True
    bad = {"title of 3", "title of 17"}
    job.target.fails(
        "Insert",
        Fault(code=1100, text="no"),
        when=lambda request: bool(bad & {*keys_of(request, "title")}),
        times=None,
    )
    assert job.run() == 4
    assert "key " in reasons(job)
    job.target.heal()
    job.run()
    titles = sorted(each["title"] for each in job.target["docs"].rows())
    assert titles == sorted(f"title of {key}" for key in range(COUNT))


def test_a_range_of_rejected_rows_is_given_up_soon(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.write.MOST_REJECTED", 4)
    job.source.create(schema(), rows(COUNT))
    rejects(job, *range(10, 20))
    assert job.run() == 4
    assert left_out(job) == [*range(10, 20)]
    assert "There may be more" in reasons(job)
    job.target.heal()
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(COUNT)]


def test_a_text_that_is_too_long_is_reported_with_field_size_and_limit(job: Job) -> None:
    long = [row(key) | ({"title": "x" * 60} if key in BAD else {}) for key in range(COUNT)]
    job.source.create(schema(), long)
    job.to_sink["field_schema"] = [{"field_name": "title", "max_length": 32}]
    assert job.run() == 4
    assert left_out(job) == [*BAD]
    assert "key 3: field `title` has 60 bytes, the limit is 32 (`max_length`)" in reasons(job)
    assert "Widen the field in the target (`field_schema`), or allow" in reasons(job)


def test_an_array_that_is_too_long_is_reported_with_its_items_and_limit(job: Job) -> None:
    wide = schema(tags=DataType.Array)
    wide.fields[3].element_type = DataType.Int64
    wide.fields[3].type_params.add(key="max_capacity", value="100")
    job.source.create(wide, [row(key) | {"tags": [1] * (key % 4)} for key in range(COUNT)])
    job.source["docs"].upsert([row(5) | {"tags": [1] * 50}])
    job.to_sink["field_schema"] = [{"field_name": "tags", "max_capacity": 10}]
    rejects(job, 5)
    assert job.run() == 4
    assert left_out(job) == [5]
    assert "key 5: field `tags` has 50 items, the limit is 10 (`max_capacity`)" in reasons(job)


def test_json_above_the_limit_is_reported_with_the_setting_of_the_server(job: Job) -> None:
    large = json.dumps({"big": "x" * 70_000}).encode()
    job.source.create(schema(dynamic=True), rows(COUNT))
    job.source["docs"].upsert([row(5) | {"$meta": large}])
    assert job.run() == 4
    assert left_out(job) == [5]
    assert "key 5: the dynamic field (`$meta`) has 70,011 bytes" in reasons(job)
    assert "the limit is 65,536 (`common.JSONMaxLength`)" in reasons(job)
    assert "Raise `common.JSONMaxLength` of the target" in reasons(job)


def test_sync_writes_all_other_rows_too(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    assert job.run() == 0
    job.source["docs"].upsert([row(key) | {"title": "new"} for key in (*BAD, 5, 30)])
    rejects(job, *BAD)
    assert job.run("sync") == 4
    now = {each["id"] for each in job.target["docs"].rows() if each["title"] == "new"}
    assert now == {5, 30}
    assert [f"key {key}: " in reasons(job) for key in BAD] == [True] * 3
