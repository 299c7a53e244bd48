"""Refusals, and the Status that an answer has: codes, the old codes beside them, and flags."""

from __future__ import annotations

from google.protobuf import message_factory
from pymilvus.grpc_gen import common_pb2, milvus_pb2
from pymilvus.grpc_gen.common_pb2 import ErrorCode

from tests.fakes.rules import Rules
from transforms.milvus.versions import release

NO_NODES, NO_COLLECTION, NOT_LOADED, LOADED, BAD_SCHEMA = 12, 100, 101, 104, 105
NO_PARTITION, PARTITION_NOT_LOADED, NO_REPLICA, TSAFE_STALLED = 200, 201, 400, 505
RATE_LIMIT_CODE, NO_INDEX, INDEX_DUPLICATE, NO_DATABASE = 8, 700, 702, 800
TOO_MANY_DATABASES, IO_FAILED = 801, 1001
BAD_PARAMETER, MISSING_PARAMETER, TOO_LARGE = 1100, 1101, 1102
NO_ALIAS, ALIAS_IS_NAME, ALIAS_TAKEN, BAD_NAME, UNEXPECTED = 1600, 1601, 1602, 1701, 65535

_LEGACY = {
    1: ErrorCode.NotReadyServe,
    3: ErrorCode.InsufficientMemoryToLoad,
    7: ErrorCode.DiskQuotaExhausted,
    8: ErrorCode.RateLimit,
    9: ErrorCode.ForceDeny,
    11: ErrorCode.TimeTickLongDelay,
    100: ErrorCode.CollectionNotExists,
    109: ErrorCode.SchemaMismatch,
    200: ErrorCode.MetaFailed,
    400: ErrorCode.MetaFailed,
    401: ErrorCode.NoReplicaAvailable,
    501: ErrorCode.MetaFailed,
    503: ErrorCode.NoReplicaAvailable,
    505: ErrorCode.TimeTickLongDelay,
    506: ErrorCode.NoReplicaAvailable,
    600: ErrorCode.SegmentNotFound,
    700: ErrorCode.IndexNotExist,
    904: ErrorCode.NodeIDNotMatch,
    905: ErrorCode.NoReplicaAvailable,
    1100: ErrorCode.IllegalArgument,
    1101: ErrorCode.IllegalArgument,
    1102: ErrorCode.IllegalArgument,
}
"""The old code beside a new one (pkg/util/merr/utils.go oldCode); all others are 1."""

RETRIABLE_SINCE = {
    **dict.fromkeys((1, 2, 4, 103, 202), "2.3.0"),
    # The table of errors has it on all lines; a 2.5.27 that was asked says false (flush_twice).
    8: "2.6.0",
    **dict.fromkeys((12, 106, 305), "2.4.24"),
    **dict.fromkeys((1002, 2200), "2.3.22"),
    1807: "2.4.24",
    1003: "2.6.19",
    505: "2.6.17",
    **dict.fromkeys((110, 507), "2.6.19"),
    **dict.fromkeys((*range(2307, 2310), *range(2311, 2314), 2316), "2.4.24"),
    2317: "3.0.0",
}
"""The first release that marks a code as retriable (pkg/util/merr/errors.go by line)."""

_INPUT = {
    *(100, 102, 104, 105, 107, 108, 109, 200, *range(300, 304), 702, 800, 801, 802),
    *(1100, 1101, 1102, 1400, 1401, 1402, 1600, 1700, *range(1800, 1803), 1804, 2100, 2201),
}
"""What is a mistake of the caller (errors.go of 2.6.19, `WithErrorType(InputError)`)."""

_NOT_FLAGGED = frozenset(["ShowPartitions", "ListAliases"])
"""Answered by a coordinator, whose errors lose the flag on the way (answers of 2.6.19)."""

_OF_ROWS = frozenset(["Query", "Insert", "Upsert"])

_METHODS = milvus_pb2.DESCRIPTOR.services_by_name["MilvusService"].methods_by_name


class Refusal(Exception):
    """A no of the fake itself, with one of Milvus' codes and the reason.

    `legacy` is the old code, if it is not the one that belongs to the code; `is_input_error` says
    whose mistake it is, if the code does not.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        *,
        legacy: int | None = None,
        is_input_error: bool | None = None,
    ) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason
        self.legacy, self.is_input_error = legacy, is_input_error


class Unimplemented(Exception):
    """A call that a server of this release does not know."""


def invalid(reason: str) -> Refusal:
    """What has always been an invalid parameter."""
    return Refusal(BAD_PARAMETER, f"{reason}: invalid parameter")


def plain(rules: Rules, reason: str) -> Refusal:
    """A text without a code of its own: 65535, and from 2.6.19 on an invalid parameter."""
    return invalid(reason) if rules.plain_errors_are_1100 else Refusal(UNEXPECTED, reason)


def status(rules: Rules | None, method: str, refusal: Refusal) -> common_pb2.Status:
    """Returns what an answer says of a refusal; without rules, the code alone."""
    made = common_pb2.Status(code=refusal.code, reason=refusal.reason)
    if rules is None:
        made.error_code = refusal.legacy or 0
        return made
    usual = _LEGACY.get(refusal.code, ErrorCode.UnexpectedError) if refusal.code else 0
    made.error_code = usual if refusal.legacy is None else refusal.legacy
    if _is_input_error(rules, method, refusal):
        made.extra_info["is_input_error"] = "true"
    else:
        since = RETRIABLE_SINCE.get(refusal.code)
        made.retriable = since is not None and release(since) <= rules.version
    return made


def refused(method: str, refusal: Refusal, rules: Rules | None = None) -> object:
    """Returns the answer of a method that says no."""
    made = status(rules, method, refusal)
    kind = message_factory.GetMessageClass(_METHODS[method].output_type)
    return made if kind is common_pb2.Status else kind(status=made)


def _is_input_error(rules: Rules, method: str, refusal: Refusal) -> bool:
    if refusal.is_input_error is not None:
        return refusal.is_input_error
    if rules.flags_input_errors:
        return refusal.code in _INPUT and method not in _NOT_FLAGGED
    absent = rules.flags_absent_in_rows and refusal.code == NO_COLLECTION
    return bool(absent and method in _OF_ROWS)
