"""The indexes that the job file asks for, in place of those of the source. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from pipeline.jobfile.index_requests import IndexRequest, matches
from pipeline.jobfile.settings import Sink
from transforms.milvus import types
from transforms.milvus.description import Description, Index
from transforms.milvus.index_rules import AUTOINDEX, USUAL_METRIC

CREATE_INDEX = "create_index"


@dataclass(frozen=True)
class RequestedIndex:
    """An index of the target that the job file asks for.

    Attributes:
        key: the key of `sink.Milvus.index`; `create_index` if that key asks for it.
        index: the index.
        kind: the name of its field's type.
        params: its parameters, without type and metric.
    """

    key: str
    index: Index
    kind: str
    params: dict[str, Any]

    @property
    def index_type(self) -> str:
        """The type of the index."""
        return dict(self.index.params)["index_type"]

    @property
    def metric(self) -> str:
        """The metric; "" if there is none."""
        return dict(self.index.params).get("metric_type", "")


def field_types(described: Description) -> dict[str, str]:
    """Returns the type of each field that can have an index, by the name that indexes use."""
    message = described.message
    kinds = {field.name: types.name_of(field.data_type) for field in message.fields}
    vectors = {name: "ArrayOfVector" for name in described.vectors if "[" in name}
    return kinds | vectors


def requested_indexes(sink: Sink, described: Description) -> tuple[RequestedIndex, ...]:
    """Returns the requested indexes of a collection that differ from those it has.

    An exact name has priority over a pattern, a name with a database over one without, and the
    first pattern over the others.
    """
    requested = (
        _requested(name, request, field, kind, described)
        for field, kind in field_types(described).items()
        for name, request in _first(sink, described, field)
    )
    return tuple(index for index in requested if index)


def with_requested(described: Description, requested: Collection[RequestedIndex]) -> Description:
    """Returns the collection with the requested indexes, each in place of the old one."""
    new = {request.index.field: request.index for request in requested}
    others = [new.pop(index.field, index) for index in described.indexes]
    return replace(described, indexes=(*others, *new.values()))


def _first(sink: Sink, described: Description, field: str) -> Iterator[tuple[str, IndexRequest]]:
    """Yields the request for a field, with its key; nothing if there is none."""
    vector = field in described.vectors
    for name in sorted(sink.index, key=lambda name: ("*" in name, -name.count("."))):
        if matches(name, described.name, field, vector=vector):
            yield name, sink.index[name]
            return
    if sink.create_index == AUTOINDEX and vector:
        yield CREATE_INDEX, IndexRequest(index_type=AUTOINDEX)


def _requested(
    key: str, request: IndexRequest, field: str, kind: str, described: Description
) -> RequestedIndex | None:
    """Returns the requested index; None if the collection has this index."""
    before = next((index for index in described.indexes if index.field == field), None)
    old = dict(before.params) if before else {}
    usual = "BM25" if field in described.computed else USUAL_METRIC.get(kind, "")
    metric = request.metric_type or old.get("metric_type") or usual
    params = {"index_type": request.index_type}
    if metric:
        params["metric_type"] = metric
    if request.params:
        params["params"] = json.dumps(request.params, separators=(",", ":"))
    if before and _is_same(old, params):
        return None
    name = before.name if before else _new_name(field, described)
    index = Index(field, name, tuple(params.items()))
    return RequestedIndex(key, index, kind, request.params)


def _is_same(old: dict[str, str], new: dict[str, str]) -> bool:
    """Returns whether an index is as requested; an AUTOINDEX may have altered parameters."""
    if new["index_type"] == AUTOINDEX:
        return all(old.get(key) == value for key, value in new.items())
    return _flat(old) == _flat(new)


def _flat(params: dict[str, str]) -> dict[str, str]:
    """Returns parameters by name: servers show them one by one, or as JSON under `params`."""
    others = {key: value for key, value in params.items() if key != "params"}
    try:
        inner = json.loads(params.get("params") or "{}")
    except ValueError:
        return params
    return others | {key: str(value) for key, value in inner.items()}


def _new_name(field: str, described: Description) -> str:
    name = field.replace("[", "_").removesuffix("]")
    return f"{name}_index" if name in {index.name for index in described.indexes} else name
