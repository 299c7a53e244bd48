"""Calls to one database of one Milvus; remembers the calls that the server denies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pymilvus.grpc_gen import common_pb2

from transforms.errors import PrivilegeMissing, Refused, ServerError
from transforms.milvus.channel import Channel, Patience, Result
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import is_denial
from transforms.milvus.flow_control import FlowControl
from transforms.milvus.parquet.file_channel import FileChannel


class Calls:
    """A connection to one database. Thread-safe.

    Attributes:
        denied: the optional calls that the server denies or does not know, with its error.
    """

    def __init__(
        self, endpoint: Endpoint, patience: Patience | None = None, flow: FlowControl | None = None
    ) -> None:
        """Connects; connections that move rows from or to the same server may share `flow`."""
        self.endpoint = endpoint
        self.flow = flow or FlowControl(endpoint.rate_limit)
        self._database = endpoint.database
        self.denied: dict[str, ServerError] = {}
        connect = FileChannel if endpoint.folder else Channel
        self._channel = connect(endpoint, patience, self.flow.throttle, self.flow.retries)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def retry(self, attempt: Callable[[], Result]) -> Result:
        """Runs several calls as one; retries all of them as long as a retry can help."""
        return self._channel.retry(attempt)

    @property
    def pause_s(self) -> float:
        """The seconds between two calls that the server's errors require; 0 is full speed."""
        return self.flow.throttle.pause_s

    # -- inside ---------------------------------------------------------------------------------

    def _ask(self, method: str, request: Any, answer: Any) -> Any:
        try:
            return self._channel.ask(method, request, answer)
        except (PrivilegeMissing, Refused) as error:
            name = getattr(request, "collection_name", "")
            if not name or not is_denial(error):
                raise
            detail = f"{error.detail} for collection {name}"
            raise type(error)(error.server, error.call, detail, error.code) from error

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
