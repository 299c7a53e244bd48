"""The only way to a Milvus: one method for each thing that Kitelift asks of a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import common_pb2, milvus_pb2

from transforms.errors import (
    AccessDenied,
    Ambiguous,
    PrivilegeMissing,
    Refused,
    ServerError,
    Unreachable,
)
from transforms.milvus import codec, versions, wire
from transforms.milvus.channel import Channel, Patience, Result, surely_not_done
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.schema import Schema
from transforms.milvus.versions import Version

STRONG, BOUNDED = 0, 2
_BOUNDED_TIMESTAMP = 2
"""Guarantee timestamp that means "as of the server's graceful time" (pymilvus' BOUNDED_TS)."""

_POLL_S = 0.2


class Client:
    """One database of one Milvus. Threads may share it."""

    def __init__(self, endpoint: Endpoint, patience: Patience | None = None) -> None:
        self.endpoint = endpoint
        self._database = endpoint.database
        self._channel = Channel(endpoint, patience)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def persist(self, attempt: Callable[[], Result]) -> Result:
        """Runs several calls as one, again and again, as long as that can help."""
        return self._channel.persist(attempt)

    @property
    def retries(self) -> int:
        """Calls tried again so far."""
        return self._channel.retries

    @property
    def pause_s(self) -> float:
        """Seconds between two calls that the server's refusals ask for; 0 is full speed."""
        return self._channel.governor.pause_s

    # -- the server -----------------------------------------------------------------------------

    def version(self) -> Version:
        """Asks for the version, both ways that servers tell it."""
        connect = milvus_pb2.ConnectRequest(
            client_info=common_pb2.ClientInfo(sdk_type="Python", sdk_version="kitelift")
        )
        release = self._if_known(
            "GetVersion", milvus_pb2.GetVersionRequest(), milvus_pb2.GetVersionResponse
        )
        tags = self._if_known("Connect", connect, milvus_pb2.ConnectResponse)
        return versions.parse(release.version, tags.server_info.build_tags)

    def databases(self) -> list[str]:
        """Lists the databases; just our own where the server, or our role, does not let us know."""
        try:
            answer = self._ask(
                "ListDatabases", milvus_pb2.ListDatabasesRequest(), milvus_pb2.ListDatabasesResponse
            )
        except (Refused, PrivilegeMissing):
            return [self._database]
        return sorted(answer.db_names)

    def create_database(self, name: str) -> None:
        """Makes a database."""
        self._do("CreateDatabase", milvus_pb2.CreateDatabaseRequest(db_name=name))

    # -- collections ----------------------------------------------------------------------------

    def collections(self) -> list[str]:
        """Lists the collections of the database, by name."""
        answer = self._ask(
            "ShowCollections",
            milvus_pb2.ShowCollectionsRequest(db_name=self._database),
            milvus_pb2.ShowCollectionsResponse,
        )
        return sorted(answer.collection_names)

    def describe(self, collection: str) -> Description:
        """Returns all that the server says of a collection; an alias finds its collection."""
        answer = self._ask(
            "DescribeCollection",
            milvus_pb2.DescribeCollectionRequest(
                db_name=self._database, collection_name=collection
            ),
            milvus_pb2.DescribeCollectionResponse,
        )
        return Description(
            name=answer.schema.name,
            collection_id=answer.collectionID,
            raw_schema=answer.schema.SerializeToString(),
            shards=answer.shards_num,
            consistency_level=answer.consistency_level,
            partition_count=answer.num_partitions,
            properties=_pairs(answer.properties),
            aliases=tuple(sorted(answer.aliases)),
            partitions=tuple(self.partitions(collection)),
            indexes=self.indexes(collection),
            loaded=self.loaded(collection),
        )

    def create_collection(self, name: str, wanted: Description) -> None:
        """Makes a collection as described, under another name if `name` differs."""
        schema = type(wanted.message)()
        schema.CopyFrom(wanted.message)
        schema.name = name
        schema.dbName = ""
        for field in schema.fields:
            field.fieldID = 0
            field.state = 0
        self._do(
            "CreateCollection",
            milvus_pb2.CreateCollectionRequest(
                db_name=self._database,
                collection_name=name,
                schema=schema.SerializeToString(),
                shards_num=wanted.shards,
                consistency_level=wanted.consistency_level,
                properties=_key_values(wanted.properties),
                num_partitions=wanted.partition_count if wanted.partition_key else 0,
            ),
        )

    def drop_collection(self, name: str) -> None:
        """Drops a collection; its rows are gone."""
        self._do(
            "DropCollection",
            milvus_pb2.DropCollectionRequest(db_name=self._database, collection_name=name),
        )

    def partitions(self, collection: str) -> list[str]:
        """Lists the names of a collection's partitions."""
        answer = self._ask(
            "ShowPartitions",
            milvus_pb2.ShowPartitionsRequest(db_name=self._database, collection_name=collection),
            milvus_pb2.ShowPartitionsResponse,
        )
        return sorted(answer.partition_names)

    def create_partition(self, collection: str, partition: str) -> None:
        """Makes a partition."""
        self._do(
            "CreatePartition",
            milvus_pb2.CreatePartitionRequest(
                db_name=self._database, collection_name=collection, partition_name=partition
            ),
        )

    def create_alias(self, collection: str, alias: str) -> None:
        """Gives a collection an alias."""
        self._do(
            "CreateAlias",
            milvus_pb2.CreateAliasRequest(
                db_name=self._database, collection_name=collection, alias=alias
            ),
        )

    def drop_alias(self, alias: str) -> None:
        """Drops an alias; its collection stays."""
        self._do("DropAlias", milvus_pb2.DropAliasRequest(db_name=self._database, alias=alias))

    def indexes(self, collection: str) -> tuple[Index, ...]:
        """Lists a collection's indexes; none is not an error."""
        return tuple(
            Index(index.field_name, index.index_name, _pairs(index.params))
            for index in self._describe_indexes(collection)
        )

    def create_index(self, collection: str, index: Index) -> None:
        """Makes an index with exactly these parameters; the server builds it in its own time."""
        self._do(
            "CreateIndex",
            milvus_pb2.CreateIndexRequest(
                db_name=self._database,
                collection_name=collection,
                field_name=index.field,
                index_name=index.name,
                extra_params=_key_values(index.params),
            ),
        )

    def indexing(self, collection: str) -> tuple[int, int]:
        """Returns rows indexed and rows to index, of the index that is furthest behind.

        Raises:
            Refused: an index could not be built.
        """
        progress = []
        for index in self._describe_indexes(collection):
            if index.state == common_pb2.IndexState.Failed:
                raise Refused(
                    self.endpoint.url,
                    "CreateIndex",
                    f"index {index.index_name!r} on {collection}.{index.field_name} failed: "
                    f"{index.index_state_fail_reason}",
                )
            if index.state != common_pb2.IndexState.Finished:
                progress.append((index.indexed_rows, max(index.total_rows, index.indexed_rows + 1)))
        return min(progress, default=(0, 0), key=lambda done: done[0] / max(done[1], 1))

    # -- load state -----------------------------------------------------------------------------

    def loaded(self, collection: str) -> bool | None:
        """Whether a collection is loaded; None where the server does not let us know."""
        try:
            answer = self._ask(
                "GetLoadState",
                milvus_pb2.GetLoadStateRequest(db_name=self._database, collection_name=collection),
                milvus_pb2.GetLoadStateResponse,
            )
        except (AccessDenied, Refused):
            return None
        return bool(answer.state == common_pb2.LoadState.LoadStateLoaded)

    def load(
        self, collection: str, *, timeout_s: float, told: Callable[[int], None] | None = None
    ) -> None:
        """Loads a collection and waits until it is; `told` hears of the percent done."""
        self._do(
            "LoadCollection",
            milvus_pb2.LoadCollectionRequest(
                db_name=self._database, collection_name=collection, replica_number=1
            ),
        )
        deadline = time.monotonic() + timeout_s
        while (percent := self._load_percent(collection)) < 100:
            if time.monotonic() > deadline:
                raise Unreachable(
                    self.endpoint.url, "LoadCollection", f"{collection} not loaded in {timeout_s} s"
                )
            if told:
                told(percent)
            time.sleep(_POLL_S)

    def release(self, collection: str) -> None:
        """Releases a collection from memory."""
        self._do(
            "ReleaseCollection",
            milvus_pb2.ReleaseCollectionRequest(db_name=self._database, collection_name=collection),
        )

    def flush(self, collection: str, *, timeout_s: float) -> None:
        """Seals what was written and waits until it is stored. Flush is rate limited: once only."""
        answer = self._ask(
            "Flush",
            milvus_pb2.FlushRequest(db_name=self._database, collection_names=[collection]),
            milvus_pb2.FlushResponse,
        )
        segments = answer.coll_segIDs[collection].data
        flush_ts = answer.coll_flush_ts.get(collection, 0)
        deadline = time.monotonic() + timeout_s
        while not self._flushed(collection, list(segments), flush_ts):
            if time.monotonic() > deadline:
                raise Unreachable(
                    self.endpoint.url, "Flush", f"{collection} not flushed in {timeout_s:.0f} s"
                )
            time.sleep(_POLL_S)

    def stored_rows(self, collection: str) -> int:
        """Returns the rows in storage: an estimate, without what is not flushed yet."""
        answer = self._ask(
            "GetCollectionStatistics",
            milvus_pb2.GetCollectionStatisticsRequest(
                db_name=self._database, collection_name=collection
            ),
            milvus_pb2.GetCollectionStatisticsResponse,
        )
        return next((int(pair.value) for pair in answer.stats if pair.key == "row_count"), 0)

    # -- rows -----------------------------------------------------------------------------------

    def count(
        self, collection: str, *, partition: str = "", where: str = "", strong: bool = True
    ) -> int:
        """Counts rows by ``count(*)``: every row of a repeated key counts."""
        request = self._query(
            collection, partition=partition, where=where, columns=["count(*)"], strong=strong
        )
        answer = self._ask("Query", request, milvus_pb2.QueryResults)
        return int(answer.fields_data[0].scalars.long_data.data[0])

    def page(
        self,
        collection: str,
        schema: Schema,
        *,
        rows: int,
        partition: str = "",
        where: str = "",
        strong: bool = False,
    ) -> tuple[pa.RecordBatch, int]:
        """Returns the rows with the smallest keys that match, in key order, and their wire bytes.

        About `rows` of them: 2.3 may return fewer or more. Only an empty page means that there are
        no more.

        Raises:
            TooLarge: ask for fewer rows.
        """
        request = self._query(
            collection,
            partition=partition,
            where=where,
            columns=list(schema.names),
            strong=strong,
            limit=rows,
        )
        payload = request.SerializeToString()
        answer = self._channel.persist(lambda: self._channel.send("Query", payload))
        return _in_key_order(codec.decode(schema, answer), schema.primary.name), len(answer)

    def insert(self, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch) -> int:
        """Inserts rows once and returns how many the server acknowledged.

        Tried again only where the server certainly did nothing: limits and quotas.

        Raises:
            Ambiguous: sent, and not answered, or not clearly: the rows may have arrived.
            TooLarge: nothing was written; send fewer rows.
            ServerError: nothing was written.
        """
        return self._write("Insert", collection, partition, schema, rows)

    def upsert(self, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch) -> int:
        """Writes rows by key, so that writing them again changes nothing; retries everything."""
        return self._write("Upsert", collection, partition, schema, rows)

    def delete(self, collection: str, partition: str, where: str) -> None:
        """Deletes the rows that a filter names."""
        self._ask(
            "Delete",
            milvus_pb2.DeleteRequest(
                db_name=self._database,
                collection_name=collection,
                partition_name=partition,
                expr=where,
            ),
            milvus_pb2.MutationResult,
        )

    # -- inside ---------------------------------------------------------------------------------

    def _write(
        self, method: str, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch
    ) -> int:
        payload = codec.insert_request(
            database=self._database,
            collection=collection,
            partition=partition,
            schema=schema,
            batch=rows,
        )

        def attempt() -> bytes:
            try:
                return self._channel.send(method, payload)
            except ServerError as error:
                if method == "Upsert" or surely_not_done(error):
                    raise
                raise _Sent from error

        try:
            answer = self._channel.persist(attempt)
        except _Sent as sent:
            error = cast(ServerError, sent.__cause__)
            raise Ambiguous(error.server, error.call, error.detail, error.code) from error
        return _acknowledged(answer, rows.num_rows)

    def _query(
        self,
        collection: str,
        *,
        partition: str,
        where: str,
        columns: list[str],
        strong: bool,
        limit: int = 0,
    ) -> milvus_pb2.QueryRequest:
        # `iterator` is what 2.5 and later order by, `reduce_stop_for_best` what 2.3 and 2.4 do:
        # without it 2.3.5 loses rows when keys repeat.
        params = (
            [("limit", str(limit)), ("iterator", "True"), ("reduce_stop_for_best", "True")]
            if limit
            else []
        )
        return milvus_pb2.QueryRequest(
            db_name=self._database,
            collection_name=collection,
            expr=where,
            output_fields=columns,
            partition_names=[partition] if partition else [],
            guarantee_timestamp=0 if strong else _BOUNDED_TIMESTAMP,
            consistency_level=STRONG if strong else BOUNDED,
            use_default_consistency=False,
            query_params=_key_values(params),
        )

    def _describe_indexes(self, collection: str) -> list[milvus_pb2.IndexDescription]:
        try:
            answer = self._ask(
                "DescribeIndex",
                milvus_pb2.DescribeIndexRequest(db_name=self._database, collection_name=collection),
                milvus_pb2.DescribeIndexResponse,
            )
        except Refused as error:
            if error.code == 700 or "index not found" in error.detail.lower():
                return []
            raise
        return list(answer.index_descriptions)

    def _load_percent(self, collection: str) -> int:
        return int(
            self._ask(
                "GetLoadingProgress",
                milvus_pb2.GetLoadingProgressRequest(
                    db_name=self._database, collection_name=collection
                ),
                milvus_pb2.GetLoadingProgressResponse,
            ).progress
        )

    def _flushed(self, collection: str, segments: list[int], flush_ts: int) -> bool:
        return bool(
            self._ask(
                "GetFlushState",
                milvus_pb2.GetFlushStateRequest(
                    segmentIDs=segments,
                    flush_ts=flush_ts,
                    db_name=self._database,
                    collection_name=collection,
                ),
                milvus_pb2.GetFlushStateResponse,
            ).flushed
        )

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        return self._channel.ask(method, request, answer)

    def _do(self, method: str, request: Any) -> None:
        self._channel.ask(method, request, common_pb2.Status)

    def _if_known(self, method: str, request: Any, answer: Any) -> Any:
        """Returns the answer; an empty one where the server does not know the call."""
        try:
            return self._ask(method, request, answer)
        except Refused:
            return answer()


class _Sent(Exception):
    """Ends the retries of an insert that may have arrived."""


_INSERTED, _UPSERTED = 6, 8
"""Field numbers of ``insert_cnt`` and ``upsert_cnt`` in MutationResult."""


def _acknowledged(answer: bytes, sent: int) -> int:
    """Reads how many rows a write did; the keys that the answer repeats are passed over."""
    counts = {number: value for number, _, value in wire.fields(memoryview(answer))}
    return int(counts.get(_INSERTED) or counts.get(_UPSERTED) or sent)


def _in_key_order(batch: pa.RecordBatch, primary: str) -> pa.RecordBatch:
    """Sorts a page where the server did not (milvus-lite before 3.2.1)."""
    keys = batch.column(primary)
    if batch.num_rows < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return batch
    return batch.take(pc.sort_indices(keys))


def _pairs(message: Iterable[common_pb2.KeyValuePair]) -> Pairs:
    return tuple((pair.key, pair.value) for pair in message)


def _key_values(pairs: Iterable[tuple[str, str]]) -> list[common_pb2.KeyValuePair]:
    return [common_pb2.KeyValuePair(key=key, value=value) for key, value in pairs]
