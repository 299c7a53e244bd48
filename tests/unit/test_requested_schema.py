"""A schema that the job file asks for: what the plan makes of it, and what is not possible."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.commands.shared import drift
from pipeline.planning import planner
from pipeline.planning.collection_survey import Rows
from pipeline.planning.survey import Survey
from pipeline.preflight import examination
from tests import clusters
from tests.clusters import described, side, survey
from transforms.finding import Finding
from transforms.milvus.description import Description
from transforms.milvus.versions import parse
from transforms.plan import CollectionPlan, Plan


def schema():
    """`docs` with numbers `price` and `tenant`, the second as its partition key; dynamic."""
    made = clusters.schema(
        partition_key="tenant", dynamic=True, price=DataType.Double, tenant=DataType.Int64
    )
    made.fields.add(name="note", data_type=DataType.Int64, nullable=True)
    return made


SOURCE = described(schema(), partition_count=8)
PLAIN = described(partitions=("_default", "old"), partition_count=2)


def plan_of(sink: str, source: Description = SOURCE, *, transform: str = "") -> Plan:
    found = survey(side(source), side(version=parse("2.6.17")))
    config = clusters.job(sink=sink, transform=transform)
    return planner.build_plan(config, found, (), plan_id="p1", made_at=1.5)


def planned(sink: str, source: Description = SOURCE, *, transform: str = "") -> CollectionPlan:
    return plan_of(sink, source, transform=transform)["docs"]


def found(sink: str, of: Survey, *, transform: str = "") -> list[Finding]:
    codes = ("reshape", "lost:docs.partitions", "lost:docs.dynamic_field", "partition-number")
    findings = examination.examine(clusters.job(sink=sink, transform=transform), of, None)
    return [finding for finding in findings if finding.code in codes]


def test_a_key_that_agrees_with_the_source_changes_nothing() -> None:
    sink = "enable_dynamic_field = true, partition_key = tenant"
    assert planned(sink) == planned("")
    assert found(sink, survey(side(SOURCE))) == []


NEW_KEYS = [
    (SOURCE, "partition_key = title", "title", 8),
    (SOURCE, "partition_key = title, partition_num = 3", "title", 3),
    (PLAIN, "partition_key = title", "title", 16),
    (PLAIN, "partition_key = title, partition_num = 3", "title", 3),
]


@pytest.mark.parametrize(("source", "sink", "key", "partitions"), NEW_KEYS)
def test_the_target_gets_the_partition_key(
    source: Description, sink: str, key: str, partitions: int
) -> None:
    plan = planned(sink, source)
    assert (plan.wanted.partition_key, plan.wanted.partition_count) == (key, partitions)
    assert plan.partitions == ("",)
    assert plan.read.names == plan.written.names == source.schema.names


def test_a_partition_key_has_its_name_in_the_target() -> None:
    plan = planned("partition_key = f_title", transform="FieldRename { prefix = f_ }")
    assert plan.wanted.partition_key == "f_title"


IMPOSSIBLE = [
    ("titel", "there is no field titel in the target. Did you mean title?"),
    ("$meta", "there is no field $meta in the target."),
    ("id", "id is the primary key. Milvus does not allow it as the partition key."),
    ("price", "price is a Double. A partition key is an Int64 or a VarChar."),
    ("note", "note may be null. Milvus does not allow null in a partition key."),
]


@pytest.mark.parametrize(("key", "words"), IMPOSSIBLE)
def test_a_field_that_cannot_be_the_partition_key_is_reported(key: str, words: str) -> None:
    [finding] = found(f'partition_key = "{key}"', survey(side(SOURCE)))
    assert (finding.severity, finding.what) == ("error", words)
    assert finding.where == "sink.Milvus.partition_key, collection docs"
    assert finding.remedy == "Correct it, or copy this collection with a separate job."


def test_a_partition_key_in_place_of_named_partitions_must_be_accepted() -> None:
    [finding] = found("partition_key = title", survey(side(PLAIN)))
    assert (finding.code, finding.acceptable) == ("lost:docs.partitions", True)
    assert found("partition_key = title", survey(side(described()))) == []


def test_a_number_of_partitions_needs_a_partition_key_in_the_target() -> None:
    assert found("partition_key = title, partition_num = 3", survey(side(described()))) == []
    [finding] = found("partition_num = 3", survey(side(described())))
    assert finding.code == "partition-number"


@pytest.mark.parametrize(("rows", "codes"), [
    (Rows(5, exact=True), ["lost:docs.dynamic_field"]),
    (Rows(0, exact=False), ["lost:docs.dynamic_field"]),
    (Rows(0, exact=True), []),
])  # fmt: skip
def test_the_keys_of_a_dynamic_field_are_lost_if_there_are_rows(rows: Rows, codes: list) -> None:
    sink = "enable_dynamic_field = false"
    of = survey(side(SOURCE, rows=rows))
    assert [finding.code for finding in found(sink, of)] == codes
    assert "$meta" not in planned(sink).read.names
    assert found(sink, of, transform='Filter { exclude_fields = ["$meta"] }') == []


def test_a_dynamic_field_that_is_added_is_written_empty() -> None:
    plan = planned("enable_dynamic_field = true", PLAIN)
    assert plan.read.names == PLAIN.schema.names
    assert plan.written.names == (*PLAIN.schema.names, "$meta")
    assert plan.wanted.schema.dynamic
    assert not [field for field in plan.wanted.message.fields if field.name == "$meta"]


def test_another_schema_is_another_job() -> None:
    before = plan_of("partition_key = title")
    job = clusters.job(sink="enable_dynamic_field = false")
    assert drift.compare_settings(job.result_settings(), before) == [
        "sink.Milvus.enable_dynamic_field: was null when the job started, is false now",
        'sink.Milvus.partition_key: was "title" when the job started, is "" now',
    ]


def test_a_job_of_a_version_that_only_compared_these_keys_resumes() -> None:
    before = plan_of("")
    for key in ("partition_key", "enable_dynamic_field"):
        del before.settings[f"sink.Milvus.{key}"]
    agreeing = clusters.job(sink="partition_key = tenant, enable_dynamic_field = true")
    assert drift.compare_settings(agreeing.result_settings(), before) == []
    other = clusters.job(sink="partition_key = title").result_settings()
    assert drift.compare_settings(other, before) != []
