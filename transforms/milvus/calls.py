"""Calls to one Milvus, or one database of it, and what connections share to keep within limits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymilvus.grpc_gen import common_pb2

from transforms.errors import PrivilegeMissing, Refused, ServerError
from transforms.milvus import qualified_names
from transforms.milvus.channel import Channel, Patience, Result
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import is_denial
from transforms.milvus.parquet.file_channel import FileChannel
from transforms.milvus.rate_limit import RateLimiter
from transforms.milvus.request_size import SLOW_GROWTH, RequestSize
from transforms.milvus.retry_statistics import Retries
from transforms.milvus.throttle import Throttle

PAGE_S = 0.5
"""A page has at most what the throughput limit allows in this time: small and frequent requests
burden a server less than large and rare ones."""

LARGEST_BYTES = 64 * 1024 * 1024
"""Larger than any page; and a Milvus proxy receives no larger message."""

SMALLEST_BYTES = 64 * 1024
"""If a smaller page is still slow, its size is not the reason. If a smaller write is still too
large, a single row is, which says nothing about other rows."""


class FlowControl:
    """What the connections of this process to one server share. Thread-safe.

    Attributes:
        limiter: keeps the throughput limit.
        throttle: the pause between calls, which the server's errors make longer.
        page_bytes: the largest page that is answered within `max_latency`.
        write_bytes: the largest write, as the server's errors show.
        retries: how often its calls were retried.
    """

    def __init__(
        self, limiter: RateLimiter | None = None, *, retries: Retries | None = None
    ) -> None:
        self.limiter = limiter or RateLimiter()
        self.throttle = Throttle()
        self.page_bytes = RequestSize(LARGEST_BYTES, least=SMALLEST_BYTES)
        self.write_bytes = RequestSize(LARGEST_BYTES, least=SMALLEST_BYTES, growth=SLOW_GROWTH)
        self.retries = retries or Retries()

    def page_rows(self, row_bytes: float) -> int:
        """Returns the maximum of rows in one page, for rows of this width."""
        limit, page_bytes = self.limiter.limit, self.page_bytes.size
        by_bytes = min(limit.bytes * PAGE_S or page_bytes, page_bytes) / max(row_bytes, 1.0)
        return max(1, int(min(limit.rows * PAGE_S or by_bytes, by_bytes)))

    def adjust_page_size(self, took_s: float, size_bytes: int, *, longest_s: float) -> None:
        """Makes pages smaller, and then less frequent, after one that took longer than `longest_s`.

        Faster pages let them grow again. `longest_s` 0 is no limit.
        """
        if not longest_s:
            return
        if took_s <= longest_s:
            self.page_bytes.grow(size_bytes)
            return
        size_bytes = min(size_bytes, self.page_bytes.size)
        self.page_bytes.shrink(size_bytes)
        if size_bytes <= SMALLEST_BYTES:
            self.throttle.slow_down_late(took_s)


_BEYOND_DATABASES = frozenset(["CreateDatabase", "DropDatabase", "OperatePrivilegeV2"])
"""Calls whose database need not exist, so they are not made in it."""


class Calls:
    """A connection to one database, or to all of them. Thread-safe.

    With all databases, the names of collections and aliases are qualified: `database.name`.

    Attributes:
        denied: the optional calls that the server denies or does not know, with its error.
    """

    def __init__(
        self, endpoint: Endpoint, patience: Patience | None = None, flow: FlowControl | None = None
    ) -> None:
        """Connects; connections that move rows from or to the same server may share `flow`."""
        self.endpoint = endpoint
        self.flow = flow or FlowControl(RateLimiter(endpoint.rate_limit))
        self._database = endpoint.database
        self.denied: dict[str, ServerError] = {}
        self._channel = (
            FileChannel(endpoint)
            if endpoint.folder
            else Channel(endpoint, patience, self.flow.throttle, self.flow.retries)
        )

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def retry(self, attempt: Callable[[], Result]) -> Result:
        """Runs several calls as one; retries all of them as long as a retry can help."""
        return self._channel.retry(attempt)

    def beside(self, collection: str, name: str) -> str:
        """Returns what a collection, or alias, in the database of another collection is called."""
        return qualified_names.beside(collection, name) if self._qualifies else name

    # -- inside ---------------------------------------------------------------------------------

    @property
    def _qualifies(self) -> bool:
        """Whether names are qualified by their database."""
        return self._database == qualified_names.ALL

    def _names(self, collection: str) -> dict[str, str]:
        """Returns the two fields of a request that name a collection and its database."""
        database, name = self._split(collection)
        return {"db_name": database, "collection_name": name}

    def _split(self, name: str) -> tuple[str, str]:
        """Returns the database of a collection or alias, and its name there."""
        return qualified_names.split(name) if self._qualifies else (self._database, name)

    def _database_of(self, method: str, request: Any) -> str:
        """Returns the database in which a call is made; "" for that of the connection.

        Servers check privileges in the database of the call, whatever its request names.
        """
        if not self._qualifies or method in _BEYOND_DATABASES:
            return ""
        return str(getattr(request, "db_name", ""))

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        try:
            return self._channel.ask(method, request, answer, self._database_of(method, request))
        except (PrivilegeMissing, Refused) as error:
            name = getattr(request, "collection_name", "")
            if not name or not is_denial(error):
                raise
            name = qualified_names.join(self._database_of(method, request), name)
            detail = f"{error.detail} for collection {name}"
            raise type(error)(error.server, error.call, detail, error.code) from error

    def _ask_timed(self, method: str, request: Any) -> tuple[bytes, float]:
        """Returns the bytes of the answer, and the seconds that the server took for it."""
        payload, database = request.SerializeToString(), self._database_of(method, request)
        return self._channel.retry(lambda: self._channel.send_timed(method, payload, database))

    def _do(self, method: str, request: Any) -> None:
        self._ask(method, request, common_pb2.Status)

    def _if_known(self, method: str, request: Any, answer: Any) -> Any:
        """Returns the answer; an empty one if the server denies or does not know the call."""
        try:
            return self._ask(method, request, answer)
        except Refused as error:
            self._note_denied(method, error)
            return answer()

    def _if_permitted(self, method: str, request: Any, answer: Any) -> Any:
        """Returns the answer; an empty one also if the user lacks the privilege."""
        try:
            return self._if_known(method, request, answer)
        except PrivilegeMissing as error:
            self._note_denied(method, error)
            return answer()

    def _note_denied(self, method: str, error: ServerError) -> bool:
        """Returns whether the call itself is denied or unknown; if so, adds it to `denied`."""
        denied = is_denial(error)
        if denied and not self.endpoint.folder:
            self.denied[method] = error
        return denied
