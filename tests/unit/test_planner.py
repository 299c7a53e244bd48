"""The plan: what a job creates and copies, from the survey and the job file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.planning.collection_survey import Rows
from pipeline.planning.survey import Survey
from tests.clusters import described, job, schema, side, survey
from transforms.finding import Finding
from transforms.milvus.description import Description, Index
from transforms.milvus.versions import parse
from transforms.plan import CollectionPlan, Plan


def made(found: Survey | None = None, config: JobConfig | None = None) -> Plan:
    return planner.build_plan(config or job(), found or survey(), (), plan_id="p1", made_at=1.5)


def planned(source: Description, config: JobConfig | None = None) -> CollectionPlan:
    return made(survey(side(source)), config)[source.name]


def test_the_same_survey_and_job_give_the_same_plan() -> None:
    assert made() == made()


def test_a_plan_contains_source_and_target() -> None:
    finding = Finding("plain-key", "collection docs", "ids are kept.", severity="info")
    found = survey(target=side(version=parse("2.6.5")))
    plan = planner.build_plan(job(), found, (finding,), plan_id="p1", made_at=1.5)
    assert (plan.job_id, plan.plan_id, plan.made_at) == (job().job_id, "p1", 1.5)
    assert (plan.source_url, plan.target_url) == ("http://source:19530", "http://target:19530")
    assert (plan.source_version, plan.target_version) == ("2.3.7", "2.6.5")
    assert plan.findings == (finding,)


def test_a_plan_has_the_chosen_collections_with_their_rows_and_no_others() -> None:
    source = side(described(), described(schema("papers")), rows=Rows(7, exact=True))
    plan = made(survey(source, chosen=("papers",)))
    assert [
        (collection.name, collection.target, collection.rows) for collection in plan.collections
    ] == [("papers", "papers", 7)]


def test_the_settings_that_decide_the_result_are_in_the_plan_and_no_secret() -> None:
    plan = made(config=job(sink='token = "root:secret"\n batch_size = 7'))
    assert plan.settings["sink.Milvus.enable_auto_id"] is False
    assert plan.settings["source.Milvus.url"] == "http://source:19530"
    assert not [path for path in plan.settings if path.endswith(("token", "batch_size"))]
    assert "secret" not in str(plan)


@pytest.mark.parametrize(
    ("source", "target", "by_value"),
    [
        ("v2.3.7", "2.6.5", False),
        ("milvus_lite-3.2.2", "2.6.5", True),
        ("v2.3.7", "milvus_lite-3.2.2", True),
    ],
)
def test_json_is_compared_by_value_where_a_server_rewrites_it(
    source: str, target: str, by_value: bool
) -> None:
    found = survey(side(described(), version=parse(source)), side(version=parse(target)))
    assert made(found).json_by_value is by_value


# The wanted collection


def test_the_target_gets_the_schema_of_the_source() -> None:
    source = described(
        schema(partition_key="title", dynamic=True),
        shards=2,
        consistency_level=1,
        partition_count=16,
        properties=(("collection.ttl.seconds", "3600"),),
        aliases=("papers",),
        indexes=(Index("vector", "hnsw", (("index_type", "HNSW"), ("metric_type", "IP"))),),
    )
    assert planned(source).wanted == source


CHANGES = [
    ("", {}),
    ("shard_num = 4", {"shards": 4}),
    ("partition_num = 8", {"partition_count": 8}),
    ("consistency_level = strong", {"consistency_level": 0}),
]


@pytest.mark.parametrize(("sink", "changed"), CHANGES)
def test_a_setting_of_the_job_file_overrides_the_source(sink: str, changed: dict) -> None:
    source = described(schema(partition_key="title"), shards=2, partition_count=16)
    assert planned(source, job(sink=sink)).wanted == replace(source, **changed)


def test_a_collection_may_have_another_name_and_description() -> None:
    config = job(
        sink='collection_rename { docs = papers }, collection_description { docs = "new" }'
    )
    plan = planned(described(), config)
    assert (plan.name, plan.target, plan.wanted.message.description) == ("docs", "papers", "new")


def test_unknown_parts_of_a_schema_are_kept() -> None:
    unknown = b"\xba\x3e\x05later"  # field 999
    source = described(raw_schema=schema().SerializeToString() + unknown)
    assert unknown in planned(source).wanted.raw_schema


def test_internal_properties_of_a_server_are_not_copied() -> None:
    message = schema()
    message.properties.add(key="max_field_id", value="105")
    message.properties.add(key="mmap.enabled", value="true")
    pairs = (("max_field_id", "105"), ("database.force.deny.writing", "true"), ("a", "b"))
    wanted = planned(described(message, properties=pairs)).wanted
    assert [pair.key for pair in wanted.message.properties] == ["mmap.enabled"]
    assert wanted.properties == (("a", "b"),)


KEYS = [
    # source is automatic, new ids asked for -> target is automatic, columns written
    (False, False, False, ("id", "title", "vector")),
    (True, False, False, ("id", "title", "vector")),
    (True, True, True, ("title", "vector")),
    (False, True, True, ("title", "vector")),
]


@pytest.mark.parametrize(("source", "asked", "target", "written"), KEYS)
def test_keys_are_kept_unless_the_job_requests_new_ones(
    source: bool, asked: bool, target: bool, written: tuple[str, ...]
) -> None:
    config = job(sink=f"enable_auto_id = {str(asked).lower()}")
    plan = planned(described(schema(auto_id=source)), config)
    assert plan.new_ids is asked
    assert plan.wanted.auto_id is target
    assert plan.written.names == written


def test_the_old_notation_of_auto_ids_is_read() -> None:
    message = schema()
    message.autoID = True
    assert not planned(described(message)).wanted.auto_id


def test_keeping_ids_changes_only_the_key_field() -> None:
    source = described(schema(auto_id=True, price=DataType.Double))
    wanted = schema_pb2.CollectionSchema.FromString(planned(source).wanted.raw_schema)
    assert wanted == schema(price=DataType.Double)


# What is there already

THERE = described(
    schema(),
    collection_id=448,
    properties=(("collection.ttl.seconds", "9"),),
    aliases=("papers",),
    indexes=(Index("vector", "flat", (("index_type", "FLAT"),)),),
)
INDEXED = described(
    aliases=("articles",), indexes=(Index("title", "by_title", (("index_type", "Trie"),)),)
)


@pytest.mark.parametrize(
    ("sink", "rows", "replaces"),
    [
        ("", 5, ""),
        ("data_save_mode = APPEND_DATA", 5, ""),
        ("data_save_mode = DROP_DATA", 5, "data"),
        ("data_save_mode = DROP_DATA", 0, ""),
        ("schema_save_mode = RECREATE_SCHEMA", 0, "schema"),
        ("schema_save_mode = RECREATE_SCHEMA, data_save_mode = DROP_DATA", 5, "schema"),
    ],
)
def test_a_plan_says_what_it_drops(sink: str, rows: int, replaces: str) -> None:
    found = survey(target=side(THERE, rows=Rows(rows, exact=True)))
    assert made(found, job(sink=sink))["docs"].replaces == replaces


@pytest.mark.parametrize("purpose", ["compare", "sync"])
def test_only_a_copy_drops(purpose: planner.Purpose) -> None:
    config = job(sink="schema_save_mode = RECREATE_SCHEMA, data_save_mode = DROP_DATA")
    plan = planner.build_plan(
        config, survey(target=side(THERE)), (), plan_id="p1", made_at=1.5, purpose=purpose
    )
    assert plan["docs"].replaces == ""


@pytest.mark.parametrize("sink", ["data_save_mode = DROP_DATA", "schema_save_mode = IGNORE"])
def test_an_existing_collection_gets_only_missing_indexes_and_aliases(sink: str) -> None:
    wanted = made(survey(side(INDEXED), side(THERE)), job(sink=sink))["docs"].wanted
    assert wanted.properties == THERE.properties
    assert wanted.aliases == ("articles", "papers")
    assert [index.name for index in wanted.indexes] == ["flat", "by_title"]


@pytest.mark.parametrize("sink", ["data_save_mode = DROP_DATA", "schema_save_mode = IGNORE"])
@pytest.mark.parametrize(
    ("key", "theirs", "ours", "wanted"),
    [
        ("", ("_default", "theirs"), ("_default", "old"), ("_default", "theirs", "old")),
        ("title", ("_default_0",), ("_default_0", "_default_1"), ("_default_0",)),
    ],
    ids=["named partitions", "a key decides"],
)
def test_an_existing_collection_gets_missing_partitions(
    sink: str, key: str, theirs: tuple[str, ...], ours: tuple[str, ...], wanted: tuple[str, ...]
) -> None:
    source, there = (
        described(schema(partition_key=key), partitions=names, partition_count=len(names))
        for names in (ours, theirs)
    )
    plan = made(survey(side(source), side(there)), job(sink=sink))["docs"]
    assert (plan.wanted.partitions, plan.wanted.partition_count) == (wanted, len(wanted))


# Partitions


@pytest.mark.parametrize(
    ("source", "units"),
    [
        (described(), ("",)),
        (described(partitions=("_default", "eu", "us")), ("_default", "eu", "us")),
        (
            described(schema(partition_key="title"), partitions=("_default_0", "_default_1")),
            ("",),
        ),
    ],
    ids=["one partition", "named partitions", "a key decides"],
)
def test_partitions_are_copied_one_by_one_without_a_partition_key(
    source: Description, units: tuple[str, ...]
) -> None:
    assert planned(source).partitions == units


# Loading


@pytest.mark.parametrize(
    ("loaded", "wish", "load"),
    [
        (True, "as_source", True),
        (False, "as_source", False),
        (None, "as_source", True),
        (True, "false", False),
        (False, "true", True),
        (False, "false", False),
    ],
)
def test_load_collection_decides_whether_the_target_is_loaded(
    loaded: bool | None, wish: str, load: bool
) -> None:
    plan = planned(described(loaded=loaded), job(sink=f"load_collection = {wish}"))
    assert plan.load == load
