"""The features of a collection, and the findings if a target does not store them."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile.value_types import _DataSaveModes, _SchemaSaveModes
from pipeline.planning import fidelity, planner
from tests import docs
from tests.clusters import described, job, schema, side, survey
from transforms.finding import Finding
from transforms.milvus import features
from transforms.milvus.description import Description, Index
from transforms.milvus.versions import parse
from transforms.plan import CollectionPlan


def rich() -> schema_pb2.CollectionSchema:
    """A collection that has every feature."""
    made = schema(tags=DataType.Array, price=DataType.Double, dynamic=True, partition_key="title")
    made.description = "of a shop"
    title, tags, price = made.fields[1], made.fields[3], made.fields[4]
    title.description, title.nullable, title.is_clustering_key = "as shown", True, True
    tags.element_type = DataType.VarChar
    tags.type_params.add(key="max_length", value="9")
    tags.type_params.add(key="max_capacity", value="5")
    price.default_value.double_data = 1.5
    made.functions.add(
        name="words", type=1, input_field_names=["title"], output_field_names=["found"]
    )
    struct = made.struct_array_fields.add(name="parts")
    struct.fields.add(name="size", data_type=DataType.Array, element_type=DataType.Int64)
    return made


RICH = described(
    rich(),
    shards=2,
    partition_count=7,
    replicas=2,
    aliases=("goods",),
    indexes=(Index("vector", "by_meaning", (("index_type", "HNSW"), ("M", "16"))),),
    properties=(("collection.ttl.seconds", "60"), ("mmap.enabled", "true")),
)
LISTED = {
    "description": "of a shop",
    "fields.id": "Int64",
    "fields.id.primary_key": "yes",
    "fields.title": "VarChar",
    "fields.title.partition_key": "yes",
    "fields.title.clustering_key": "yes",
    "fields.title.nullable": "yes",
    "fields.title.max_length": "64",
    "fields.title.description": "as shown",
    "fields.vector": "FloatVector",
    "fields.vector.dim": "2",
    "fields.tags": "Array of VarChar",
    "fields.tags.item_max_length": "9",
    "fields.tags.max_capacity": "5",
    "fields.price": "Double",
    "fields.price.default_value": "1.5",
    "fields.parts": "ArrayOfStruct",
    "fields.parts[size]": "Array of Int64",
    "functions.bm25.words": "BM25: title -> found",
    "indexes.by_meaning": "on vector: HNSW M=16",
    "dynamic_field": "yes",
    "partitions": "7 by key title",
    "shards": "2",
    "consistency_level": "Bounded",
    "aliases.goods": "yes",
    "loaded": "in 2 replicas",
    "ttl": "60",
    "mmap.enabled": "true",
}
MORE = {
    "fields.title.enable_match": "true",
    "fields.title.analyzer_params": "{}",
    "fields.title.multi_analyzer_params": "{}",
    "fields.title.mmap.enabled": "true",
    "functions.bm25.words.description": "from titles",
    "fields.parts.description": "of a whole",
    "fields.parts.nullable": "yes",
    "fields.title.unknown_99": "yes",
    "file_resources": "7, 8",
    "unknown_98": "yes",
}


def test_every_feature_of_a_collection_is_listed() -> None:
    assert features.listed(RICH) == LISTED


def test_features_of_newer_servers_are_listed() -> None:
    message = rich()
    title, [words], [parts] = message.fields[1], message.functions, message.struct_array_fields
    for key in ("enable_match", "analyzer_params", "multi_analyzer_params", "mmap.enabled"):
        value = MORE[f"fields.title.{key}"]
        title.type_params.add(key=key, value=value)
    words.description, parts.description, parts.nullable = "from titles", "of a whole", True
    message.file_resource_ids.extend([7, 8])
    title.MergeFromString(_future(99))
    message.MergeFromString(_future(98))
    found = features.listed(replace(RICH, raw_schema=message.SerializeToString()))
    assert dict(found.items() - LISTED.items()) == MORE


def _future(number: int) -> bytes:
    """A field of a number that this protocol does not have, and the value 1."""
    tag = number << 3
    return bytes([tag & 0x7F | 0x80, tag >> 7, 1])


INDEXES = [
    # type, first Milvus, whether milvus-lite builds it
    ("HNSW", "2.3.0", True),
    ("IVF_PQ", "2.3.0", False),
    ("Trie", "2.3.0", False),
    ("INVERTED", "2.4.0", True),
    ("BITMAP", "2.4.9", False),
    ("HNSW_SQ", "2.5.0", True),
    ("IVF_RABITQ", "2.5.11", False),
    ("RTREE", "2.5.18", False),
    ("NGRAM", "2.6.0", False),
    ("of_the_future", "2.3.0", False),
]


@pytest.mark.parametrize(("kind", "since", "lite"), INDEXES)
def test_each_index_type_has_a_first_release(kind: str, since: str, lite: bool) -> None:
    index = Index("vector", "by_meaning", (("index_type", kind),))
    major, minor, patch = map(int, since.split("."))
    older = f"{major}.{minor}.{patch - 1}" if patch else f"{major}.{minor - 1}.999"
    assert features.supports_index(index, parse(since))
    assert features.supports_index(index, parse("master"))
    assert features.supports_index(index, parse(older)) == (since == "2.3.0")
    assert features.supports_index(index, parse("milvus_lite-3.2.2")) == lite


@pytest.mark.parametrize(("server", "built"), [("2.5.18", True), ("2.6.2", False), ("2.6.3", True)])
def test_an_index_that_came_to_two_lines_has_a_release_in_each(server: str, built: bool) -> None:
    index = Index("place", "by_place", (("index_type", "RTREE"),))
    assert features.supports_index(index, parse(server)) == built


@pytest.mark.parametrize(("server", "built"), [("2.5.6", False), ("2.5.7", True)])
def test_an_index_on_a_path_in_json_is_built_from_2_5_7_on(server: str, built: bool) -> None:
    path = Index("meta", "by_path", (("index_type", "INVERTED"), ("json_path", 'meta["a"]')))
    assert features.supports_index(path, parse(server)) == built


def test_an_index_that_the_target_lacks_is_not_created() -> None:
    bitmap = Index("title", "by_title", (("index_type", "BITMAP"),))
    plan = planned(replace(RICH, indexes=(*RICH.indexes, bitmap)))
    assert plan.wanted.indexes == RICH.indexes


def test_several_vectors_are_a_feature() -> None:
    assert features.listed(described(schema(other=DataType.FloatVector)))["several_vectors"]


SINCE = [
    # server, what of RICH it does not hold
    ("v3.0.0", ""),
    ("2.5.0", ""),
    ("2.4.17", "fields.title.nullable functions.bm25.words"),
    ("2.3.5", "fields.title.clustering_key fields.title.nullable functions.bm25.words"),
    ("master", ""),
    (
        "milvus_lite-3.2.2",
        "description fields.title.clustering_key fields.title.description fields.tags.item_max_length",
    ),
]


@pytest.mark.parametrize(("server", "lost"), SINCE)
def test_the_features_that_a_version_lacks_are_known(server: str, lost: str) -> None:
    assert " ".join(name for name, _ in features.lost_by(RICH, parse(server))) == lost


# What was made


def planned(source: Description = RICH) -> CollectionPlan:
    plan = planner.build_plan(job(), survey(side(source)), (), plan_id="p1", made_at=1.5)
    return plan[source.name]


def found(made: Description) -> list[Finding]:
    return list(fidelity.creation_findings(planned(), made))


def without(name: str) -> Description:
    message = rich()
    field = next(each for each in message.fields if each.name == "title")
    field.ClearField(name)
    return replace(RICH, raw_schema=message.SerializeToString())


def test_a_collection_created_as_planned_has_no_findings() -> None:
    assert found(RICH) == []


def test_indexes_and_aliases_are_not_missing_before_the_rows() -> None:
    assert found(replace(RICH, indexes=(), aliases=())) == []


def test_additional_features_of_the_target_are_no_finding() -> None:
    more = (*RICH.properties, ("timezone", "UTC"))
    assert found(replace(RICH, properties=more)) == []


def test_a_default_value_is_not_missing() -> None:
    source = replace(RICH, properties=(*RICH.properties, ("timezone", "UTC")))
    assert list(features.lost_by(source, parse("2.6.5"))) == []
    assert list(fidelity.creation_findings(planned(source), RICH)) == []
    other = replace(RICH, properties=(*RICH.properties, ("timezone", "CET")))
    assert [name for name, _ in features.lost_by(other, parse("2.6.5"))] == ["timezone"]


def test_a_lost_feature_stops_the_job_and_can_be_accepted() -> None:
    [finding] = found(replace(RICH, properties=RICH.properties[1:]))
    assert (finding.code, finding.acceptable, finding.stops) == ("lost:docs.ttl", True, True)
    assert "TTL of rows (ttl): the target did not store it (60)." in str(finding)
    assert "--accept=lost:docs.ttl" in str(finding)


def test_a_lost_feature_that_rows_need_cannot_be_accepted() -> None:
    finding, _ = found(without("is_partition_key"))
    assert (finding.code, finding.acceptable) == ("target-type", False)
    assert "key of the collection of title" in str(finding)


BEFORE_ROWS = [name for name in LISTED if name.partition(".")[0] not in fidelity.LATER]


@pytest.mark.parametrize("name", [*BEFORE_ROWS, *MORE, "several_vectors", "timezone"])
def test_every_feature_that_a_server_silently_drops_stops_the_job(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.5.27, for example, accepts a struct array and does not create it."""
    wanted, made = planned().wanted, replace(RICH, name="made")
    listed = {"docs": LISTED | MORE | {name: "CET"}}
    listed["made"] = {each: value for each, value in listed["docs"].items() if each != name}
    monkeypatch.setattr(features, "listed", lambda described: listed[described.name])
    [finding] = fidelity.creation_findings(replace(planned(), wanted=wanted), made)
    assert finding.stops


