"""The calls about collections, partitions and aliases."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.common_pb2 import ErrorCode

from tests.fakes.calls.base import DONE, Server, read, unknown
from tests.fakes.fields import is_vector
from tests.fakes.memory import TAKES_IDS, Collection
from tests.fakes.schema_checks import (
    DEFAULT_PARTITIONS,
    check_added_field,
    check_collection,
    complete,
    read_schema,
)
from tests.fakes.statuses import (
    ALIAS_IS_NAME,
    INDEX_DUPLICATE,
    LOADED,
    NO_COLLECTION,
    NO_DATABASE,
    Refusal,
    invalid,
    plain,
)

ISOLATION = "partitionkey.isolation"


class Collections(Server):
    """Collections and partitions."""

    def ShowCollections(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ShowCollectionsResponse(collection_names=self._collections)

    def HasCollection(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.BoolResponse(value=request.collection_name in self._collections)

    def DescribeCollection(self, request: Any, context: Any = None) -> Any:
        self._check_database_of(request)
        try:
            found = self[request.collection_name]
        except Refusal:
            raise self._not_described(request) from None
        schema = schema_pb2.CollectionSchema()
        schema.CopyFrom(found.schema)
        if self.rules.properties_in_schema:
            schema.properties.extend(found.request.properties)
        return milvus_pb2.DescribeCollectionResponse(
            schema=schema,
            collection_name=request.collection_name,
            db_name=request.db_name or "default",
            collectionID=found.number,
            shards_num=found.request.shards_num,
            consistency_level=found.request.consistency_level,
            properties=found.request.properties,
            num_partitions=found.request.num_partitions or len(found.partitions),
            aliases=self._described_aliases(found),
        )

    def CreateCollection(self, request: Any, context: Any = None) -> Any:
        name, schema = request.collection_name, read_schema(self.rules, request)
        check_collection(self.rules, schema, request)
        if any(name in each.aliases for each in self._collections.values()):
            words = f"collection name [{name}] conflicts with an existing alias"
            words += ", please choose a unique name"
            known = self.rules.name_as_alias_is_1601
            raise Refusal(ALIAS_IS_NAME, words) if known else plain(self.rules, words)
        made = Collection(next(self._numbers), schema, request, self)
        database = self.properties.get(request.db_name or "default", {})
        complete(self.rules, request, database.get("timezone", "UTC"))
        if made.key_decides_partition:
            many = request.num_partitions or DEFAULT_PARTITIONS
            made.partitions = [f"_default_{number}" for number in range(many)]
        if name in self._collections:
            return self._made_again(self._collections[name], made)
        self._collections[name] = made
        return DONE

    def AlterCollection(self, request: Any, context: Any = None) -> Any:
        found, new = self[request.collection_name], read(request.properties)
        self._check_altered(found, new)
        found.alter(request.properties, request.delete_keys)
        found.cached_aliases = None
        return DONE

    def AddCollectionField(self, request: Any, context: Any = None) -> Any:
        if not self.rules.adds_fields:
            unknown("AddCollectionField")
        field = schema_pb2.FieldSchema.FromString(request.schema)
        check_added_field(self.rules, field)
        found = self[request.collection_name]
        found.add_field(field)
        found.cached_aliases = None
        return DONE

    def DropCollection(self, request: Any, context: Any = None) -> Any:
        name = request.collection_name
        if any(name in each.aliases for each in self._collections.values()):
            raise plain(self.rules, f"cannot drop the collection via alias = {name}")
        found = self._collections.get(name)
        if found and found.aliases and self.rules.aliases_protect:
            words = f"unable to drop the collection [{name}] because it has associated aliases"
            hint = "please remove all aliases before dropping the collection"
            raise plain(self.rules, f"{words} [{', '.join(found.aliases)}], {hint}")
        self._collections.pop(name, None)
        return DONE

    def ShowPartitions(self, request: Any, context: Any = None) -> Any:
        names = self[request.collection_name].partitions
        return milvus_pb2.ShowPartitionsResponse(partition_names=names)

    def CreatePartition(self, request: Any, context: Any = None) -> Any:
        found = self[request.collection_name]
        if found.key_decides_partition:
            raise plain(self.rules, "disable create partition if partition key mode is used")
        if len(found.partitions) >= self.rules.partitions:
            words = f"partition number ({len(found.partitions)}) exceeds max configuration"
            raise plain(self.rules, f"{words} ({self.rules.partitions})")
        if request.partition_name not in found.partitions:
            found.partitions.append(request.partition_name)
        found.cached_aliases = None
        return DONE

    # -- inside -----------------------------------------------------------------------------------

    def _described_aliases(self, found: Collection) -> list[str]:
        if found.cached_aliases is None:
            found.cached_aliases = [*found.aliases]
        return found.cached_aliases

    def _check_database_of(self, request: Any) -> None:
        name = request.db_name or self.metadata.get("dbname", "")
        if name and name not in self.databases and self.rules.absent_database_is_800:
            raise Refusal(NO_DATABASE, f"database not found[database={name}]")

    def _not_described(self, request: Any) -> Refusal:
        name = request.db_name or "default"
        where = f"[database={name}][collection={request.collection_name}]"
        if self.rules.describes_absent_with_0:
            legacy, words = ErrorCode.CollectionNotExists, f"can't find collection{where}"
            return Refusal(0, words, legacy=legacy, is_input_error=True)
        words = f"can't find collection collection not found{where}"
        return Refusal(NO_COLLECTION, words, legacy=ErrorCode.UnexpectedError)

    def _made_again(self, there: Collection, made: Collection) -> Any:
        """Answers a collection that exists: as done, if it is the same."""
        same = there.schema == made.schema and there.shards == made.shards
        if not same:
            words = "create duplicate collection with different parameters"
            raise plain(self.rules, f"{words}, collection: {made.schema.name}")
        return DONE

    def _check_altered(self, found: Collection, new: dict[str, str]) -> None:
        if "mmap.enabled" in new and found.loaded and self.rules.refuses_unknown_types:
            words = "can not alter mmap properties if collection loaded: collection already loaded"
            raise Refusal(LOADED, f"{words}[collection={found.schema.name}]")
        if (
            new.get(TAKES_IDS) == "true"
            and not found.primary.autoID
            and (self.rules.auto_id_property_checked)
        ):
            raise invalid(f"the value for {TAKES_IDS} cannot be set: the key is not automatic")
        vectors = {field.name for field in found.schema.fields if is_vector(field)}
        indexed = [each.index_name for each in found.indexes if each.field_name in vectors]
        # What is not named counts as "isolation: false", and so as a change.
        changed = found.has(ISOLATION) and new.get(ISOLATION) != "true"
        if changed and indexed and self.rules.isolation_blocks_alter:
            words = "can not alter partition key isolation mode if the collection already has a "
            words += "vector index. Please drop the index first: index duplicates"
            raise Refusal(INDEX_DUPLICATE, f"{words}[indexName={indexed[0]}]")
