"""A folder of Parquet files that answers the calls of a Milvus.

It replaces the connection. So all code that reads, writes, compares or completes a collection works
with files too, and the proof is the same. Calls that only a server can do are refused: filters on
other fields than the key, deletes, users and roles.
"""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from pydantic import ConfigDict, TypeAdapter
from pymilvus.grpc_gen import common_pb2, milvus_pb2, schema_pb2

from transforms.errors import LedgerError, Refused
from transforms.ledger.store import Store
from transforms.milvus.channel import Channel, Patience, PersistentErrors
from transforms.milvus.codec import row_data, wire
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.parquet import key_filters
from transforms.milvus.parquet.collection_files import Dataset, Unfinished
from transforms.milvus.retry_statistics import Retries
from transforms.milvus.throttle import Throttle

VERSION = "v99.0.0 (Parquet)"
"""Later than any server, because files store everything that a collection has."""

DEFAULT_PARTITION = "_default"
_SIDECAR = "collection.json"
_NO_COLLECTION, _NO_INDEX = 100, 700
_COLLECTION, _PARTITION, _COLUMNS = 3, 4, 5
"""Field numbers of InsertRequest and UpsertRequest, which are read without a full copy."""
_ANSWER_FIELDS = 2
"""Field number of the columns in QueryResults."""

_DONE: bytes = common_pb2.Status().SerializeToString()


@dataclass(frozen=True)
class _Sidecar:
    """The description of a collection, as a server returns it; the schema is that of the source."""

    collection: Description
    format: int = 1
    # The bytes of a schema are not text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_SIDECARS = TypeAdapter(_Sidecar)


class FileChannel(Channel):
    """The folder in place of a connection."""

    def __init__(
        self,
        endpoint: Endpoint,
        patience: Patience | None,
        throttle: Throttle | None,
        retries: Retries | None,
    ) -> None:
        self.server = endpoint.url
        self.throttle = throttle or Throttle()
        self.retries = retries or Retries()
        self._patience = patience or Patience()
        self._persistent = PersistentErrors()
        self._folder = _Folder(endpoint.folder)

    def close(self) -> None:
        """Does nothing: no connection is open."""

    def send_timed(self, method: str, payload: bytes) -> tuple[bytes, float]:
        """Answers one request; returns the answer and the seconds that it took."""
        self._wait()
        began = time.monotonic()
        answer: Callable[[bytes], bytes] | None = getattr(self._folder, method, None)
        if answer is None:
            raise Refused(self.server, method, "Parquet files do not support this call")
        try:
            return answer(payload), time.monotonic() - began
        except _Refusal as error:
            raise Refused(self.server, method, str(error), error.code) from error
        except (LedgerError, Unfinished, pa.ArrowException) as error:
            reason = error.reason if isinstance(error, LedgerError) else str(error)
            raise Refused(self.server, method, reason) from error