def test_a_struct_array_that_was_not_created_is_a_finding() -> None:
    message = rich()
    del message.struct_array_fields[:]
    made = replace(RICH, raw_schema=message.SerializeToString())
    assert {each.code for each in found(made)} == {"target-type"}


def test_internal_properties_are_neither_copied_nor_missing() -> None:
    kept = (("max_field_id", "105"), ("namespace.sharding.enabled", "false"))
    source = replace(RICH, properties=(*RICH.properties, *kept))
    assert planned(source).wanted.properties == RICH.properties
    assert features.listed(source) == LISTED


def test_a_changed_feature_is_a_warning() -> None:
    [finding] = found(replace(RICH, shards=1))
    assert (finding.code, finding.severity) == ("changed:docs.shards", "warning")
    assert "shards (shards): it is 1 in the target, not 2." in str(finding)


# What is created after the rows


BY_TITLE = Index("title", "by_title", (("index_type", "Trie"),))
WANTED = replace(RICH, indexes=(*RICH.indexes, BY_TITLE))
NO = "the target rejects it: CreateIndex: no"
UNPROVEN = "Without it, the collection cannot be loaded and its rows cannot be compared."

AFTERWARDS = [
    # what the target has, what it rejects, and the findings
    (WANTED, {}, []),
    (replace(WANTED, indexes=RICH.indexes), {}, [("lost:docs.indexes.by_title", "warning")]),
    (
        replace(WANTED, indexes=RICH.indexes),
        {"indexes.by_title": NO},
        [("lost:docs.indexes.by_title", "error")],
    ),
    (
        replace(WANTED, indexes=(BY_TITLE,), aliases=(), loaded=False),
        {"indexes.by_meaning": NO, "aliases.goods": NO},
        [
            ("lost:docs.indexes.by_meaning", "error"),
            ("lost:docs.aliases.goods", "error"),
            ("lost:docs.loaded", "warning"),
        ],
    ),
    # Created by another user meanwhile, under another name.
    (
        replace(WANTED, indexes=(*RICH.indexes, replace(BY_TITLE, name="of_theirs"))),
        {"indexes.by_title": NO},
        [("changed:docs.indexes.by_title", "warning")],
    ),
    (WANTED, {"indexes.by_title": NO}, []),
]


