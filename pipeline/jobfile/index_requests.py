"""`index` of the sink: indexes that differ in the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.patterns import fits, matching
from pipeline.jobfile.spelling import nearest, suggestion
from pipeline.jobfile.value_types import Verbatim
from transforms.milvus.index_rules import RULES

_EXAMPLE = '{ "docs.vector" { index_type = HNSW, metric_type = COSINE }, "*" = AUTOINDEX }'


def _index_type(value: object) -> str:
    by_fold = {name.casefold(): name for name in RULES}
    name = by_fold.get(str(value).casefold(), "")
    if not name:
        near = ", ".join(nearest(str(value), RULES, most=3, likeness=0.4) or sorted(RULES))
        raise ValueError(f"has the unknown index type {value}; the nearest are {near}")
    return name


def _metric(value: object) -> str:
    return str(value).upper()


def _params(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("params must be a block such as { M = 16, efConstruction = 200 }")
    return dict(_dotted("", value))


def _dotted(before: str, block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the keys of a block and of the blocks in it: HOCON splits a key at its dots."""
    for name, value in block.items():
        path = before + str(name).strip('"')
        if isinstance(value, dict):
            yield from _dotted(f"{path}.", value)
        else:
            yield path, value


class IndexRequest(Block):
    """One index in the target; it replaces that of the source on the same field."""

    index_type: Annotated[str, BeforeValidator(_index_type), Field(title="text")] = key(
        "The type of the index, such as HNSW, DISKANN or AUTOINDEX."
    )
    metric_type: Annotated[Verbatim, BeforeValidator(_metric)] = key(
        "The metric of a vector index. Default: that of the source's index.", ""
    )
    params: Annotated[dict[str, Any], BeforeValidator(_params), Field(title="block")] = key(
        "The parameters of the index: `{ M = 16, efConstruction = 200 }`.", {}
    )


def matches(pattern: str, collection: str, field: str, *, vector: bool) -> bool:
    """Returns whether a key of `index` names a field.

    A * in the name of the field matches vector fields only.

    >>> matches("docs.title", "docs", "title", vector=False)
    True
    >>> matches("*", "docs", "title", vector=False), matches("*", "docs", "embedding", vector=True)
    (False, True)
    """
    of, _, name = ("*", "", "*") if pattern == "*" else pattern.rpartition(".")
    if "*" in name and not vector:
        return False
    return bool(fits(of, collection) and matching(name, field))


def _requests(value: object) -> dict[str, IndexRequest]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a block such as {_EXAMPLE}")
    requests = {path: _request(path, item) for path, item in _fields("", value)}
    for path in requests:
        if path != "*" and not all(path.rpartition(".")[::2]):
            raise ValueError(
                f'has the key {path}; write "collection.field", or "*" for all vectors'
            )
    return requests


def _fields(before: str, block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields each key with its value; without quotes, HOCON makes blocks of `docs.vector`."""
    for name, value in block.items():
        path = before + str(name).strip('"')
        if isinstance(value, dict) and not IndexRequest.known().keys() & value.keys():
            yield from _fields(f"{path}.", value)
        else:
            yield path, value


def _request(path: str, value: object) -> IndexRequest:
    if isinstance(value, IndexRequest):
        return value
    values = value if isinstance(value, dict) else {"index_type": value}
    for name in values:
        if name not in IndexRequest.known():
            hint = suggestion(name, IndexRequest.known())
            raise ValueError(f"{path} has the unknown key {name}{hint}")
    if "index_type" not in values:
        raise ValueError(f"{path} has no index_type; write one, such as HNSW or AUTOINDEX")
    try:
        return IndexRequest.model_validate(values)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{path} {wrong.get('ctx', {}).get('error', wrong['msg'])}") from None


IndexRequests = Annotated[
    dict[str, IndexRequest],
    BeforeValidator(_requests),
    Field(title="`{ index_type, … }` or index type by field"),
]
