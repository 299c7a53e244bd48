"""The limits and reserved field names of a collection, by release.

Read from the source of Milvus: pkg/util/paramtable/component_param.go, pkg/common/keywords.go and
internal/proxy/task.go of 2.3.22, 2.4.0 to 2.4.24, 2.5.27, 2.6.0 to 2.6.19 and 3.0. The numbers are
defaults: a server's configuration may raise them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from transforms.milvus import types, versions
from transforms.milvus.description import Description
from transforms.milvus.versions import ReleaseNumber, Version


@dataclass(frozen=True)
class Limit:
    """A limit of a server.

    Attributes:
        words: the limited objects, in the plural.
        setting: the server's setting that raises the limit.
        most: pairs (first release, limit), in ascending order.
        count: returns how many of them a collection has.
    """

    words: str
    setting: str
    most: tuple[tuple[ReleaseNumber, int], ...]
    count: Callable[[Description], int]

    def of(self, version: Version) -> int | None:
        """Returns the limit of a server; None if there is none, or the version is unknown."""
        if not version.known:
            return None
        limits = [most for since, most in self.most if versions.has(version, since)]
        return limits[-1] if limits else None


def _fields(described: Description) -> int:
    """Returns the number of fields; a struct array counts, and so does each of its sub-fields."""
    structs = described.message.struct_array_fields
    return len(described.message.fields) + sum(1 + len(struct.fields) for struct in structs)


def _partitions(described: Description) -> int:
    return described.partition_count if described.partition_key else len(described.partitions)


LIMITS = (
    Limit("shards", "proxy.maxShardNum", (((2, 0, 0), 16),), lambda described: described.shards),
    Limit(
        "partitions",
        "rootCoord.maxPartitionNum",
        (((2, 0, 0), 4096), ((2, 4, 8), 1024)),
        _partitions,
    ),
    Limit("fields", "proxy.maxFieldNum", (((2, 0, 0), 64), ((3, 0, 0), 256)), _fields),
    # 2.3 allows one, without a setting: the feature `several_vectors`.
    Limit(
        "vector fields",
        "proxy.maxVectorFieldNum",
        (((2, 4, 0), 4), ((2, 6, 17), 10)),
        lambda described: len(described.vectors),
    ),
    Limit(
        "bytes in the description",
        "proxy.maxCollectionDescriptionLength",
        (((2, 6, 19), 1024),),
        lambda described: len(described.message.description.encode()),
    ),
)

VECTOR_NEEDED = (2, 4, 3)
"""The first release that refuses a collection without a vector field."""


def _both_cases(*names: str) -> tuple[str, ...]:
    return (*names, *(name.upper() for name in names))


_CONTAINS = (f"{of}_contains{what}" for of in ("json", "array") for what in ("", "_all", "_any"))
_RESERVED: tuple[tuple[ReleaseNumber, tuple[str, ...]], ...] = (
    ((2, 0, 0), ("RowID", "Timestamp")),
    ((2, 4, 12), ("like", "and", "or", "not", "in", "true", "True", "TRUE", "false", "False")),
    ((2, 4, 12), ("FALSE", *_both_cases("exists", "array_length", *_CONTAINS))),
    ((2, 5, 0), _both_cases("text_match")),
    ((2, 6, 0), _both_cases("phrase_match", "random_sample")),
    ((3, 0, 0), ("__virtual_pk__",)),
)
_NULL_SINCE = (3, 0, 0)


def exceeded(described: Description, version: Version) -> Iterator[tuple[Limit, int, int]]:
    """Yields the limits that a collection exceeds: (limit, the collection's number, maximum)."""
    for limit in LIMITS:
        most, count = limit.of(version), limit.count(described)
        if most is not None and count > most:
            yield limit, count, most


def reserved(described: Description, version: Version) -> Iterator[str]:
    """Yields the fields whose names a server reserves."""
    if not version.known:
        return
    words = {name for since, names in _RESERVED if versions.has(version, since) for name in names}
    for field in (*described.message.fields, *described.message.struct_array_fields):
        is_null = field.name.casefold() == "null" and versions.has(version, _NULL_SINCE)
        if field.name in words or is_null:
            yield field.name


def lacks_vector(described: Description, version: Version) -> bool:
    """Returns whether a server refuses a collection because it has no vector field."""
    needed = version.known and versions.has(version, VECTOR_NEEDED)
    return needed and not described.vectors


def texts(described: Description) -> tuple[str, ...]:
    """Returns the fields of type Text."""
    text = types.BY_NAME["Text"].number
    return tuple(field.name for field in described.message.fields if field.data_type == text)
