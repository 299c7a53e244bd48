"""Which index can be on which field: types, metrics and parameters, for indexes on request.

Only what every release refuses is a problem here: the server checks the rest when it creates the
index. The job file parser uses this module, so it imports nothing that is slow to import.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

AUTOINDEX = "AUTOINDEX"

_DENSE = ("L2", "IP", "COSINE")
METRICS: dict[str, tuple[str, ...]] = {
    "FloatVector": _DENSE,
    "Float16Vector": _DENSE,
    "BFloat16Vector": _DENSE,
    "Int8Vector": _DENSE,
    "BinaryVector": ("HAMMING", "JACCARD", "SUBSTRUCTURE", "SUPERSTRUCTURE", "MHJACCARD"),
    "SparseFloatVector": ("IP", "BM25"),
}
"""Metrics by the type of a vector field."""

USUAL_METRIC = {
    "FloatVector": "COSINE",
    "Float16Vector": "COSINE",
    "BFloat16Vector": "COSINE",
    "Int8Vector": "COSINE",
    "BinaryVector": "HAMMING",
    "SparseFloatVector": "IP",
    "ArrayOfVector": "MAX_SIM_COSINE",
}
"""The metric of an index on request on a field that has none in the source."""

_FLOATS = ("FloatVector", "Float16Vector", "BFloat16Vector")
_VECTORS = (*_FLOATS, "Int8Vector")
_GRAPHS = (*_VECTORS, "ArrayOfVector")
_NUMBERS = ("Int8", "Int16", "Int32", "Int64", "Float", "Double", "Timestamptz")
_BINARY, _SPARSE = ("BinaryVector",), ("SparseFloatVector",)

Bounds = tuple[float, float]
Params = dict[str, Bounds | None]

_ANY = (1.0, 2.0**31 - 1)
_NLIST: Params = {"nlist": (1.0, 65536.0)}
_GRAPH: Params = {"M": (2.0, 2048.0), "efConstruction": _ANY}
_PQ: Params = {"m": (1.0, 65536.0), "nbits": (1.0, 64.0)}
_CAGRA: Params = {"intermediate_graph_degree": _ANY, "graph_degree": _ANY, "build_algo": None}
_GRAMS: Params = {"min_gram": _ANY, "max_gram": _ANY}
_DROP: Params = {"drop_ratio_build": (0.0, 1.0)}
_REFINE: Params = {"refine": None, "refine_type": None}


@dataclass(frozen=True)
class IndexRule:
    """One type of index.

    Attributes:
        fields: the types of fields that can have it.
        params: its parameters, each with its bounds; None if it is not a number.
        required: the parameters that releases before 2.5 require.
    """

    fields: tuple[str, ...]
    params: Params
    required: tuple[str, ...] = ()


_SCALARS = (*_NUMBERS, "Bool", "VarChar", "Array")

RULES: dict[str, IndexRule] = {
    AUTOINDEX: IndexRule((*_GRAPHS, *_BINARY, *_SPARSE, *_SCALARS, "Geometry"), {}),
    "FLAT": IndexRule((*_GRAPHS,), {}),
    "IVF_FLAT": IndexRule(_GRAPHS, _NLIST, ("nlist",)),
    "IVF_SQ8": IndexRule(_GRAPHS, _NLIST | _REFINE, ("nlist",)),
    "IVF_PQ": IndexRule(_GRAPHS, _NLIST | _PQ | _REFINE, ("nlist", "m")),
    "IVF_RABITQ": IndexRule(_FLOATS, _NLIST | _REFINE),
    "HNSW": IndexRule((*_GRAPHS, *_BINARY), _GRAPH, ("M", "efConstruction")),
    "HNSW_SQ": IndexRule(_GRAPHS, _GRAPH | {"sq_type": None} | _REFINE),
    "HNSW_PQ": IndexRule(_GRAPHS, _GRAPH | _PQ | _REFINE),
    "HNSW_PRQ": IndexRule(_GRAPHS, _GRAPH | _PQ | {"nrq": (1.0, 16.0)} | _REFINE),
    "SCANN": IndexRule(_FLOATS, _NLIST | {"with_raw_data": None}, ("nlist",)),
    "DISKANN": IndexRule(_GRAPHS, {}),
    "AISAQ": IndexRule(_GRAPHS, {}),
    "GPU_IVF_FLAT": IndexRule(_FLOATS, _NLIST, ("nlist",)),
    "GPU_IVF_PQ": IndexRule(_FLOATS, _NLIST | _PQ, ("nlist", "m")),
    "GPU_CAGRA": IndexRule((*_VECTORS, *_BINARY), _CAGRA),
    "GPU_BRUTE_FORCE": IndexRule(_FLOATS, {}),
    "BIN_FLAT": IndexRule(_BINARY, {}),
    "BIN_IVF_FLAT": IndexRule(_BINARY, _NLIST, ("nlist",)),
    "MINHASH_LSH": IndexRule(_BINARY, {}),
    "SPARSE_INVERTED_INDEX": IndexRule(_SPARSE, _DROP | {"inverted_index_algo": None}),
    "SPARSE_WAND": IndexRule(_SPARSE, _DROP),
    "INVERTED": IndexRule(_SCALARS, {}),
    "BITMAP": IndexRule(("Bool", "Int8", "Int16", "Int32", "Int64", "VarChar", "Array"), {}),
    "STL_SORT": IndexRule((*_NUMBERS, "VarChar"), {}),
    "Trie": IndexRule(("VarChar",), {}),
    "NGRAM": IndexRule(("VarChar",), _GRAMS),
    "RTREE": IndexRule(("Geometry",), {}),
}  # fmt: skip
"""The index types that a job file can ask for. A JSON field has indexes on its paths, which are
copied from the source only."""


def type_problem(kind: str, field_type: str) -> str:
    """Returns why a field of this type cannot have an index of this type; "" if it can.

    >>> type_problem("HNSW", "VarChar")
    'a VarChar field can have INVERTED, BITMAP, STL_SORT, Trie, NGRAM or AUTOINDEX.'
    >>> type_problem("INVERTED", "VarChar")
    ''
    """
    if field_type in RULES[kind].fields:
        return ""
    kinds = [
        name for name, rule in RULES.items() if field_type in rule.fields and name != AUTOINDEX
    ]
    if not kinds:
        return f"an index on a {field_type} field cannot be requested."
    return f"a {field_type} field can have {', '.join(kinds)} or {AUTOINDEX}."


_LATER = {("STL_SORT", "VarChar"): ((2, 6, 0),)} | {
    (AUTOINDEX, kind): ((2, 4, 0),) for kind in (*_SCALARS, "Geometry")
}
"""The first releases that build an index on a type of field, if it is newer than the index."""


def since(kind: str, field_type: str) -> tuple[tuple[int, int, int], ...]:
    """Returns the first releases that build such an index on such a field; () for any release."""
    return _LATER.get((kind, field_type), ())


def metric_problem(metric: str, field_type: str) -> str:
    """Returns why a field of this type cannot have this metric; "" if it can, or has none.

    >>> metric_problem("IP", "BinaryVector")[:60]
    'metric IP: a BinaryVector field can have HAMMING, JACCARD, S'
    """
    if field_type == "ArrayOfVector":
        known: Collection[str] = [metric] if metric.startswith("MAX_SIM") else ["MAX_SIM_COSINE"]
    elif field_type not in METRICS:
        return "a scalar index has no metric." if metric else ""
    else:
        known = METRICS[field_type]
    if metric in known:
        return ""
    return f"metric {metric}: a {field_type} field can have {', '.join(known)}."


def param_problems(
    kind: str, params: Mapping[str, Any], *, vector: bool, needs_all: bool
) -> Iterator[str]:
    """Yields what is wrong with the parameters of an index.

    Args:
        vector: whether the field is a vector.
        needs_all: whether the server requires parameters that newer ones have defaults for.

    >>> list(param_problems("HNSW", {"M": 1}, vector=True, needs_all=True))
    ['M is 1, not a number from 2 to 2048.', 'this release of Milvus requires efConstruction.']
    """
    rule = RULES[kind]
    if kind == AUTOINDEX and vector and params:
        yield f"{AUTOINDEX} of a vector accepts only a metric, not {', '.join(params)}."
        return
    for name, value in params.items():
        bounds = rule.params.get(name)
        if bounds and not _is_within(value, bounds):
            low, high = (f"{bound:.12g}" for bound in bounds)
            yield f"{name} is {value}, not a number from {low} to {high}."
    missing = [name for name in rule.required if needs_all and name not in params]
    if missing:
        yield f"this release of Milvus requires {' and '.join(missing)}."


def _is_within(value: Any, bounds: Bounds) -> bool:
    try:
        return bounds[0] <= float(value) <= bounds[1]
    except (TypeError, ValueError):
        return False
