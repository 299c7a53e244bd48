"""Which indexes a server builds, and how it describes them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.fakes.fields import is_vector
from tests.fakes.memory import Collection
from tests.fakes.rules import Rules
from tests.fakes.statuses import BAD_PARAMETER, MISSING_PARAMETER, Refusal, plain

AUTOINDEX = "AUTOINDEX"

_OLD_VECTOR = ["FLAT", "IVF_FLAT", "IVF_SQ8", "IVF_PQ", "HNSW", "SCANN", "DISKANN", "BIN_FLAT"]
_OLD_VECTOR += ["BIN_IVF_FLAT", "GPU_IVF_FLAT", "GPU_IVF_PQ"]

_TYPES = {
    "known_index_types": [
        *("STL_SORT", "Asceneding", "Trie", "TRIE", "marisa-trie", "INVERTED", AUTOINDEX),
        *("SPARSE_INVERTED_INDEX", "SPARSE_WAND", "GPU_CAGRA", "GPU_BRUTE_FORCE", *_OLD_VECTOR),
    ],
    "bitmap_indexes": ["BITMAP"],
    "newer_vector_indexes": ["HNSW_SQ", "HNSW_PQ", "HNSW_PRQ"],
    "rtree_indexes": ["RTREE"],
    "rabitq_indexes": ["IVF_RABITQ"],
    "ngram_indexes": ["NGRAM", "MINHASH_LSH", "AISAQ"],
}
"""Types of indexes by the rule with which they came (conf_adapter_mgr.go of each line)."""

_TEXTS = (DataType.VarChar, DataType.String, DataType.Text)


def check_name(rules: Rules, name: str) -> None:
    """Refuses a name that an index cannot have; brackets are of struct arrays (2.6)."""
    allowed = r"[A-Za-z_][\w\[\]]*" if rules.keeps_structs else r"[A-Za-z_]\w*"
    if name and not re.fullmatch(allowed, name):
        words = f"Invalid index name: {name}. Index name can only contain"
        raise plain(rules, f"{words} numbers, letters, and underscores.")


def check_params(
    rules: Rules, field: schema_pb2.FieldSchema, given: Sequence[KeyValuePair]
) -> list[KeyValuePair]:
    """Returns the parameters that a new index is described with.

    Raises:
        Refusal: the server does not build it.
    """
    twice = Counter(pair.key for pair in given).most_common(1)
    if twice and twice[0][1] > 1 and rules.index_keys_once:
        words = f"duplicated index param (key={twice[0][0]})"
        raise Refusal(BAD_PARAMETER, f"{words}: invalid parameter")
    params = {pair.key: pair.value for pair in given if pair.key not in ("dim", "max_length")}
    if is_vector(field):
        params = _of_vector(rules, params)
    elif field.data_type == DataType.JSON and not rules.json_indexes:
        words = "create index on JSON field"
        _expect(f"{words} is not supported", "supported field", words)
    else:
        _check_scalar(rules, field, params)
    return [KeyValuePair(key=key, value=value) for key, value in params.items()]


def check_beside(
    collection: Collection, field_name: str, name: str, params: Sequence[KeyValuePair]
) -> bool:
    """Returns whether the same index is there already.

    Raises:
        Refusal: another index is in its way.
    """
    rules = collection.host.rules
    for index in collection.indexes:
        same = _pairs(index.params) == _pairs(params)
        if index.index_name == name and index.field_name == field_name and same:
            return True
        if index.index_name == name:
            lead = "" if rules.plain_errors_are_1100 else "CreateIndex failed: "
            raise plain(rules, f"{lead}at most one distinct index is allowed per field")
        if index.field_name == field_name and not _of_path(params):
            words = "creating multiple indexes on same field is not supported"
            raise plain(rules, f"CreateIndex failed: {words}")
    return False


def _of_vector(rules: Rules, params: dict[str, str]) -> dict[str, str]:
    kind = params.get("index_type", AUTOINDEX)
    if kind == AUTOINDEX:
        if params.keys() - {"index_type", "metric_type"}:
            raise plain(rules, "only metric type can be passed when use AutoIndex")
        usual = "COSINE" if rules.autoindex_is_cosine else "IP"
        return {"index_type": AUTOINDEX, "metric_type": params.get("metric_type", usual)}
    if rules.known_index_types:
        _check_known(rules, kind)
    elif kind not in _OLD_VECTOR:
        raise plain(rules, f"invalid index type: {kind}")
    return params


def _check_scalar(rules: Rules, field: schema_pb2.FieldSchema, params: dict[str, str]) -> None:
    kind = params.get("index_type", "")
    if kind and rules.known_index_types:
        _check_known(rules, kind)
    elif kind:
        _check_old_scalar(rules, field, kind)
    if kind == "NGRAM" and not {"min_gram", "max_gram"} <= params.keys():
        words = "Ngram index must specify both min_gram and max_gram"
        raise Refusal(MISSING_PARAMETER, f"{words}: missing parameter")


def _check_known(rules: Rules, kind: str) -> None:
    known = {name for rule, names in _TYPES.items() if getattr(rules, rule) for name in names}
    if kind not in known:
        words = f"invalid index type: {kind}"
        raise Refusal(BAD_PARAMETER, f"invalid parameter[expected=valid index][actual={words}]")


def _check_old_scalar(rules: Rules, field: schema_pb2.FieldSchema, kind: str) -> None:
    """Refuses what a 2.3 does: it knows one type of index for texts and one for numbers."""
    usual, others = ("Trie", ["marisa-trie"]) if field.data_type in _TEXTS else ("STL_SORT", [])
    if rules.takes_ascending and usual == "STL_SORT":
        others = ["Ascending"]
    if kind not in (usual, *others):
        _expect("index type not match", usual, kind)


def _of_path(params: Iterable[KeyValuePair]) -> bool:
    return any(pair.key == "json_path" for pair in params)


def _pairs(params: Iterable[KeyValuePair]) -> dict[str, str]:
    return {pair.key: pair.value for pair in params}


def _expect(words: str, expected: str, actual: str) -> None:
    details = f"[expected={expected}][actual={actual}]"
    raise Refusal(BAD_PARAMETER, f"{words}: invalid parameter{details}")
