"""The calls about aliases, and what they leave of the proxy's cache of descriptions."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2

from tests.fakes.calls.base import DONE, Server
from tests.fakes.memory import Collection
from tests.fakes.statuses import ALIAS_IS_NAME, ALIAS_TAKEN, NO_ALIAS, NO_COLLECTION, Refusal


class Aliases(Server):
    """Aliases."""

    def CreateAlias(self, request: Any, context: Any = None) -> Any:
        collection, alias = self[request.collection_name], request.alias
        if alias in self._collections:
            words = f"alias and collection name conflict[database=default][alias={alias}]"
            raise Refusal(ALIAS_IS_NAME, words)
        other = self.collection_of_alias(alias)
        if other is collection:
            return DONE
        owner = other.schema.name if other else self._orphans.get(alias)
        if owner is not None:
            words = f"{alias} is alias to another collection: {owner}"
            raise Refusal(
                ALIAS_TAKEN, f"{words}: alias already exist[database=default][alias={alias}]"
            )
        collection.aliases.append(alias)
        self._evict(collection)
        return DONE

    def AlterAlias(self, request: Any, context: Any = None) -> Any:
        new, old = self[request.collection_name], self.collection_of_alias(request.alias)
        if old is None and self._orphans.pop(request.alias, None) is None:
            raise self._no_alias(request.alias)
        new.aliases.append(request.alias)
        self._evict(new)
        if old is None:
            return DONE
        old.aliases.remove(request.alias)
        if not self.rules.move_keeps_old_in_cache:
            self._evict(old)
        return DONE

    def DropAlias(self, request: Any, context: Any = None) -> Any:
        collection = self.collection_of_alias(request.alias)
        if collection is not None:
            collection.aliases.remove(request.alias)
            self._evict(collection)
        elif self._orphans.pop(request.alias, None) is None and self.rules.drops_only_known_aliases:
            raise self._no_alias(request.alias)
        return DONE

    def ListAliases(self, request: Any, context: Any = None) -> Any:
        name = request.collection_name
        if name and name not in self._collections and self.collection_of_alias(name) is None:
            raise Refusal(NO_COLLECTION, f"collection not found[collection={name}]")
        collections = [self[name]] if name else self._collections.values()
        return milvus_pb2.ListAliasesResponse(
            collection_name=name,
            aliases=[alias for collection in collections for alias in collection.aliases],
        )

    def DescribeAlias(self, request: Any, context: Any = None) -> Any:
        collection = self.collection_of_alias(request.alias)
        if collection is None:
            raise self._no_alias(request.alias)
        return milvus_pb2.DescribeAliasResponse(
            alias=request.alias, collection=collection.schema.name, db_name=self.database
        )

    # -- inside -----------------------------------------------------------------------------------

    def _evict(self, changed: Collection) -> None:
        """Clears what the proxy keeps of a collection, in releases that do."""
        if not self.rules.aliases_keep_cache:
            changed.cached_aliases = None

    def _no_alias(self, alias: str) -> Refusal:
        return Refusal(NO_ALIAS, f"alias not found[database=default][alias={alias}]")
