"""A small Milvus in memory behind real gRPC that behaves like the release that it claims to be.

It keeps what it was asked, and fails when told to.

    with FakeMilvus() as server:
        server.create(schema, rows=[{"id": 1, "vector": [0.0, 1.0]}])
        server.fails("Insert", LOST_ANSWER)        # once; `times` and `when` say otherwise
        server.asked("Query")                      # the requests, in order

What depends on the version is one table, tests/fakes/rules.py. The calls are in tests/fakes/calls,
rows in tests/fakes/memory.py, faults in tests/fakes/script.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc, schema_pb2

from tests.certificates import Certificates
from tests.fakes.calls.aliases import Aliases
from tests.fakes.calls.base import Server, pairs
from tests.fakes.calls.collections import Collections
from tests.fakes.calls.databases import Databases
from tests.fakes.calls.loading import Loading
from tests.fakes.calls.queries import Queries
from tests.fakes.calls.writes import Writes
from tests.fakes.guard import Guard
from tests.fakes.memory import Collection, Row
from tests.fakes.script import Fault, Scripted

OF_OTHER_DATABASES = ("CreateDatabase", "DropDatabase", "DescribeDatabase", "OperatePrivilegeV2")
"""Calls that need not be made in the database that they name."""

MESSAGE_BYTES = 64 * 1024 * 1024


class FakeMilvus(
    Databases,
    Collections,
    Aliases,
    Loading,
    Queries,
    Writes,
    Guard,
    milvus_pb2_grpc.MilvusServiceServicer,
    Scripted,
):
    """One server on a port of its own; it answers inside its block.

    Args:
        version: what it says it is; "" for one that does not say.
        behaves_as: the release whose rules it follows, if that is not the one that it says.
        loses_rows: whether its pages lose rows where keys repeat, as those of 2.4.0 do.
        nodes: how many replicas it can hold.
        strays: the calls that named another database than the one that they were made in.
        message_bytes: the largest message that it takes and sends.
        insert_bytes: the largest insert or upsert (maxInsertSize of 2.4 and later); 0 is no limit.
        certificates: the server uses TLS with them.
    """

    def __init__(
        self,
        version: str = "v2.3.7",
        *,
        behaves_as: str = "",
        loses_rows: bool = False,
        nodes: int = 1,
        message_bytes: int = MESSAGE_BYTES,
        insert_bytes: int = 0,
        certificates: Certificates | None = None,
    ) -> None:
        Server.__init__(self, version, behaves_as=behaves_as, nodes=nodes)
        Scripted.__init__(self)
        Guard.__init__(self)
        self.loses_rows, self.insert_bytes = loses_rows, insert_bytes
        self.strays: list[str] = []
        sizes = [(f"grpc.max_{way}_message_length", message_bytes) for way in ("send", "receive")]
        self._grpc = grpc.server(ThreadPoolExecutor(8), interceptors=[self], options=sizes)
        milvus_pb2_grpc.add_MilvusServiceServicer_to_server(self, self._grpc)
        if certificates:
            port = self._grpc.add_secure_port("127.0.0.1:0", certificates.of_server())
            self.url = f"https://127.0.0.1:{port}"
        else:
            self.url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._grpc.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._grpc.stop(grace=None).wait()

    # -- for tests --------------------------------------------------------------------------------

    def create(
        self,
        schema: schema_pb2.CollectionSchema,
        rows: Iterable[Row] = (),
        *,
        partitions: Sequence[str] = ("_default",),
        database: str = "default",
    ) -> Collection:
        """Makes a collection, inserts rows, indexes its vectors and loads it."""
        with self.entered(database):
            return self._create(schema, rows, partitions)

    def _create(
        self, schema: schema_pb2.CollectionSchema, rows: Iterable[Row], partitions: Sequence[str]
    ) -> Collection:
        raw = schema.SerializeToString()
        request = milvus_pb2.CreateCollectionRequest(
            db_name=self.database, collection_name=schema.name, schema=raw, shards_num=1
        )
        if any(field.is_partition_key for field in schema.fields):
            request.num_partitions = len(partitions)
        self.CreateCollection(request)
        made = self[schema.name]
        made.partitions = list(partitions)
        made.insert(list(rows))
        for vector in made.vectors:
            made.index(vector, vector, pairs(index_type="FLAT", metric_type="L2"))
        made.load()
        return made

    def _worked(self, method: str, request: Any, context: Any, work: Any, fault: Fault) -> Any:
        """Answers a call in the database that it names, or else in that of its metadata."""
        metadata = dict(context.invocation_metadata())
        named, entered = getattr(request, "db_name", ""), metadata.get("dbname", "")
        if named not in ("", entered) and method not in OF_OTHER_DATABASES:
            self.strays.append(f"{method} of {named} in {entered}")
        with self.entered(named or entered):
            return super()._worked(method, request, context, work, fault)

    def reset(self) -> None:
        """Becomes as new: without collections, databases, faults and lags."""
        new = Server(self.version, behaves_as=self.behaves_as, nodes=self.nodes)
        self.__dict__.update(new.__dict__)
        self.requests.clear()
        self.heal()

    def drop(self, name: str) -> None:
        """Drops a collection."""
        del self._collections[name]

    def keys(self, name: str, partition: str = "") -> list[Any]:
        """Returns the keys of all rows in order, each as often as it stands there."""
        return [row[self[name].primary.name] for row in self[name].rows(partition)]