@pytest.mark.parametrize(("there", "refused", "said"), AFTERWARDS)
def test_a_rejected_index_or_alias_is_an_error_at_the_end(
    there: Description, refused: dict[str, str], said: list[tuple[str, str]]
) -> None:
    plan = replace(planned(), wanted=WANTED)
    told = list(fidelity.final_findings(plan, features.listed(there), refused))
    assert [(each.code, each.severity) for each in told] == said
    for each in told:
        assert each.acceptable == (each.severity == "error")
        assert (UNPROVEN in each.what) == ("by_meaning" in each.code)
        assert (f"--accept={each.code}" in each.remedy) == each.acceptable


OLD_NAMES = [
    # the type of an index in the source, the target's release, and what is made there
    ("Ascending", "2.6.19", "STL_SORT"),
    ("Ascending", "2.3.7", "STL_SORT"),  # 2.3.5 to 2.3.17 refuse the old name as well
    ("marisa-trie", "2.4.0", "Trie"),
    ("marisa-trie", "master", "Trie"),
    ("marisa-trie", "2.3.7", "marisa-trie"),
    ("TRIE", "2.6.19", "TRIE"),
    ("TRIE", "2.3.7", "Trie"),
]


@pytest.mark.parametrize(("kind", "server", "wanted"), OLD_NAMES)
def test_an_index_type_gets_the_name_of_the_target_version(
    kind: str, server: str, wanted: str
) -> None:
    index = replace(BY_TITLE, params=(("index_type", kind),))
    facts = survey(side(replace(RICH, indexes=(index,))), side(version=parse(server)))
    plan = planner.build_plan(job(), facts, (), plan_id="p1", made_at=1.5)["docs"]
    [made] = plan.wanted.indexes
    assert made.params == (("index_type", wanted),)
    [fate] = [
        each.fate for each in fidelity.feature_fates(plan, {}) if each.what.startswith("indexes")
    ]
    assert fate == ("kept" if wanted == kind else "changed")


