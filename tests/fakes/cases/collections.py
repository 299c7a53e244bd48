"""Collections, aliases, indexes and loading by release."""

from __future__ import annotations

from typing import Any

from pymilvus.grpc_gen import milvus_pb2, schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from tests.fakes.answers.asking import (
    PLAIN,
    Answer,
    field,
    key_field,
    pairs,
    text_field,
    vector_field,
)
from tests.fakes.cases.lines import NAME, Cases, Line, around, by_line, code, flagged

collections = Cases()

ALIAS = "papers"
OTHER = "other"


def _created(line: Line, *fields: schema_pb2.FieldSchema, **create: Any) -> object:
    return code(line.asker.create(NAME, [*PLAIN, *fields], **create))


def _described(line: Line) -> schema_pb2.CollectionSchema:
    return line.asker.describe(NAME).schema


# Errors


@collections.of(
    "plain_errors_are_1100",
    by_line(65535, 65535, 65535, 1100, 1100),
    around("2.6.18", 65535, "2.6.19", 1100),
)
def too_many_shards(line: Line) -> object:
    return _created(line, shards=17)


@collections.of("flags_input_errors", by_line(False, False, False, True, True))
def too_many_shards_flagged(line: Line) -> object:
    return flagged(line.asker.create(NAME, PLAIN, shards=17))


# Aliases


def _alias(line: Line, call: str, name: str = NAME) -> Answer:
    requests = {
        "CreateAlias": milvus_pb2.CreateAliasRequest(collection_name=name, alias=ALIAS),
        "AlterAlias": milvus_pb2.AlterAliasRequest(collection_name=name, alias=ALIAS),
        "DropAlias": milvus_pb2.DropAliasRequest(alias=ALIAS),
    }
    return line.asker.call(call, requests[call])


def _listed(line: Line, name: str = NAME) -> list[str]:
    request = milvus_pb2.ListAliasesRequest(collection_name=name)
    return list(line.asker.call("ListAliases", request).aliases)


