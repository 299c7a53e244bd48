"""Reads a collection with pymilvus' ordinary client, to check what Kitelift has copied.

It shares no code with Kitelift's own reader, so it does not share its mistakes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pymilvus import DataType, MilvusClient

from pipeline.commands.pair_proof.scratch_area import TIMEOUT_S, aliases_of
from transforms.milvus.features import BOOKKEEPING, BY_DEFAULT

WINDOW = 16_384
"""No query returns more rows. Specimens have a few hundred, duplicates included."""

SpecimenKey = int | str

_MARKS = ("is_primary", "auto_id", "is_partition_key", "is_clustering_key", "nullable")
_COUNTERS = {"total_rows", "indexed_rows", "pending_index_rows", "state", "index_name"}
_COUNTERS |= {"field_name", "index_state_fail_reason"}


@dataclass(frozen=True)
class CollectionReader:
    """One collection of one server; `lite` is whether it is milvus-lite."""

    client: MilvusClient
    collection: str
    lite: bool = False

    @cached_property
    def described(self) -> dict[str, Any]:
        """The server's description of the collection."""
        return dict(self.client.describe_collection(self.collection, timeout=TIMEOUT_S))

    @property
    def fields(self) -> list[dict[str, Any]]:
        """Its fields; an array of structs has `struct_fields` of its own."""
        return list(self.described["fields"])

    @property
    def stored(self) -> set[str]:
        """The fields that rows have: all but those that functions fill."""
        functions = self.described.get("functions") or []
        computed = {name for function in functions for name in function["output_field_names"]}
        return {str(field["name"]) for field in self.fields} - computed

    @property
    def key(self) -> str:
        """The primary key."""
        return next(str(field["name"]) for field in self.fields if field.get("is_primary"))

    @property
    def partitions(self) -> Sequence[str]:
        """The partitions; none if a partition key forbids queries by partition name."""
        if any(field.get("is_partition_key") for field in self.fields):
            return ()
        return sorted(self.client.list_partitions(self.collection, timeout=TIMEOUT_S))

    def count(self, partition: str | None = None) -> int:
        """Returns `count(*)`: each copy of a duplicate key counts."""
        [row] = self._query(partition, ["count(*)"])
        return int(row["count(*)"])

    def rows(self, partition: str | None = None) -> dict[SpecimenKey, dict[str, Any]]:
        """Returns the rows by key; of duplicates, the one that the server returns."""
        rows = self._query(partition, ["*"], limit=WINDOW)
        return {row[self.key]: dict(row) for row in rows}

    def matches(self, field: str, text: str) -> set[SpecimenKey]:
        """Returns the keys that full text search finds."""
        [hits] = self.client.search(
            self.collection,
            data=[text],
            anns_field=field,
            limit=1_000,
            consistency_level="Strong",
            timeout=TIMEOUT_S,
        )
        return {hit[self.key] for hit in hits}

    def _query(self, partition: str | None, fields: list[str], **more: Any) -> list[Any]:
        named = {"partition_names": [partition]} if partition else {}
        if any(field["type"] == DataType.TIMESTAMPTZ for field in self.described["fields"]):
            more["timezone"] = "UTC"  # In another time zone, the text can lose seconds.
        rows = self.client.query(
            self.collection,
            filter=self._everything(),
            output_fields=fields,
            consistency_level="Strong",
            timeout=TIMEOUT_S,
            **named,
            **more,
        )
        return list(rows)

    def _everything(self) -> str:
        # Without a filter milvus-lite counts the rows of all partitions.
        kind = next(field["type"] for field in self.fields if field.get("is_primary"))
        if kind == DataType.VARCHAR:
            return f'{self.key} >= ""'
        return f"{self.key} < 0 or {self.key} >= 0"

    # -- everything but the rows ------------------------------------------------------------------

    def shape(self) -> dict[str, Any]:
        """Returns everything but the rows: the values by the names of features."""
        return {
            **dict(self._collection()),
            **{name: value for field in self.fields for name, value in _field(field)},
            **{name: value for index in self._indexes() for name, value in index},
        }

    def _collection(self) -> Iterator[tuple[str, Any]]:
        described = self.described
        yield "description", described["description"]
        yield "dynamic field", described["enable_dynamic_field"]
        yield "fields", [field["name"] for field in self.fields]
        yield "aliases", sorted(aliases_of(self.client, self.collection))
        yield "partitions", list(self.partitions)
        yield "load state", self._load_state()
        for name, value in described["properties"].items():
            if name not in BOOKKEEPING and (name, value) not in BY_DEFAULT:
                yield f"property {name}", str(value)
        for function in described.get("functions") or []:
            kept = ("type", "input_field_names", "output_field_names")
            yield f"function {function['name']}", {name: function[name] for name in kept}
        if not self.lite:  # It has values of its own for these.
            yield "shards", described["num_shards"]
            yield "number of partitions", described["num_partitions"]
            yield "consistency level", described["consistency_level_name"]

    def _load_state(self) -> str:
        answer = self.client.get_load_state(self.collection, timeout=TIMEOUT_S)
        return str(answer["state"])

    @cached_property
    def index_names(self) -> list[str]:
        """Its indexes."""
        return list(self.client.list_indexes(self.collection, timeout=TIMEOUT_S))

    def _indexes(self) -> Iterator[list[tuple[str, Any]]]:
        for name in self.index_names:
            index = self.client.describe_index(self.collection, name, timeout=TIMEOUT_S)
            # milvus-lite names an index after its field.
            where = f"index on {index['field_name']} {index.get('json_path', '')}".strip()
            kept = [(f"{where}: {k}", str(v)) for k, v in index.items() if self._keeps(k)]
            yield [*kept, *([] if self.lite else [(f"{where}: name", name)])]

    def _keeps(self, parameter: str) -> bool:
        """Whether a parameter of an index is compared: milvus-lite describes only two."""
        if self.lite:
            return parameter in ("index_type", "metric_type")
        return parameter not in _COUNTERS


def _field(field: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    name = f"field {field['name']}"
    for attribute in ("type", "element_type", "description", "default_value"):
        if value := field.get(attribute):
            yield f"{name}: {attribute}", getattr(value, "name", str(value))
    for mark in _MARKS:
        yield f"{name}: {mark}", bool(field.get(mark))
    for parameter, value in (field.get("params") or {}).items():
        yield f"{name}: {parameter}", str(value)
    for inner in field.get("struct_fields") or []:
        yield from _field({**inner, "name": f"{field['name']}[{inner['name']}]"})
