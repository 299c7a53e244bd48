"""Collections in memory, with the semantics of rows that Milvus 2.3 was measured to have.

Inserts never replace, so a key may stand more than once: `count(*)` counts each, queries show the
oldest. Each insert makes a segment. A query takes from each segment the rows with the smallest keys
and merges them, so pages are shorter than the limit where keys repeat, and longer with many segments.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.common_pb2 import IndexState
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes import expressions
from tests.fakes.columns import Field, column, values_of
from tests.fakes.script import Refusal

Row = dict[str, Any]

MAX_INT64 = 2**63 - 1
META = "$meta"

NOT_LOADED, NO_PARTITION, NO_INDEX, BAD_PARAMETER, UNEXPECTED = 101, 200, 700, 1100, 65535


@dataclass(frozen=True)
class _Stored:
    key: Any
    values: Row
    partition: str
    segment: int


@dataclass
class Collection:
    """One collection; `request` is the one that made it."""

    number: int
    schema: schema_pb2.CollectionSchema
    request: milvus_pb2.CreateCollectionRequest
    partitions: list[str] = field(default_factory=lambda: ["_default"])
    aliases: list[str] = field(default_factory=list)
    indexes: list[milvus_pb2.IndexDescription] = field(default_factory=list)
    loaded: bool = False
    replicas: int = 1
    unloaded: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    _rows: list[_Stored] = field(default_factory=list)
    _made: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def primary(self) -> schema_pb2.FieldSchema:
        return next(each for each in self.schema.fields if each.is_primary_key)

    @property
    def fields(self) -> list[Field]:
        """All fields, struct arrays and the dynamic one among them."""
        meta = schema_pb2.FieldSchema(name=META, data_type=DataType.JSON, is_dynamic=True)
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

    def has(self, key: str) -> bool:
        """Whether a property is true."""
        return (key, "true") in [(pair.key, pair.value) for pair in self.request.properties]

    def alter(self, properties: Iterable[Any], drop: Iterable[str]) -> None:
        """Sets properties, or drops some by their keys."""
        new = {pair.key: pair.value for pair in properties}
        gone = {*new, *drop}
        left = [pair for pair in self.request.properties if pair.key not in gone]
        del self.request.properties[:]
        self.request.properties.extend(left)
        for key, value in new.items():
            self.request.properties.add(key=key, value=value)

    def rows(self, partition: str = "") -> list[Row]:
        """Returns all rows in order of their keys, each as often as it stands there."""
        rows = [row for row in self._rows if partition in ("", row.partition)]
        return [row.values for row in sorted(rows, key=_order)]

    def insert(self, rows: Sequence[Row], partition: str = "") -> None:
        """Adds rows as a segment of their own."""
        self._check_partitions([partition] if partition else [])
        made_here = self.primary.autoID and not self.has("allow_insert_auto_id")
        expected = {each.name for each in self.fields}
        expected -= {self.primary.name} if made_here else set()
        takes_outputs = self.has("collection.function.allowInsertNonBM25FunctionOutputs")
        for function in self.schema.functions:
            if function.type == FunctionType.BM25 or not takes_outputs:
                expected -= set(function.output_field_names)
        self._check_dynamic_fields(rows)
        segment = next(iter(self._made))
        for row in rows:
            if set(row) != expected:
                raise Refusal(BAD_PARAMETER, f"the fields are {set(row)}, not {expected}")
            key = next(iter(self._made)) if made_here else row[self.primary.name]
            values = {**self._computed(), **row, self.primary.name: key}
            self._rows.append(_Stored(key, values, partition or self._place(values), segment))

    def upsert(self, rows: Sequence[Row], partition: str = "") -> None:
        """Adds rows in place of those with the same keys."""
        if self.primary.autoID:
            raise Refusal(BAD_PARAMETER, "upsert is not possible when the key is automatic")
        keys = {row[self.primary.name] for row in rows}
        kept = [row for row in self._rows if row.key not in keys or row.partition != partition]
        self._rows = kept if partition else [row for row in self._rows if row.key not in keys]
        self.insert(rows, partition)

    def delete(self, expression: str, partitions: Sequence[str] = ()) -> int:
        """Removes the rows that a filter names; returns how many."""
        gone = self._matching(expression, partitions)
        self._rows = [row for row in self._rows if row not in gone]
        return len(gone)

    def count(self, expression: str, partitions: Sequence[str] = ()) -> int:
        """Counts rows, each as often as it stands there."""
        return len(self._matching(expression, partitions))

    def page(
        self, expression: str, partitions: Sequence[str], limit: int, *, loses_rows: bool
    ) -> list[Row]:
        """Returns the rows with the smallest keys, about `limit` of them, each key once.

        Each segment gives the first `limit` of its rows. The merge ends with the last one that the
        first segment gave, even if that has no more, as in 2.3.5; with `loses_rows` it ends with
        the limit, though another segment may have more that come before, as in 2.4.0.
        """
        merged: dict[Any, Row] = {}
        edges = []
        rows = [row for row in self._matching(expression, partitions) if row.key != MAX_INT64]
        for _, segment in itertools.groupby(rows, key=lambda row: row.segment):
            ordered = sorted(segment, key=_order)
            merged = {row.key: row.values for row in reversed(ordered[:limit])} | merged
            edges.append(ordered[:limit][-1])
        ordered_keys = sorted(merged, key=expressions.ordered)
        if loses_rows:
            return [merged[key] for key in ordered_keys[:limit]]
        edge = min(edges, key=_order, default=None)
        whole = [key for key in ordered_keys if edge is None or _up_to(key, edge.key)]
        return [merged[key] for key in whole]

    def columns(self, rows: Sequence[Row], names: Sequence[str]) -> list[schema_pb2.FieldData]:
        """Returns the columns of rows as an answer has them."""
        fields = {each.name: each for each in self.fields}
        return [column(fields[name], [row[name] for row in rows]) for name in names]

    def index(self, field_name: str, name: str, params: Iterable[Any]) -> None:
        """Adds an index, which is built at once."""
        self.indexes.append(
            milvus_pb2.IndexDescription(
                field_name=field_name, index_name=name, params=params, state=IndexState.Finished
            )
        )

    def load(self) -> None:
        """Loads the collection, if all its vectors have an index."""
        if not set(self.vectors) <= {index.field_name for index in self.indexes}:
            raise Refusal(NO_INDEX, f"index not found[collection={self.schema.name}]")
        self.loaded = True

    def _place(self, values: Row) -> str:
        """Returns the partition of a row that is inserted without one."""
        deciding = next((each.name for each in self.schema.fields if each.is_partition_key), "")
        hashed = zlib.crc32(str(values[deciding]).encode()) if deciding else 0
        return self.partitions[hashed % len(self.partitions)]

    def _computed(self) -> Row:
        """Returns what functions make: 2-d vectors that no test has otherwise."""
        makers = (each for each in self.schema.functions if each.type != FunctionType.BM25)
        return {name: [0.5, -0.5] for each in makers for name in each.output_field_names}

    def _matching(self, expression: str, partitions: Sequence[str]) -> list[_Stored]:
        self._check_partitions(partitions)
        try:
            test = expressions.parse_rows(expression, [each.name for each in self.schema.fields])
        except ValueError as error:
            raise Refusal(BAD_PARAMETER, f"failed to create query plan: {error}") from error
        if gone := self.released.intersection(partitions):
            raise Refusal(NO_PARTITION, f"partition not loaded[partition={min(gone)}]")
        there = [row for row in self._rows if row.partition not in self.released]
        rows = [row for row in there if not partitions or row.partition in partitions]
        return [row for row in rows if test(row.values)]

    def _check_dynamic_fields(self, rows: Sequence[Row]) -> None:
        names = {each.name for each in self.schema.fields}
        for row in rows:
            if twice := names & {*json.loads(row.get(META, "{}"))}:
                what = "dynamic field name cannot include the static field name"
                raise Refusal(BAD_PARAMETER, f"{what}: {min(twice)}")

    def _check_partitions(self, partitions: Sequence[str]) -> None:
        if partitions and self.key_decides_partition:
            raise Refusal(UNEXPECTED, "not support manually specifying the partition names")
        for name in partitions:
            if name not in self.partitions:
                raise Refusal(NO_PARTITION, f"partition not found[partition={name}]")


def is_vector(field: schema_pb2.FieldSchema) -> bool:
    """Whether a field is one of the vectors, whose numbers begin at 100."""
    return field.data_type >= 100


def rows_of(request: milvus_pb2.InsertRequest) -> list[Row]:
    """Reads the rows of an insert or upsert."""
    names = [each.field_name for each in request.fields_data]
    try:
        values = [values_of(each) for each in request.fields_data]
    except ValueError as error:
        raise Refusal(BAD_PARAMETER, f"the length of a field is wrong: {error}") from error
    if any(len(each) != request.num_rows for each in values):
        raise Refusal(BAD_PARAMETER, "the length of a field is wrong")
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _order(row: _Stored) -> int | bytes:
    return expressions.ordered(row.key)


def _up_to(key: Any, edge: Any) -> bool:
    return expressions.ordered(key) <= expressions.ordered(edge)