@collections.of(
    "aliases_keep_cache",
    by_line([ALIAS], [ALIAS], [ALIAS], [], [ALIAS]),
    around("2.6.5", [ALIAS], "2.6.6", []),
)
def aliases_described_after_one_was_created(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.describe(NAME)
    _alias(line, "CreateAlias")
    assert _listed(line) == [ALIAS]
    return list(line.asker.describe(NAME).aliases)


@collections.of("aliases_keep_cache", by_line(*[[ALIAS]] * 5))
def aliases_described_after_a_load(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.describe(NAME)
    _alias(line, "CreateAlias")
    line.asker.load(NAME)
    return list(line.asker.describe(NAME).aliases)


@collections.of(
    "move_keeps_old_in_cache",
    by_line([], [], [], [ALIAS], []),
    around("2.5.27", [], "2.6.0", [ALIAS]),
    {"2.6.5": [ALIAS]},
)
def aliases_described_after_one_was_moved_away(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.create(OTHER, PLAIN)
    _alias(line, "CreateAlias")
    line.asker.describe(NAME)
    _alias(line, "AlterAlias", OTHER)
    assert (_listed(line), _listed(line, OTHER)) == ([], [ALIAS])
    return list(line.asker.describe(NAME).aliases)


@collections.of(
    "drops_only_known_aliases",
    by_line(0, 0, 0, 0, 1600),
    around("2.6.5", 0, "2.6.6", 1600),
    {"2.6.18": 1600},
)
def drop_of_no_alias(line: Line) -> object:
    return code(_alias(line, "DropAlias"))


@collections.of("aliases_protect", by_line(0, 65535, 65535, 1100, 1100), {"2.4.0": 0})
def drop_of_a_collection_with_an_alias(line: Line) -> object:
    line.ready(*PLAIN)
    _alias(line, "CreateAlias")
    return code(line.asker.drop(NAME))


@collections.of("drop_leaves_aliases", by_line((1602, 0), (0, 0), (0, 0), (0, 0), (0, 0)))
def alias_of_a_collection_that_was_dropped(line: Line) -> object:
    line.ready(*PLAIN)
    _alias(line, "CreateAlias")
    line.asker.drop(NAME)  # Newer releases refuse it.
    line.asker.create(NAME, PLAIN)
    return code(_alias(line, "CreateAlias")), code(_alias(line, "AlterAlias"))


@collections.of("name_as_alias_is_1601", by_line(65535, 65535, 65535, 1601, 1601))
def collection_named_as_an_alias(line: Line) -> object:
    line.ready(*PLAIN)
    _alias(line, "CreateAlias")
    return code(line.asker.create(ALIAS, PLAIN))


@collections.of("name_as_alias_is_1601", by_line(*[(0, 1602, 1601)] * 5))
def aliases_that_are_there_or_another_s_or_a_name(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.create(OTHER, PLAIN)
    _alias(line, "CreateAlias")
    named = milvus_pb2.CreateAliasRequest(collection_name=NAME, alias=OTHER)
    return (
        code(_alias(line, "CreateAlias")),
        code(_alias(line, "CreateAlias", OTHER)),
        code(line.asker.call("CreateAlias", named)),
    )


# New collections


@collections.of("needs_vector", by_line(0, 1100, 1100, 1100, 1100), {"2.4.0": 0})
def collection_without_a_vector(line: Line) -> object:
    return code(line.asker.create(NAME, [key_field()]))


@collections.of("refuses_unknown_types", by_line(0, 1100, 1100, 0, 0))
def vector_of_int8(line: Line) -> object:
    return _created(line, vector_field("w", DataType.Int8Vector))


@collections.of(
    "long_descriptions_refused", by_line(0, 0, 0, 1100, 1100), around("2.6.18", 0, "2.6.19", 1100)
)
def description_of_1025_bytes(line: Line) -> object:
    return _created(line, description="x" * 1025)


@collections.of("reserves_words", by_line(0, 1701, 1701, 1701, 1701))
def field_named_in(line: Line) -> object:
    return _created(line, field("in", DataType.Int64))


@collections.of("reserves_text_match", by_line(0, 0, 1701, 1701, 1701))
def field_named_text_match(line: Line) -> object:
    return _created(line, field("TEXT_MATCH", DataType.Int64))


@collections.of("reserves_random_sample", by_line(0, 0, 0, 1701, 1701))
def field_named_random_sample(line: Line) -> object:
    return _created(line, field("random_sample", DataType.Int64))


@collections.of("reserves_null", by_line(0, 0, 0, 0, 1701))
def field_named_null(line: Line) -> object:
    return _created(line, field("null", DataType.Int64))


@collections.of("keeps_clustering_keys", by_line(False, True, True, True, True))
def clustering_key(line: Line) -> object:
    _created(line, field("n", DataType.Int64, is_clustering_key=True))
    return _described(line).fields[2].is_clustering_key


@collections.of("keeps_nullable", by_line(False, False, True, True, True))
def nullable_field(line: Line) -> object:
    _created(line, field("n", DataType.Int64, nullable=True))
    return _described(line).fields[2].nullable


@collections.of("keeps_functions", by_line(0, 0, 1, 1, 1))
def function(line: Line) -> object:
    text = text_field("t", 20)
    text.type_params.extend(pairs({"enable_analyzer": "true"}))
    bm25 = schema_pb2.FunctionSchema(
        name="f", type=FunctionType.BM25, input_field_names=["t"], output_field_names=["sp"]
    )
    _created(line, text, field("sp", DataType.SparseFloatVector), functions=[bm25])
    return len(_described(line).functions)


@collections.of("keeps_structs", by_line(0, 0, 0, 1, 1))
def struct_array(line: Line) -> object:
    part = field("w", DataType.Array, element=DataType.Int32, params={"max_capacity": 4})
    struct = schema_pb2.StructArrayFieldSchema(name="st", fields=[part])
    _created(line, struct_array_fields=[struct])
    return len(_described(line).struct_array_fields)


@collections.of(
    "nullable_vectors",
    {"2.5.27": 1100},
    around("2.6.16", 1100, "2.6.17", 0),
    {"2.6.19": 0, "3.0.0": 0},
)
def nullable_vector(line: Line) -> object:
    return _created(line, vector_field("w", nullable=True))


ISOLATION: dict[str, object] = {"partitionkey.isolation": "true"}


@collections.of("isolation_needs_key", by_line(0, 105, 105, 105, 105))
def isolation_without_a_partition_key(line: Line) -> object:
    return _created(line, properties=ISOLATION)


@collections.of(
    "isolation_blocks_alter", by_line(0, 702, 702, 0, 0), around("2.6.12", 702, "2.6.13", 0)
)
def alter_of_an_isolated_collection_with_an_index(line: Line) -> object:
    key = field("k", DataType.Int64, is_partition_key=True)
    line.ready(*PLAIN, key, properties=ISOLATION)
    return code(line.asker.alter(NAME, collection__ttl__seconds="9999"))


@collections.of("mmap_needs_release", by_line(0, 104, 104, 104, 104))
def mmap_of_a_loaded_collection(line: Line) -> object:
    line.ready(*PLAIN)
    return code(line.asker.alter(NAME, mmap__enabled="true"))


@collections.of("auto_id_property_checked", by_line(0, 0, 1100, 1100, 1100))
def ids_allowed_where_the_key_is_not_automatic(line: Line) -> object:
    line.ready(*PLAIN)
    return code(line.asker.alter(NAME, allow_insert_auto_id="true"))


@collections.of(
    "level_from_property",
    by_line((0, True), (0, True), (0, True), (2, False), (2, False)),
    around("2.6.5", (0, True), "2.6.6", (2, False)),
)
def level_given_as_a_property(line: Line) -> object:
    _created(line, properties={"consistency_level": "Bounded"})
    made = line.asker.describe(NAME)
    return made.consistency_level, "consistency_level" in [pair.key for pair in made.properties]


@collections.of(
    "has_timezone", by_line("", "", "", "UTC", "UTC"), around("2.6.5", "", "2.6.6", "UTC")
)
def time_zone_of_a_new_collection(line: Line) -> object:
    _created(line)
    properties = line.asker.describe(NAME).properties
    return next((pair.value for pair in properties if pair.key == "timezone"), "")


@collections.of("properties_in_schema", by_line(0, 0, 1, 1, 1), around("2.5.17", 0, "2.5.18", 1))
def properties_in_the_schema(line: Line) -> object:
    _created(line, properties={"made.up": "1"})
    return [pair.key for pair in _described(line).properties].count("made.up")


@collections.of("describes_databases", by_line("UNIMPLEMENTED", 0, 0, 0, 0), {"2.4.3": 0})
def description_of_a_database(line: Line) -> object:
    request = milvus_pb2.DescribeDatabaseRequest(db_name="default")
    return code(line.asker.call("DescribeDatabase", request))


@collections.of("adds_fields", by_line(*["UNIMPLEMENTED"] * 3, 0, 0))
def added_field(line: Line) -> object:
    line.ready(*PLAIN)
    new = field("n", DataType.Int64, nullable=True).SerializeToString()
    request = milvus_pb2.AddCollectionFieldRequest(collection_name=NAME, schema=new)
    return code(line.asker.call("AddCollectionField", request))


# Indexes


def _index(line: Line, new: schema_pb2.FieldSchema, **params: object) -> object:
    _created(line, new)
    return code(line.asker.index(NAME, new.name, **params))


@collections.of("takes_ascending", by_line(0, 1100, 1100, 1100, 1100), {"2.3.5": 1100})
def index_ascending(line: Line) -> object:
    return _index(line, field("n", DataType.Int64), index_type="Ascending")


@collections.of("known_index_types", by_line(1100, 0, 0, 0, 0))
def index_inverted(line: Line) -> object:
    return _index(line, field("n", DataType.Int64), index_type="INVERTED")


@collections.of("bitmap_indexes", by_line(1100, 0, 0, 0, 0), around("2.4.8", 1100, "2.4.9", 0))
def index_bitmap(line: Line) -> object:
    return _index(line, field("n", DataType.Int64), index_type="BITMAP")


@collections.of("newer_vector_indexes", by_line(65535, 1100, 0, 0, 0))
def index_hnsw_sq(line: Line) -> object:
    _created(line)
    return code(line.asker.index(NAME, "v", index_type="HNSW_SQ", metric_type="L2"))


@collections.of("rtree_indexes", by_line(1100, 1100, 0, 0, 0))
def index_rtree(line: Line) -> object:
    return _index(line, field("n", DataType.Int64), index_type="RTREE")


@collections.of("rabitq_indexes", by_line(65535, 1100, 0, 0, 0))
def index_ivf_rabitq(line: Line) -> object:
    _created(line)
    return code(line.asker.index(NAME, "v", index_type="IVF_RABITQ", metric_type="L2"))


@collections.of("ngram_indexes", by_line(1100, 1100, 1100, 0, 0))
def index_ngram(line: Line) -> object:
    grams = {"min_gram": 2, "max_gram": 3}
    return _index(line, text_field("t", 20), index_type="NGRAM", **grams)


@collections.of("json_indexes", by_line(1100, 1100, 0, 0, 0))
def index_of_json(line: Line) -> object:
    params = {"index_type": "INVERTED", "json_cast_type": "double", "json_path": "j['a']"}
    return _index(line, field("j", DataType.JSON), **params)


@collections.of("index_keys_once", by_line(0, 0, 1100, 1100, 1100))
def index_parameter_twice(line: Line) -> object:
    _created(line)
    request = milvus_pb2.CreateIndexRequest(
        collection_name=NAME,
        field_name="v",
        extra_params=[*pairs({"index_type": "FLAT", "metric_type": "L2"}), *pairs({"a": 1})] * 2,
    )
    return code(line.asker.call("CreateIndex", request))


@collections.of("autoindex_is_cosine", by_line("IP", *["COSINE"] * 4))
def metric_of_an_autoindex(line: Line) -> object:
    _created(line)
    line.asker.index(NAME, "v", index_type="AUTOINDEX")
    [made] = line.asker.indexes(NAME).index_descriptions
    return next(pair.value for pair in made.params if pair.key == "metric_type")


@collections.of("autoindex_is_cosine", by_line(65535, 65535, 65535, 1100, 1100))
def autoindex_with_more_than_a_metric(line: Line) -> object:
    _created(line)
    return code(line.asker.index(NAME, "v", index_type="AUTOINDEX", mmap__enabled="true"))


# Loading


@collections.of("load_changes_replicas", by_line((1100, 1), (1100, 1), (0, 2), (0, 2), (0, 2)))
def load_of_a_loaded_collection(line: Line) -> object:
    line.ready(*PLAIN)
    answer = line.asker.load(NAME, replica_number=2)
    replicas = milvus_pb2.GetReplicasRequest(collection_name=NAME)
    return code(answer), len(line.asker.call("GetReplicas", replicas).replicas)


@collections.of("too_few_nodes_is_12", by_line(65535, 12, 12, 12, 12))
def load_with_more_replicas_than_nodes(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.release(NAME)
    return code(line.asker.load(NAME, replica_number=2))


@collections.of("lists_no_replicas", by_line(400, 0, 0, 0, 0))
def replicas_of_what_is_not_loaded(line: Line) -> object:
    _created(line)
    request = milvus_pb2.GetReplicasRequest(collection_name=NAME)
    return code(line.asker.call("GetReplicas", request))


@collections.of("too_few_nodes_is_12", by_line(*[(0, 101)] * 5))
def load_that_fails(line: Line) -> object:
    line.ready(*PLAIN)
    line.asker.release(NAME)
    line.server[NAME].load_failure = "load segment failed, OOM"
    started, progress = line.asker.load(NAME, wait_s=0.0), line.asker.progress(NAME)
    assert "OOM" in progress.status.reason
    return code(started), code(progress)
