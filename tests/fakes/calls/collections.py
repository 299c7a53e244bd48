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
            collection = self[request.collection_name]
        except Refusal:
            raise self._not_described(request) from None
        schema = schema_pb2.CollectionSchema()
        schema.CopyFrom(collection.schema)
        if self.rules.properties_in_schema:
            schema.properties.extend(collection.request.properties)
        return milvus_pb2.DescribeCollectionResponse(
            schema=schema,
            collection_name=request.collection_name,
            db_name=request.db_name or "default",
            collectionID=collection.number,
            shards_num=collection.request.shards_num,
            consistency_level=collection.request.consistency_level,
            properties=collection.request.properties,
            num_partitions=collection.request.num_partitions or len(collection.partitions),
            aliases=self._described_aliases(collection),
        )

    def CreateCollection(self, request: Any, context: Any = None) -> Any:
        name, schema = request.collection_name, read_schema(self.rules, request)
        check_collection(self.rules, schema, request)
        if self.collection_of_alias(name):
            words = f"collection name [{name}] conflicts with an existing alias"
            words += ", please choose a unique name"
            known = self.rules.name_as_alias_is_1601
            raise Refusal(ALIAS_IS_NAME, words) if known else plain(self.rules, words)
        collection = Collection(next(self._numbers), schema, request, self)
        database = self.properties.get(request.db_name or "default", {})
        complete(self.rules, request, database.get("timezone", "UTC"))
        if collection.key_decides_partition:
            many = request.num_partitions or DEFAULT_PARTITIONS
            collection.partitions = [f"_default_{number}" for number in range(many)]
        if name in self._collections:
            return self._create_again(self._collections[name], collection)
        self._collections[name] = collection
        return DONE

    def AlterCollection(self, request: Any, context: Any = None) -> Any:
        collection, new = self[request.collection_name], read(request.properties)
        self._check_altered(collection, new)
        collection.alter(request.properties, request.delete_keys)
        collection.cached_aliases = None
        return DONE

    def AddCollectionField(self, request: Any, context: Any = None) -> Any:
        if not self.rules.adds_fields:
            unknown("AddCollectionField")
        field = schema_pb2.FieldSchema.FromString(request.schema)
        check_added_field(self.rules, field)
        collection = self[request.collection_name]
        collection.add_field(field)
        collection.cached_aliases = None
        return DONE

    def DropCollection(self, request: Any, context: Any = None) -> Any:
        name = request.collection_name
        if self.collection_of_alias(name):
            raise plain(self.rules, f"cannot drop the collection via alias = {name}")
        collection = self._collections.get(name)
        if collection and collection.aliases and self.rules.aliases_protect:
            words = f"unable to drop the collection [{name}] because it has associated aliases"
            hint = "please remove all aliases before dropping the collection"
            raise plain(self.rules, f"{words} [{', '.join(collection.aliases)}], {hint}")
        self._collections.pop(name, None)
        if collection and self.rules.drop_leaves_aliases:
            self._orphans.update(dict.fromkeys(collection.aliases, name))
        return DONE

    def ShowPartitions(self, request: Any, context: Any = None) -> Any:
        names = self[request.collection_name].partitions
        return milvus_pb2.ShowPartitionsResponse(partition_names=names)

    def CreatePartition(self, request: Any, context: Any = None) -> Any:
        collection = self[request.collection_name]
        if collection.key_decides_partition:
            raise plain(self.rules, "disable create partition if partition key mode is used")
        if len(collection.partitions) >= self.rules.partitions:
            words = f"partition number ({len(collection.partitions)}) exceeds max configuration"
            raise plain(self.rules, f"{words} ({self.rules.partitions})")
        if request.partition_name not in collection.partitions:
            collection.partitions.append(request.partition_name)
        collection.cached_aliases = None
        return DONE

    # -- inside -----------------------------------------------------------------------------------

    def _described_aliases(self, collection: Collection) -> list[str]:
        if collection.cached_aliases is None:
            collection.cached_aliases = [*collection.aliases]
        return collection.cached_aliases

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

    def _create_again(self, existing: Collection, new: Collection) -> Any:
        """Answers a collection that exists: as done, if it is the same."""
        if (existing.schema, existing.shards) != (new.schema, new.shards):
            words = "create duplicate collection with different parameters"
            raise plain(self.rules, f"{words}, collection: {new.schema.name}")
        return DONE

    def _check_altered(self, collection: Collection, new: dict[str, str]) -> None:
        if "mmap.enabled" in new and collection.loaded and self.rules.mmap_needs_release:
            words = "can not alter mmap properties if collection loaded: collection already loaded"
            raise Refusal(LOADED, f"{words}[collection={collection.schema.name}]")
        if (
            new.get(TAKES_IDS) == "true"
            and not collection.primary.autoID
            and (self.rules.auto_id_property_checked)
        ):
            raise invalid(f"the value for {TAKES_IDS} cannot be set: the key is not automatic")
        vectors = {field.name for field in collection.schema.fields if is_vector(field)}
        indexed = [index.index_name for index in collection.indexes if index.field_name in vectors]
        # What is not named counts as "isolation: false", and so as a change.
        changed = collection.has(ISOLATION) and new.get(ISOLATION) != "true"
        if changed and indexed and self.rules.isolation_blocks_alter:
            words = "can not alter partition key isolation mode if the collection already has a "
            words += "vector index. Please drop the index first: index duplicates"
            raise Refusal(INDEX_DUPLICATE, f"{words}[indexName={indexed[0]}]")
