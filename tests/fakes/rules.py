"""What Milvus does differently from release to release: one table, a rule a line.

    rules = Rules("2.6.19")
    rules.pins_iterators            # whether the rule holds in that release
    rules.vector_fields             # a number that depends on it

A source is a file of the server with the line, on the branch of the release that is named first; or
`answers`: real servers of 2.3.5, 2.5.27 and 2.6.19 were asked (tests/fakes/answers). Where a source
and an answer disagree, the answer is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transforms.milvus.versions import Version, parse, release

HERE = Path(__file__).parent

OLDEST = "2.3.7"
"""What a server behaves like that does not say which version it is."""


@dataclass(frozen=True)
class Rule:
    """Something that holds in `spans` of releases, each from its first to before its second."""

    name: str
    spans: tuple[tuple[str, str], ...]
    source: str

    def holds(self, version: Version) -> bool:
        """Whether the rule holds in a release."""
        return any(_within(version, first, until) for first, until in self.spans)


def _within(version: Version, first: str, until: str) -> bool:
    return (not first or release(first) <= version) and (not until or version < release(until))


def _rule(name: str, spans: str, source: str) -> Rule:
    """Reads spans such as ``2.3.14-2.3.17, 2.6.3-``."""
    pairs = [tuple(span.strip().split("-")) for span in spans.split(",")]
    return Rule(name, tuple((first, until) for first, until in pairs), source)


TABLE = (
    # Consistency and snapshots
    _rule("pins_iterators", "2.5.0-", "2.5 task_query.go:485, 2.6 :567, 3.0 :893"),
    _rule("gives_session_ts", "2.5.0-", "2.5 task_query.go:593, 2.6 :685, 3.0 :1068"),
    _rule("hides_expired_rows", "2.5.13-", "2.5 task_query.go:489"),
    _rule("stalled_read_is_505", "2.6.17-", "2.6 delegator.go:1030"),
    # Pages
    _rule("pages_by_iterator", "2.5.0-", "2.5 internal/util/reduce/reduce_info.go:94"),
    _rule("merge_ends_where_more", "2.5.0-", "2.5 HasMoreResult; answers: two_shards_one_key"),
    _rule("pages_end_at_limit", "3.0.0-", "3.0 queryutil/reduce_by_pk_op.go, SliceOperator"),
    _rule("merge_loses_rows", "2.3.14-2.3.17, 2.4.0-2.4.5", "milvus issues 33137 and 33422"),
    _rule("newest_row_wins", "2.3.21-2.4.0, 2.4.8-", "reduceRetrieveResults, from about there on"),
    _rule("hides_largest_key", "-2.6.8", "2.6 pkg/util/typeutil/schema.go SelectMinPK"),
    # Queries
    _rule("query_faults_are_1100", "2.4.0-", "2.5 task_query.go:195, answers; 2.4 not asked"),
    _rule("reads_min_int64", "2.6.19-", "answers: min_int64; earlier patches of 2.6 not asked"),
    _rule("names_primary_field", "2.5.0-", "answers: primary_field_name; 2.4 not asked"),
    _rule("skips_bm25_outputs", "2.5.0-", "translateOutputFields; answers: bm25"),
    _rule("refuses_unloaded_fields", "2.5.0-2.6.0", "2.6 segcore ShouldLoadField is only a hint"),
    # Errors
    _rule("plain_errors_are_1100", "2.6.19-", "2.6 pkg/util/merr; answers"),
    _rule("flags_input_errors", "2.6.19-", "2.6 pkg/util/merr; answers: is_input_error"),
    _rule("flags_absent_in_rows", "2.5.18-", "answers: query_absent of 2.5.27"),
    _rule("describes_absent_with_0", "2.5.18-3.0.0", "2.5 service_provider.go:108, 2.6 :160"),
    _rule("absent_database_is_800", "2.5.18-", "answers: describe_absent_database"),
    # Aliases and the cache of DescribeCollection
    _rule("aliases_keep_cache", "2.6.6-3.0.0", "2.6 ddl_callbacks_alter_alias.go:107, meta_cache.go:995"),
    _rule("move_keeps_old_in_cache", "2.6.0-2.6.6", "2.5 alter_alias_task.go; right in a 2.5.27"),
    # Read on the branch of 2.6.19 too, but a 2.6.19 that was asked says yes (drop_alias_absent).
    _rule("drops_only_known_aliases", "2.6.6-2.6.19, 3.0.0-", "2.6 ddl_callbacks_drop_alias.go"),
    _rule("drop_leaves_aliases", "2.3.0-2.4.0", "a 2.3.5, asked: the alias stays, of no collection"),
    _rule("aliases_protect", "2.4.24-", "answers: drop_collection_with_alias; 2.4.0 has it not"),
    _rule("name_as_alias_is_1601", "2.6.0-", "2.6 rootcoord create_collection_task.go"),
    # Collections
    _rule("needs_vector", "2.4.5-", "2.4 proxy/task.go, answers: no_vector"),
    _rule("refuses_unknown_types", "2.4.0-", "answers: types"),
    _rule("long_descriptions_refused", "2.6.19-", "2.6 util.go validateCollectionDescription"),
    _rule("reserves_words", "2.4.12-", "2.4 pkg/common/keywords.go"),
    _rule("reserves_text_match", "2.5.0-", "2.5 pkg/common/keywords.go; answers: names"),
    _rule("reserves_random_sample", "2.6.0-", "2.6 pkg/common/keywords.go; answers: names"),
    _rule("reserves_null", "3.0.0-", "3.0 pkg/common/keywords.go"),
    _rule("keeps_clustering_keys", "2.4.0-", "is_clustering_key is in the protocol from there on"),
    _rule("keeps_nullable", "2.5.0-", "answers: a 2.3.5 takes `nullable` without a word"),
    _rule("keeps_functions", "2.5.0-", "2.5 DescribeCollection; unknown fields are dropped"),
    _rule("keeps_structs", "2.6.0-", "answers: struct_array of 2.5.27"),
    _rule("nullable_vectors", "2.6.17-", "answers: int8_and_nullable_vectors; since 2.6.17"),
    _rule("nullable_meta", "2.6.8-", "2.6 task_query.go; answers: page_of_all_columns"),
    _rule("isolation_needs_key", "2.4.12-", "answers: properties"),
    _rule("isolation_blocks_alter", "2.4.12-2.6.13", "2.4 task.go:963, 2.5 :977, 2.6.5 :1249"),
    _rule("mmap_needs_release", "2.4.0-", "2.4 proxy alterCollectionTask.PreExecute"),
    _rule("auto_id_property_checked", "2.5.19-2.6.0, 2.6.3-", "2.5 alterCollectionTask.PreExecute"),
    _rule("level_from_property", "2.6.6-", "2.6 mustConsumeConsistencyLevel; answers"),
    _rule("has_timezone", "2.6.6-", "2.6 create_collection_task.go; answers: properties"),
    _rule("properties_in_schema", "2.5.18-", "2.6 service_provider.go; answers"),
    # Times with a zone
    _rule("query_timezone", "2.6.6-", "2.6 task_query.go resolvedTimezoneStr"),
    _rule("empty_timestamptz_is_long", "2.6.6-", "2.6 typeutil/gen_empty_field_data.go:300"),
    # Indexes
    _rule("takes_ascending", "2.3.6-2.4.0", "2.3 util.go:252; a 2.3.5 refuses it"),
    _rule("known_index_types", "2.4.0-", "2.4 indexparamcheck/conf_adapter_mgr.go:65"),
    _rule("bitmap_indexes", "2.4.9-", "2.4.9 conf_adapter_mgr.go:66"),
    _rule("newer_vector_indexes", "2.5.0-", "2.5 knowhere: HNSW_SQ, HNSW_PQ, HNSW_PRQ"),
    _rule("rtree_indexes", "2.5.27-", "answers: geometry; earlier patches not asked"),
    _rule("rabitq_indexes", "2.5.27-", "answers: ivf_rabitq; earlier patches not asked"),
    _rule("ngram_indexes", "2.6.0-", "answers: scalar_text_NGRAM"),
    _rule("json_indexes", "2.5.0-", "answers: json_path"),
    _rule("index_keys_once", "2.5.0-", "2.5 task_index.go parseIndexParams"),
    _rule("autoindex_is_cosine", "2.4.0-", "answers: autoindex_without_metric; 2.4 not asked"),
    # Loading
    _rule("load_changes_replicas", "2.5.0-", "answers: load_with_two_replicas of 2.5.27; 2.6.6 by source"),
    _rule("too_few_nodes_is_12", "2.4.0-", "merr 12, service resource insufficient"),
    _rule("lists_no_replicas", "2.4.0-", "answers: replicas_not_loaded; 2.4 not asked"),
    # Writes
    _rule("checks_valid_data", "2.5.0-", "2.5 validate_util.go; answers: nullable"),
    _rule("needs_valid_data", "2.5.0-2.6.2", "2.6 validate_util.go; answers: nullable"),
    _rule("names_unknown_columns", "2.6.0-", "answers: unknown_column"),
    _rule("names_missing_columns", "2.4.0-", "answers: missing_field; 2.4 not asked"),
    _rule("dynamic_keys_clash", "2.5.0-", "2.5 util.go verifyDynamicFieldData"),
    _rule("takes_auto_ids", "2.5.19-2.6.0, 2.6.3-", "2.6 checkPrimaryFieldData"),
    _rule("takes_function_outputs", "2.6.3-", "2.6 task_insert.go, allowInsertNonBM25…"),
    _rule("upserts_auto_ids", "2.4.0-", "2.6 checkUpsertPrimaryFieldData"),
    _rule("upsert_keys_once", "2.6.8-", "2.6 task_upsert.go:1314"),
    _rule("struct_lengths_checked", "2.6.19-", "answers: insert_lengths_differ"),
    _rule("deletes_tell_timestamp", "2.4.0-", "answers: delete_by_filter; 2.4 not asked"),
    _rule("limits_flush", "2.4.0-", "quotaAndLimits.flushRate.collection; answers: flush_twice"),
    # Calls that are there
    _rule("describes_databases", "2.4.3-", "2.4.3 rootcoord; absent in 2.4.0"),
    _rule("adds_fields", "2.6.0-", "answers: added_field"),
)  # fmt: skip

_BY_NAME = {rule.name: rule for rule in TABLE}

LIMITS: dict[str, tuple[tuple[str, int], ...]] = {
    "shards": (("", 16),),
    "partitions": (("", 4096), ("2.4.0", 1024)),
    "fields": (("", 64), ("3.0.0", 256)),
    "vector_fields": (("", 1), ("2.4.0", 4), ("2.6.0", 10)),
    "name_length": (("", 255),),
    "description_bytes": (("", 1024),),
    "text_bytes": (("", 65_535),),
    "json_bytes": (("", 65_536),),
    "dim": (("", 32_768),),
    "databases": (("", 64),),
    "page_rows": (("", 16_384),),
}
"""Numbers by the first release that has them (paramtable of each branch)."""

TYPES_SINCE = {
    21: "2.2.9",  # VarChar
    22: "2.3.2",  # Array
    23: "2.2.9",  # JSON
    24: "2.5.27",  # Geometry (answers: geometry; earlier patches not asked)
    25: "2.6.0",  # Text
    26: "2.6.1",  # Timestamptz
    102: "2.3.0",  # Float16Vector: a 2.3 counts it among the vectors (answers: types)
    103: "2.4.0",  # BFloat16Vector
    104: "2.4.0",  # SparseFloatVector
    105: "2.6.0",  # Int8Vector
    106: "2.6.0",  # ArrayOfVector
    201: "2.6.0",  # ArrayOfStruct
}
"""The first release that knows a type of field, by its number; those left out are known to all."""


class Rules:
    """The rules of one version, by their names, and the limits."""

    def __init__(self, version: str) -> None:
        parsed = parse(version)
        self.version = parsed if parsed.known else release(OLDEST)

    def __getattr__(self, name: str) -> int:
        """Returns whether a rule holds, or a limit."""
        if name in _BY_NAME:
            return _BY_NAME[name].holds(self.version)
        if name in LIMITS:
            known = [limit for first, limit in LIMITS[name] if _within(self.version, first, "")]
            return known[-1]
        raise AttributeError(f"no such rule: {name}")

    def knows_type(self, number: int) -> bool:
        """Whether fields of a type can be made."""
        return _within(self.version, TYPES_SINCE.get(number, ""), "")


@cache
def rules_of(version: str) -> Rules:
    """Returns the rules of a version, however it is spelt."""
    return Rules(version)
