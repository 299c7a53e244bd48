"""Where the specimens of one side are stored: in their own database, else under their own names.

Every name begins with a tag that no other run has. Nothing else is ever dropped.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

from pymilvus import MilvusClient, MilvusException

from transforms.milvus.endpoint import Endpoint

TAG = "kitelift_prove_"
"""Prefix of every database and collection that a proof creates."""

TIMEOUT_S = 60.0
"""Timeout of one call, with the retries of pymilvus. Small collections load within seconds."""

DROP_ATTEMPTS = 3


def connect(endpoint: Endpoint, database: str) -> MilvusClient:
    """Returns a client of pymilvus, which shares no code with Kitelift's own."""
    tls = endpoint.tls
    mutual = bool(tls.client_pem_path)
    paths = {
        "secure": endpoint.secure or None,
        "server_name": tls.server_name,
        "ca_pem_path": tls.ca_pem_path if mutual else "",
        "server_pem_path": "" if mutual else tls.ca_pem_path,
        "client_pem_path": tls.client_pem_path,
        "client_key_path": tls.client_key_path,
    }
    return MilvusClient(
        f"{'https' if endpoint.secure else 'http'}://{endpoint.address}",
        token=endpoint.secret(),
        db_name=database,
        timeout=TIMEOUT_S,
        dedicated=True,
        **{name: value for name, value in paths.items() if value},
    )


def words_of(error: Exception) -> str:
    """Returns a server's error message on one line; for other errors with their type."""
    if isinstance(error, MilvusException):
        return " ".join(str(error.message).split()) or type(error).__name__
    return " ".join(f"{type(error).__name__}: {error}".split())


@dataclass
class ScratchArea:
    """One side of a proof. `database` is where its collections are stored, after `open`.

    `refusal` is why the server refuses to create a database; then the job's database is used.
    """

    role: str
    endpoint: Endpoint
    tag: str
    database: str = ""
    refusal: str = ""
    client: Any = None
    _admin: Any = field(default=None, repr=False)
    _owns_database: bool = False

    @property
    def place(self) -> str:
        """The side, its url and its database, for messages."""
        return f"{self.role} {self.endpoint.url}, database {self.own_database}"

    @property
    def own_database(self) -> str:
        """The name of the database that is created for the proof."""
        return f"{self.tag}_{self.role}"

    def open(self) -> None:
        """Creates the database, or uses the job's if the server refuses.

        Raises:
            MilvusException: the server cannot be used.
        """
        self._admin = connect(self.endpoint, "")
        try:
            self._admin.create_database(self.own_database, timeout=TIMEOUT_S)
            self.database = self.own_database
            self._owns_database = True
        except MilvusException as error:
            # The server may have created it although the answer was lost.
            self._owns_database = self.own_database in databases_of(self._admin)
            self.refusal = words_of(error)
            self.database = self.endpoint.database
        self.client = connect(self.endpoint, self.database)

    def drop(self) -> list[str]:
        """Drops what was created here; returns why that failed. A repeated call is safe."""
        for attempt in range(DROP_ATTEMPTS):
            try:
                if self.client is not None:
                    _drop_collections(self.client, self.tag)
                if self._owns_database:
                    self._drop_database()
            except Exception as error:  # noqa: BLE001 - pymilvus hands on those of gRPC too
                errors = [f"{self.role} {self.endpoint.url}: {words_of(error)}"]
                if attempt + 1 < DROP_ATTEMPTS:
                    time.sleep(1)
            else:
                return []
        return errors

    def remains(self) -> list[str]:
        """Returns the databases that earlier proofs left behind because they were killed."""
        names = databases_of(self._admin)
        return [name for name in names if name.startswith(TAG) and not name.startswith(self.tag)]

    def close(self) -> None:
        """Closes the connections."""
        for client in (self.client, self._admin):
            if client is not None:
                client.close()

    def _drop_database(self) -> None:
        if self.own_database in self._admin.list_databases(timeout=TIMEOUT_S):
            self._admin.drop_database(self.own_database, timeout=TIMEOUT_S)
        self._owns_database = False
        self.client = None


def _drop_collections(client: MilvusClient, tag: str) -> None:
    for name in client.list_collections(timeout=TIMEOUT_S):
        if name.startswith(tag):
            for alias in aliases_of(client, name):
                client.drop_alias(alias, timeout=TIMEOUT_S)
            client.drop_collection(name, timeout=TIMEOUT_S)


def aliases_of(client: MilvusClient, name: str) -> list[str]:
    """Returns the aliases of a collection.

    2.3.5 lists none outside the default database; newer servers describe aliases that are outdated.
    """
    aliases = client.describe_collection(name, timeout=TIMEOUT_S)["aliases"]
    with contextlib.suppress(MilvusException):
        aliases = client.list_aliases(name, timeout=TIMEOUT_S)["aliases"]
    return list(aliases)


def databases_of(client: MilvusClient) -> list[str]:
    """Returns the names of the databases; none if the server does not list them."""
    try:
        return list(client.list_databases(timeout=TIMEOUT_S))
    except MilvusException:
        return []
