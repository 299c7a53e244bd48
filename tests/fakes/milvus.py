"""A small Milvus in memory behind real gRPC: it keeps what it was asked, and fails when told to.

    with FakeMilvus() as server:
        server.create(schema, rows=[{"id": 1, "vector": [0.0, 1.0]}])
        server.fails("Insert", LOST_ANSWER)        # once; `times` and `when` say otherwise
        server.asked("Query")                      # the requests, in order

Its rows are in tests/fakes/memory.py, its faults in tests/fakes/script.py.
"""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

from tests.fakes.columns import column
from tests.fakes.guard import Guard
from tests.fakes.memory import (
    BAD_PARAMETER,
    NO_INDEX,
    NOT_LOADED,
    UNEXPECTED,
    Collection,
    Row,
    rows_of,
)
from tests.fakes.script import Refusal, Scripted

MESSAGE_BYTES = 64 * 1024 * 1024
WINDOW_ROWS = 16_384
NO_COLLECTION, NO_NODES, TOO_LARGE, ALIAS_TAKEN = 100, 12, 1102, 1602

COUNT = schema_pb2.FieldSchema(name="count(*)", data_type=schema_pb2.DataType.Int64)

_DONE = common_pb2.Status()


class FakeMilvus(Guard, milvus_pb2_grpc.MilvusServiceServicer, Scripted):
    """One server on a port of its own; it answers inside its block.

    Args:
        version: what it says it is; "" for one that does not say.
        loses_rows: whether its pages lose rows where keys repeat, as those of 2.4.0 do.
        nodes: how many replicas it can hold.
        message_bytes: the largest message that it takes and sends.
        insert_bytes: the largest insert or upsert (maxInsertSize of 2.4 and later); 0 is no limit.
    """

    def __init__(
        self,
        version: str = "v2.3.7",
        *,
        loses_rows: bool = False,
        nodes: int = 1,
        message_bytes: int = MESSAGE_BYTES,
        insert_bytes: int = 0,
    ) -> None:
        Scripted.__init__(self)
        Guard.__init__(self)
        self.version, self.loses_rows, self.nodes = version, loses_rows, nodes
        self.insert_bytes = insert_bytes
        self._timestamp = time.time_ns() // 10**6 << 18  # As Milvus has them: ms, and a number.
        self.databases = ["default"]
        self.properties: dict[str, dict[str, str]] = {}
        self._collections: dict[str, Collection] = {}
        self._numbers = itertools.count(1)
        sizes = [(f"grpc.max_{way}_message_length", message_bytes) for way in ("send", "receive")]
        self._grpc = grpc.server(ThreadPoolExecutor(8), interceptors=[self], options=sizes)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self, self._grpc)
        self.url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(grace=None).wait()

    # -- for tests --------------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Collection:
        found = (each for each in self._collections.values() if name in each.aliases)
        collection = self._collections.get(name) or next(found, None)
        if collection is None:
            raise Refusal(NO_COLLECTION, f"collection not found[collection={name}]")
        return collection

    def create(
        self,
        schema: schema_pb2.CollectionSchema,
        rows: Iterable[Row] = (),
        *,
        partitions: Sequence[str] = ("_default",),
    ) -> Collection:
        """Makes a collection, inserts rows, indexes its vectors and loads it."""
        raw = schema.SerializeToString()
        request = milvus_pb2.CreateCollectionRequest(
            collection_name=schema.name, schema=raw, shards_num=1, num_partitions=len(partitions)
        )
        self.CreateCollection(request)
        made = self[schema.name]
        made.partitions = list(partitions)
        made.insert(list(rows))
        for each in made.vectors:
            made.index(each, each, _pairs(index_type="FLAT", metric_type="L2"))
        made.load()
        return made

    def drop(self, name: str) -> None:
        """Drops a collection."""
        del self._collections[name]

    def keys(self, name: str, partition: str = "") -> list[Any]:
        """Returns the keys of all rows in order, each as often as it stands there."""
        return [row[self[name].primary.name] for row in self[name].rows(partition)]

    # -- the calls --------------------------------------------------------------------------------

    def Connect(self, request: Any, context: Any = None) -> Any:
        info = common_pb2.ServerInfo(build_tags=self.version)
        self._timestamp += 1
        return milvus_pb2.ConnectResponse(server_info=info, identifier=self._timestamp)

    def GetVersion(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.GetVersionResponse(version=self.version)

    def ListDatabases(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ListDatabasesResponse(db_names=self.databases)

    def CreateDatabase(self, request: Any, context: Any = None) -> Any:
        self.databases.append(request.db_name)
        self.properties[request.db_name] = dict(_read(request.properties))
        return _DONE

    def DropDatabase(self, request: Any, context: Any = None) -> Any:
        self.databases.remove(request.db_name)
        return _DONE

    def DescribeDatabase(self, request: Any, context: Any = None) -> Any:
        properties = self.properties.get(request.db_name, {})
        return milvus_pb2.DescribeDatabaseResponse(properties=_pairs(**properties))

    def ShowCollections(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ShowCollectionsResponse(collection_names=self._collections)

    def DescribeCollection(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        return milvus_pb2.DescribeCollectionResponse(
            schema=found.schema,
            collectionID=found.number,
            shards_num=found.request.shards_num,
            consistency_level=found.request.consistency_level,
            properties=found.request.properties,
            num_partitions=found.request.num_partitions or len(found.partitions),
            aliases=found.aliases,
        )

    def CreateCollection(self, request: Any, context: Any = None) -> Any:
        schema = schema_pb2.CollectionSchema.FromString(request.schema)
        made = Collection(next(self._numbers), schema, request)
        if made.key_decides_partition:
            made.partitions = [f"_default_{each}" for each in range(request.num_partitions)]
        self._collections[request.collection_name] = made
        return _DONE

    def AlterCollection(self, request: Any, context: Any = None) -> Any:
        self[request.collection_name].alter(request.properties, request.delete_keys)
        return _DONE

    def DropCollection(self, request: Any, context: Any = None) -> Any:
        self._collections.pop(request.collection_name, None)
        return _DONE

    def ShowPartitions(self, request: Any, context: Any = None) -> Any:
        names = self[request.collection_name].partitions
        return milvus_pb2.ShowPartitionsResponse(partition_names=names)

    def CreatePartition(self, request: Any, context: Any = None) -> Any:
        self[request.collection_name].partitions.append(request.partition_name)
        return _DONE

    def CreateAlias(self, request: Any, context: Any = None) -> Any:
        made = self[request.collection_name]
        for name, other in self._collections.items():
            if request.alias in other.aliases and other is not made:
                words = f"{request.alias} is alias to another collection: {name}"
                raise Refusal(ALIAS_TAKEN, f"{words}: alias already exist")
        made.aliases.append(request.alias)
        return _DONE

    def ListAliases(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ListAliasesResponse(aliases=self[request.collection_name].aliases)

    def DropAlias(self, request: Any, context: Any = None) -> Any:
        self[request.alias].aliases.remove(request.alias)
        return _DONE

    def DescribeIndex(self, request: Any, context: Any = None) -> Any:
        indexes = self[request.collection_name].indexes
        if not indexes:
            raise Refusal(NO_INDEX, f"index not found[collection={request.collection_name}]")
        return milvus_pb2.DescribeIndexResponse(index_descriptions=indexes)

    def CreateIndex(self, request: Any, context: Any = None) -> Any:
        made, name = self[request.collection_name], request.index_name
        if name and not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise Refusal(BAD_PARAMETER, f"Invalid index name: {name}")
        made.index(request.field_name, name or request.field_name, request.extra_params)
        return _DONE

    def GetLoadState(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        loaded = found.loaded and not found.released.intersection(request.partition_names)
        state = common_pb2.LoadStateLoaded if loaded else common_pb2.LoadStateNotLoad
        return milvus_pb2.GetLoadStateResponse(state=state)

    def LoadCollection(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        if request.replica_number > self.nodes:
            raise Refusal(NO_NODES, f"service resource insufficient[nodes={self.nodes}]")
        found.load()
        found.replicas = request.replica_number
        return _DONE

    def GetReplicas(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        many = found.replicas if found.loaded else 0
        return milvus_pb2.GetReplicasResponse(replicas=[milvus_pb2.ReplicaInfo()] * many)

    def GetLoadingProgress(self, request: Any, context: Any = None) -> Any:
        loaded = self[request.collection_name].loaded
        return milvus_pb2.GetLoadingProgressResponse(progress=100 if loaded else 0)

    def ReleaseCollection(self, request: Any, context: Any = None) -> Any:
        self[request.collection_name].loaded = False
        return _DONE

    def Flush(self, request: Any, context: Any = None) -> Any:
        segments = {name: schema_pb2.LongArray(data=[1]) for name in request.collection_names}
        return milvus_pb2.FlushResponse(coll_segIDs=segments)

    def GetFlushState(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.GetFlushStateResponse(flushed=True)

    def GetCollectionStatistics(self, request: Any, context: Any = None) -> Any:
        stats = _pairs(row_count=len(self[request.collection_name].rows()))
        return milvus_pb2.GetCollectionStatisticsResponse(stats=stats)

    def Query(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        if not found.loaded:
            raise Refusal(NOT_LOADED, f"collection not loaded[collection={found.schema.name}]")
        if away := [name for name in request.output_fields if name in found.unloaded]:
            raise Refusal(BAD_PARAMETER, f"field {away[0]} is not loaded")
        names, where = list(request.output_fields), (request.expr, request.partition_names)
        if names == ["count(*)"]:
            counted = column(COUNT, [found.count(*where)])
            return milvus_pb2.QueryResults(fields_data=[counted])
        params = {pair.key: pair.value for pair in request.query_params}
        limit = int(params.get("limit", 0))
        if not 1 <= limit <= WINDOW_ROWS:
            raise Refusal(UNEXPECTED, f"limit {limit} should be in range [1, {WINDOW_ROWS}]")
        # Without these, or with an old merge, rows are lost where keys repeat.
        asked = params.get("iterator") == params.get("reduce_stop_for_best") == "True"
        careful = asked and not self.loses_rows
        rows = found.page(*where, limit, loses_rows=not careful)
        return milvus_pb2.QueryResults(fields_data=found.columns(rows, names))

    def Insert(self, request: Any, context: Any = None) -> Any:
        self._weigh("insert", request)
        self[request.collection_name].insert(rows_of(request), request.partition_name)
        return milvus_pb2.MutationResult(insert_cnt=request.num_rows)

    def Upsert(self, request: Any, context: Any = None) -> Any:
        self._weigh("upsert", request)
        self[request.collection_name].upsert(rows_of(request), request.partition_name)
        return milvus_pb2.MutationResult(upsert_cnt=request.num_rows)

    def Delete(self, request: Any, context: Any = None) -> Any:
        partitions = [request.partition_name] if request.partition_name else []
        gone = self[request.collection_name].delete(request.expr, partitions)
        return milvus_pb2.MutationResult(delete_cnt=gone)

    def _weigh(self, verb: str, request: Any) -> None:
        if 0 < self.insert_bytes < request.ByteSize():
            words = f"{verb} request size exceeds maxInsertSize"
            raise Refusal(TOO_LARGE, f"parameter too large[message={words}]")


def _read(pairs: Iterable[common_pb2.KeyValuePair]) -> list[tuple[str, str]]:
    return [(pair.key, pair.value) for pair in pairs]


def _pairs(**values: object) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]
