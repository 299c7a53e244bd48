"""A fast, remote fake Milvus in its own process, which ends with its parent. It prints its URL.

The fake of the tests answers rare calls. This module answers the thousands of pages and inserts
itself, as bytes, and never looks at the rows.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pyarrow as pa
from google.protobuf import message_factory
from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from benchmarks.link import Link, Network
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Refusal, refused
from tests.fakes.statuses import Unimplemented
from transforms.milvus import schema
from transforms.milvus.codec import row_data, wire

COLLECTION = "rows"
CALLS = 128
_ANSWER_FIELDS, _ROWS = 2, 7
_METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name
_BOUNDS = re.compile(r"id (>|<=|==) (\d+)")


class FarMilvus(grpc.GenericRpcHandler):
    """A server with one collection: the keys 0 to `rows` - 1, or the rows inserted into it."""

    def __init__(self, rows: int, dim: int) -> None:
        self._rows, self._inserted = rows, 0
        self._lock = threading.Lock()
        self._fake = FakeMilvus()
        message = _message(dim)
        self._schema = schema.parse(message)
        self._vectors = np.random.default_rng(1).random(16_384 * dim, dtype=np.float32)
        self._dim = dim
        if rows:
            self._fake.create(message)
        pool = ThreadPoolExecutor(CALLS)
        unlimited = [(f"grpc.max_{way}_message_length", -1) for way in ("send", "receive")]
        self._grpc = grpc.server(pool, handlers=[self], options=unlimited)
        self.port = self._grpc.add_insecure_port("127.0.0.1:0")
        self._grpc.start()

    def service(self, handler_call_details: Any) -> Any:
        """Returns the handler of a call, which answers with bytes."""
        method = handler_call_details.method.rpartition("/")[2]
        work = {"Query": self._query, "Insert": self._insert}.get(method) or self._by_fake(method)

        def answer(request: bytes, context: Any) -> bytes:
            try:
                return work(request)
            except Unimplemented as unknown:
                context.abort(grpc.StatusCode.UNIMPLEMENTED, str(unknown))
                raise AssertionError("abort does not return") from unknown

        return grpc.unary_unary_rpc_method_handler(answer)

    def _by_fake(self, method: str) -> Callable[[bytes], bytes]:
        kind = message_factory.GetMessageClass(_METHODS[method].input_type)

        def work(request: bytes) -> bytes:
            try:
                answer = getattr(self._fake, method)(kind.FromString(request))
            except Refusal as refusal:
                answer = refused(method, *refusal.args)
            written: bytes = answer.SerializeToString()
            return written

        return work

    def _query(self, request: bytes) -> bytes:
        asked = milvus_pb2.QueryRequest.FromString(request)
        bounds = {sign: int(key) for sign, key in _BOUNDS.findall(asked.expr)}
        start, last = bounds.get(">", -1) + 1, bounds.get("<=", self._row_count - 1)
        start = bounds.get("==", start)
        names = list(asked.output_fields)
        if names == ["count(*)"]:
            column = schema_pb2.FieldData(field_name="count(*)", type=schema_pb2.DataType.Int64)
            column.scalars.long_data.data.append(max(0, min(last, self._row_count - 1) + 1 - start))
            counted: bytes = milvus_pb2.QueryResults(fields_data=[column]).SerializeToString()
            return counted
        limit = next(int(pair.value) for pair in asked.query_params if pair.key == "limit")
        return self._page(names, start, min(last + 1, start + limit, self._row_count))

    def _page(self, names: list[str], start: int, stop: int) -> bytes:
        keys = pa.array(np.arange(start, max(start, stop)), pa.int64())
        vectors = pa.array(self._vectors[: len(keys) * self._dim])
        columns = {"id": keys, "vector": pa.FixedSizeListArray.from_arrays(vectors, self._dim)}
        fields = row_data.encode_fields(
            self._schema.select(names), pa.RecordBatch.from_pydict({n: columns[n] for n in names})
        )
        parts = [
            part for field in fields for part in (wire.head(_ANSWER_FIELDS, len(field)), field)
        ]
        return b"".join(parts)

    def _insert(self, request: bytes) -> bytes:
        rows = next(int(v) for n, _, v in wire.fields(memoryview(request)) if n == _ROWS)  # type: ignore[arg-type]
        with self._lock:
            self._inserted += rows
        done: bytes = milvus_pb2.MutationResult(insert_cnt=rows).SerializeToString()
        return done

    @property
    def _row_count(self) -> int:
        return self._rows or self._inserted


def _message(dim: int) -> schema_pb2.CollectionSchema:
    message = schema_pb2.CollectionSchema(name=COLLECTION)
    message.fields.add(name="id", data_type=schema_pb2.DataType.Int64, is_primary_key=True)
    vector = message.fields.add(name="vector", data_type=schema_pb2.DataType.FloatVector)
    vector.type_params.add(key="dim", value=str(dim))
    return message


async def _serve(arguments: argparse.Namespace) -> None:
    server = FarMilvus(arguments.rows, arguments.dim)
    network = Network(arguments.round_trip, arguments.bandwidth)
    port = await Link(network, server.port).listen()
    print(f"http://127.0.0.1:{port}", flush=True)
    # The parent closes stdin, at the latest when it ends.
    await asyncio.to_thread(sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--dim", type=int, required=True)
    parser.add_argument("--round-trip", type=float, required=True)
    parser.add_argument("--bandwidth", type=float, required=True)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()
