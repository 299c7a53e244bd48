"""Asks a Milvus over raw gRPC, and builds the requests and columns that questions are made of.

    asker = Asker("http://127.0.0.1:19530")
    asker.ready("docs", PLAIN, rows=100)
    asker.query("docs", "id >= 0", ["id"], limit=10, iterator=True)

An answer is what the server said: a message, or the error of gRPC.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

Answer = Any
Field = schema_pb2.FieldSchema
Column = schema_pb2.FieldData

STRONG, SESSION, BOUNDED, EVENTUALLY, CUSTOMIZED = range(5)

_UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
_DEFAULT_SLOT = {
    DataType.VarChar: "string_data",
    DataType.Int64: "long_data",
    DataType.Float: "float_data",
    DataType.Bool: "bool_data",
}


def pairs(values: dict[str, object]) -> list[common_pb2.KeyValuePair]:
    """Returns a dictionary as pairs of a message."""
    return [common_pb2.KeyValuePair(key=key, value=str(value)) for key, value in values.items()]


def field(
    name: str,
    kind: int,
    *,
    element: int = 0,
    default: object = None,
    params: dict[str, object] | None = None,
    **marks: bool,
) -> Field:
    """Returns a field; `params` are its type parameters."""
    made = Field(name=name, data_type=kind, element_type=element, **marks)
    made.type_params.extend(pairs(params or {}))
    if default is not None:
        setattr(made.default_value, _DEFAULT_SLOT[kind], default)
    return made


def text_field(name: str, max_length: int, **more: Any) -> Field:
    """Returns a field of short texts."""
    return field(name, DataType.VarChar, params={"max_length": max_length}, **more)


def vector_field(name: str, kind: int = DataType.FloatVector, dim: int = 4, **more: Any) -> Field:
    """Returns a field of dense vectors."""
    return field(name, kind, params={"dim": dim}, **more)


def key_field(**marks: bool) -> Field:
    """Returns the key `id`, a number."""
    return field("id", DataType.Int64, is_primary_key=True, **marks)


PLAIN = [key_field(), vector_field("v")]
AUTOMATIC = [key_field(autoID=True), vector_field("v")]


def longs(name: str, values: Iterable[int], **more: Any) -> Column:
    """Returns a column of int64."""
    scalars = schema_pb2.ScalarField(long_data=schema_pb2.LongArray(data=values))
    return Column(field_name=name, type=DataType.Int64, scalars=scalars, **more)


def texts(name: str, values: Iterable[str], kind: int = DataType.VarChar, **more: Any) -> Column:
    """Returns a column of texts, or of times as texts."""
    scalars = schema_pb2.ScalarField(string_data=schema_pb2.StringArray(data=values))
    return Column(field_name=name, type=kind, scalars=scalars, **more)


def documents(name: str, values: Iterable[bytes]) -> Column:
    """Returns a column of JSON; ``$meta`` is that of the dynamic keys."""
    scalars = schema_pb2.ScalarField(json_data=schema_pb2.JSONArray(data=values))
    dynamic = name == "$meta"
    return Column(field_name=name, type=DataType.JSON, is_dynamic=dynamic, scalars=scalars)


def scalars(name: str, kind: int, member: str, array: Any) -> Column:
    """Returns a column of any scalar type from the member that has its values."""
    return Column(field_name=name, type=kind, scalars=schema_pb2.ScalarField(**{member: array}))


def integer_arrays(name: str, rows: Sequence[Sequence[int]]) -> Column:
    """Returns a column of arrays of int32."""
    data = [schema_pb2.ScalarField(int_data=schema_pb2.IntArray(data=row)) for row in rows]
    array = schema_pb2.ArrayArray(element_type=DataType.Int32, data=data)
    return scalars(name, DataType.Array, "array_data", array)


def vectors(name: str, rows: int, *, dim: int = 4, value: float = 0.5, **more: Any) -> Column:
    """Returns a column of equal vectors."""
    data = schema_pb2.FloatArray(data=[value] * rows * dim)
    slots = schema_pb2.VectorField(dim=dim, float_vector=data)
    return Column(field_name=name, type=DataType.FloatVector, vectors=slots, **more)


class Asker:
    """One server. `notes` is what later questions know from earlier ones.

    Args:
        settle: waits until what was written is seen; a fake needs no time.
    """

    def __init__(
        self, url: str, *, token: str = "", settle: Callable[[float], None] = time.sleep
    ) -> None:
        channel = grpc.insecure_channel(url.removeprefix("http://"), options=_UNLIMITED)
        self._channel, self._stub = channel, milvus_pb2_grpc.MilvusServiceStub(channel)
        self._metadata = [("authorization", b64encode(token.encode()).decode())] if token else []
        self.settle = settle
        self.notes: dict[str, Any] = {}

    def close(self) -> None:
        self._channel.close()

    def call(
        self, name: str, request: Any, *, timeout_s: float = 60.0, database: str = ""
    ) -> Answer:
        """Returns the answer to a call, or the error."""
        metadata = [*self._metadata, *([("dbname", database)] if database else [])]
        try:
            return getattr(self._stub, name)(request, timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            return error

    def create(
        self,
        name: str,
        fields: Sequence[Field],
        *,
        properties: dict[str, object] | None = None,
        shards: int = 1,
        partitions: int = 0,
        **schema: Any,
    ) -> Answer:
        """Creates a collection; `schema` is what its schema has beside fields."""
        made = schema_pb2.CollectionSchema(name=name, fields=fields, **schema)
        request = milvus_pb2.CreateCollectionRequest(
            collection_name=name,
            schema=made.SerializeToString(),
            shards_num=shards,
            num_partitions=partitions,
            properties=pairs(properties or {}),
        )
        return self.call("CreateCollection", request)

    def drop(self, name: str) -> Answer:
        return self.call("DropCollection", milvus_pb2.DropCollectionRequest(collection_name=name))

    def describe(self, name: str) -> Answer:
        request = milvus_pb2.DescribeCollectionRequest(collection_name=name)
        return self.call("DescribeCollection", request)

    def alter(self, name: str, **properties: object) -> Answer:
        """Sets properties of a collection; two underscores in a name are a dot."""
        request = milvus_pb2.AlterCollectionRequest(
            collection_name=name, properties=pairs(_dotted(properties))
        )
        return self.call("AlterCollection", request)

    def index(
        self, name: str, field_name: str, *, index_name: str = "", **params: object
    ) -> Answer:
        """Creates an index with the name of its field."""
        request = milvus_pb2.CreateIndexRequest(
            collection_name=name,
            field_name=field_name,
            index_name=index_name or field_name,
            extra_params=pairs(_dotted(params)),
        )
        return self.call("CreateIndex", request, timeout_s=120.0)

    def indexes(self, name: str, field_name: str = "") -> Answer:
        request = milvus_pb2.DescribeIndexRequest(collection_name=name, field_name=field_name)
        return self.call("DescribeIndex", request)

    def load(self, name: str, *, wait_s: float = 40.0, **request: Any) -> Answer:
        """Loads a collection and waits until it is loaded; returns the answer to the first call."""
        asked = milvus_pb2.LoadCollectionRequest(collection_name=name, **request)
        answer = self.call("LoadCollection", asked)
        end = time.monotonic() + wait_s
        while succeeded(answer) and time.monotonic() < end:
            progress = self.progress(name)
            if isinstance(progress, grpc.RpcError) or progress.progress >= 100:
                break
            time.sleep(0.3)
        return answer

    def progress(self, name: str) -> Answer:
        request = milvus_pb2.GetLoadingProgressRequest(collection_name=name)
        return self.call("GetLoadingProgress", request)

    def release(self, name: str) -> Answer:
        request = milvus_pb2.ReleaseCollectionRequest(collection_name=name)
        return self.call("ReleaseCollection", request)

    def ready(self, name: str, fields: Sequence[Field], *, rows: int = 0, **create: Any) -> Answer:
        """Creates a collection anew, with the keys 0 to `rows` - 1, an index on `v`, and loaded."""
        self.drop(name)
        answer = self.create(name, fields, **create)
        if rows:
            self.insert(name, longs("id", range(rows)), vectors("v", rows))
        self.index(name, "v", index_type="FLAT", metric_type="L2")
        self.load(name)
        return answer

    def insert(self, name: str, *columns: Column, rows: int | None = None, **more: Any) -> Answer:
        """Inserts columns; the number of rows is that of the first one."""
        return self._write("Insert", milvus_pb2.InsertRequest, name, columns, rows, **more)

    def upsert(self, name: str, *columns: Column, rows: int | None = None, **more: Any) -> Answer:
        """Upserts columns; the number of rows is that of the first one."""
        return self._write("Upsert", milvus_pb2.UpsertRequest, name, columns, rows, **more)

    def delete(self, name: str, where: str, **more: Any) -> Answer:
        request = milvus_pb2.DeleteRequest(collection_name=name, expr=where, **more)
        return self.call("Delete", request)

    def query(
        self,
        name: str,
        where: str,
        columns: Sequence[str],
        *,
        level: int = STRONG,
        at: int = 0,
        partitions: Sequence[str] = (),
        **params: object,
    ) -> Answer:
        """Queries rows; `at` is the guarantee timestamp, `params` are limit, iterator and so on."""
        request = milvus_pb2.QueryRequest(
            collection_name=name,
            expr=where,
            output_fields=columns,
            consistency_level=level,
            guarantee_timestamp=at,
            partition_names=partitions,
            query_params=pairs(dict(params)),
        )
        return self.call("Query", request)

    def flush(self, name: str) -> Answer:
        return self.call("Flush", milvus_pb2.FlushRequest(collection_names=[name]))

    def _write(
        self,
        call: str,
        kind: Any,
        name: str,
        columns: Sequence[Column],
        rows: int | None,
        **more: Any,
    ) -> Answer:
        count = len(columns[0].scalars.long_data.data) if rows is None else rows
        request = kind(
            collection_name=name,
            fields_data=columns,
            num_rows=count,
            hash_keys=[1] * count,
            **more,
        )
        return self.call(call, request)


def succeeded(answer: Answer) -> bool:
    """Whether a server did what it was asked."""
    if isinstance(answer, grpc.RpcError):
        return False
    status = getattr(answer, "status", answer)
    return not status.code and not status.error_code


def _dotted(values: dict[str, object]) -> dict[str, object]:
    return {key.replace("__", "."): value for key, value in values.items()}
