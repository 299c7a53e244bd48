"""The only access to a Milvus: one method for each operation on collections and rows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
from pymilvus.grpc_gen import milvus_pb2

from transforms.errors import Ambiguous, Refused, ServerError, Stalled
from transforms.milvus import codes, messages
from transforms.milvus.catalog import Catalog
from transforms.milvus.channel import Result
from transforms.milvus.codec import row_data, wire
from transforms.milvus.faults import surely_not_done
from transforms.milvus.schema import Schema
from transforms.milvus.snapshot import BOUNDED, NO_TIMESTAMP, STRONG, Consistency, Snapshot

_POLL_S = 0.2

LOAD_STALL_S = 600.0
"""A load may take hours. One that makes no progress for this long is given up."""

LOAD_REFUSALS = 4
"""A load has failed if the server says so this many times in a row. A failed load stays failed, but
a single such answer may come from a node that is being moved."""

OnProgress = Callable[[int], None] | None

_UNLOADED = re.compile(r"field (\S+) is not loaded")


class Client(Catalog):
    """One database of one Milvus, or all of them, with the rows. Thread-safe."""

    _pins: bool | None = None
    """Whether this server pins reads at a timestamp; None until that is known."""

    # -- load state -----------------------------------------------------------------------------

    def load(
        self,
        collection: str,
        *,
        replicas: int = 0,
        on_progress: OnProgress = None,
        stall_s: float = LOAD_STALL_S,
    ) -> None:
        """Loads a collection unless it is loaded, and waits as `wait_for_load` does.

        From 2.6.6 on, LoadCollection of a loaded collection changes its number of replicas.
        """
        if self.released(collection) is not False:
            _ask_repeatedly(lambda: self.begin_load(collection, replicas))
        self.wait_for_load(collection, on_progress=on_progress, stall_s=stall_s)

    def wait_for_load(
        self, collection: str, *, on_progress: OnProgress = None, stall_s: float = LOAD_STALL_S
    ) -> None:
        """Waits until a collection is loaded; `on_progress` gets the percent done.

        Raises:
            Refused: the load has failed, for the reason that the server gives.
            Stalled: it makes no progress for `stall_s`.
        """
        before, changed_s = -1, time.monotonic()
        while (percent := _ask_repeatedly(lambda: self._load_percent(collection))) < 100:
            if percent != before:
                before, changed_s = percent, time.monotonic()
            elif time.monotonic() - changed_s > stall_s:
                what = f"{collection} stays at {percent} % for {stall_s / 60:.0f} minutes"
                why = "check the memory and the logs of the server's query nodes"
                raise Stalled(self.endpoint.url, "LoadCollection", f"{what}; {why}")
            if on_progress:
                on_progress(percent)
            time.sleep(_POLL_S)

    def begin_load(self, collection: str, replicas: int = 0) -> None:
        """Starts to load a collection; a server with too few nodes for `replicas` refuses at once.

        0 is the server's default: the number of the database or cluster (2.5 and later), else 1.
        Any other number is stored as the user's choice, and overrides the default (2.6.6).
        """
        request = milvus_pb2.LoadCollectionRequest(
            **self._names(collection), replica_number=replicas
        )
        self._do("LoadCollection", request)

    def unloaded_fields(self, collection: str, names: Iterable[str]) -> tuple[str, ...]:
        """Returns those of the named fields that a loaded collection does not have in memory.

        No call lists them; a query for such a field fails and names it (2.5 and later).
        """
        fields, unloaded = list(names), []
        while fields:
            request = self._query(
                collection, partition="", where="", columns=fields, seen=BOUNDED, limit=1
            )
            try:
                self._ask("Query", request, milvus_pb2.QueryResults)
                break
            except Refused as error:
                match = _UNLOADED.search(error.detail)
                if not match or match[1] not in fields:
                    break  # Another error: the read of the rows reports it.
                fields.remove(match[1])
                unloaded.append(match[1])
        return tuple(unloaded)

    def release(self, collection: str) -> None:
        """Releases a collection from memory."""
        self._do(
            "ReleaseCollection",
            milvus_pb2.ReleaseCollectionRequest(**self._names(collection)),
        )

    def flush(self, collection: str, *, timeout_s: float) -> None:
        """Seals the written rows and waits for storage. Flush is rate-limited: call it once.

        Raises:
            Stalled: the rows are not in storage after `timeout_s`.
        """
        database, name = self._split(collection)
        request = milvus_pb2.FlushRequest(db_name=database, collection_names=[name])
        answer = self._ask("Flush", request, milvus_pb2.FlushResponse)
        segments = answer.coll_segIDs[name].data
        flush_ts = answer.coll_flush_ts.get(name, 0)
        deadline = time.monotonic() + timeout_s
        while not self._flushed(collection, list(segments), flush_ts):
            if time.monotonic() > deadline:
                what = f"{collection} not flushed in {timeout_s:.0f} s"
                raise Stalled(self.endpoint.url, "Flush", what)
            time.sleep(_POLL_S)

    def stored_rows(self, collection: str) -> int:
        """Returns the rows in storage: an estimate, without rows that are not flushed yet."""
        answer = self._ask(
            "GetCollectionStatistics",
            milvus_pb2.GetCollectionStatisticsRequest(**self._names(collection)),
            milvus_pb2.GetCollectionStatisticsResponse,
        )
        return next((int(pair.value) for pair in answer.stats if pair.key == "row_count"), 0)

    # -- rows -----------------------------------------------------------------------------------

    def snapshot(self, collection: str) -> Snapshot:
        """Returns a timestamp after all writes before this call, and how queries can use it.

        On servers that can pin a read (2.5 and later), a Strong query with `iterator` returns it;
        on others AllocTimestamp does, as a guarantee for which every replica waits.
        """
        if self.endpoint.folder:
            return NO_TIMESTAMP
        if self._pins is not False:
            request = self._query(
                collection, partition="", where="", columns=[], seen=STRONG, limit=1
            )
            timestamp = self._ask("Query", request, milvus_pb2.QueryResults).session_ts
            self._pins = timestamp > 0
            if timestamp:
                return Snapshot(timestamp, pinned=True)
        answer = self._if_permitted(
            "AllocTimestamp", milvus_pb2.AllocTimestampRequest(), milvus_pb2.AllocTimestampResponse
        )
        return Snapshot(answer.timestamp)

    def count(
        self, collection: str, *, partition: str = "", where: str = "", seen: Consistency = STRONG
    ) -> int:
        """Counts rows by ``count(*)``: every row of a duplicate key counts."""
        request = self._query(
            collection, partition=partition, where=where, columns=["count(*)"], seen=seen
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
        seen: Consistency = BOUNDED,
        fits: bool = False,
    ) -> tuple[pa.RecordBatch, int]:
        """Returns the rows with the smallest keys that match, in key order, and their wire bytes.

        About `rows` of them: 2.3 may return fewer or more. Only an empty page can be the end. It
        returns all of them if `fits`: if at most `rows` rows match, duplicate keys included.

        Raises:
            TooLarge: request fewer rows.
        """
        request = self._query(
            collection,
            partition=partition,
            where=where,
            columns=list(schema.names),
            seen=seen,
            limit=rows,
            best=not fits and not seen.pinned,  # If pages are pinned, the limit may be exact.
        )
        counts = _has_whole_rows(schema)
        self.flow.limiter.acquire(rows * counts, 0)
        read, size_bytes = 0, 0
        try:
            answer, took_s = self._ask_timed("Query", request)
            page = _in_key_order(row_data.decode(schema, answer), schema.primary.name)
            read, size_bytes = page.num_rows, len(answer)
        finally:
            self.flow.limiter.correct((read - rows) * counts, size_bytes)
        if seen != STRONG:  # A Strong query waits for other writes.
            self.flow.adjust_page_size(took_s, size_bytes, longest_s=self.endpoint.max_latency_s)
        return page, size_bytes

    def insert(self, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch) -> int:
        """Inserts rows once and returns how many the server acknowledged.

        Retries only if the server certainly wrote nothing, as with limits and quotas. The list is
        `codes.NOTHING_WRITTEN`. The server writes shard by shard, so after any other error a part
        of the rows may be written.

        Raises:
            Ambiguous: all rows, or a part, may be written; `meaning` is the server's error.
            TooLarge: nothing was written; send fewer rows.
            ServerError: nothing was written.
        """
        return self._write("Insert", collection, partition, schema, rows)

    def upsert(self, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch) -> int:
        """Writes rows by key, so that a repeated write changes nothing; retries temporary errors.

        From 2.6.8 on the server refuses rows if two of them have the same key.
        """
        return self._write("Upsert", collection, partition, schema, rows)

    def delete(self, collection: str, partition: str, where: str) -> None:
        """Deletes the rows that match a filter."""
        self._ask(
            "Delete",
            milvus_pb2.DeleteRequest(
                **self._names(collection),
                partition_name=partition,
                expr=where,
            ),
            milvus_pb2.MutationResult,
        )

    # -- inside ---------------------------------------------------------------------------------

    def _write(
        self, method: str, collection: str, partition: str, schema: Schema, rows: pa.RecordBatch
    ) -> int:
        database, name = self._split(collection)
        payload = row_data.insert_request(
            database=database,
            collection=name,
            partition=partition,
            schema=schema,
            batch=rows,
        )

        def attempt() -> bytes:
            self.flow.limiter.acquire(rows.num_rows, len(payload))
            try:
                return self._channel.send(method, payload, database)
            except ServerError as error:
                if surely_not_done(error):
                    # The bytes were sent nevertheless.
                    self.flow.limiter.correct(-rows.num_rows, 0)
                    raise
                if method == "Upsert":
                    raise
                raise _Sent from error

        try:
            answer = self._channel.retry(attempt)
        except _Sent as sent:
            error = cast(ServerError, sent.__cause__)
            self.flow.retries.add_retry(error, 0.0)  # The caller rewrites by key, at once.
            raise Ambiguous(error.server, error.call, error.detail, error.code) from error
        return _acknowledged(answer, rows.num_rows)

    def _query(
        self,
        collection: str,
        *,
        partition: str,
        where: str,
        columns: list[str],
        seen: Consistency,
        limit: int = 0,
        best: bool = True,
    ) -> milvus_pb2.QueryRequest:
        # 2.5 and later sort by key with `iterator`, 2.3 and 2.4 with `reduce_stop_for_best`:
        # without it 2.3.5 loses rows if keys are duplicate and a limit cuts them off. With it, a
        # page ends where the first shard has no more rows: a few rows of the others follow in the
        # next page, and then a few of those (measured: 25,116 rows, then 3, 1 and 1).
        #
        # In another time zone, TIMESTAMPTZ text loses seconds before the zone's first standard
        # offset (measured on 2.6.19), so both sides are read in UTC; older servers ignore it.
        params = [("timezone", "UTC")]
        if limit:
            params += [("limit", str(limit)), ("reduce_stop_for_best", str(best))]
        if limit or seen.timestamp:  # A count also needs `iterator` to use the snapshot.
            params.append(("iterator", "True"))
        return milvus_pb2.QueryRequest(
            **self._names(collection),
            expr=where,
            output_fields=columns,
            partition_names=[partition] if partition else [],
            guarantee_timestamp=seen.timestamp,
            consistency_level=seen.level,
            use_default_consistency=False,
            query_params=messages.key_values(params),
        )

    def _load_percent(self, collection: str) -> int:
        """Returns how much of a collection is loaded, in percent.

        Raises:
            Refused: the load has failed, or a release cancelled it.
        """
        request = milvus_pb2.GetLoadingProgressRequest(**self._names(collection))
        answer = milvus_pb2.GetLoadingProgressResponse
        try:
            return int(self._ask("GetLoadingProgress", request, answer).progress)
        except Refused as error:
            reason = f'the server failed to load {collection}: "{error.detail}"'
            raise Refused(error.server, "LoadCollection", reason, error.code) from error

    def _flushed(self, collection: str, segments: list[int], flush_ts: int) -> bool:
        return bool(
            self._ask(
                "GetFlushState",
                milvus_pb2.GetFlushStateRequest(
                    segmentIDs=segments,
                    flush_ts=flush_ts,
                    **self._names(collection),
                ),
                milvus_pb2.GetFlushStateResponse,
            ).flushed
        )


def _ask_repeatedly(ask: Callable[[], Result]) -> Result:
    """Returns the first successful answer; raises a refusal if it is final or comes repeatedly."""
    for _ in range(LOAD_REFUSALS - 1):
        try:
            return ask()
        except Refused as error:
            if error.code not in codes.PASSING:
                raise
            time.sleep(_POLL_S)
    return ask()


class _Sent(Exception):
    """Ends the retries of an insert that may have arrived."""


_INSERTED, _UPSERTED = 6, 8
"""Field numbers of ``insert_cnt`` and ``upsert_cnt`` in MutationResult."""


def _acknowledged(answer: bytes, sent: int) -> int:
    """Returns how many rows a write wrote; skips the keys in the answer."""
    counts = {number: value for number, _, value in wire.fields(memoryview(answer))}
    return int(counts.get(_INSERTED) or counts.get(_UPSERTED) or sent)


def _has_whole_rows(schema: Schema) -> bool:
    """Returns whether the limit counts these columns as rows; keys alone count only as bytes."""
    return len(schema.names) > 1


def _in_key_order(batch: pa.RecordBatch, primary: str) -> pa.RecordBatch:
    """Sorts a page if the server did not (milvus-lite before 3.2.1)."""
    keys = batch.column(primary)
    if batch.num_rows < 2 or pc.all(pc.less(keys[:-1], keys[1:])).as_py():
        return batch
    return batch.take(pc.sort_indices(keys))
