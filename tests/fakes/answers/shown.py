"""Shows an answer as what can be compared: without ids, timestamps and durations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import grpc
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from pymilvus.grpc_gen.common_pb2 import IndexState
from pymilvus.grpc_gen.schema_pb2 import DataType

_SCRUBBED = (
    (re.compile(r" at /\S+"), " at FILE"),
    (re.compile(r"\b\d{15,}\b"), "ID"),
    (re.compile(r"(traceID|nodeID|node|msgID|req_id)[=:]\s*\S+"), r"\1=…"),
    (re.compile(r"\d+(\.\d+)?(ms|µs|us|s)\b"), "TIME"),
)
_LONGEST = 400

_LEFT_OUT = {
    *("status", "collection_ids", "created_timestamps", "created_utc_timestamps", "partitionIDs"),
    *("coll_segIDs", "flush_coll_segIDs", "coll_seal_times", "coll_flush_ts", "channel_cps"),
    *("created_timestamp", "identifier", "dbID", "db_timestamp"),
}


def shown(answer: Any) -> dict[str, Any]:
    """Returns an answer as JSON can have it; a dictionary of answers likewise."""
    if isinstance(answer, dict):
        return {key: _part(value) for key, value in answer.items()}
    if isinstance(answer, grpc.RpcError):
        return {"grpc": answer.code().name, "details": _scrubbed(answer.details() or "")}
    if isinstance(answer, common_pb2.Status):
        return {"status": _status(answer)}
    status = {"status": _status(answer.status)} if hasattr(answer, "status") else {}
    return status | _content(answer)


def status_of(answer: Any) -> dict[str, Any]:
    """Returns the status of an answer."""
    return dict(shown(answer)["status"])


def counted(answer: Any) -> dict[str, Any]:
    """Shows how many rows an answer has, and a count."""
    if isinstance(answer, grpc.RpcError):
        return shown(answer)
    columns = {each.field_name: list(each.scalars.long_data.data) for each in answer.fields_data}
    return {
        "status": _status(answer.status),
        "rows": len(columns.get("id", [])),
        "count": columns.get("count(*)"),
        "session_ts": answer.session_ts > 0,
    }


def _part(value: Any) -> Any:
    if isinstance(value, list):
        return [_part(each) for each in value]
    return shown(value) if hasattr(value, "ListFields") or _is_answer(value) else value


def _is_answer(value: Any) -> bool:
    return isinstance(value, (dict, grpc.RpcError))


def _content(answer: Any) -> dict[str, Any]:
    if isinstance(answer, milvus_pb2.QueryResults):
        return _query(answer)
    if isinstance(answer, milvus_pb2.MutationResult):
        return _mutation(answer)
    if isinstance(answer, milvus_pb2.DescribeCollectionResponse):
        return _description(answer)
    if isinstance(answer, milvus_pb2.DescribeIndexResponse):
        return {"indexes": sorted(map(_index, answer.index_descriptions), key=_name)}
    return _other(answer)


def _query(answer: Any) -> dict[str, Any]:
    return {
        "columns": sorted(map(_column, answer.fields_data), key=_name),
        "session_ts": answer.session_ts > 0,
        "output_fields": sorted(answer.output_fields),
        "primary": answer.primary_field_name,
    }


def _mutation(answer: Any) -> dict[str, Any]:
    return {
        "insert_cnt": answer.insert_cnt,
        "upsert_cnt": answer.upsert_cnt,
        "delete_cnt": answer.delete_cnt,
        "ids": len(answer.IDs.int_id.data) or len(answer.IDs.str_id.data),
        "succ": len(answer.succ_index),
        "err": len(answer.err_index),
        "timestamp": answer.timestamp > 0,
    }


def _description(answer: Any) -> dict[str, Any]:
    schema = answer.schema
    return {
        "schema": {
            "name": schema.name,
            "description": schema.description[:40],
            "dynamic": schema.enable_dynamic_field,
            "autoID": schema.autoID,
            "properties": pairs_of(schema.properties),
            "fields": [_field(field) for field in schema.fields],
            "functions": [function.name for function in schema.functions],
        },
        "aliases": list(answer.aliases),
        "shards": answer.shards_num,
        "consistency": answer.consistency_level,
        "properties": properties_of(answer),
        "num_partitions": answer.num_partitions,
        "db": answer.db_name,
    }


def properties_of(answer: Any) -> dict[str, str]:
    """Returns the properties of a collection, without times."""
    return {key: value for key, value in pairs_of(answer.properties).items() if "ts" not in key}


def _field(field: Any) -> dict[str, Any]:
    return {
        "name": field.name,
        "type": DataType.Name(field.data_type),
        "key": field.is_primary_key,
        "partition_key": field.is_partition_key,
        "autoID": field.autoID,
        "nullable": field.nullable,
        "default": field.default_value.WhichOneof("data"),
        "type_params": pairs_of(field.type_params),
        "index_params": pairs_of(field.index_params),
        "element": DataType.Name(field.element_type),
        "state": field.state,
        "description": field.description,
        "function_output": field.is_function_output,
    }


def _index(index: Any) -> dict[str, Any]:
    return {
        "name": index.index_name,
        "field": index.field_name,
        "params": pairs_of(index.params),
        "state": IndexState.Name(index.state),
    }


def _column(column: Any) -> dict[str, Any]:
    kind = column.WhichOneof("field")
    shape = {"scalars": _scalars, "vectors": _vectors}.get(kind or "", lambda _: {"member": kind})
    return {
        "name": column.field_name,
        "type": DataType.Name(column.type),
        "is_dynamic": column.is_dynamic,
        **shape(column),
        "valid_data": [int(valid) for valid in column.valid_data[:6]],
        "valid_len": len(column.valid_data),
    }


def _scalars(column: Any) -> dict[str, Any]:
    member = column.scalars.WhichOneof("data")
    if not member:
        return {"member": member}
    data = getattr(column.scalars, member).data
    is_array = member == "array_data"
    shape = {
        "member": member,
        "values": len(data),
        "first": [_array(value) if is_array else repr(value)[:40] for value in data[:3]],
    }
    if is_array:
        shape["element_type"] = DataType.Name(column.scalars.array_data.element_type)
    return shape


def _array(value: Any) -> str:
    member = value.WhichOneof("data")
    return f"{member}:{list(getattr(value, member).data)[:3] if member else ''}"


def _vectors(column: Any) -> dict[str, Any]:
    member = column.vectors.WhichOneof("data")
    shape = {"member": member, "dim": column.vectors.dim}
    if member:
        value = getattr(column.vectors, member)
        held = {"float_vector": "data", "sparse_float_vector": "contents"}.get(member)
        shape["values"] = len(getattr(value, held) if held else value)
    return shape


def _other(answer: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    for descriptor, value in answer.ListFields():
        if descriptor.name == "replicas":
            shape["replicas"] = len(value)
        elif descriptor.name not in _LEFT_OUT:
            shape[descriptor.name] = value if isinstance(value, (int, str)) else str(value)[:200]
    return shape


def _status(status: Any) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "code": status.code,
        "error_code": status.error_code,
        "retriable": status.retriable,
        "reason": _scrubbed(status.reason),
    }
    if status.extra_info:
        shape["extra_info"] = dict(status.extra_info)
    return shape


def _scrubbed(text: str) -> str:
    for pattern, instead in _SCRUBBED:
        text = pattern.sub(instead, text)
    return text[:_LONGEST]


def pairs_of(pairs: Iterable[Any]) -> dict[str, str]:
    """Returns pairs of a message as a dictionary."""
    return {pair.key: pair.value for pair in pairs}


def _name(shape: dict[str, Any]) -> str:
    return str(shape["name"])
