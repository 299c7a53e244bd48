"""Index types: the releases that build them, their old names, and how they are created."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from transforms.milvus import versions
from transforms.milvus.description import Index, Pairs
from transforms.milvus.versions import ReleaseNumber, Version

SINCE: dict[str, tuple[ReleaseNumber, ...]] = {
    **dict.fromkeys(("INVERTED", "SPARSE_INVERTED_INDEX", "SPARSE_WAND"), ((2, 4, 0),)),
    **dict.fromkeys(("GPU_CAGRA", "GPU_BRUTE_FORCE"), ((2, 4, 0),)),
    "BITMAP": ((2, 4, 9),),
    **dict.fromkeys(("HNSW_SQ", "HNSW_PQ", "HNSW_PRQ"), ((2, 5, 0),)),
    # With knowhere 2.5.7, where it is first registered for Milvus.
    "IVF_RABITQ": ((2, 5, 11),),
    # Commits 877e68f851 (2.5) and 19346fa389 (2.6) of Milvus.
    "RTREE": ((2, 5, 18), (2, 6, 3)),
    **dict.fromkeys(("NGRAM", "MINHASH_LSH"), ((2, 6, 0),)),
    # With knowhere 2.6.1.
    "AISAQ": ((2, 6, 1),),
}
"""Index type -> the first releases of Milvus that build it, one for each release line. The other
types exist in all supported releases."""

WITHOUT_VECTORS = frozenset(
    [
        *("IVF_SQ8", "IVF_PQ", "IVF_RABITQ", "DISKANN", "AISAQ", "HNSW_SQ", "HNSW_PQ", "HNSW_PRQ"),
        *("GPU_IVF_PQ", "GPU_CAGRA"),
    ]
)
"""Index types that keep no vectors in memory: a query reads them from disk or object storage."""


def keeps_vectors(index: Index) -> bool:
    """Returns whether the index of a vector keeps the vectors in memory.

    >>> scann = Index("v", "v", (("index_type", "SCANN"), ("with_raw_data", "false")))
    >>> keeps_vectors(scann), keeps_vectors(Index("v", "v", (("index_type", "SCANN"),)))
    (False, True)
    """
    params = dict(index.params)
    kind = params.get("index_type", "").upper()
    if kind != "SCANN":
        return kind not in WITHOUT_VECTORS
    nested = params.get("params", "").replace(" ", "").lower()  # JSON, from older clients.
    return params.get("with_raw_data") != "false" and '"with_raw_data":false' not in nested


_SCALAR_INDEXES = {"Ascending": "STL_SORT", "Asceneding": "STL_SORT", "marisa-trie": "Trie"}
"""Old names of scalar index types, as Attu before 2.3 wrote them -> current names."""

AUTOINDEX = "AUTOINDEX"

PATH_SINCE = ((2, 5, 7),)
"""The first release of Milvus that builds an index on a path in JSON (commit 683b26ffb7)."""

_LITE_VECTORS = {"FLAT", "BRUTE_FORCE", "HNSW", "HNSW_SQ", "IVF_FLAT", "IVF_SQ8"}
LITE = _LITE_VECTORS | {"", "AUTOINDEX", "SPARSE_INVERTED_INDEX", "INVERTED"}
"""The index types that milvus-lite 3.2.2 builds."""


def with_current_type(index: Index, version: Version) -> Index:
    """Returns an index with the name that a server of this version has for its type.

    2.4 and later refuse `Ascending`; some releases build a `marisa-trie` and cannot load it.

    >>> old = Index("title", "by_title", (("index_type", "marisa-trie"),))
    >>> with_current_type(old, versions.parse("2.6.7")).params
    (('index_type', 'Trie'),)
    """
    names = _SCALAR_INDEXES
    if not versions.has(version, (2, 4, 0)):
        # 2.3 accepts `marisa-trie`, and only this spelling of Trie.
        names = names | {"marisa-trie": "marisa-trie", "TRIE": "Trie"}
    params = (
        (key, names.get(value, value) if key == "index_type" else value)
        for key, value in index.params
    )
    return replace(index, params=tuple(params))


def with_current_name(value: str) -> str:
    """Returns the feature value of an index with the current name of its type.

    >>> with_current_name("on title: marisa-trie"), with_current_name("on pages: STL_SORT")
    ('on title: Trie', 'on pages: STL_SORT')
    """
    on, colon, rest = value.partition(": ")
    kind, space, params = rest.partition(" ")
    return f"{on}{colon}{_SCALAR_INDEXES.get(kind, kind)}{space}{params}"


def split_params(index: Index, vectors: Collection[str]) -> tuple[Index, Pairs]:
    """Splits an index into the one for CreateIndex, and the parameters for AlterIndex after it.

    The description of a vector's AUTOINDEX includes parameters that were altered later, but
    CreateIndex refuses all parameters except the metric (2.4 and later).

    >>> auto = (("index_type", "AUTOINDEX"), ("metric_type", "L2"), ("mmap.enabled", "true"))
    >>> first, later = split_params(Index("vector", "vector", auto), ["vector"])
    >>> first.params == auto[:2], later
    (True, (('mmap.enabled', 'true'),))
    """
    kind = dict(index.params).get("index_type", AUTOINDEX)
    if kind != AUTOINDEX or index.field not in vectors:
        return index, ()
    first = tuple(pair for pair in index.params if pair[0] in ("index_type", "metric_type"))
    return replace(index, params=first), tuple(p for p in index.params if p not in first)
