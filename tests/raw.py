"""Inserts and reads columns as bytes, where pymilvus would read and write them anew.

raw.insert(url, "default", "docs", raw.longs("id", [1]), raw.json("meta", [b'{"a": 1.0}']))
raw.read_json(url, "default", "docs", "meta")       # [b'{"a": 1.0}']
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import grpc
from pymilvus import DataType
from pymilvus.grpc_gen import common_pb2, milvus_pb2, milvus_pb2_grpc, schema_pb2

STRONG = common_pb2.ConsistencyLevel.Strong


def insert(url: str, database: str, collection: str, *columns: schema_pb2.FieldData) -> None:
    """Inserts columns; the first is the key, and its length the number of rows."""
    request = milvus_pb2.InsertRequest(
        db_name=database,
        collection_name=collection,
        num_rows=len(columns[0].scalars.long_data.data),
        fields_data=columns,
    )
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        answer = milvus_pb2_grpc.MilvusServiceStub(channel).Insert(request)
    assert not answer.status.reason, answer.status.reason


def read_json(url: str, database: str, collection: str, field: str) -> list[bytes]:
    """The documents of one field in the order of their integer keys, as the server sends them."""
    request = milvus_pb2.QueryRequest(
        db_name=database,
        collection_name=collection,
        expr="id >= 0",
        output_fields=["id", field],
        consistency_level=STRONG,
    )
    with grpc.insecure_channel(url.removeprefix("http://")) as channel:
        answer = milvus_pb2_grpc.MilvusServiceStub(channel).Query(request)
    assert not answer.status.reason, answer.status.reason
    columns = {column.field_name: column.scalars for column in answer.fields_data}
    pairs = zip(columns["id"].long_data.data, columns[field].json_data.data, strict=True)
    return [document for _, document in sorted(pairs)]


def longs(name: str, values: Iterable[int]) -> schema_pb2.FieldData:
    column = schema_pb2.FieldData(field_name=name, type=int(DataType.INT64))
    column.scalars.long_data.data.extend(values)
    return column


def json(name: str, documents: Iterable[bytes]) -> schema_pb2.FieldData:
    """A column of JSON; ``$meta`` is that of the dynamic fields."""
    column = schema_pb2.FieldData(field_name=name, type=int(DataType.JSON))
    column.is_dynamic = name == "$meta"
    column.scalars.json_data.data.extend(documents)
    return column


def floats(name: str, *, dim: int, values: Sequence[float]) -> schema_pb2.FieldData:
    column = schema_pb2.FieldData(field_name=name, type=int(DataType.FLOAT_VECTOR))
    column.vectors.dim = dim
    column.vectors.float_vector.data.extend(values)
    return column