class _Refusal(Exception):
    """A refused call, with an error code of Milvus."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Folder:
    """One method for each call of a server: serialized request -> serialized answer."""

    def __init__(self, folder: str) -> None:
        place, mark, options = folder.partition("?") if "://" in folder else (folder, "", "")
        parent, _, name = place.rstrip("/").rpartition("/")
        self._store = Store(f"{parent or '/'}{mark}{options}", name)
        self._datasets: dict[str, Dataset] = {}

    # -- read ------------------------------------------------------------------------------------

    def Connect(self, _: bytes) -> bytes:
        return _bytes(milvus_pb2.ConnectResponse())

    def GetVersion(self, _: bytes) -> bytes:
        return _bytes(milvus_pb2.GetVersionResponse(version=VERSION))

    def ListDatabases(self, _: bytes) -> bytes:
        return _bytes(milvus_pb2.ListDatabasesResponse(db_names=["default"]))

    def ShowCollections(self, _: bytes) -> bytes:
        names = [name for name in self._store.names("") if self._store.read(f"{name}/{_SIDECAR}")]
        return _bytes(milvus_pb2.ShowCollectionsResponse(collection_names=names))

    def DescribeCollection(self, payload: bytes) -> bytes:
        request = milvus_pb2.DescribeCollectionRequest.FromString(payload)
        described = self._find(request.collection_name)
        return _bytes(
            milvus_pb2.DescribeCollectionResponse(
                schema=described.message,
                collectionID=described.collection_id,
                shards_num=described.shards,
                consistency_level=described.consistency_level,
                properties=_key_values(described.properties),
                num_partitions=described.partition_count,
                aliases=described.aliases,
            )
        )

    def ShowPartitions(self, payload: bytes) -> bytes:
        request = milvus_pb2.ShowPartitionsRequest.FromString(payload)
        names = self._find(request.collection_name).partitions
        return _bytes(milvus_pb2.ShowPartitionsResponse(partition_names=names))

    def DescribeIndex(self, payload: bytes) -> bytes:
        request = milvus_pb2.DescribeIndexRequest.FromString(payload)
        descriptions = [
            milvus_pb2.IndexDescription(
                field_name=index.field,
                index_name=index.name,
                params=_key_values(index.params),
                state=common_pb2.IndexState.Finished,
            )
            for index in self._find(request.collection_name).indexes
        ]
        return _bytes(milvus_pb2.DescribeIndexResponse(index_descriptions=descriptions))

    def GetLoadState(self, payload: bytes) -> bytes:
        request = milvus_pb2.GetLoadStateRequest.FromString(payload)
        described = self._find(request.collection_name)
        self._dataset(described).check()
        released = described.loaded is False
        state = common_pb2.LoadStateNotLoad if released else common_pb2.LoadStateLoaded
        return _bytes(milvus_pb2.GetLoadStateResponse(state=state))

    def GetReplicas(self, payload: bytes) -> bytes:
        request = milvus_pb2.GetReplicasRequest.FromString(payload)
        replicas = self._find(request.collection_name).replicas
        groups = [milvus_pb2.ReplicaInfo(replicaID=number) for number in range(replicas)]
        return _bytes(milvus_pb2.GetReplicasResponse(replicas=groups))

    # -- create and change -------------------------------------------------------------------------

    def CreateCollection(self, payload: bytes) -> bytes:
        request = milvus_pb2.CreateCollectionRequest.FromString(payload)
        schema = schema_pb2.CollectionSchema.FromString(request.schema)
        count = request.num_partitions
        numbered = tuple(f"{DEFAULT_PARTITION}_{number}" for number in range(count))
        self._save(
            Description(
                name=request.collection_name,
                collection_id=time.time_ns(),
                raw_schema=schema.SerializeToString(),
                shards=request.shards_num,
                consistency_level=request.consistency_level,
                partition_count=count or 1,
                properties=tuple((pair.key, pair.value) for pair in request.properties),
                partitions=numbered or (DEFAULT_PARTITION,),
                loaded=False,
            )
        )
        return _DONE

    def AlterCollection(self, payload: bytes) -> bytes:
        request = milvus_pb2.AlterCollectionRequest.FromString(payload)
        described = self._find(request.collection_name)
        pairs = dict(described.properties) | {pair.key: pair.value for pair in request.properties}
        kept = tuple(pair for pair in pairs.items() if pair[0] not in request.delete_keys)
        self._save(replace(described, properties=kept))
        return _DONE

    def DropCollection(self, payload: bytes) -> bytes:
        name = milvus_pb2.DropCollectionRequest.FromString(payload).collection_name
        described = self._find(name)
        self._store.remove(f"{name}/{_SIDECAR}")
        for folder in (name, *(f"{name}/{partition}" for partition in described.partitions)):
            for file in self._store.names(folder):
                if "." in file:
                    self._store.remove(f"{folder}/{file}")
        self._datasets.pop(name, None)
        return _DONE

    def CreatePartition(self, payload: bytes) -> bytes:
        request = milvus_pb2.CreatePartitionRequest.FromString(payload)
        described = self._find(request.collection_name)
        names = tuple(sorted({*described.partitions, request.partition_name}))
        self._save(replace(described, partitions=names, partition_count=len(names)))
        return _DONE

    def CreateAlias(self, payload: bytes) -> bytes:
        request = milvus_pb2.CreateAliasRequest.FromString(payload)
        described = self._find(request.collection_name)
        self._save(replace(described, aliases=(*described.aliases, request.alias)))
        return _DONE

    def CreateIndex(self, payload: bytes) -> bytes:
        request = milvus_pb2.CreateIndexRequest.FromString(payload)
        described = self._find(request.collection_name)
        params = tuple((param.key, param.value) for param in request.extra_params)
        index = Index(request.field_name, request.index_name, params)
        self._save(replace(described, indexes=(*described.indexes, index)))
        return _DONE

    def LoadCollection(self, payload: bytes) -> bytes:
        request = milvus_pb2.LoadCollectionRequest.FromString(payload)
        return self._save_load_state(request.collection_name, request.replica_number or 1)

    def ReleaseCollection(self, payload: bytes) -> bytes:
        request = milvus_pb2.ReleaseCollectionRequest.FromString(payload)
        return self._save_load_state(request.collection_name, 0)

    def GetLoadingProgress(self, _: bytes) -> bytes:
        return _bytes(milvus_pb2.GetLoadingProgressResponse(progress=100))

    # -- rows -------------------------------------------------------------------------------------

    def Insert(self, payload: bytes) -> bytes:
        return self._put(payload, replace_keys=False)

    def Upsert(self, payload: bytes) -> bytes:
        return self._put(payload, replace_keys=True)

    def _put(self, payload: bytes, *, replace_keys: bool) -> bytes:
        view = memoryview(payload)
        name, partition = (_text(view, number) for number in (_COLLECTION, _PARTITION))
        described = self._find(name)
        columns = [bytes(message) for message in wire.messages(view, _COLUMNS)]
        answer = b"".join(wire.head(_ANSWER_FIELDS, len(column)) + column for column in columns)
        names = [row_data.name_of(column) for column in columns]
        rows = row_data.decode(described.schema.select(names), answer)
        self._dataset(described).put(
            partition or described.partitions[0], rows, replace_keys=replace_keys
        )
        return _bytes(milvus_pb2.MutationResult(insert_cnt=rows.num_rows, upsert_cnt=rows.num_rows))

    def Query(self, payload: bytes) -> bytes:
        request = milvus_pb2.QueryRequest.FromString(payload)
        described = self._find(request.collection_name)
        keys = key_filters.parse(request.expr, described.schema.primary.name)
        if keys is None:
            raise _Refusal(0, f"Parquet files can be filtered by primary key only: {request.expr}")
        dataset, partitions = self._dataset(described), list(request.partition_names)
        names = list(request.output_fields)
        if names == ["count(*)"]:
            return _count_answer(dataset.count(partitions, keys))
        limits = (int(param.value) for param in request.query_params if param.key == "limit")
        page = dataset.page(partitions, keys, names, next(limits, 1))
        if page is None:
            return _bytes(milvus_pb2.QueryResults())
        columns = row_data.encode_fields(described.schema.select(names), page)
        return b"".join(wire.head(_ANSWER_FIELDS, len(column)) + column for column in columns)

    def Flush(self, payload: bytes) -> bytes:
        names = milvus_pb2.FlushRequest.FromString(payload).collection_names
        for name in names:
            self._dataset(self._find(name)).seal()
        segments = {name: schema_pb2.LongArray() for name in names}
        return _bytes(milvus_pb2.FlushResponse(coll_segIDs=segments))

    def GetFlushState(self, _: bytes) -> bytes:
        return _bytes(milvus_pb2.GetFlushStateResponse(flushed=True))

    def GetCollectionStatistics(self, payload: bytes) -> bytes:
        request = milvus_pb2.GetCollectionStatisticsRequest.FromString(payload)
        rows = self._dataset(self._find(request.collection_name)).rows()
        stats = _key_values((("row_count", str(rows)),))
        return _bytes(milvus_pb2.GetCollectionStatisticsResponse(stats=stats))

    # -- inside -----------------------------------------------------------------------------------

    def _find(self, name: str) -> Description:
        sidecar = self._store.value(_SIDECARS, f"{name}/{_SIDECAR}")
        if sidecar is None:
            raise _Refusal(_NO_COLLECTION, f"collection not found[collection={name}]")
        return sidecar.collection

    def _save(self, described: Description) -> None:
        data = _SIDECARS.dump_json(_Sidecar(described), indent=1)
        self._store.replace(f"{described.name}/{_SIDECAR}", data)

    def _save_load_state(self, name: str, replicas: int) -> bytes:
        """Saves the load state; skips that if the folder is read-only."""
        described = self._find(name)
        with contextlib.suppress(LedgerError):
            self._save(replace(described, loaded=replicas > 0, replicas=replicas))
        return _DONE

    def _dataset(self, described: Description) -> Dataset:
        if described.name not in self._datasets:
            primary = described.schema.primary.name
            self._datasets[described.name] = Dataset(self._store, described.name, primary)
        return self._datasets[described.name]


def _text(message: memoryview, wanted: int) -> str:
    for number, _, value in wire.fields(message):
        if number == wanted and not isinstance(value, int):
            return str(value, "utf-8")
    return ""


def _count_answer(rows: int) -> bytes:
    column = schema_pb2.FieldData(field_name="count(*)", type=schema_pb2.DataType.Int64)
    column.scalars.long_data.data.append(rows)
    return _bytes(milvus_pb2.QueryResults(fields_data=[column]))


def _key_values(pairs: Pairs) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value) for key, value in pairs]


def _bytes(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