def test_an_old_name_of_an_index_type_equals_the_current_one() -> None:
    old = replace(BY_TITLE, params=(("index_type", "marisa-trie"),))
    plan, there = replace(planned(), wanted=WANTED), replace(WANTED, indexes=(*RICH.indexes, old))
    assert list(fidelity.final_findings(plan, features.listed(there), {})) == []
    plan, there = replace(plan, wanted=there), WANTED
    assert list(fidelity.final_findings(plan, features.listed(there), {})) == []


FATES = [
    (RICH, "kept"),
    (replace(RICH, shards=1), "changed"),
    (without("description"), "lost"),
    (replace(RICH, properties=(*RICH.properties, ("timezone", "UTC"))), "new"),
]


@pytest.mark.parametrize(("made", "fate"), FATES)
def test_the_report_shows_the_fate_of_each_feature(made: Description, fate: str) -> None:
    carried = fidelity.feature_fates(planned(), features.listed(made))
    assert {each.fate for each in carried} == {"kept", fate}


def test_the_table_in_the_docs_is_generated_from_the_code() -> None:
    text = docs.FIDELITY.read_text(encoding="utf-8")
    assert docs.refreshed(text, docs.fidelity()) == text, "run make docs"


@pytest.mark.parametrize("name", [*LISTED, *MORE, "several_vectors", "timezone", "ttl_field"])
def test_every_feature_is_in_the_docs(name: str) -> None:
    kind = features.kind_of(name)
    assert f"| {kind.words} | `{kind.name}` |" in docs.FIDELITY.read_text(encoding="utf-8")


@pytest.mark.parametrize("mode", [*get_args(_SchemaSaveModes), *get_args(_DataSaveModes)])
def test_every_save_mode_is_in_the_docs(mode: str) -> None:
    assert f"| `{mode}` |" in docs.FIDELITY.read_text(encoding="utf-8")
