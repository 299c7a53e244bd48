"""The floor: the fastest copy that the servers allow, without Beam, Arrow or a look at any value.

It puts the columns of an answer into the insert unchanged, because `FieldData` is the same message
in both. Two threads copy key ranges; each requests one page of 12 MB ahead and has three inserts in
flight. Then it does the same flush, index, load and count as Kitelift. It prints its times as JSON.

Do not use it to migrate: it trusts every answer, and keys must be 0 to rows - 1.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

THREADS = 2
PAGE_BYTES = 12 * 1024 * 1024
MAX_PAGE_ROWS = 16_384
FIRST_PAGE_ROWS = 1_000
INSERTS_IN_FLIGHT = 3
POLL_S = 0.2
BOUNDED = 2

_OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]


class Copy:
    """The copy of one collection between two servers."""

    def __init__(self, source: str, target: str, collection: str, rows: int) -> None:
        self._addresses = source.removeprefix("http://"), target.removeprefix("http://")
        self._source, self._target = map(stub, self._addresses)
        self._name, self._rows = collection, rows
        described = self._source.DescribeCollection(
            milvus_pb2.DescribeCollectionRequest(collection_name=collection)
        )
        self._described, self._schema = described, described.schema
        self._fields = [field.name for field in self._schema.fields]
        self._fields += ["$meta"] if self._schema.enable_dynamic_field else []

    def create(self) -> None:
        """Creates the collection in the target."""
        schema = schema_pb2.CollectionSchema()
        schema.CopyFrom(self._schema)
        for field in schema.fields:
            field.fieldID = 0
        check(
            self._target.CreateCollection(
                milvus_pb2.CreateCollectionRequest(
                    collection_name=self._name,
                    schema=schema.SerializeToString(),
                    shards_num=self._described.shards_num,
                    consistency_level=self._described.consistency_level,
                )
            )
        )

    def rows(self) -> None:
        """Copies the rows; returns after the last insert is acknowledged."""
        self._page_rows = self._fitting()
        step = -(-self._rows // THREADS)
        bounds = [(n * step - 1, (n + 1) * step - 1) for n in range(THREADS)]
        failures: list[BaseException] = []

        def guarded(after: int, upto: int) -> None:
            try:
                self._range(after, upto)
            except BaseException as error:  # noqa: BLE001 - raised again in the main thread
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=bound) for bound in bounds]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def finish(self) -> int:
        """Flushes, indexes, loads and counts; returns the number of rows in the target."""
        self._flush()
        self._index()
        check(
            self._target.LoadCollection(
                milvus_pb2.LoadCollectionRequest(collection_name=self._name, replica_number=1)
            )
        )
        progress = milvus_pb2.GetLoadingProgressRequest(collection_name=self._name)
        until(lambda: self._target.GetLoadingProgress(progress).progress == 100)
        for server in (self._source, self._target):
            answer = server.Query(
                milvus_pb2.QueryRequest(collection_name=self._name, output_fields=["count(*)"])
            )
            check(answer.status)
        return int(answer.fields_data[0].scalars.long_data.data[0])

    def _fitting(self) -> int:
        page = self._source.Query(self._query(-1, self._rows, FIRST_PAGE_ROWS))
        check(page.status)
        return min(MAX_PAGE_ROWS, PAGE_BYTES * FIRST_PAGE_ROWS // page.ByteSize())

    def _range(self, after: int, upto: int) -> None:
        source, target = map(stub, self._addresses)
        inserts: deque[Any] = deque()
        page = source.Query.future(self._query(after, upto, self._page_rows))
        while (answer := page.result()).fields_data:
            check(answer.status)
            [keys] = [column for column in answer.fields_data if column.field_name == "id"]
            keys = keys.scalars.long_data.data
            if not keys:
                break
            page = source.Query.future(self._query(keys[-1], upto, self._page_rows))
            inserts.append(target.Insert.future(self._insert(answer, len(keys))))
            if len(inserts) == INSERTS_IN_FLIGHT:
                check(inserts.popleft().result().status)
        check(answer.status)
        for insert in inserts:
            check(insert.result().status)

    def _insert(self, answer: milvus_pb2.QueryResults, rows: int) -> milvus_pb2.InsertRequest:
        for column in answer.fields_data:
            column.is_dynamic = column.field_name == "$meta"
        return milvus_pb2.InsertRequest(
            collection_name=self._name, fields_data=answer.fields_data, num_rows=rows
        )

    def _query(self, after: int, upto: int, rows: int) -> milvus_pb2.QueryRequest:
        params = {"limit": rows, "iterator": "True", "reduce_stop_for_best": "True"}
        return milvus_pb2.QueryRequest(
            collection_name=self._name,
            expr=f"id > {after} and id <= {upto}",
            output_fields=self._fields,
            consistency_level=BOUNDED,
            query_params=[
                common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in params.items()
            ],
        )

    def _flush(self) -> None:
        flushed = self._target.Flush(milvus_pb2.FlushRequest(collection_names=[self._name]))
        check(flushed.status)
        state = milvus_pb2.GetFlushStateRequest(
            segmentIDs=flushed.coll_segIDs[self._name].data,
            flush_ts=flushed.coll_flush_ts[self._name],
            collection_name=self._name,
        )
        until(lambda: self._target.GetFlushState(state).flushed)

    def _index(self) -> None:
        wanted = milvus_pb2.DescribeIndexRequest(collection_name=self._name)
        for index in self._source.DescribeIndex(wanted).index_descriptions:
            check(
                self._target.CreateIndex(
                    milvus_pb2.CreateIndexRequest(
                        collection_name=self._name,
                        field_name=index.field_name,
                        index_name=index.index_name,
                        extra_params=index.params,
                    )
                )
            )
        until(
            lambda: all(
                index.state == common_pb2.IndexState.Finished
                for index in self._target.DescribeIndex(wanted).index_descriptions
            )
        )


def stub(address: str) -> Any:
    return milvus_pb2_grpc.MilvusServiceStub(grpc.insecure_channel(address, options=_OPTIONS))


def check(status: common_pb2.Status) -> None:
    if status.code or status.error_code:
        raise RuntimeError(status.reason)


def until(done: Callable[[], bool]) -> None:
    while not done():
        time.sleep(POLL_S)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("collection")
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    copy = Copy(**vars(arguments))
    copy.create()
    began = time.monotonic()
    copy.rows()
    copied = time.monotonic()
    rows = copy.finish()
    times = {"copy_s": copied - began, "finish_s": time.monotonic() - copied, "rows": rows}
    print(json.dumps(times))


if __name__ == "__main__":
    main()
