"""Indexes that the job file asks for: how they are written, which fields get them, what is wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile.config import ConfigError
from pipeline.planning import change_lines, planner
from pipeline.preflight import examination
from pipeline.reports import plan_listing
from tests import clusters
from tests.clusters import described, side, survey
from transforms.milvus.description import Description, Index
from transforms.milvus.versions import parse
from transforms.plan import CollectionPlan

OLD = Index(
    "vector",
    "by_vector",
    (("index_type", "IVF_FLAT"), ("metric_type", "L2"), ("params", '{"nlist":128}')),
)
BY_TITLE = Index("title", "by_title", (("index_type", "Trie"),))


def source(**changes: object) -> Description:
    made = clusters.schema(
        bits=DataType.BinaryVector, sparse=DataType.SparseFloatVector, facts=DataType.JSON
    )
    return described(made, indexes=(OLD, BY_TITLE), **changes)


def planned(
    sink: str, of: Description | None = None, *, to: str = "2.6.17", transform: str = ""
) -> CollectionPlan:
    found = survey(side(of or source()), side(version=parse(to)))
    config = clusters.job(sink=sink, transform=transform)
    return planner.build_plan(config, found, (), plan_id="p1", made_at=1.5)["docs"]


def indexes(plan: CollectionPlan) -> dict[str, str]:
    """The indexes of a plan as text, by their fields."""
    return {
        index.field: " ".join(value for _, value in index.params) for index in plan.wanted.indexes
    }


HNSW = '"docs.vector" { index_type = HNSW, params { M = 16, efConstruction = 200 } }'
AS_IT_IS = {"vector": 'IVF_FLAT L2 {"nlist":128}', "title": "Trie"}
AUTO = {"bits": "AUTOINDEX HAMMING", "sparse": "AUTOINDEX IP"}
REQUESTS = [
    ("", AS_IT_IS),
    (f"index {{ {HNSW} }}", {"vector": 'HNSW L2 {"M":16,"efConstruction":200}'}),
    ("index { docs.vector = hnsw }", {"vector": "HNSW L2"}),
    ("index { docs { vector { index_type = HNSW, metric_type = cosine } } }",
     {"vector": "HNSW COSINE"}),
    ('index { "docs.title" = INVERTED }', {"title": "INVERTED"}),
    ('index { "docs.bits" = BIN_FLAT }', {"bits": "BIN_FLAT HAMMING"}),
    ('index { "*" = AUTOINDEX }', {"vector": "AUTOINDEX L2", **AUTO}),
    ("create_index = AUTOINDEX", {"vector": "AUTOINDEX L2", **AUTO}),
    ('index { "d*.v*" = FLAT, "docs.*" = AUTOINDEX }', {"vector": "FLAT L2", **AUTO}),
    ('index { "*" = AUTOINDEX, "docs.vector" = FLAT }', {"vector": "FLAT L2", **AUTO}),
    ('create_index = autoindex, index { "docs.vector" = FLAT }', {"vector": "FLAT L2", **AUTO}),
    ('index { "*.title" = INVERTED, "others.vector" = FLAT }', {"title": "INVERTED"}),
]  # fmt: skip


@pytest.mark.parametrize(("sink", "expected"), REQUESTS)
def test_a_field_gets_the_index_that_names_it_best(sink: str, expected: dict[str, str]) -> None:
    assert indexes(planned(sink)) == AS_IT_IS | expected


def test_an_index_on_request_keeps_the_name_of_that_of_the_source() -> None:
    plan = planned(f"index {{ {HNSW}, docs.bits = BIN_FLAT }}")
    assert [index.name for index in plan.wanted.indexes] == ["by_vector", "by_title", "bits"]
    assert plan.requested_indexes == ("indexes.by_vector", "indexes.bits")


def test_a_field_has_its_name_in_the_target() -> None:
    plan = planned(
        'index { "docs.embedding" = FLAT }',
        transform="FieldRename { specific = [{ field_name = vector, target_name = embedding }] }",
    )
    assert indexes(plan)["embedding"] == "FLAT L2"


@pytest.mark.parametrize("params", [(("nlist", "128"),), (("params", '{"nlist": 128}'),)])
def test_an_index_as_the_source_has_it_is_no_change(params: tuple[tuple[str, str], ...]) -> None:
    same = replace(OLD, params=(*OLD.params[:2], *params))
    plan = planned(
        "index { docs.vector { index_type = IVF_FLAT, params { nlist = 128 } } }",
        described(indexes=(same,)),
    )
    assert (plan.wanted.indexes, plan.requested_indexes) == ((same,), ())


def test_a_collection_with_a_type_that_cannot_be_copied_may_have_a_request() -> None:
    made = clusters.schema(when=DataType.Date, bits=DataType.BinaryVector)
    plan = planned("create_index = AUTOINDEX", described(made))
    assert indexes(plan) == {"vector": "AUTOINDEX COSINE", "bits": "AUTOINDEX HAMMING"}


def test_the_altered_parameters_of_an_autoindex_stay() -> None:
    auto = (("index_type", "AUTOINDEX"), ("metric_type", "L2"), ("mmap.enabled", "true"))
    of = described(indexes=(Index("vector", "by_vector", auto),))
    assert planned("create_index = AUTOINDEX", of).wanted == of


def test_the_plan_shows_an_index_on_request_once(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(f"index {{ {HNSW} }}")
    line = (
        'index changed on request on vector: HNSW L2 params={"M":16,"efConstruction":200} '
        '(source: on vector: IVF_FLAT L2 params={"nlist":128})'
    )
    assert change_lines.describe_changes(plan) == (line,)
    assert [*plan_listing._settings(plan)] == []


WRONG = [
    ("index = HNSW", "must be a block such as"),
    ("index { vector = HNSW }", 'has the key vector; write "collection.field"'),
    ("index { docs.vector = HNWS }", "has the unknown index type HNWS; the nearest are HNSW"),
    ("index { docs.vector { metric_type = L2 } }", "docs.vector has no index_type"),
    ("index { docs.vector { index_type = FLAT, metric = L2 } }",
     "unknown key metric; did you mean metric_type?"),
    ("index { docs.vector { index_type = FLAT, params = 5 } }", "params must be a block"),
    ("index { docs.vector = FLAT }, create_index = false",
     "index has no effect with create_index = false"),
    ("create_index = AUTOINDX", "did you mean AUTOINDEX?"),
]  # fmt: skip


@pytest.mark.parametrize(("sink", "words"), WRONG)
def test_a_wrong_request_is_an_error_of_the_job_file(sink: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        clusters.job(sink=sink)
    assert words in str(caught.value)


IMPOSSIBLE = [
    ("docs.vektor = FLAT", "2.6.17", "no collection of the job has such a field", "docs.vector"),
    ('"doc.*" = FLAT', "2.6.17", "no collection of the job has such a field", "Did you mean docs."),
    ("docs.title = HNSW", "2.6.17", "a VarChar field can have INVERTED", ""),
    ("docs.vector = BIN_FLAT", "2.6.17", "a FloatVector field can have FLAT", ""),
    ("docs.facts = INVERTED", "2.6.17", "an index on a JSON field cannot be requested", ""),
    ("docs.bits { index_type = BIN_FLAT, metric_type = L2 }", "2.6.17", "metric L2: a Binary", ""),
    ("docs.title { index_type = INVERTED, metric_type = L2 }", "2.6.17", "has no metric", ""),
    ("docs.vector = HNSW_SQ", "2.4.23", "it needs Milvus 2.5.0; the target is 2.4.23.", ""),
    ("docs.title = AUTOINDEX", "2.3.7", "it needs Milvus 2.4.0; the target is 2.3.7.", ""),
    ("docs.vector = DISKANN", "milvus_lite-3.2.2", "does not build it", ""),
    ("docs.vector { index_type = HNSW, params { M = 16 } }", "2.3.7",
     "requires efConstruction.", ""),
    ("docs.vector { index_type = HNSW, params { M = 1 } }", "2.6.17",
     "M is 1, not a number from 2 to 2048.", ""),
    ("docs.vector { index_type = AUTOINDEX, params { M = 16 } }", "2.6.17",
     "accepts only a metric, not M.", ""),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "version", "words", "remedy"), IMPOSSIBLE)
def test_an_impossible_index_is_reported_before_the_first_row(
    request_: str, version: str, words: str, remedy: str
) -> None:
    config = clusters.job(sink=f"index {{ {request_} }}")
    of = survey(side(source()), side(version=parse(version)))
    [finding] = [f for f in examination.examine(config, of, None) if f.code == "index-request"]
    assert (finding.severity, finding.acceptable) == ("error", False)
    assert words in finding.what
    assert remedy in finding.remedy


def test_what_the_target_lacks_is_not_lost_if_another_index_takes_its_place() -> None:
    new = Index("vector", "by_vector", (("index_type", "HNSW_SQ"), ("metric_type", "L2")))
    of = survey(side(described(indexes=(new,))), side(version=parse("2.3.7")))

    def codes(sink: str) -> list[str]:
        return [finding.code for finding in examination.examine(clusters.job(sink=sink), of, None)]

    assert "lost:docs.indexes.by_vector" in codes("")
    assert codes("create_index = AUTOINDEX") == ["vectors-in-storage"]
