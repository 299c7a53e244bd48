"""Translates the status in an answer of Milvus to one of our errors, and classifies the errors."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from pymilvus.grpc_gen import common_pb2

from transforms.errors import (
    AccessDenied,
    Ambiguous,
    Busy,
    CallDenied,
    PrivilegeMissing,
    Refused,
    ServerError,
    TooLarge,
    Unexplained,
    Unreachable,
)
from transforms.milvus import codes, gateways
from transforms.milvus.codec import wire

Shortage = Literal["rate limit", "quota", "overloaded"]
"""Calls came too fast; a quota, the memory or the disk is used up; the server is overloaded."""

# The temporary errors that require fewer calls: the others pass at any rate of calls.
_SHORTAGES: tuple[tuple[Shortage, frozenset[int], tuple[str, ...]], ...] = (
    # 0 is gRPC's own RESOURCE_EXHAUSTED.
    ("rate limit", frozenset([0, 8]), ("ratelimit", "rate limit")),
    ("quota", frozenset([3, 7, 9]), codes.QUOTA_TEXTS),
    ("overloaded", frozenset([4, 11, 12, 1003, 10001]), codes.OVERLOAD_TEXTS),
)

_ANSWER_REFUSED = "CLIENT: "
"""The prefix of gRPC messages that come from our side, not from the server."""


def fault_in(server: str, method: str, answer: bytes) -> ServerError | None:
    """Returns the error in the Status of an answer: field 1, or the answer itself; None if none."""
    status = _status_of(method, answer)
    if status.code == 0 and status.error_code == 0:
        return None
    code = status.code or codes.LEGACY.get(status.error_code, codes.UNEXPECTED)
    reason = status.reason.strip() or common_pb2.ErrorCode.Name(status.error_code)
    kind = _kind(method, status, code, reason.lower())
    if method == "Query" and codes.NO_VECTOR.search(reason.lower()):
        reason = f"{reason.rstrip('.')}. {_NO_VECTOR_REMEDY}"
    return kind(server, method, reason, code)


_NO_VECTOR_REMEDY = (
    "The server cannot read vectors through the index of this collection. Release the collection "
    "and load it again. If that does not help, build another index (HNSW, IVF_FLAT or FLAT) on the "
    "vector, load the collection, and run the same command again"
)


def shortage(error: Busy) -> Shortage | None:
    """Returns why a server needs fewer calls; None if it is not ready at any rate of calls."""
    names = (name for name, numbers, texts in _SHORTAGES if _means(error, numbers, texts))
    return next(names, None)


def _means(error: Busy, numbers: Collection[int], texts: Iterable[str]) -> bool:
    return error.code in numbers or _says(error, texts)


def _says(error: ServerError, texts: Iterable[str]) -> bool:
    reason = error.detail.lower()
    return any(text in reason for text in texts)


def surely_not_done(error: ServerError) -> bool:
    """Returns whether a write that ended with this error has certainly written no row.

    True only for errors that servers are known to return before they write the first row
    (`codes.NOTHING_WRITTEN`). After any other error, also an unknown one, some of the rows may be
    written.
    """
    if isinstance(error, (Unreachable, Ambiguous)):
        return False
    if isinstance(error, TooLarge) and _ANSWER_REFUSED in error.detail:
        return False  # The rows are written, and our side rejected the answer.
    if error.code == codes.UNEXPECTED:
        mistake = isinstance(error, Refused) and codes.MISTAKE.search(error.detail.lower())
        return bool(mistake) or _says(error, codes.LIMIT_TEXTS)
    if error.code:
        return error.code in codes.NOTHING_WRITTEN
    # The error comes from gRPC, not from Milvus: a limit, credentials, an unknown call.
    return not isinstance(error, Busy) or _says(error, codes.LIMIT_TEXTS)


def is_denial(error: ServerError) -> bool:
    """Returns whether the server denies or does not know the call itself, for any object."""
    is_unknown = isinstance(error, Refused) and not error.code  # gRPC's UNIMPLEMENTED.
    return is_unknown or isinstance(error, (CallDenied, PrivilegeMissing))


def is_gone(error: ServerError) -> bool:
    """Returns whether the requested collection does not exist, or no longer exists."""
    unnamed = error.code == codes.UNEXPECTED and _says(error, codes.NO_COLLECTION_TEXTS)
    return error.code == codes.NO_COLLECTION or unnamed


_ANSWERS_WITH_STATUS_ALONE = frozenset(
    f"{verb}{noun}"
    for verbs, nouns in (
        (
            ("Create", "Drop", "Alter", "Load", "Release"),
            ("Collection", "Index", "Partition", "Partitions", "Alias", "Database"),
        ),
        (("Create",), ("Role", "PrivilegeGroup")),
        (("Operate",), ("UserRole", "Privilege", "PrivilegeV2", "PrivilegeGroup")),
    )
    for verb in verbs
    for noun in nouns
)


def _status_of(method: str, answer: bytes) -> common_pb2.Status:
    if method in _ANSWERS_WITH_STATUS_ALONE:
        return common_pb2.Status.FromString(answer)
    spans = (value for number, _, value in wire.fields(memoryview(answer)) if number == 1)
    return common_pb2.Status.FromString(bytes(next(spans, b"")))


def _kind(method: str, status: common_pb2.Status, code: int, reason: str) -> type[ServerError]:
    if any(text in reason for text in codes.TOO_LARGE_TEXTS):
        return TooLarge
    if code in codes.ACCESS:
        return PrivilegeMissing if code == codes.NOT_PERMITTED else AccessDenied
    if gateways.is_denial(reason):
        return CallDenied
    if _is_final(method, status, code, reason):
        return Refused
    if _is_temporary(status, code, reason):
        return Busy
    return Refused if code in codes.FINAL else _by_text(code, reason)


def _is_final(method: str, status: common_pb2.Status, code: int, reason: str) -> bool:
    """Returns whether no retry can help, even if the code is temporary in other calls."""
    return (
        any(text in reason for text in codes.REFUSED_TEXTS)
        or status.extra_info.get("is_input_error") == "true"
        or (code in codes.FINAL_IN_CALL.get(method, ()) and not status.retriable)
        or (method == "GetLoadingProgress" and codes.LOAD_FAILED in reason)
    )


def _is_temporary(status: common_pb2.Status, code: int, reason: str) -> bool:
    """Returns whether a retry may help.

    "Retriable" from a server is trusted. "Not retriable" is not: 2.5.27 says so of a rate limit.
    """
    if code == codes.UNEXPECTED and any(text in reason for text in codes.BUSY_TEXTS):
        return True
    return bool(status.retriable) or code in codes.PASSING


def _by_text(code: int, reason: str) -> type[ServerError]:
    mistake = code == codes.UNEXPECTED and codes.MISTAKE.search(reason)
    return Refused if mistake else Unexplained
