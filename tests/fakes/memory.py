"""Collections in memory, whose rows behave as those of the release that their server claims.

Inserts never replace, so a key may be stored more than once: `count(*)` counts each row, pages show
one of them. Each insert makes a segment in each shard that it has rows of; pages are merged from
segments (tests/fakes/paging.py).
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.common_pb2 import IndexState, KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes import expressions, paging, rows
from tests.fakes.clock import Clock, ticks
from tests.fakes.columns import Field
from tests.fakes.fields import META, answered, default_of, is_vector, may_be_left_out
from tests.fakes.rows import EVERYTHING, Row, Stored, View
from tests.fakes.rules import Rules
from tests.fakes.shards import shard_of
from tests.fakes.statuses import (
    BAD_PARAMETER,
    NO_INDEX,
    NO_PARTITION,
    NOT_LOADED,
    PARTITION_NOT_LOADED,
    UNEXPECTED,
    Refusal,
    invalid,
    plain,
)

__all__ = ["BAD_PARAMETER", "NOT_LOADED", "NO_INDEX", "NO_PARTITION", "UNEXPECTED", "Row"]

MAX_INT64 = 2**63 - 1
TAKES_IDS = "allow_insert_auto_id"
TAKES_OUTPUTS = "collection.function.allowInsertNonBM25FunctionOutputs"
TTL = "collection.ttl.seconds"
LEVELS = ("Strong", "Session", "Bounded", "Eventually", "Customized")


class Host(Protocol):
    """What a collection needs of its server."""

    clock: Clock

    @property
    def rules(self) -> Rules: ...


@dataclass
class Collection:
    """One collection; `request` is the one that made it.

    `load_failure` is why loading it fails, `load_percent` how far loading has come, `stored`
    whether a flush is done; `unloaded` are fields, `released` partitions, that are not in memory;
    `loads` is how often it was released, so that another row of a key may be shown;
    `cached_aliases` are those that DescribeCollection shows until the cache is cleared;
    `written_at` and `flushed_at` are the timestamps of the last write and flush.
    """

    number: int
    schema: schema_pb2.CollectionSchema
    request: milvus_pb2.CreateCollectionRequest
    host: Host
    partitions: list[str] = field(default_factory=lambda: ["_default"])
    aliases: list[str] = field(default_factory=list)
    indexes: list[milvus_pb2.IndexDescription] = field(default_factory=list)
    loaded: bool = False
    loads: int = 0
    load_failure: str = ""
    load_percent: int = 100
    stored: bool = True
    replicas: int = 1
    unloaded: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    cached_aliases: list[str] | None = None
    written_at: int = 0
    flushed_at: int = 0
    _rows: list[Stored] = field(default_factory=list)
    _made: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # -- what it is -------------------------------------------------------------------------------

    @property
    def primary(self) -> schema_pb2.FieldSchema:
        return next(each for each in self.schema.fields if each.is_primary_key)

    @property
    def fields(self) -> list[Field]:
        """All fields, struct arrays and the dynamic one among them."""
        meta = schema_pb2.FieldSchema(name=META, data_type=DataType.JSON, is_dynamic=True)
        meta.nullable = bool(self.host.rules.nullable_meta)
        dynamic = [meta] if self.schema.enable_dynamic_field else []
        return [*self.schema.fields, *self.schema.struct_array_fields, *dynamic]

    @property
    def vectors(self) -> list[str]:
        """The vectors by the names that indexes have them under."""
        of_structs = [
            f"{struct.name}[{each.name}]"
            for struct in self.schema.struct_array_fields
            for each in struct.fields
            if is_vector(each)
        ]
        return [*(each.name for each in self.schema.fields if is_vector(each)), *of_structs]

    @property
    def key_decides_partition(self) -> bool:
        return any(each.is_partition_key for each in self.schema.fields)

    @property
    def shards(self) -> int:
        return max(1, self.request.shards_num)

    @property
    def properties(self) -> dict[str, str]:
        return {pair.key: pair.value for pair in self.request.properties}

    @property
    def time_zone(self) -> str:
        """The zone that times are shown in."""
        return self.properties.get("timezone", "UTC")

    def has(self, key: str) -> bool:
        """Whether a property is true."""
        return self.properties.get(key) == "true"

    def outputs(self, *, bm25: bool) -> set[str]:
        """Returns the fields that functions make: those of BM25, or those of the others."""
        return {
            name
            for function in self.schema.functions
            if (function.type == FunctionType.BM25) == bm25
            for name in function.output_field_names
        }

    @property
    def made_here(self) -> set[str]:
        """The fields that an insert must not bring, because the server makes them."""
        rules = self.host.rules
        made = self.outputs(bm25=True)
        if not (rules.takes_function_outputs and self.has(TAKES_OUTPUTS)):
            made |= self.outputs(bm25=False)
        if self.primary.autoID and not (rules.takes_auto_ids and self.has(TAKES_IDS)):
            made.add(self.primary.name)
        return made

    def alter(self, properties: Iterable[KeyValuePair], drop: Iterable[str]) -> None:
        """Sets properties, or drops some by their keys."""
        new = {pair.key: pair.value for pair in properties}
        gone = {*new, *drop}
        left = [pair for pair in self.request.properties if pair.key not in gone]
        del self.request.properties[:]
        self.request.properties.extend(left)
        for key, value in new.items():
            self.request.properties.add(key=key, value=value)

    def index(self, field_name: str, name: str, params: Iterable[KeyValuePair]) -> None:
        """Adds an index, which is built at once."""
        self.indexes.append(
            milvus_pb2.IndexDescription(
                field_name=field_name, index_name=name, params=params, state=IndexState.Finished
            )
        )

    def load(self, *, without: Iterable[str] = ()) -> None:
        """Loads the collection, if all its vectors have an index; fields may be left out."""
        indexed = {index.field_name for index in self.indexes}
        if not indexed:
            raise Refusal(NO_INDEX, f"index not found[collection={self.schema.name}]")
        if bare := sorted({*self.vectors} - {*without} - indexed):
            words = f"there is no vector index on field: [{' '.join(bare)}]"
            raise plain(self.host.rules, f"{words}, please create index firstly")
        self.loaded, self.unloaded = not self.load_failure, {*without} or self.unloaded

    # -- its rows ---------------------------------------------------------------------------------

    def rows(self, partition: str = "") -> list[Row]:
        """Returns all rows in order of their keys, each as often as it is stored."""
        stored = [row for row in self._rows if EVERYTHING.shows(row)]
        chosen = [row for row in stored if partition in ("", row.partition)]
        return [row.values for row in sorted(chosen, key=lambda row: row.order)]

    def insert(
        self, new: Sequence[Row], partition: str = "", *, shards: int | None = None
    ) -> list[Any]:
        """Adds rows as segments of their own and returns their keys.

        Args:
            shards: how many shards are written before the insert breaks off; None is all.
        """
        self.check_partitions([partition] if partition else [])
        whole = [self._completed(row) for row in new]
        return self._store(whole, partition, shards)

    def upsert(self, new: Sequence[Row], partition: str = "", *, shards: int | None = None) -> None:
        """Adds rows in place of those with the same keys; automatic keys are made anew."""
        if self.primary.autoID and not self.host.rules.upserts_auto_ids:
            raise Refusal(BAD_PARAMETER, "upsert is not possible when the key is automatic")
        primary = self.primary.name
        if any(primary not in row for row in new):
            raise invalid(f"fieldSchema({primary}) has no corresponding fieldData pass in")
        self.check_partitions([partition] if partition else [])
        keys = {row[primary] for row in new}
        if self.primary.autoID:
            new = [{name: row[name] for name in row if name != primary} for row in new]
        whole = [self._completed(row, upsert=True) for row in new]
        self._mark_deleted(
            row for row in self._rows if row.key in keys and partition in ("", row.partition)
        )
        self._store(whole, partition, shards)

    def delete(self, expression: str, partitions: Sequence[str] = ()) -> int:
        """Deletes the rows that a filter names; returns how many."""
        return self._mark_deleted(self.matching(expression, partitions, EVERYTHING))

    def compact(self) -> None:
        """Forgets deleted rows, for those too who read at an earlier timestamp."""
        self._rows = rows.compacted(self._rows)

    def add_field(self, new: schema_pb2.FieldSchema) -> None:
        """Adds a field; rows have its default, or null."""
        self.schema.fields.append(new)
        for row in self._rows:
            row.values[new.name] = default_of(new)

    def count(
        self, expression: str, partitions: Sequence[str] = (), view: View = EVERYTHING
    ) -> int:
        """Counts rows, each as often as it is stored."""
        return len(self.matching(expression, partitions, view))

    def view(self, upto: int) -> View:
        """Returns what a query at a timestamp sees: rows that have expired are hidden by the clock."""
        lifetime_s = int(self.properties.get(TTL, 0) or 0)
        if lifetime_s <= 0 or not self.host.rules.hides_expired_rows:
            return View(upto)
        return View(upto, self.host.clock.now() - ticks(lifetime_s))

    def page(
        self,
        expression: str,
        partitions: Sequence[str],
        limit: int,
        merge: paging.Merge,
        view: View,
    ) -> list[Row]:
        """Returns the rows with the smallest keys, about `limit` of them; 0 is no limit."""
        rules = self.host.rules
        found = self.matching(expression, partitions, view)
        if rules.hides_largest_key:
            found = [row for row in found if row.key != MAX_INT64]
        if not limit:
            return paging.everything(found, rules, self.loads)
        return paging.page(found, limit, merge, rules, self.loads)

    def columns(
        self, found: Sequence[Row], names: Sequence[str], zone: str = ""
    ) -> list[schema_pb2.FieldData]:
        """Returns the columns of rows as an answer has them, times in a zone."""
        fields, rules = {each.name: each for each in self.fields}, self.host.rules
        zone = zone or self.time_zone
        return [answered(fields[name], [row[name] for row in found], rules, zone) for name in names]

    def matching(self, expression: str, partitions: Sequence[str], view: View) -> list[Stored]:
        """Returns the rows that a filter names, among those that are seen."""
        self.check_partitions(partitions)
        test = self._test(expression)
        if gone := self.released.intersection(partitions):
            raise Refusal(PARTITION_NOT_LOADED, f"partition not loaded[partition={min(gone)}]")
        return [
            row
            for row in self._rows
            if view.shows(row)
            and row.partition not in self.released
            and (not partitions or row.partition in partitions)
            and test(row.values)
        ]

    def check_partitions(self, partitions: Sequence[str]) -> None:
        """Refuses partitions that do not exist, and any if a key decides them."""
        if partitions and self.key_decides_partition:
            words = "not support manually specifying the partition names"
            raise plain(self.host.rules, f"{words} if partition key mode is used")
        for name in partitions:
            if name not in self.partitions:
                raise Refusal(NO_PARTITION, f"partition not found[partition={name}]")

    # -- inside -----------------------------------------------------------------------------------

    def _store(self, new: Sequence[Row], partition: str, shards: int | None) -> list[Any]:
        """Writes one message for each shard, as servers do, until `shards` are written."""
        segment, primary = next(self._made), self.primary.name
        self.written_at = at = self.host.clock.now()
        stored = [
            Stored(
                key=row[primary],
                values=row,
                partition=partition or self._place(row),
                shard=shard_of(row[primary], self.shards),
                segment=segment,
                at=at,
            )
            for row in new
        ]
        written = sorted({row.shard for row in stored})[:shards]
        self._rows.extend(row for row in stored if row.shard in written)
        return [row.key for row in stored]

    def _mark_deleted(self, gone: Iterable[Stored]) -> int:
        self.written_at, seen = self.host.clock.now(), 0
        for row in gone:
            seen += EVERYTHING.shows(row)
            row.gone_at = min(row.gone_at, self.written_at)
        return seen

    def _completed(self, row: Row, *, upsert: bool = False) -> Row:
        """Returns a row with the fields that the server makes, and with those left out.

        Raises:
            Refusal: a field is missing, or is not the caller's to bring.
        """
        fields, made = {each.name: each for each in self.fields}, self.made_here
        if upsert and self.primary.autoID:
            made = {*made, self.primary.name}
        optional = {each.name for each in fields.values() if may_be_left_out(each)}
        given = {*row}
        if not fields.keys() - made - optional <= given <= fields.keys() - made:
            raise Refusal(BAD_PARAMETER, f"the fields are {given}, not {fields.keys() - made}")
        self._check_dynamic(row)
        # 2-d vectors that no test has otherwise.
        values = {**{name: [0.5, -0.5] for name in self.outputs(bm25=False)}, **row}
        for name in optional - made:
            if values.get(name) is None:
                values[name] = default_of(fields[name])
        if self.primary.name in made:
            values[self.primary.name] = next(self._made)
        return values

    def _place(self, values: Row) -> str:
        """Returns the partition of a row that is inserted without one."""
        deciding = next((each.name for each in self.schema.fields if each.is_partition_key), "")
        hashed = zlib.crc32(str(values[deciding]).encode()) if deciding else 0
        return self.partitions[hashed % len(self.partitions)]

    def _test(self, expression: str) -> expressions.RowTest:
        try:
            return expressions.parse_rows(
                expression,
                [each.name for each in self.schema.fields],
                min_int64=bool(self.host.rules.reads_min_int64),
            )
        except ValueError as error:
            raise bad_filter(self.host.rules, expression, error) from error

    def _check_dynamic(self, row: Row) -> None:
        if META not in row or not self.host.rules.dynamic_keys_clash:
            return
        names = {each.name for each in self.schema.fields}
        if twice := names & {*json.loads(row[META] or "{}")}:
            what = "dynamic field name cannot include the static field name"
            raise plain(self.host.rules, f"{what}: {min(twice)}")


def bad_filter(rules: Rules, expression: str, error: ValueError) -> Refusal:
    """Returns the refusal of a filter that cannot be parsed."""
    if not rules.query_faults_are_1100:
        return Refusal(UNEXPECTED, f"cannot parse expression: {expression}, error: {error}")
    between = ":" if rules.plain_errors_are_1100 else ", error:"
    words = f"failed to create query plan: cannot parse expression: {expression}{between} {error}"
    if rules.plain_errors_are_1100:
        words += ": invalid parameter" if "not exist" in str(error) else ": query plan failed"
    return invalid(words)
