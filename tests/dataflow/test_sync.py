"""Sync: deletes of keys are few, and small enough for a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.planning import planner
from tests import clusters
from tests.clusters import described, schema, side, survey
from tests.dataflow.jobs import Job, between_fakes, row, rows
from tests.fakes.memory import Row
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.filters import MAX_KEY_BYTES, MAX_KEYS
from transforms.milvus.pages import Reader
from transforms.milvus.schema import parse as read_schema
from transforms.ranges import Key, KeyRange
from transforms.sync import TargetRows, sync_range

COUNT = 10
EXTRA = 1_000

LONG = [f"{number:03d}" + "世" * 20_000 for number in range(40)]


@pytest.mark.parametrize(
    ("kind", "keys", "deletes"),
    [
        (DataType.Int64, [*range(2 * MAX_KEYS + 1)], 3),
        (DataType.VarChar, LONG, 5),
        (DataType.VarChar, [*LONG[:1], "short"], 1),
        (DataType.Int64, [], 0),
    ],
)
def test_each_key_is_deleted_by_one_of_few_calls_none_of_which_is_large(
    kind: DataType, keys: list[Key], deletes: int
) -> None:
    wanted = schema(key=kind)
    plan = planner.build_plan(
        clusters.job(), survey(side(described(wanted))), (), plan_id="p1", made_at=1.5
    )
    with FakeMilvus() as server:
        server.create(wanted)
        client = Client(Endpoint(server.url))
        extra = dict.fromkeys(keys, b"")
        source = Reader(client, "docs", plan["docs"].read)
        args = source, client, plan["docs"], KeyRange("docs"), TargetRows(extra)
        done = sync_range(*args, find_undecided=set, delete=True, json_by_value=False)
        client.close()
    asked = [each.expr for each in server.asked("Delete")]
    assert done.deleted == len(keys)
    assert len(asked) == deletes
    assert sum(each.count(",") + 1 for each in asked) == len(keys)
    assert max((len(each.encode()) for each in asked), default=0) < 1.1 * MAX_KEY_BYTES


@pytest.mark.parametrize("times", [1, 2])
def test_extra_keys_are_deleted_only_with_delete_however_often_they_exist(
    job: Job, times: int
) -> None:
    job.source.create(schema(), rows(COUNT))
    assert job.run() == 0
    for _ in range(times):
        job.target["docs"].insert([row(EXTRA)])
    job.target["docs"].insert([row(7)])
    assert job.run("sync") == 4
    assert job.target.keys("docs") == [*range(COUNT), *[EXTRA] * times]
    assert "+ 1000" in job.differences()
    assert job.run("sync", "--delete") == 0
    assert job.target.keys("docs") == [*range(COUNT)]
    assert (job.report["outcome"], job.collection()["deleted"]) == ("proven", 1)


# -- several rows of one key ----------------------------------------------------------------------


def changed_row(key: Key) -> Row:
    return row(key) | {"title": f"another title of {key}"}


@pytest.fixture
def ambiguous(job: Job) -> Job:
    """A source with other rows for five keys, in a segment of their own; loading it again decides
    which row of such a key it returns.
    """
    job.source.create(schema(), rows(COUNT))
    job.source["docs"].insert([changed_row(key) for key in range(0, COUNT, 2)])
    return job


def reload(job: Job) -> None:
    job.source["docs"].loads += 1


def codes(job: Job) -> set[str]:
    return {finding["code"] for finding in job.report["findings"]}


def test_the_source_returns_another_row_of_a_key_after_a_reload(ambiguous: Job) -> None:
    made = ambiguous.source["docs"]
    seen = []
    for _ in range(2):
        client = Client(Endpoint(ambiguous.source.url))
        reader = Reader(client, "docs", read_schema(made.schema))
        seen.append(reader.row(0).column("title").to_pylist())
        client.close()
        reload(ambiguous)
    assert seen == [["title of 0"], ["another title of 0"]]


def test_a_sync_leaves_keys_alone_that_the_source_has_in_different_rows(ambiguous: Job) -> None:
    assert ambiguous.run() == 0
    assert (ambiguous.collection()["outcome"], ambiguous.collection()["repeats"]) == ("proven", 5)
    before = ambiguous.target["docs"].rows()
    reload(ambiguous)
    for command in ("sync", "verify", "sync"):
        assert ambiguous.run(command) == 0
        assert ambiguous.target["docs"].rows() == before
        assert not ambiguous.target.asked("Insert", "Upsert", "Delete", "Flush")
        found = ambiguous.collection()
        assert (found["outcome"], found["mended"], found["undecided"]) == ("counted", 0, 5)
        assert "undecided-keys" in codes(ambiguous)
        assert ambiguous.differences() == []


def test_other_changes_are_synced_beside_them(ambiguous: Job) -> None:
    assert ambiguous.run() == 0
    reload(ambiguous)
    ambiguous.source["docs"].upsert([changed_row(1)])
    ambiguous.source["docs"].insert([row(EXTRA)])
    assert ambiguous.run("sync") == 0
    found = ambiguous.collection()
    assert (found["mended"], found["undecided"]) == (2, 5)
    assert ambiguous.target["docs"].rows()[1] == changed_row(1)
    assert ambiguous.target["docs"].rows()[0] == row(0)


def test_a_source_that_returns_another_row_in_each_query_is_synced_once(ambiguous: Job) -> None:
    assert ambiguous.run() == 0
    before = ambiguous.target["docs"].rows()
    ambiguous.source.fails("Query", Fault(), times=None, when=lambda _: reload(ambiguous) is None)
    for _ in range(2):
        assert ambiguous.run("sync") == 0
        assert ambiguous.target["docs"].rows() == before


def test_where_the_newest_row_wins_it_is_synced(tmp_path: Path) -> None:
    with between_fakes(tmp_path, source_version="v2.6.19", target_version="v2.6.19") as job:
        job.source.create(schema(), rows(COUNT))
        assert job.run() == 0
        job.source["docs"].insert([changed_row(0)])
        assert job.run("sync") == 0
        found = job.collection()
        assert (found["mended"], found["undecided"]) == (1, 0)
        assert job.target["docs"].rows()[0] == changed_row(0)


def test_one_row_per_key_ends_that(ambiguous: Job) -> None:
    assert ambiguous.run() == 0
    reload(ambiguous)
    assert ambiguous.run("sync") == 0
    [step] = [step for step in ambiguous.report["next"] if "several rows" in step]
    assert "Delete these keys in the source" in step
    ambiguous.source["docs"].delete("id % 2 == 0")
    ambiguous.source["docs"].insert([changed_row(key) for key in range(0, COUNT, 2)])
    assert ambiguous.run("sync") == 0
    assert (ambiguous.collection()["outcome"], ambiguous.collection()["mended"]) == ("proven", 5)
