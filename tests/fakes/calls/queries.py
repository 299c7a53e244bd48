"""The call Query: which rows it sees, what it refuses, and what its answer has."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2

from tests.fakes.calls.base import Server, read
from tests.fakes.clock import GRACE_S, ticks
from tests.fakes.columns import column
from tests.fakes.fields import META
from tests.fakes.memory import Collection
from tests.fakes.paging import is_true, merge_of
from tests.fakes.statuses import (
    NOT_LOADED,
    TSAFE_STALLED,
    UNEXPECTED,
    Refusal,
    invalid,
    plain,
)

COUNT = schema_pb2.FieldSchema(name="count(*)", data_type=schema_pb2.DataType.Int64)

STRONG, SESSION, BOUNDED, EVENTUALLY, CUSTOMIZED = range(5)

EVENTUAL_TS, BOUNDED_TS = 1, 2
"""Timestamps that stand for a level, from clients older than levels (2.3 util.go:783)."""


class Queries(Server):
    """Reading rows. `loses_rows` is whether pages lose rows where keys repeat."""

    loses_rows = False

    def Query(self, request: Any, context: Any = None) -> Any:
        collection, params = self[request.collection_name], read(request.query_params)
        counts = list(request.output_fields) == [COUNT.name]
        limit = self._limit(request, params, counts=counts)
        if not collection.loaded:
            words = f"failed to query: collection not loaded[collection={collection.number}]"
            raise Refusal(NOT_LOADED, words)
        self._check_partitions(collection, request.partition_names)
        names = [] if counts else self._names(collection, request.output_fields)
        asked_at = self.clock.now()
        view = collection.view(self._upto(collection, request, params, asked_at))
        where = (request.expr, request.partition_names)
        answer = milvus_pb2.QueryResults(output_fields=names)
        if counts:
            answer.fields_data.append(column(COUNT, [collection.count(*where, view)]))
            answer.output_fields.extend([COUNT.name] if self.rules.names_primary_field else [])
        else:
            merge = merge_of(self.rules, params, loses_rows=self.loses_rows)
            rows = collection.page(*where, limit, merge, view)
            zone = params.get("timezone", "") if self.rules.query_timezone else ""
            answer.fields_data.extend(collection.columns(rows, names, zone))
        if self.rules.names_primary_field:
            answer.primary_field_name = collection.primary.name
        answer.session_ts = self._session_ts(collection, request, params, asked_at)
        return answer

    # -- inside -----------------------------------------------------------------------------------

    def _limit(self, request: Any, params: Mapping[str, str], *, counts: bool) -> int:
        """Returns the limit of a query; 0 if it has none."""
        if "limit" not in params:
            if not request.expr and not counts:
                raise self._query_fault("empty expression should be used with limit")
            return 0
        if counts:
            raise self._query_fault("count entities with pagination is not allowed")
        limit, most = int(params["limit"]), self.rules.page_rows
        if not 1 <= limit <= most:
            words = "invalid max query result window, (offset+limit) should be in range"
            words = f"{words} [1, {most}], but got {limit}"
            if self.rules.plain_errors_are_1100:
                words += ": invalid parameter"
            raise plain(self.rules, words)
        return limit

    def _check_partitions(self, collection: Collection, partitions: Sequence[str]) -> None:
        if partitions and collection.key_decides_partition:
            words = "not support manually specifying the partition names"
            raise self._query_fault(f"{words} if partition key mode is used")
        for name in partitions:
            if name not in collection.partitions:
                raise plain(self.rules, f"partition name {name} not found")

    def _names(self, collection: Collection, asked: Sequence[str]) -> list[str]:
        """Returns the columns of an answer: the key is always one of them."""
        known = [field.name for field in collection.fields]
        hidden = collection.outputs(bm25=True) if self.rules.skips_bm25_outputs else set()
        names = [collection.primary.name]
        for name in asked:
            if name in hidden:
                raise plain(self.rules, f"not allowed to retrieve raw data of field {name}")
            if self.rules.refuses_unloaded_fields and name in collection.unloaded:
                raise Refusal(UNEXPECTED, f"field {name} is not loaded")
            if name == "*":
                names += [each for each in known if each not in hidden | collection.unloaded]
            elif name in known:
                names.append(name)
            elif META in known:
                names.append(META)  # A key of the dynamic field.
            else:
                raise plain(self.rules, f"field {name} not exist")
        return list(dict.fromkeys(names))

    def _upto(
        self, collection: Collection, request: Any, params: Mapping[str, str], asked_at: int
    ) -> int:
        """Returns the timestamp up to which a query sees the writes.

        A pinned one sees them up to its own timestamp. Any other one sees what its replica has,
        and at least all up to the timestamp that its level guarantees, for which it waits.
        """
        pin = request.guarantee_timestamp
        if self.rules.pins_iterators and is_true(params, "iterator") and pin > 0:
            self._wait(pin, asked_at)
            return int(pin)
        guaranteed = self._guaranteed(collection, request, asked_at)
        self._wait(guaranteed, asked_at)
        return min(asked_at, max(guaranteed, self.replicas.seen_by_next(asked_at)))

    def _guaranteed(self, collection: Collection, request: Any, asked_at: int) -> int:
        """Reads level and timestamp as parseGuaranteeTs does (2.3 util.go:783, 2.6 :1339)."""
        level, asked = self._level(collection, request), request.guarantee_timestamp
        if level == STRONG and asked > 0:
            level = {EVENTUAL_TS: EVENTUALLY, BOUNDED_TS: BOUNDED}.get(asked, CUSTOMIZED)
        if level == STRONG:
            return asked_at
        if level == BOUNDED:
            return asked_at - ticks(GRACE_S)
        return int(asked) if level in (SESSION, CUSTOMIZED) else EVENTUAL_TS

    def _level(self, collection: Collection, request: Any) -> int:
        chosen = collection if request.use_default_consistency else None
        return int(chosen.request.consistency_level if chosen else request.consistency_level)

    def _wait(self, guaranteed: int, asked_at: int) -> None:
        """Fails where a server would wait in vain: no replica gets writes any longer."""
        if not self.stalled or guaranteed <= asked_at - ticks(GRACE_S):
            return
        if self.rules.stalled_read_is_505:
            raise Refusal(TSAFE_STALLED, "channel tsafe stalled")
        raise Refusal(UNEXPECTED, "Timestamp lag too large")

    def _session_ts(
        self, collection: Collection, request: Any, params: Mapping[str, str], asked_at: int
    ) -> int:
        """Returns the timestamp of the query itself: the proxy's clock, if it is not Strong."""
        if not self.rules.gives_session_ts or not is_true(params, "iterator"):
            return 0
        if request.guarantee_timestamp != 0:
            return 0
        return asked_at if self._level(collection, request) == STRONG else self.clock.of_proxy()

    def _query_fault(self, words: str) -> Refusal:
        return invalid(words) if self.rules.query_faults_are_1100 else plain(self.rules, words)
