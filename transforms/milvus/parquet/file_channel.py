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
from transforms.milvus import messages
from transforms.milvus.channel import Channel, Result
from transforms.milvus.codec import row_data, wire
from transforms.milvus.description import Description, Index
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.parquet import key_filters
from transforms.milvus.parquet.collection_files import Dataset, Unfinished

VERSION = "v99.0.0 (Parquet)"
"""Later than any server, because files store everything that a collection has."""

DEFAULT_PARTITION = "_default"
_SIDECAR = "collection.json"
_NO_COLLECTION = 100
_ANSWER_FIELDS = 2
"""Field number of the columns in QueryResults."""


@dataclass(frozen=True)
class _Sidecar:
    """The description of a collection, as a server returns it; the schema is that of the source."""

    collection: Description
    format: int = 1
    # The bytes of a schema are not text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_SIDECARS = TypeAdapter(_Sidecar)


class _Refusal(Exception):
    """A refused call: the reason, and perhaps an error code of Milvus."""


class FileChannel(Channel):
    """The folder in place of a connection.

    A call of a server is a method here: the request is its argument, the answer its result. An
    answer without content is None.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.server, folder = endpoint.url, endpoint.folder
        place, mark, options = folder.partition("?") if "://" in folder else (folder, "", "")
        parent, _, name = place.rstrip("/").rpartition("/")
        self._store = Store(f"{parent or '/'}{mark}{options}", name)
        self._datasets: dict[str, Dataset] = {}

    def close(self) -> None:
        """Does nothing: no connection is open."""

    def retry(self, attempt: Callable[[], Result]) -> Result:
        """Runs `attempt` once: what a folder refuses, it refuses again."""
        return attempt()

    def send_timed(self, method: str, payload: bytes, database: str = "") -> tuple[bytes, float]:
        """Answers one request; returns the answer and the seconds that it took."""
        began = time.monotonic()
        call: Callable[[Any], Any] | None = getattr(self, method, None)
        if call is None:
            raise Refused(self.server, method, "Parquet files do not support this call")
        try:
            answer = call(getattr(milvus_pb2, f"{method}Request").FromString(payload))
        except _Refusal as error:
            raise Refused(self.server, method, *error.args) from error
        except (LedgerError, Unfinished, pa.ArrowException) as error:
            reason = error.reason if isinstance(error, LedgerError) else str(error)
            raise Refused(self.server, method, reason) from error
        if not isinstance(answer, bytes):
            answer = answer.SerializeToString() if answer else b""
        return answer, time.monotonic() - began

    # -- read ------------------------------------------------------------------------------------

    def GetVersion(self, _: Any) -> Any:
        return milvus_pb2.GetVersionResponse(version=VERSION)

    def ShowCollections(self, _: Any) -> Any:
        names = [name for name in self._store.names("") if self._store.read(f"{name}/{_SIDECAR}")]
        return milvus_pb2.ShowCollectionsResponse(collection_names=names)

    def DescribeCollection(self, request: Any) -> Any:
        described = self._find(request.collection_name)
        return milvus_pb2.DescribeCollectionResponse(
            schema=described.message,
            collectionID=described.collection_id,
            shards_num=described.shards,
            consistency_level=described.consistency_level,
            properties=messages.key_values(described.properties),
            num_partitions=described.partition_count,
            aliases=described.aliases,
        )

    def ShowPartitions(self, request: Any) -> Any:
        names = self._find(request.collection_name).partitions
        return milvus_pb2.ShowPartitionsResponse(partition_names=names)

    def DescribeIndex(self, request: Any) -> Any:
        descriptions = [
            milvus_pb2.IndexDescription(
                field_name=index.field,
                index_name=index.name,
                params=messages.key_values(index.params),
                state=common_pb2.IndexState.Finished,
            )
            for index in self._find(request.collection_name).indexes
        ]
        return milvus_pb2.DescribeIndexResponse(index_descriptions=descriptions)

    def GetLoadState(self, request: Any) -> Any:
        described = self._find(request.collection_name)
        self._dataset(described).check()
        released = described.loaded is False
        state = common_pb2.LoadStateNotLoad if released else common_pb2.LoadStateLoaded
        return milvus_pb2.GetLoadStateResponse(state=state)

    def GetReplicas(self, request: Any) -> Any:
        replicas = self._find(request.collection_name).replicas
        groups = [milvus_pb2.ReplicaInfo(replicaID=number) for number in range(replicas)]
        return milvus_pb2.GetReplicasResponse(replicas=groups)

    # -- create and change -------------------------------------------------------------------------

    def CreateCollection(self, request: Any) -> None:
        count = request.num_partitions
        numbered = tuple(f"{DEFAULT_PARTITION}_{number}" for number in range(count))
        described = Description(
            name=request.collection_name,
            collection_id=time.time_ns(),
            raw_schema=request.schema,
            shards=request.shards_num,
            consistency_level=request.consistency_level,
            partition_count=count or 1,
            properties=messages.pairs(request.properties),
            partitions=numbered or (DEFAULT_PARTITION,),
            loaded=False,
        )
        self._save(described)

    def AlterCollection(self, request: Any) -> None:
        described = self._find(request.collection_name)
        pairs = dict(described.properties) | dict(messages.pairs(request.properties))
        kept = tuple(pair for pair in pairs.items() if pair[0] not in request.delete_keys)
        self._save(described, properties=kept)

    def DropCollection(self, request: Any) -> None:
        described = self._find(request.collection_name)
        name = described.name
        self._store.remove(f"{name}/{_SIDECAR}")
        for folder in (name, *(f"{name}/{partition}" for partition in described.partitions)):
            for file in self._store.names(folder):
                if "." in file:
                    self._store.remove(f"{folder}/{file}")
        self._datasets.pop(name, None)

    def CreatePartition(self, request: Any) -> None:
        described = self._find(request.collection_name)
        names = tuple(sorted({*described.partitions, request.partition_name}))
        self._save(described, partitions=names, partition_count=len(names))

    def CreateAlias(self, request: Any) -> None:
        described = self._find(request.collection_name)
        self._save(described, aliases=(*described.aliases, request.alias))

    def CreateIndex(self, request: Any) -> None:
        described = self._find(request.collection_name)
        params = messages.pairs(request.extra_params)
        index = Index(request.field_name, request.index_name, params)
        self._save(described, indexes=(*described.indexes, index))

    def LoadCollection(self, request: Any) -> None:
        self._save_load_state(request.collection_name, request.replica_number or 1)

    def ReleaseCollection(self, request: Any) -> None:
        self._save_load_state(request.collection_name, 0)

    def GetLoadingProgress(self, _: Any) -> Any:
        return milvus_pb2.GetLoadingProgressResponse(progress=100)

    # -- rows -------------------------------------------------------------------------------------

    def Insert(self, request: Any) -> Any:
        return self._put(request, replace_keys=False)

    def Upsert(self, request: Any) -> Any:
        return self._put(request, replace_keys=True)

    def _put(self, request: Any, *, replace_keys: bool) -> Any:
        described = self._find(request.collection_name)
        schema = described.schema.select([column.field_name for column in request.fields_data])
        columns = milvus_pb2.QueryResults(fields_data=request.fields_data).SerializeToString()
        rows = row_data.decode(schema, columns)
        partition = request.partition_name or described.partitions[0]
        self._dataset(described).put(partition, rows, replace_keys=replace_keys)
        return milvus_pb2.MutationResult(insert_cnt=rows.num_rows, upsert_cnt=rows.num_rows)

    def Query(self, request: Any) -> Any:
        described = self._find(request.collection_name)
        keys = key_filters.parse(request.expr, described.schema.primary)
        if keys is None:
            raise _Refusal(f"Parquet files can be filtered by primary key only: {request.expr}")
        dataset, partitions = self._dataset(described), list(request.partition_names)
        names = list(request.output_fields)
        if names == ["count(*)"]:
            count = schema_pb2.LongArray(data=[dataset.count(partitions, keys)])
            scalars = schema_pb2.ScalarField(long_data=count)
            return milvus_pb2.QueryResults(fields_data=[schema_pb2.FieldData(scalars=scalars)])
        limit = int(dict(messages.pairs(request.query_params))["limit"])
        page = dataset.page(partitions, keys, names, limit)
        if page is None:
            return None
        columns = row_data.encode_fields(described.schema.select(names), page)
        return b"".join(wire.head(_ANSWER_FIELDS, len(column)) + column for column in columns)

    def Flush(self, request: Any) -> None:
        for name in request.collection_names:
            self._dataset(self._find(name)).seal()

    def GetFlushState(self, _: Any) -> Any:
        return milvus_pb2.GetFlushStateResponse(flushed=True)

    def GetCollectionStatistics(self, request: Any) -> Any:
        rows = self._dataset(self._find(request.collection_name)).rows()
        stats = messages.key_values([("row_count", str(rows))])
        return milvus_pb2.GetCollectionStatisticsResponse(stats=stats)

    # -- inside -----------------------------------------------------------------------------------

    def _find(self, name: str) -> Description:
        sidecar = self._store.value(_SIDECARS, f"{name}/{_SIDECAR}")
        if sidecar is None:
            raise _Refusal(f"collection not found[collection={name}]", _NO_COLLECTION)
        return sidecar.collection

    def _save(self, described: Description, **changed: Any) -> None:
        described = replace(described, **changed)
        data = _SIDECARS.dump_json(_Sidecar(described), indent=1)
        self._store.replace(f"{described.name}/{_SIDECAR}", data)

    def _save_load_state(self, name: str, replicas: int) -> None:
        """Saves the load state; skips that if the folder is read-only."""
        described = self._find(name)
        with contextlib.suppress(LedgerError):
            self._save(described, loaded=replicas > 0, replicas=replicas)

    def _dataset(self, described: Description) -> Dataset:
        if described.name not in self._datasets:
            primary = described.schema.primary.name
            self._datasets[described.name] = Dataset(self._store, described.name, primary)
        return self._datasets[described.name]
