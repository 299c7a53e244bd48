"""What a Milvus says in its answers becomes one of our errors; and what that error asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from pymilvus.grpc_gen import common_pb2

from transforms.errors import (
    AccessDenied,
    Ambiguous,
    Busy,
    Refused,
    ServerError,
    TooLarge,
    Unreachable,
)
from transforms.milvus import wire

# Milvus codes (pkg/util/merr/errors.go) that ask for another try, with legacy codes beside them.
# 101 is "collection not loaded": also what a server says for a while after it was started again.
_BUSY_CODES = frozenset(
    [*(1, 2, 3, 4, 7, 8, 9, 11, 12, 101, 103, 106, 110, 202, 500, 503, 505, 507), *range(901, 907)]
) | {1003, 2200, 10001}
_LEGACY_RATE_LIMIT = 49

Shortage = Literal["rate limit", "quota", "overloaded"]
"""Calls came too fast; a quota, the memory or the disk is used up; there is too much to do."""

# Those among them that ask for less: the others pass, however often the server is asked.
_SHORTAGES: tuple[tuple[Shortage, frozenset[int], tuple[str, ...]], ...] = (
    # 0 is gRPC's own RESOURCE_EXHAUSTED.
    ("rate limit", frozenset([0, 8]), ("ratelimit", "rate limit")),
    ("quota", frozenset([3, 7, 9]), ("quota exceeded",)),
    ("overloaded", frozenset([4, 11, 12, 1003, 10001]), ("context deadline exceeded",)),
)
_ACCESS_CODES = frozenset([1400, 1401, 1402])
UNEXPECTED = 65535

# Limits and quotas: such a call is turned away before anything is done.
_LIMIT_CODES = frozenset([3, 7, 8, 9, 11])
_LIMIT_TEXTS = ("ratelimit", "rate limit", "quota exceeded")

# 2.3 answers most things with 65535 and only the text tells them apart.
_BUSY_TEXTS = (
    "ratelimiter",
    "rate limit",
    "not ready",
    "no available",
    "channel not available",
    "not been loaded into memory",
    "collection not loaded",
    "not fully loaded",
    "node not found",
    "server is not serving",
    "context deadline exceeded",
    "memory quota exceeded",
    "service unavailable",
    "fail to get shard leaders",
    "failed to get shard",
    "timestamp lag too large",
)
_TOO_LARGE_TEXTS = (
    "larger than max",
    "exceed the limit size",
    "exceeds the limit size",
    "maxoutputsize",
    "message too large",
    # quotaAndLimits.limits.maxInsertSize, from 2.4 on: code 1102.
    "parameter too large",
    "exceeds maxinsertsize",
)

# milvus-lite says so with code 1, which is that of a Milvus that is not ready.
_REFUSED_TEXTS = ("already exist",)

_ANSWER_REFUSED = "CLIENT: "
"""With this gRPC begins what its own side says."""


def fault_in(server: str, method: str, answer: bytes) -> ServerError | None:
    """Reads the Status of an answer: field 1 of every Milvus answer, or the answer itself."""
    status = _status_of(method, answer)
    if status.code == 0 and status.error_code == 0:
        return None
    code = status.code or UNEXPECTED
    reason = status.reason.strip() or common_pb2.ErrorCode.Name(status.error_code)
    return _kind(code, status.error_code, reason.lower())(server, method, reason, code)


def shortage(error: Busy) -> Shortage | None:
    """Returns why a server is to be asked less; None if it is not ready, however little it is."""
    found = (name for name, codes, texts in _SHORTAGES if _means(error, codes, texts))
    return next(found, None)


def _means(error: Busy, codes: Collection[int], texts: Iterable[str]) -> bool:
    reason = error.detail.lower()
    return error.code in codes or any(text in reason for text in texts)


def surely_not_done(error: ServerError) -> bool:
    """Whether a write that ended with this error has changed nothing; in doubt it may have."""
    if isinstance(error, (Unreachable, Ambiguous)):
        return False
    if isinstance(error, Busy):
        return _means(error, _LIMIT_CODES, _LIMIT_TEXTS)
    if isinstance(error, TooLarge):
        return (
            _ANSWER_REFUSED not in error.detail
        )  # The work is done, and we did not take the answer.
    return error.code != UNEXPECTED


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


def _kind(code: int, legacy: int, reason: str) -> type[ServerError]:
    if any(text in reason for text in _TOO_LARGE_TEXTS):
        return TooLarge
    if code in _ACCESS_CODES:
        return AccessDenied
    if any(text in reason for text in _REFUSED_TEXTS):
        return Refused
    if code in _BUSY_CODES or legacy == _LEGACY_RATE_LIMIT:
        return Busy
    if code == UNEXPECTED and any(text in reason for text in _BUSY_TEXTS):
        return Busy
    return Refused
