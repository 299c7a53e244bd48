"""The objects of a Milvus: version, databases, collections, partitions, aliases, indexes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import chain

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from transforms.errors import AccessDenied, PrivilegeMissing, Refused
from transforms.milvus import job_mark, messages, qualified_names, versions
from transforms.milvus.calls import Calls
from transforms.milvus.description import Description, Index, Pairs
from transforms.milvus.faults import is_gone
from transforms.milvus.schema import sub_name
from transforms.milvus.versions import Version

NO_ALIAS = 1600

_INDEX_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class Catalog(Calls):
    """One database of one Milvus, or all of them, without the rows. Thread-safe."""

    # -- the server -----------------------------------------------------------------------------

    def version(self) -> Version:
        """Returns the version, from both calls that report it."""
        release = self._if_permitted(
            "GetVersion", milvus_pb2.GetVersionRequest(), milvus_pb2.GetVersionResponse
        )
        return versions.parse(release.version, self._connect().server_info.build_tags)

    def timestamp(self) -> int:
        """Returns a timestamp of the server's clock, above all earlier ones; 0 if it has none."""
        return int(self._connect().identifier)

    def databases(self) -> list[str]:
        """Returns the databases; only our own if the call is denied or unknown.

        Raises:
            PrivilegeMissing, Refused: the server denies the call to a client of all databases.
        """
        ask = self._ask if self._qualifies else self._if_permitted
        answer = ask(
            "ListDatabases", milvus_pb2.ListDatabasesRequest(), milvus_pb2.ListDatabasesResponse
        )
        return sorted(answer.db_names) or [self._database]

    def create_database(self, name: str, properties: Pairs = ()) -> None:
        """Creates a database."""
        request = milvus_pb2.CreateDatabaseRequest(
            db_name=name, properties=messages.key_values(properties)
        )
        self._do("CreateDatabase", request)

    def drop_database(self, name: str) -> None:
        """Drops a database; the server refuses to drop one that has collections."""
        self._do("DropDatabase", milvus_pb2.DropDatabaseRequest(db_name=name))

    def database_properties(self, database: str) -> Pairs:
        """Returns the properties of a database; none if they are unknown (before 2.4.3)."""
        return messages.pairs(
            self._if_permitted(
                "DescribeDatabase",
                milvus_pb2.DescribeDatabaseRequest(db_name=database),
                milvus_pb2.DescribeDatabaseResponse,
            ).properties
        )

    # -- collections ----------------------------------------------------------------------------

    def collections(self, databases: Iterable[str] = ()) -> list[str]:
        """Returns the names of the database's collections, sorted.

        A client of all databases returns those of `databases`, as far as these exist.
        """
        if not self._qualifies:
            return self._collections(self._database)
        existing = {*self.databases()}
        return sorted(
            qualified_names.join(database, name)
            for database in existing.intersection(databases)
            for name in self._collections(database)
        )

    def describe(self, collection: str) -> Description:
        """Returns the server's description of a collection, by its name or an alias."""
        answer = self._describe(collection)
        loaded = self.loaded(collection)
        name = self.beside(collection, answer.schema.name)
        schema = messages.schema_of(answer)
        schema.name = name
        listed = self._list_aliases(name)
        aliases = answer.aliases if listed is None else listed
        return Description(
            name=name,
            collection_id=answer.collectionID,
            raw_schema=schema.SerializeToString(),
            shards=answer.shards_num,
            consistency_level=answer.consistency_level,
            partition_count=answer.num_partitions,
            properties=messages.pairs(answer.properties),
            aliases=job_mark.without_marks(aliases),
            marks=() if self.hides_marks else job_mark.only_marks(aliases),
            partitions=tuple(self.partitions(collection)),
            indexes=self.indexes(collection),
            loaded=loaded,
            replicas=0 if loaded is False else self._replicas(name, answer.collectionID),
        )

    def created(self, collection: str) -> int:
        """Returns when a collection was created, by its server's clock; 0 if unknown."""
        return int(self._describe(collection).created_timestamp)

    def owner(self, name: str) -> str:
        """Returns the collection with this name or alias; "" if there is none, or if denied."""
        try:
            return self.resolve(name)
        except (Refused, PrivilegeMissing):
            return ""

    def resolve(self, name: str) -> str:
        """Like `owner`, but raises an error if the call is denied.

        Raises:
            PrivilegeMissing, Refused: the server denies the call.
        """
        try:
            answer = self._describe(name)
        except Refused as error:
            if is_gone(error):
                return ""
            raise
        owner = self.beside(name, answer.schema.name) if answer.schema.name else ""
        if owner in ("", name):
            return owner
        alias_owner = self.alias_owner(name)
        return owner if alias_owner is None else alias_owner

    def create_collection(self, name: str, wanted: Description) -> None:
        """Creates a collection as described, with the name `name`."""
        schema = type(wanted.message)()
        schema.CopyFrom(wanted.message)
        _, schema.name = self._split(name)
        schema.dbName = ""
        for struct in schema.struct_array_fields:
            struct.fieldID = 0
            for sub_field in struct.fields:
                sub_field.name = sub_name(sub_field.name)
        for field in chain(
            schema.fields, *(struct.fields for struct in schema.struct_array_fields)
        ):
            field.fieldID = 0
            field.state = 0
        self._do(
            "CreateCollection",
            milvus_pb2.CreateCollectionRequest(
                **self._names(name),
                schema=schema.SerializeToString(),
                shards_num=wanted.shards,
                consistency_level=wanted.consistency_level,
                properties=messages.key_values(wanted.properties),
                num_partitions=wanted.partition_count if wanted.partition_key else 0,
            ),
        )

    def properties(self, collection: str) -> Pairs:
        """Returns the properties of a collection."""
        return messages.pairs(self._describe(collection).properties)

    def set_properties(
        self, collection: str, properties: Pairs, *, drop: Iterable[str] = ()
    ) -> None:
        """Sets properties of a collection; drops those named in `drop`."""
        for more in ({"properties": messages.key_values(properties)}, {"delete_keys": list(drop)}):
            if any(more.values()):  # A server accepts only one of the two per call.
                request = milvus_pb2.AlterCollectionRequest(**self._names(collection), **more)
                self._do("AlterCollection", request)

    def drop_collection(self, name: str) -> None:
        """Drops a collection with its rows."""
        self._do(
            "DropCollection",
            milvus_pb2.DropCollectionRequest(**self._names(name)),
        )

    def partitions(self, collection: str) -> list[str]:
        """Returns the names of a collection's partitions.

        If the server denies or does not know the call (milvus-lite before 3), that is `_default`
        for a collection with one partition, or with a partition key.
        """
        request = milvus_pb2.ShowPartitionsRequest(**self._names(collection))
        try:
            answer = self._ask("ShowPartitions", request, milvus_pb2.ShowPartitionsResponse)
        except (Refused, PrivilegeMissing) as error:
            if not self._note_denied("ShowPartitions", error) or self._has_named_partitions(
                collection
            ):
                raise
            return ["_default"]
        return sorted(answer.partition_names)

    def create_partition(self, collection: str, partition: str) -> None:
        """Creates a partition."""
        self._do(
            "CreatePartition",
            milvus_pb2.CreatePartitionRequest(**self._names(collection), partition_name=partition),
        )

    def create_alias(self, collection: str, alias: str) -> None:
        """Creates an alias of a collection."""
        self._do(
            "CreateAlias",
            milvus_pb2.CreateAliasRequest(**self._names(collection), alias=alias),
        )

    def alter_alias(self, collection: str, alias: str) -> None:
        """Gives an existing alias to a collection."""
        self._do(
            "AlterAlias",
            milvus_pb2.AlterAliasRequest(**self._names(collection), alias=alias),
        )

    def aliases(self, collection: str) -> tuple[str, ...] | None:
        """Returns the aliases of a collection; None if the server does not know or permit the call.

        A description has them too, but 2.5.18 to 2.6 read it from a cache, where a moved alias
        stays with its old collection. A description of milvus-lite never has aliases.
        """
        listed = self._list_aliases(collection)
        return None if listed is None else job_mark.without_marks(listed)

    def marks(self, collection: str) -> tuple[str, ...]:
        """Returns the aliases with which jobs mark a collection that they write to."""
        listed = self._list_aliases(collection)
        if listed is None:
            listed = () if self.hides_marks else tuple(self._describe(collection).aliases)
        return job_mark.only_marks(listed)

    @property
    def hides_marks(self) -> bool:
        """Whether this user may not list aliases: a description may show marks that are gone."""
        return isinstance(self.denied.get("ListAliases"), PrivilegeMissing)

    def alias_owner(self, alias: str) -> str | None:
        """Returns the collection of an alias; "" if the alias does not exist.

        None if the server does not know or permit the call.
        """
        database, name = self._split(alias)
        request = milvus_pb2.DescribeAliasRequest(db_name=database, alias=name)
        try:
            answer = self._ask("DescribeAlias", request, milvus_pb2.DescribeAliasResponse)
        except (Refused, PrivilegeMissing) as error:
            self._note_denied("DescribeAlias", error)
            return "" if error.code == NO_ALIAS else None
        return self.beside(alias, answer.collection) if answer.collection else None

    def drop_alias(self, alias: str) -> None:
        """Drops an alias, if it exists; its collection is kept."""
        database, name = self._split(alias)
        try:
            self._do("DropAlias", milvus_pb2.DropAliasRequest(db_name=database, alias=name))
        except Refused as error:
            if error.code != NO_ALIAS:
                raise

    def indexes(self, collection: str) -> tuple[Index, ...]:
        """Returns a collection's indexes; may be empty."""
        return tuple(map(messages.index_of, self._describe_indexes(collection)))

    def create_index(self, collection: str, index: Index) -> None:
        """Creates an index with exactly these parameters; the server builds it in the background.

        Servers choose names that they accept from no client: `struct[sub]`, or a path. For those
        the server chooses the name again.
        """
        self._do(
            "CreateIndex",
            milvus_pb2.CreateIndexRequest(
                **self._names(collection),
                field_name=index.field,
                index_name=index.name if _INDEX_NAME.fullmatch(index.name) else "",
                extra_params=messages.key_values(index.params),
            ),
        )

    def alter_index(self, collection: str, index: Index, params: Pairs) -> None:
        """Sets parameters of an existing index (2.4 and later) of a released collection."""
        request = milvus_pb2.AlterIndexRequest(
            **self._names(collection),
            index_name=index.name if _INDEX_NAME.fullmatch(index.name) else index.field,
            extra_params=messages.key_values(params),
        )
        self._do("AlterIndex", request)

    def indexing(self, collection: str) -> tuple[int, int]:
        """Returns (indexed rows, rows to index) of the slowest index that is being built.

        (0, 0) if none is being built. A failed index does not count.
        """
        progress = [
            (index.indexed_rows, max(index.total_rows, index.indexed_rows + 1))
            for index in self._describe_indexes(collection)
            if index.state not in (common_pb2.IndexState.Finished, common_pb2.IndexState.Failed)
        ]
        return min(progress, default=(0, 0), key=lambda rows: rows[0] / max(rows[1], 1))

    def unbuilt(self, collection: str) -> dict[Index, str]:
        """Returns the incomplete indexes: index -> why it failed, or "" if it is being built."""
        return {
            messages.index_of(index): messages.failure_of(index)
            for index in self._describe_indexes(collection)
            if index.state != common_pb2.IndexState.Finished
        }

    def loaded(self, collection: str, partition: str = "") -> bool | None:
        """Returns whether a collection, or one partition of it, is loaded; None if unknown.

        A collection counts as loaded even if only a part of its partitions is.
        """
        state = self._load_state(collection, partition)
        return None if state is None else state == common_pb2.LoadState.LoadStateLoaded

    def released(self, collection: str) -> bool | None:
        """Returns whether a collection is neither loaded nor being loaded; None if unknown."""
        state = self._load_state(collection)
        return None if state is None else state == common_pb2.LoadState.LoadStateNotLoad

    # -- inside ---------------------------------------------------------------------------------

    def _connect(self) -> milvus_pb2.ConnectResponse:
        request = milvus_pb2.ConnectRequest(
            client_info=common_pb2.ClientInfo(sdk_type="Python", sdk_version="kitelift")
        )
        return self._if_known("Connect", request, milvus_pb2.ConnectResponse)

    def _describe(self, collection: str) -> milvus_pb2.DescribeCollectionResponse:
        request = milvus_pb2.DescribeCollectionRequest(**self._names(collection))
        return self._ask("DescribeCollection", request, milvus_pb2.DescribeCollectionResponse)

    def _list_aliases(self, collection: str) -> tuple[str, ...] | None:
        request = milvus_pb2.ListAliasesRequest(**self._names(collection))
        try:
            answer = self._ask("ListAliases", request, milvus_pb2.ListAliasesResponse)
        except (Refused, PrivilegeMissing) as error:
            self._note_denied("ListAliases", error)
            return None
        return tuple(answer.aliases)

    def _collections(self, database: str) -> list[str]:
        request = milvus_pb2.ShowCollectionsRequest(db_name=database)
        answer = self._ask("ShowCollections", request, milvus_pb2.ShowCollectionsResponse)
        return sorted(answer.collection_names)

    def _load_state(self, collection: str, partition: str = "") -> int | None:
        request = milvus_pb2.GetLoadStateRequest(
            **self._names(collection),
            partition_names=[partition] if partition else [],
        )
        try:
            answer = self._ask("GetLoadState", request, milvus_pb2.GetLoadStateResponse)
        except (AccessDenied, Refused) as error:
            self._note_denied("GetLoadState", error)
            return None
        return int(answer.state)

    def _replicas(self, collection: str, collection_id: int) -> int:
        request = milvus_pb2.GetReplicasRequest(  # 2.3 uses the id, later releases the name.
            **self._names(collection), collectionID=collection_id
        )
        return len(
            self._if_permitted("GetReplicas", request, milvus_pb2.GetReplicasResponse).replicas
        )

    def _describe_indexes(self, collection: str) -> list[milvus_pb2.IndexDescription]:
        try:
            answer = self._ask(
                "DescribeIndex",
                milvus_pb2.DescribeIndexRequest(**self._names(collection)),
                milvus_pb2.DescribeIndexResponse,
            )
        except Refused as error:
            if error.code == 700 or "index not found" in error.detail.lower():
                return []
            raise
        return list(answer.index_descriptions)

    def _has_named_partitions(self, collection: str) -> bool:
        """Returns whether a collection has several partitions, and no partition key."""
        answer = self._describe(collection)
        by_key = any(field.is_partition_key for field in answer.schema.fields)
        return bool(answer.num_partitions > 1) and not by_key
