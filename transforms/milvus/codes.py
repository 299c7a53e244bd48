"""The error codes and texts of Milvus 2.3 to 3.0, and what each of them means.

Source: ``pkg/util/merr/errors.go`` and its callers in the proxy, release by release. The same
failure has different codes in different releases: 2.3 answers most of them with 65535 and a text,
and 2.6.19 has a code for most of those.
"""

from __future__ import annotations

import re

UNEXPECTED = 65535
"""The code of errors without a code of their own; the text says what they are."""

NO_COLLECTION = 100

ALIAS_TAKEN = 1602

NO_COLLECTION_TEXTS = ("collection not found", "can't find collection", "not exist, collection")
"""Texts of answers with code 65535 about a collection that does not exist."""

PASSING = frozenset(
    [
        *(1, 2, 3, 4, 7, 8, 9, 11, 12),  # the service starts, or is short of something
        *(101, 103, 106, 110, 201, 202),  # loading; 101 also after a restart
        *(305, 400, 401),  # no replica now
        *(500, 501, 503, 504, 505, 507),  # a channel that moves or lags
        *(600, 601, 602, 604, 605),  # a segment that moves
        *range(901, 907),  # a node that leaves
        *(1002, 1003, 1008),  # storage
        1302,  # the message queue
        *(2038, 2200),  # a query that was cancelled inside the server
        *(10000, 10001),  # cancelled, or timed out
    ]
)
"""Temporary: the same request succeeds once the server has recovered."""

FINAL = frozenset(
    [
        *(6, 10),  # milvus-lite also uses 6 for any wrong argument
        35,  # milvus-lite: the index already exists
        *(100, 102, 104, 105, 107, 108, 109),
        *(200, 250, 300, 301, 302, 303),
        *(700, 701, 702, 703),
        *(800, 801, 802),
        *(1100, 1101, 1102, 1200, 1303),
        *(1400, 1401, 1402),
        *range(1600, 1604),
        *(1700, 1701),
        *range(1800, 1807),
        *range(1900, 1904),
        *(2001, 2100, 2201, 2400, 2500, 2600, 2601, 3000),
    ]
)
"""Permanent: the request, or its object, is wrong."""

NOTHING_WRITTEN = frozenset(
    [
        *(1, 3, 4, 6, 7, 8, 9, 10, 11, 12),
        *(100, 102, 104, 105, 108, 109),
        *(200, 250),
        *(700, 702),
        *(800, 801),
        *(1100, 1101, 1102, 1303),
        *(1400, 1401, 1402),
        *(1600, 1601, 1602, 1700, 1701, 1804),
        *(2001, 2100, 2201, 2400, 3000),
    ]
)
"""Answers to a write that wrote certainly no row: the server returns them before the first row.

The server writes each shard in its own message, without a transaction across them. So after any
other code, a part of the shards may have their rows.
"""

OF_THE_COLLECTION = frozenset([100, 102, 104, 109, 200, 800])
"""Refusals of a write whatever its rows are: the collection, partition or database does not exist,
or was replaced."""

FINAL_IN_CALL = {
    # Since 2.6, a failed load has the code 101 and the reason. Before, it has the code of the
    # segment's failure (3, 604, 65535, …), after the server has stopped loading.
    "GetLoadingProgress": PASSING - {1, 2, 8, 904, 10000, 10001},
    "LoadCollection": frozenset([3, 101]),
    # From 2.3 for a collection that is not loaded.
    "GetReplicas": frozenset([101, 400, 401]),
}
"""Codes that are temporary in other calls, but permanent in these."""

LEGACY = {
    3: 1401,  # PermissionDenied
    4: 100,  # CollectionNotExists: 2.5.18 to 2.6
    **dict.fromkeys([5, 7, 8, 9, 10, 11, 12, 22, 23, 51], 1100),  # Illegal…, UpsertAutoIDTrue
    24: 3,  # OutOfMemory
    25: 700,  # IndexNotExist
    28: 100,  # CollectionNameNotFound
    45: 503,  # NotShardLeader
    46: 401,  # NoReplicaAvailable
    47: 600,  # SegmentNotFound
    48: 9,  # ForceDeny
    49: 8,  # RateLimit
    50: 904,  # NodeIDNotMatch
    52: 3,  # InsufficientMemoryToLoad
    53: 3,  # MemoryQuotaExhausted
    54: 7,  # DiskQuotaExhausted
    55: 11,  # TimeTickLongDelay
    56: 1,  # NotReadyServe
    57: 1,  # NotReadyCoordActivating
    62: 109,  # SchemaMismatch
    100: 2,  # DataCoordNA
}
"""Legacy ``error_code`` -> code, for servers that send no code beside it."""

