"""Converts protobuf messages of Milvus to plain values, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from transforms.milvus.description import Index, Pairs


def schema_of(answer: milvus_pb2.DescribeCollectionResponse) -> Any:
    """Returns a schema without the collection properties that 2.5.18 and later copy into it."""
    schema = answer.schema
    copied = pairs(answer.properties)
    own = [pair for pair in pairs(schema.properties) if pair not in copied]
    del schema.properties[:]
    schema.properties.extend(key_values(own))
    return schema


def index_of(message: milvus_pb2.IndexDescription) -> Index:
    return Index(message.field_name, message.index_name, pairs(message.params))


def failure_of(message: milvus_pb2.IndexDescription) -> str:
    failed = message.state == common_pb2.IndexState.Failed
    return message.index_state_fail_reason or "no reason given" if failed else ""


def pairs(message: Iterable[common_pb2.KeyValuePair]) -> Pairs:
    return tuple((pair.key, pair.value) for pair in message)


def key_values(pairs: Iterable[tuple[str, str]]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value) for key, value in pairs]
