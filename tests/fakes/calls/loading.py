"""The calls about indexes and about what is in memory."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.calls.base import DONE, Server
from tests.fakes.index_checks import check_beside, check_name, check_params
from tests.fakes.memory import Collection
from tests.fakes.statuses import (
    BAD_PARAMETER,
    NO_INDEX,
    NO_NODES,
    NO_REPLICA,
    NOT_LOADED,
    UNEXPECTED,
    Refusal,
    plain,
)


class Loading(Server):
    """Indexes, loading, replicas."""

    def DescribeIndex(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        named = [
            index
            for index in collection.indexes
            if request.field_name in ("", index.field_name)
            and request.index_name in ("", index.index_name)
        ]
        if not named:
            raise Refusal(NO_INDEX, f"index not found[collection={request.collection_name}]")
        return milvus_pb2.DescribeIndexResponse(index_descriptions=named)

    def CreateIndex(self, request: Any, context: Any = None) -> Any:
        collection, name = self[request.collection_name], request.index_name
        check_name(self.rules, name)
        field = _field(collection, request.field_name)
        if field is None:
            raise plain(self.rules, f"cannot create index on non-exist field: {request.field_name}")
        name = name or request.field_name
        params = check_params(self.rules, field, request.extra_params)
        if not check_beside(collection, request.field_name, name, params):
            collection.index(request.field_name, name, params)
        return DONE

    def DropIndex(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        collection.indexes = [
            index
            for index in collection.indexes
            if request.index_name != index.index_name
            and (request.index_name or request.field_name != index.field_name)
        ]
        return DONE

    def GetLoadState(self, request: Any, context: Any = None) -> Any:
        try:
            collection = self[request.collection_name]
        except Refusal:
            return milvus_pb2.GetLoadStateResponse(state=common_pb2.LoadStateNotExist)
        loaded = collection.loaded and not collection.released.intersection(request.partition_names)
        state = common_pb2.LoadStateLoaded if loaded else common_pb2.LoadStateNotLoad
        return milvus_pb2.GetLoadStateResponse(state=state)

    def LoadCollection(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        collection.cached_aliases = None
        if collection.loaded:
            return self._load_again(collection, request)
        wanted = request.replica_number or self.default_replicas
        if wanted > self.nodes:
            code = NO_NODES if self.rules.too_few_nodes_is_12 else UNEXPECTED
            raise Refusal(code, f"service resource insufficient[nodes={self.nodes}]")
        kept = {*request.load_fields} if self.rules.refuses_unloaded_fields else set()
        collection.load(without={field.name for field in collection.fields} - kept if kept else ())
        collection.replicas = wanted
        return DONE

    def GetReplicas(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        if not collection.loaded and not self.rules.lists_no_replicas:
            words = "failed to get replicas by collection: replica not found"
            raise Refusal(NO_REPLICA, f"{words}[replica={collection.number}]")
        many = collection.replicas if collection.loaded else 0
        return milvus_pb2.GetReplicasResponse(replicas=[milvus_pb2.ReplicaInfo()] * many)

    def GetLoadingProgress(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        if not collection.loaded:
            reason = f"{collection.load_failure}: " if collection.load_failure else ""
            words = f"{reason}collection not loaded[collection={collection.number}]"
            raise Refusal(NOT_LOADED, words)
        return milvus_pb2.GetLoadingProgressResponse(progress=collection.load_percent)

    def ReleaseCollection(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        collection.loaded, collection.cached_aliases = False, None
        collection.loads += 1
        return DONE

    def _load_again(self, collection: Collection, request: Any) -> Any:
        """Answers the load of a loaded collection: newer releases change its replicas."""
        wanted = request.replica_number or collection.replicas
        if wanted != collection.replicas and not self.rules.load_changes_replicas:
            words = "can't change the replica number for loaded collection: invalid parameter"
            details = f"[expected={collection.replicas}][actual={wanted}]"
            raise Refusal(BAD_PARAMETER, f"{words}{details}")
        collection.replicas = wanted
        return DONE


def _field(collection: Collection, name: str) -> schema_pb2.FieldSchema | None:
    """Returns the field that an index is for: also a part of a struct, or a dynamic key."""
    for field in collection.schema.fields:
        if field.name == name:
            return field
    for struct in collection.schema.struct_array_fields:
        for part in struct.fields:
            if f"{struct.name}[{part.name}]" == name:
                return part
    if collection.schema.enable_dynamic_field:
        return schema_pb2.FieldSchema(name=name, data_type=DataType.JSON)
    return None
