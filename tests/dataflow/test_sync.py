"""Sync: deletes of keys are few, and small enough for a server."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.planning import planner
from tests import clusters
from tests.clusters import described, schema, side, survey
from tests.dataflow.jobs import Job, row, rows
from tests.fakes.milvus import FakeMilvus
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.filters import MAX_KEY_BYTES, MAX_KEYS
from transforms.milvus.pages import Reader
from transforms.ranges import Key, KeyRange
from transforms.sync import sync_range

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
        args = source, client, plan["docs"], KeyRange("docs"), extra, set()
        done = sync_range(*args, delete=True, json_by_value=False)
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
