"""The calls that write rows, and Flush."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.fakes.calls.base import Server, ids_of, pairs
from tests.fakes.clock import ticks
from tests.fakes.inserts import rows_of
from tests.fakes.memory import Collection
from tests.fakes.statuses import (
    NOT_LOADED,
    RATE_LIMIT_CODE,
    TOO_LARGE,
    Refusal,
    invalid,
)

_SIMPLE = re.compile(r"\s*\w+\s*(?:==|in)\s*(?P<keys>\[.*\]|\S+)\s*", re.DOTALL)
"""A delete that names keys: it reads nothing, and works on collections that are not loaded."""


class Writes(Server):
    """Inserts, upserts, deletes, flushes.

    Attributes:
        insert_bytes: the largest insert or upsert (maxInsertSize); 0 is no limit.
        shards_to_write: how many shards the write under way reaches; None is all of them.
    """

    insert_bytes = 0
    shards_to_write: int | None = None

    def Insert(self, request: Any, context: Any = None) -> Any:
        self._weigh("insert", request)
        collection = self[request.collection_name]
        rows = rows_of(collection, request)
        keys = collection.insert(rows, request.partition_name, shards=self.shards_to_write)
        return _written(collection, request.num_rows, keys)

    def Upsert(self, request: Any, context: Any = None) -> Any:
        self._weigh("upsert", request)
        collection = self[request.collection_name]
        rows = rows_of(collection, request, upsert=True)
        keys = Counter(
            row[collection.primary.name] for row in rows if collection.primary.name in row
        )
        if self.rules.upsert_keys_once and keys and max(keys.values()) > 1:
            raise invalid("duplicate primary keys are not allowed in the same batch")
        collection.upsert(rows, request.partition_name, shards=self.shards_to_write)
        answer = _written(collection, request.num_rows, [*keys.elements()])
        answer.upsert_cnt = answer.delete_cnt = request.num_rows
        return answer

    def Delete(self, request: Any, context: Any = None) -> Any:
        collection, partition = self[request.collection_name], request.partition_name
        simple = _SIMPLE.fullmatch(request.expr)
        if not simple and not collection.loaded:
            raise Refusal(NOT_LOADED, f"collection not loaded[collection={collection.number}]")
        gone = collection.delete(request.expr, [partition] if partition else [])
        if simple:  # The keys are counted, not the rows that had them.
            gone = simple["keys"].count(",") + 1
        at = collection.written_at if self.rules.deletes_tell_timestamp else 0
        return milvus_pb2.MutationResult(delete_cnt=gone, timestamp=at)

    def Flush(self, request: Any, context: Any = None) -> Any:
        collections = [self[name] for name in request.collection_names]
        for collection in collections:
            self._check_rate(collection)
        now = self.clock.now()
        for collection in collections:
            collection.flushed_at = now
        names = request.collection_names
        return milvus_pb2.FlushResponse(
            db_name=request.db_name or "default",
            coll_segIDs={name: schema_pb2.LongArray(data=[1]) for name in names},
            coll_flush_ts=dict.fromkeys(names, now),
        )

    def GetFlushState(self, request: Any, context: Any = None) -> Any:
        stored = self[request.collection_name].stored
        return milvus_pb2.GetFlushStateResponse(flushed=stored)

    def GetCollectionStatistics(self, request: Any, context: Any = None) -> Any:
        stats = pairs(row_count=len(self[request.collection_name].rows()))
        return milvus_pb2.GetCollectionStatisticsResponse(stats=stats)

    # -- inside -----------------------------------------------------------------------------------

    def _weigh(self, verb: str, request: Any) -> None:
        if 0 < self.insert_bytes < request.ByteSize():
            words = f"{verb} request size exceeds maxInsertSize"
            raise Refusal(TOO_LARGE, f"parameter too large[message={words}]")

    def _check_rate(self, collection: Collection) -> None:
        if not self.rules.limits_flush or not collection.flushed_at:
            return
        if self.clock.now() - collection.flushed_at < ticks(self.flush_interval_s):
            words = "request is rejected by grpc RateLimiter middleware, please retry later"
            raise Refusal(RATE_LIMIT_CODE, f"{words}: rate limit exceeded[rate=0.1]")


def _written(collection: Collection, count: int, keys: list[Any]) -> milvus_pb2.MutationResult:
    return milvus_pb2.MutationResult(
        insert_cnt=count,
        IDs=schema_pb2.IDs(**ids_of(keys)),
        succ_index=range(count),
        timestamp=collection.written_at,
    )
