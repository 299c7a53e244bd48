"""Who the server is, and what it says of what does not exist."""

from __future__ import annotations

from typing import Any

import grpc
from pymilvus.grpc_gen import milvus_pb2

from tests.fakes.answers.asking import Answer, Asker, longs, vectors
from tests.fakes.answers.shown import status_of
from tests.fakes.answers.steps import Steps

version, absent = Steps("version"), Steps("absent")


@version
def get_version(asker: Asker) -> Answer:
    return asker.call("GetVersion", milvus_pb2.GetVersionRequest())


@version
def connect(asker: Asker) -> Answer:
    answer = asker.call("Connect", milvus_pb2.ConnectRequest())
    if isinstance(answer, grpc.RpcError):
        return answer
    return {"status": status_of(answer), "build_tags": answer.server_info.build_tags}


@absent
def describe_absent(asker: Asker) -> Answer:
    return asker.describe("probe_none")


@absent
def describe_absent_database(asker: Asker) -> Answer:
    request = milvus_pb2.DescribeCollectionRequest(
        collection_name="probe_none", db_name="probe_nodb"
    )
    return asker.call("DescribeCollection", request, database="probe_nodb")


def _of_none(call: str, request: Any) -> None:
    absent.add(
        f"{call}_absent", lambda asker: asker.call(call, request(collection_name="probe_none"))
    )


for _call, _request in {
    "ShowPartitions": milvus_pb2.ShowPartitionsRequest,
    "DescribeIndex": milvus_pb2.DescribeIndexRequest,
    "GetLoadState": milvus_pb2.GetLoadStateRequest,
    "GetLoadingProgress": milvus_pb2.GetLoadingProgressRequest,
    "ListAliases": milvus_pb2.ListAliasesRequest,
    "DropCollection": milvus_pb2.DropCollectionRequest,
    "LoadCollection": milvus_pb2.LoadCollectionRequest,
    "ReleaseCollection": milvus_pb2.ReleaseCollectionRequest,
    "GetCollectionStatistics": milvus_pb2.GetCollectionStatisticsRequest,
    "HasCollection": milvus_pb2.HasCollectionRequest,
}.items():
    _of_none(_call, _request)


@absent
def query_absent(asker: Asker) -> Answer:
    return asker.query("probe_none", "id > 0", ["id"], limit=1)


@absent
def insert_absent(asker: Asker) -> Answer:
    return asker.insert("probe_none", longs("id", [1]), vectors("v", 1))


@absent
def drop_alias_absent(asker: Asker) -> Answer:
    return asker.call("DropAlias", milvus_pb2.DropAliasRequest(alias="probe_noalias"))


@absent
def describe_database_default(asker: Asker) -> Answer:
    request = milvus_pb2.DescribeDatabaseRequest(db_name="default")
    answer = asker.call("DescribeDatabase", request)
    if isinstance(answer, grpc.RpcError):
        return answer
    names = sorted(pair.key for pair in answer.properties)
    return {"status": status_of(answer), "properties": names}


@absent
def create_database_twice(asker: Asker) -> Answer:
    drop = milvus_pb2.DropDatabaseRequest(db_name="probe_db")
    create = milvus_pb2.CreateDatabaseRequest(db_name="probe_db")
    asker.call("DropDatabase", drop)
    answers = [asker.call("CreateDatabase", create) for _ in range(2)]
    asker.call("DropDatabase", drop)
    return dict(zip(("first", "second"), answers, strict=True))