ACCESS = frozenset([1400, 1401, 1402])

NOT_PERMITTED = 1401
"""The credentials are right, but the user lacks the privilege."""

QUOTA_TEXTS = (
    "quota exceeded",
    # 2.2 and 2.3: "deny to write, reason: memory quota exhausted, please allocate more resources".
    "quota exhausted",
    "quota center",
    "quotacenter",
    "deny to write,",
    "deny to read,",
    "force to deny",
)

LIMIT_TEXTS = ("ratelimit", "rate limit", *QUOTA_TEXTS)
"""Texts of answers with code 65535 about a limit that rejected the call before it did anything."""

OVERLOAD_TEXTS = (
    "request limit exceeded",
    "too many concurrent requests",
    "context deadline exceeded",
)

BUSY_TEXTS = (
    *LIMIT_TEXTS,
    *OVERLOAD_TEXTS,
    "not ready",
    "no available",
    "channel not available",
    "not been loaded into memory",
    "collection not loaded",
    "not fully loaded",
    "node not found",
    "server is not serving",
    "context canceled",
    "service unavailable",
    "fail to get shard leaders",
    "failed to get shard",
    "timestamp lag too large",  # up to 2.6.16; 505 later
)
"""Texts of answers with code 65535 of a server that recovers."""

TOO_LARGE_TEXTS = (
    "larger than max",
    "exceed the limit size",
    "exceeds the limit size",
    "maxoutputsize",
    "message too large",
    # quotaAndLimits.limits.maxInsertSize, from 2.4 on: code 1102.
    "parameter too large",
    "exceeds maxinsertsize",
)

# milvus-lite uses code 1 for this, which in Milvus means "not ready".
REFUSED_TEXTS = ("already exist",)

_MISTAKES = (
    # Filters and pages.
    r"cannot parse expression",
    r"failed to create query plan",
    r"create retrieve plan by expr failed",
    r"invalid max query result window",
    r"with pagination is not allowed",
    r"empty expression should be used with limit",
    r"parse output field name failed",
    r"field(name)? \S+ (is not loaded|not exist)",
    r"partition name \S* ?not found",
    r"partition key mode",
    r"not allowed to retrieve raw data",
    # Rows.
    r"should divide the dim",
    r"is not a number or infinity",
    r"json: cannot unmarshal",
    r"dynamic field name cannot include",
    r"cannot set json key to",
    r"without dynamic schema enabled",
    r"array type mismatch",
    r"exceeds max (length|capacity)",
    r"value out of range",
    r"mismatch the (len|expect)",
    r"when auto ?id enabled",
    r"forbids primary key",
    r"primary key is (required|not specified)",
    r"not specify when insert",
    r"not utf-8 format",
    # Collections and indexes.
    r"should be limited to",
    r"is not supported",
    r"not supported? (yet|manually)",
    r"create duplicate collection",
    r"has associated aliases",
    r"invalid index (type|name|params)",
    r"only metric type can be passed",
    r"at most one distinct index",
    r"multiple indexes on same field",
    r"no vector index on field",
    r"must set enable_analyzer",
    r"in type_params for",
    r"invalid dim(ension)?\b",
)

MISTAKE = re.compile("|".join(_MISTAKES))
"""Texts of answers with code 65535 about the caller's mistake, found before a row is written."""

NO_VECTOR = re.compile(r"failed to get vector|output fields for \S+ index is not allowed")
"""Texts of a query node that cannot read vectors through their index (milvus #26256, #24822)."""

LOAD_FAILED = "show collection failed"
"""The start of the text of a failed load in 2.3 to 2.5; some answers do not have it."""
