"""The calls about the server and its databases."""

# ruff: noqa: N802 (the methods have the names of the calls)

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import common_pb2, milvus_pb2

from tests.fakes.calls.base import DONE, Server, pairs, read, unknown
from tests.fakes.statuses import NO_DATABASE, TOO_MANY_DATABASES, Refusal, plain


class Databases(Server):
    """Connecting, timestamps, databases."""

    def Connect(self, request: Any, context: Any = None) -> Any:
        self.check_database(self.metadata.get("dbname", ""))
        info = common_pb2.ServerInfo(build_tags=self.version)
        identifier = next(self._identifiers)
        return milvus_pb2.ConnectResponse(server_info=info, identifier=identifier)

    def GetVersion(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.GetVersionResponse(version=self.version)

    def AllocTimestamp(self, request: Any, context: Any = None) -> Any:
        if not self.gives_timestamps:
            unknown("AllocTimestamp")
        return milvus_pb2.AllocTimestampResponse(timestamp=self.clock.now())

    def ListDatabases(self, request: Any, context: Any = None) -> Any:
        return milvus_pb2.ListDatabasesResponse(db_names=self.databases)

    def CreateDatabase(self, request: Any, context: Any = None) -> Any:
        if request.db_name in self.databases:
            raise plain(self.rules, f"database already exist: {request.db_name}")
        if len(self.databases) >= self.rules.databases:
            words = f"exceeded the limit number of database[limit={self.rules.databases}]"
            raise Refusal(TOO_MANY_DATABASES, words)
        self.databases.append(request.db_name)
        self.properties[request.db_name] = read(request.properties)
        return DONE

    def DropDatabase(self, request: Any, context: Any = None) -> Any:
        if request.db_name in self.databases:
            self.databases.remove(request.db_name)
        return DONE

    def DescribeDatabase(self, request: Any, context: Any = None) -> Any:
        if not self.rules.describes_databases:
            unknown("DescribeDatabase")
        properties = self.properties.get(request.db_name, {})
        return milvus_pb2.DescribeDatabaseResponse(properties=pairs(**properties))

    def check_database(self, name: str) -> None:
        """Refuses a database that does not exist."""
        if name and name not in self.databases:
            raise Refusal(NO_DATABASE, f"database not found[database={name}]")
