"""The transforms of a job file: how each changes a collection, and what is rejected."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymilvus.grpc_gen.schema_pb2 import DataType, FunctionType

from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.transform import PLUGINS, Constant, Copy, FieldRename, Filter
from pipeline.planning import fidelity, planner
from pipeline.planning.change_lines import describe_changes
from pipeline.planning.collection_survey import Rows
from pipeline.planning.reshaping import Reshaped, apply_transforms
from pipeline.planning.survey import Survey
from pipeline.preflight import examination
from tests import clusters, docs, strategies
from tests.clusters import described, side, survey
from transforms import fingerprint
from transforms.errors import ConfigError
from transforms.milvus import field_layout
from transforms.milvus.description import Description, Index
from transforms.milvus.field_layout import Slot
from transforms.milvus.schema import Field
from transforms.milvus.versions import parse
from transforms.plan import CollectionPlan
from transforms.reshape.reshape import reshape


def job(transform: str, sink: str = "") -> JobConfig:
    return clusters.job(sink=sink, transform=transform)


def schema():
    """`docs`: the key id, a title, a vector, a price, the partition key tenant; dynamic."""
    fields = {"price": DataType.Double, "tenant": DataType.VarChar}
    return clusters.schema(partition_key="tenant", dynamic=True, **fields)


INDEXES = (
    Index("vector", "by_vector", (("index_type", "HNSW"),)),
    Index("price", "by_price", (("index_type", "STL_SORT"),)),
)
SOURCE = described(schema(), indexes=INDEXES)
NAMES = ("id", "title", "vector", "price", "tenant", "$meta")


def planned(transform: str, *, source: Description = SOURCE, sink: str = "") -> CollectionPlan:
    found = survey(side(source), side(version=parse("2.6.17")))
    return planner.build_plan(job(transform, sink), found, (), plan_id="p1", made_at=1.5)["docs"]


def found(transform: str, *, sink: str = "", of: Survey | None = None) -> list[str]:
    """The findings about reshaping, as text."""
    findings = examination.examine(job(transform, sink), of or survey(side(SOURCE)), None)
    codes = ("reshape", "row-filter", "narrower-field")
    return [f"{finding.where}: {finding.what}" for finding in findings if finding.code in codes]


SHAPES = [
    ("", NAMES),
    ("Filter { exclude_fields = [price] }", ("id", "title", "vector", "tenant", "$meta")),
    ('Filter { exclude_fields = [price, "$meta"] }', ("id", "title", "vector", "tenant")),
    ("Filter { include_fields = [id, vector, tenant] }", ("id", "vector", "tenant")),
    (
        "FieldMapper { field_mapper { tenant = customer, id = key, vector = embedding } }",
        ("customer", "key", "embedding"),
    ),
    (
        "FieldRename { specific = [{ field_name = id, target_name = key }], prefix = f_, suffix = _x }",
        ("key", "f_title_x", "f_vector_x", "f_price_x", "f_tenant_x", "$meta"),
    ),
    (
        ('FieldRename { convert_case = UPPER, replacements_with_regex = [{ replace_from = "^t", '
        'replace_to = "x_" }] }'),
        ("ID", "x_ITLE", "VECTOR", "PRICE", "x_ENANT", "$meta"),
    ),
    (
        ("FieldRename { replacements_with_regex = [{ replace_from = title, replace_to = t, "
        "is_regex = false }] }"),
        ("id", "t", "vector", "price", "tenant", "$meta"),
    ),
    ("Copy { fields { heading = title } }", (*NAMES, "heading")),
    ("Constant { fields { region = eu } }", (*NAMES, "region")),
    (
        ('FieldRename { prefix = b_ }, "FieldRename" { prefix = a_ } }\n'
        "transform.FieldRename { prefix = b_ } transform { FieldRename { prefix = a_ }"),
        tuple(name if name == "$meta" else f"a_b_a_b_{name}" for name in NAMES),
    ),
    (
        "FieldRename { prefix = a_ }\n FieldRename { prefix = b_ }",
        ("b_a_id", "b_a_title", "b_a_vector", "b_a_price", "b_a_tenant", "$meta"),
    ),
    (
        "Filter = [{ exclude_fields = [price] }, { exclude_fields = [title] }]",
        ("id", "vector", "tenant", "$meta"),
    ),
    ("Filter { collections = [others], exclude_fields = [price] }", NAMES),
    ('Filter { table_match_regex = "d.*", exclude_fields = [price] }', (*NAMES[:3], *NAMES[4:])),
    ('Filter { table_match_regex = "default.docs", exclude_fields = [price] }',
     (*NAMES[:3], *NAMES[4:])),
    ('Filter { table_match_regex = "doc", exclude_fields = [price] }', NAMES),
]  # fmt: skip


@pytest.mark.parametrize(("transform", "names"), SHAPES)
def test_the_target_has_these_fields(transform: str, names: tuple[str, ...]) -> None:
    plan = planned(transform)
    assert set(plan.wanted.schema.names) == set(names)
    assert plan.written.names == names
    assert (plan.wanted.schema.primary.data_type, plan.source) == (DataType.Int64, SOURCE)


def test_indexes_and_properties_follow_a_renamed_field() -> None:
    transform = (
        "FieldRename { prefix = f_ }, Copy { fields { second = f_vector, customer = f_tenant } }"
    )
    wanted = planned(transform).wanted
    assert wanted.partition_key == "f_tenant"
    assert [(index.field, index.name) for index in wanted.indexes] == [
        ("f_vector", "by_vector"),
        ("second", "second"),
        ("f_price", "by_price"),
    ]
    assert [field.name for field in wanted.schema.fields if field.primary] == ["f_id"]
    assert wanted.schema.dynamic


def test_the_index_of_a_copied_vector_has_a_name_of_its_own() -> None:
    wanted = planned("Copy { fields { by_vector = vector } }").wanted
    assert [index.name for index in wanted.indexes] == ["by_vector", "by_vector_index", "by_price"]


def test_indexes_and_properties_of_a_dropped_field_are_dropped() -> None:
    wanted = planned('Filter { exclude_fields = [price, "$meta"] }').wanted
    assert [index.name for index in wanted.indexes] == ["by_vector"]
    assert not wanted.message.enable_dynamic_field


def test_the_path_of_an_index_in_json_follows_its_field() -> None:
    path = Index("meta", "by_path", (("json_path", 'meta["a"]'), ("index_type", "INVERTED")))
    source = described(clusters.schema(meta=DataType.JSON), indexes=(path,))
    specific = "[{ field_name = meta, target_name = facts }]"
    [index] = planned(f"FieldRename {{ specific = {specific} }}", source=source).wanted.indexes
    assert index == Index(
        "facts", "by_path", (("json_path", 'facts["a"]'), ("index_type", "INVERTED"))
    )


def searchable() -> Description:
    """A collection whose field `sparse` BM25 makes of its title, beside a vector."""
    message = clusters.schema()
    made = message.fields.add(name="sparse", data_type=DataType.SparseFloatVector)
    made.is_function_output = True
    message.functions.add(
        name="bm25",
        type=FunctionType.BM25,
        input_field_names=["title"],
        output_field_names=["sparse"],
    )
    return described(message)


def test_a_function_follows_its_fields() -> None:
    plan = planned("FieldRename { prefix = f_ }", source=searchable())
    [function] = plan.wanted.message.functions
    assert (function.input_field_names, function.output_field_names) == (["f_title"], ["f_sparse"])
    assert plan.read.names == ("id", "title", "vector")
    assert plan.written.names == ("f_id", "f_title", "f_vector")


def test_references_to_a_field_follow_its_new_name() -> None:
    """A field that chooses the analyzer of another, and one that says when a row expires."""
    message = clusters.schema(language=DataType.VarChar, gone=DataType.Timestamptz)
    analyzers = '{"analyzers": {"default": {}}, "by_field": "language"}'
    message.fields[1].type_params.add(key="multi_analyzer_params", value=analyzers)
    message.properties.add(key="ttl_field", value="gone")
    source = described(message, properties=(("ttl_field", "gone"), ("mmap.enabled", "true")))
    wanted = planned("FieldRename { prefix = f_ }", source=source).wanted
    params = {pair.key: pair.value for pair in wanted.message.fields[1].type_params}
    assert json.loads(params["multi_analyzer_params"])["by_field"] == "f_language"
    assert wanted.properties == (("ttl_field", "f_gone"), ("mmap.enabled", "true"))
    assert [pair.value for pair in wanted.message.properties] == ["f_gone"]
    plan = planned("Filter { exclude_fields = [gone] }", source=source)
    assert plan.wanted.properties == (("mmap.enabled", "true"),)
    fates = {each.what: each.fate for each in fidelity.feature_fates(plan, {})}
    assert (fates["ttl_field"], fates["fields.gone"]) == ("dropped", "dropped")
    [line] = found("Filter { exclude_fields = [language] }", of=survey(side(source)))
    assert line.endswith("language cannot be dropped: it selects the analyzer of title. Drop both.")
    assert found("Filter { exclude_fields = [language, title] }", of=survey(side(source))) == []


def test_the_only_vector_may_be_in_a_struct_array() -> None:
    message = clusters.schema()
    del message.fields[2]
    vector, number = DataType.ArrayOfVector, DataType.Array
    for name, kind, element in (("a", vector, DataType.FloatVector), ("b", number, DataType.Int8)):
        struct = message.struct_array_fields.add(name=name)
        struct.fields.add(name="part", data_type=kind, element_type=element)
    of = survey(side(described(message)))
    assert found("Filter { exclude_fields = [b] }", of=of) == []
    [line] = found("Filter { exclude_fields = [a] }", of=of)
    assert line.endswith("a cannot be dropped: Milvus needs at least one vector field.")


def test_a_function_without_its_outputs_is_dropped() -> None:
    plan = planned("Filter { exclude_fields = [sparse, title] }", source=searchable())
    assert not plan.wanted.message.functions
    assert plan.written.names == ("id", "vector")


def test_a_field_of_an_unsupported_type_may_be_dropped() -> None:
    source = described(clusters.schema(when=DataType.Date))
    plan = planned("Filter { exclude_fields = [when] }", source=source)
    assert plan.read.names == ("id", "title", "vector")
    of = survey(side(source))
    assert not [
        each
        for each in examination.examine(job("Filter { exclude_fields = [when] }"), of, None)
        if each.code == "unsupported-type"
    ]


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ("eu", "VarChar", "eu"),
        ("7", "Int64", 7),
        ("0.5", "Double", 0.5),
        ("true", "Bool", True),
        ("{ type = Int8, value = 7 }", "Int8", 7),
        ('{ type = JSON, value = "{}" }', "JSON", "{}"),
    ],
)
def test_a_constant_has_the_type_of_its_value(given: str, kind: str, value: object) -> None:
    plan = planned(f"Constant {{ fields {{ made = {given} }} }}")
    column = plan.shape.stages[-1].columns[-1]
    assert (column.kind, column.value) == (kind, value)
    assert plan.wanted.schema.field("made").type.name == kind


def test_row_filters_are_joined_and_their_rows_counted() -> None:
    rows = Rows(2, exact=True, unfiltered=5)
    transform = 'RowFilter { expression = "price > 1" }, RowFilter { expression = "price < 9" }'
    of = survey(side(SOURCE, rows=rows))
    plan = planner.build_plan(job(transform), of, (), plan_id="p1", made_at=1.5)["docs"]
    assert plan.shape.where == "(price > 1) and (price < 9)"
    assert (plan.rows, plan.unfiltered, plan.read) == (2, 5, SOURCE.schema)


def test_only_what_the_target_needs_is_read() -> None:
    transform = "Copy { fields { a = title } }, Filter { exclude_fields = [price, title] }"
    assert planned(transform).read.names == ("id", "vector", "tenant", "$meta", "title")


def test_a_function_determines_the_fields_after_it(tmp_path) -> None:
    wide = Field("vector", DataType.FloatVector, dim=8)
    text = Field("note", DataType.VarChar, max_length=65_535)
    key = SOURCE.schema.primary
    trials = {"docs": ((key, wide, text, SOURCE.schema.field("tenant")),)}
    of = replace(survey(side(SOURCE)), trials=trials)
    transform = 'Python { function = "json:loads" }, FieldRename { prefix = f_ }'
    plan = planner.build_plan(job(transform), of, (), plan_id="p1", made_at=1.5)["docs"]
    assert plan.wanted.schema.names == ("f_id", "f_vector", "f_note", "f_tenant")
    assert plan.wanted.schema.field("f_vector").dim == 8
    assert plan.wanted.partition_key == "f_tenant"
    assert plan.shape.kept == (("id", "f_id"), ("vector", "f_vector"), ("tenant", "f_tenant"))


# What is rejected

REFUSED = [
    ("Filter { exclude_fields = [prise, titel] }", [
        "transform.Filter, collection docs: no field prise; did you mean price?",
        "transform.Filter, collection docs: no field titel; did you mean title?",
    ]),
    ("Filter { exclude_fields = [id, tenant] }", [
        "transform.Filter, collection docs: id is the primary key and cannot be dropped.",
        "transform.Filter, collection docs: tenant is the partition key and cannot be dropped.",
    ]),
    ("Filter { exclude_fields = [vector] }", [
        "transform.Filter, collection docs: vector cannot be dropped: Milvus needs at least one vector field.",
    ]),
    ("Copy { fields { second = id } }, Filter { exclude_fields = [id] }", [
        "transform.Filter, collection docs: id is the primary key and cannot be dropped.",
    ]),
    ("FieldMapper { field_mapper { id = a, vector = a, tenant = tenant } }", [
        "transform.FieldMapper, collection docs: two fields would be named a.",
    ]),
    ("FieldRename { specific = [{ field_name = title, target_name = price }] }", [
        "transform.FieldRename, collection docs: two fields would be named price.",
    ]),
    ("Constant { fields { price = 1 } }", [
        "transform.Constant, collection docs: two fields would be named price.",
    ]),
    ("Copy { fields { 7id = title } }", [
        "transform.Copy, collection docs: 7id is not a valid field name: use letters, digits and _.",
    ]),
    ("FieldRename { specific = [{ field_name = title, target_name = in }] }", [
        ("transform.FieldRename, collection docs: in is not a valid field name: it is a keyword of filter "
        "expressions."),
    ]),
    ("FieldRename { specific = [{ field_name = id, target_name = Like }] }", [
        ("transform.FieldRename, collection docs: Like is not a valid field name: it is a keyword of "
        "filter expressions."),
    ]),
    ("Copy { fields { NULL = title } }", [
        ("transform.Copy, collection docs: NULL is not a valid field name: it is a keyword of filter "
        "expressions."),
    ]),
    ("Constant { fields { Timestamp = 1 } }", [
        ("transform.Constant, collection docs: Timestamp is not a valid field name: Milvus has a "
        "hidden field with this name."),
    ]),
    ('Copy { fields { more = "$meta" } }', [
        "transform.Copy, collection docs: the dynamic field $meta cannot be renamed or copied.",
    ]),
    ('Replace { replace_field = price, pattern = "a", replacement = "b" }', [
        "transform.Replace, collection docs: cannot replace texts of price: its type is Double.",
    ]),
    ('Replace { replace_field = id, pattern = "a", replacement = "b" }', [
        "transform.Replace, collection docs: cannot replace texts of id: it is the primary key.",
    ]),
    ("Filter { collections = [dogs], exclude_fields = [price] }", [
        "transform.Filter: its key `collections` names dogs, which the job does not copy.",
    ]),
    ('Filter { table_match_regex = "x.*", exclude_fields = [price] }', [
        "transform.Filter: table_match_regex `x.*` matches no collection.",
    ]),
    ('TableRename { prefix = "2024-" }', [
        ("transform.TableRename, collection docs: its new name 2024-docs is not a valid Milvus "
        "collection name."),
    ]),
    ('Filter { exclude_fields = ["$meta"] }, Extract { fields { a = Int64 } }', [
        "transform.Extract, collection docs: the collection has no dynamic field.",
    ]),
    ("Extract { fields { a = Int64 } }, Extract { fields { b = { key = a, type = JSON } } }", [
        "transform.Extract, collection docs: the key a is already extracted.",
    ]),
    ("Extract { fields { title = VarChar } }", [
        "transform.Extract, collection docs: two fields would be named title.",
    ]),
    ("Filter { exclude_fields = [prise] }, Copy { fields { a = titel } }", [
        "transform.Filter, collection docs: no field prise; did you mean price?",
        "transform.Copy, collection docs: no field titel; did you mean title?",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("transform", "lines"), REFUSED)
def test_an_impossible_transform_is_rejected_with_the_reason(
    transform: str, lines: list[str]
) -> None:
    assert sorted(found(transform)) == sorted(lines)


def test_a_function_that_is_kept_needs_its_input() -> None:
    of = survey(side(searchable()))
    [line] = found("Filter { exclude_fields = [title] }", of=of)
    assert line.endswith(
        "title cannot be dropped while function bm25 is kept. Drop sparse too: this also drops the "
        "function."
    )
    [line] = found("Copy { fields { again = sparse } }", of=of)
    assert "cannot copy sparse: the server computes it" in line


def trial(*made: Field) -> Survey:
    """What a survey finds whose function made these fields of the collection."""
    fields = SOURCE.schema
    kept = (fields.primary, fields.field("tenant"))
    return replace(survey(side(SOURCE)), trials={"docs": ((*kept, *made),)})


def test_a_function_may_replace_the_only_vector() -> None:
    made = Field("meaning", DataType.FloatVector, dim=8)
    transform = 'Python { function = "json:loads" }'
    assert found(transform, of=trial(made)) == []
    findings = examination.examine(job(transform), trial(made), None)
    [told] = [finding for finding in findings if finding.code == "not-proven"]
    assert "the copy creates no index on meaning, so it cannot be loaded" in told.what
    plan = planner.build_plan(job(transform), trial(made), (), plan_id="p1", made_at=1.5)["docs"]
    assert plan.wanted.schema.names == ("id", "tenant", "meaning")


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            Field("note", DataType.Int64),
            "vector cannot be dropped: Milvus needs at least one vector field.",
        ),
        (
            Field("a note", DataType.Int64),
            "a note is not a valid field name: use letters, digits and _.",
        ),
        (
            Field("exists", DataType.Int64),
            "exists is not a valid field name: it is a keyword of filter",
        ),
    ],
)
def test_a_function_must_return_a_valid_collection(made: Field, words: str) -> None:
    lines = found('Python { function = "json:loads" }', of=trial(made))
    said = f"transform.Python, collection docs: json:loads: {words}"
    assert any(line.startswith(said) for line in lines)


def test_a_function_must_not_return_a_field_that_the_server_generates() -> None:
    source = searchable()
    made = Field("sparse", DataType.Int64)
    trials = {"docs": ((*source.schema.fields, made),)}
    [line] = found(
        'Python { function = "json:loads" }', of=replace(survey(side(source)), trials=trials)
    )
    assert line.endswith("json:loads: the server generates sparse itself. Return another name.")


NULL = Field("note", DataType.VarChar, max_length=64, nullable=True)
VECTOR = SOURCE.schema.field("vector")


@pytest.mark.parametrize(
    ("transform", "sink", "lines"),
    [
        ("", "", ["note"]),
        ("FieldRename { prefix = f_ }", "", ["f_note"]),
        ("Filter { exclude_fields = [note] }", "", []),
        ("", "field_schema = [{ field_name = note, is_nullable = true }]", []),
    ],
)
def test_null_in_a_field_that_is_not_nullable_is_reported_before_the_first_row(
    transform: str, sink: str, lines: list[str]
) -> None:
    said = found(
        f'Python {{ function = "json:loads" }}\n {transform}', sink=sink, of=trial(VECTOR, NULL)
    )
    assert said == [
        f"transform.Python, collection docs: json:loads returned null in {name}, which is not "
        "nullable. Return a value, or set `is_nullable = true` for it in "
        "`sink.Milvus.field_schema`."
        for name in lines
    ]


def test_the_error_of_a_tried_function_is_reported() -> None:
    of = replace(survey(side(SOURCE)), trials={"docs": ("function json:loads: raised X: no",)})
    assert found('Python { function = "json:loads" }', of=of) == [
        "transform.Python, collection docs: function json:loads: raised X: no"
    ]


def test_a_rejected_filter_is_reported_in_the_words_of_the_source() -> None:
    of = survey(side(SOURCE, rows=Rows(5, exact=True, filter_error="cannot parse expression")))
    assert found('RowFilter { expression = "prise >" }', of=of) == [
        (
            "transform.RowFilter, collection docs: the source rejects the filter `prise >`: "
            '"cannot parse expression".'
        )
    ]


# Settings of fields


def test_settings_of_a_field_are_changed() -> None:
    sink = (
        "field_schema = [{ field_name = heading, max_length = 512, is_nullable = true, "
        'description = "new", default_value = none }]'
    )
    specific = "[{ field_name = title, target_name = heading }]"
    plan = planned(f"FieldRename {{ specific = {specific} }}", sink=sink)
    [field] = [each for each in plan.wanted.message.fields if each.name == "heading"]
    assert plan.wanted.schema.field("heading").max_length == 512
    assert (field.nullable, field.description) == (True, "new")
    assert field.default_value.string_data == "none"


SETTINGS = [
    (
        "field_name = titel, max_length = 9",
        "no collection of the job has a field titel in the target",
    ),
    ("field_name = price, max_length = 9", "max_length applies only to text fields."),
    ("field_name = title, max_capacity = 9", "max_capacity applies only to array fields."),
    ("field_name = id, is_nullable = true", "is_nullable: the primary key cannot be null."),
    ("field_name = tenant, is_nullable = true", "is_nullable: the partition key cannot be null."),
    ("field_name = price, default_value = x", 'default_value: "x" is not a Double.'),
    (
        "field_name = vector, default_value = 1",
        "default_value: a FloatVector cannot have a default value.",
    ),
    (
        "field_name = title, data_type = 5, max_length = 99",
        "data_type is 21 in the source and cannot be changed.",
    ),
    ("field_name = title, max_length = 9", "max_length is 9, but 64 in the source"),
    ('field_name = "$meta", description = x', "this field has no settings"),
]


@pytest.mark.parametrize(("setting", "words"), SETTINGS)
def test_an_impossible_or_narrower_setting_is_reported(setting: str, words: str) -> None:
    [line] = found("", sink=f"field_schema = [{{ {setting} }}]")
    assert words in line


def test_a_smaller_capacity_is_reported() -> None:
    message = clusters.schema(tags=DataType.Array)
    message.fields[-1].element_type = DataType.Int8
    message.fields[-1].type_params.add(key="max_capacity", value="9")
    of = survey(side(described(message)))
    [line] = found("", sink="field_schema = [{ field_name = tags, max_capacity = 8 }]", of=of)
    assert "max_capacity is 8, but 9 in the source. The target rejects longer arrays." in line


# Keys of the dynamic field


def test_extracted_keys_are_fields_that_later_transforms_change() -> None:
    transform = """
        Extract { fields { writer = { key = author, type = VarChar, max_length = 99 } } }
        Replace { replace_field = writer, pattern = a, replacement = b }
        Copy { fields { second = writer } }
        FieldRename { specific = [{ field_name = writer, target_name = by }] }
    """
    assert found(transform) == []
    plan = planned(transform)
    assert plan.written.names == (*NAMES, "by", "second")
    wanted = [plan.wanted.schema.field(name) for name in ("by", "second")]
    assert {(field.type.name, field.max_length, field.nullable) for field in wanted} == {
        ("VarChar", 99, False)
    }
    assert describe_changes(plan)[0] == "extracted: author to by, author to second"
    assert plan.read.names == NAMES


EXTRACTED = "source_field_name = author, field_name = writer, data_type = 21"


def test_a_source_field_name_is_the_same_as_extract() -> None:
    setting = f"{{ {EXTRACTED}, max_length = 99, default_value = x, description = by }}"
    by_key = planned("", sink=f"field_schema = [{setting}]")
    by_transform = planned(
        "Extract { fields { writer = { key = author, type = VarChar, max_length = 99, "
        "default_value = x } } }",
        sink="field_schema = [{ field_name = writer, description = by }]",
    )
    assert by_key.wanted == by_transform.wanted
    assert by_key.shape == by_transform.shape
    assert by_key.wanted.schema.field("writer").has_default


def test_the_rest_of_the_dynamic_field_may_be_dropped() -> None:
    transform = 'Extract { fields { a = Int64 } }, Filter { exclude_fields = ["$meta"] }'
    assert planned(transform).written.names == (*NAMES[:-1], "a")


@pytest.mark.parametrize(
    ("transform", "settings", "words"),
    [
        ("", f"{EXTRACTED}, is_primary_key = true", "cannot become the primary key."),
        (
            "",
            "source_field_name = author, max_length = 9",
            "author requires data_type, one of 1 (Bool), 2 (Int8)",
        ),
        (
            "",
            "source_field_name = author, data_type = 101",
            "author requires data_type, one of 1 (Bool)",
        ),
        (
            "",
            "source_field_name = author, data_type = 22",
            "author requires element_type, one of 1 (Bool)",
        ),
        ("", "source_field_name = a, data_type = 22, element_type = 22", "a requires element_type"),
        ("", f"{EXTRACTED}, default_value = 1", "writer: 1 is not a valid VarChar value."),
        (
            "Extract { fields { writer = VarChar } }",
            "field_name = writer, is_nullable = true",
            "set is_nullable and default_value in `transform.Extract`",
        ),
    ],
)
def test_a_source_that_cannot_become_its_field_is_reported(transform, settings, words) -> None:
    lines = found(transform, sink=f"field_schema = [{{ {settings} }}]")
    assert any(words in line for line in lines), lines


# Functions of the target

ANALYZED = "field_schema = [{ field_name = title, enable_analyzer = true }]"
FUNCTION = "functions = [{ name = words, input_field = title, output_field = sparse }]"


def test_a_function_and_its_indexed_output_are_new_in_the_target() -> None:
    of = survey(side(SOURCE), side(version=parse("2.6.17")))
    assert found("", sink=f"{ANALYZED}, {FUNCTION}", of=of) == []
    plan = planned("", sink=f"{ANALYZED}, {FUNCTION}")
    [function] = plan.wanted.message.functions
    assert (function.name, function.type) == ("words", FunctionType.BM25)
    assert (function.input_field_names, function.output_field_names) == (["title"], ["sparse"])
    assert plan.wanted.indexes[-1] == Index(
        "sparse", "sparse", (("index_type", "SPARSE_INVERTED_INDEX"), ("metric_type", "BM25"))
    )
    assert plan.written.names == plan.compared.names == NAMES
    assert describe_changes(plan) == ("new function: words from title to sparse",)


def test_a_function_uses_the_names_after_all_transforms() -> None:
    sink = (ANALYZED + FUNCTION).replace("title", "f_title").replace("]functions", "], functions")
    plan = planned("FieldRename { prefix = f_ }", sink=sink)
    assert plan.wanted.message.functions[0].input_field_names == ["f_title"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("title", "price"), "its input price must be a VarChar, but it is Double."),
        (("= sparse", "= price"), "its output price must be a new field, but the collection"),
        (("= sparse", "= in"), "in is not a valid field name: it is a keyword"),
        (("input_field = title", "input_field = titel"), "no collection of the job has its input"),
        (("enable_analyzer = true", "max_length = 99"), "its input title has no analyzer."),
        (("enable_analyzer = true", "enable_analyzer = true, is_nullable = true"),
         "its input title is nullable. Milvus 2.6.17 does not create such a function."),
    ],
)  # fmt: skip
def test_an_impossible_function_is_rejected_with_the_reason(change, words: str) -> None:
    of = survey(side(SOURCE), side(version=parse("2.6.17")))
    sink = f"{ANALYZED}, {FUNCTION}"
    if change[0] == "title":
        sink = FUNCTION
    lines = found("", sink=sink.replace(*change), of=of)
    assert any(words in line for line in lines), lines


def test_a_function_needs_a_target_that_knows_it() -> None:
    of = survey(side(SOURCE), side(version=parse("2.4.24")))
    assert (
        "sink.Milvus.functions, words: BM25 functions need Milvus 2.5 or later; the target is 2.4.24."
    ) in found("", sink=f"{ANALYZED}, {FUNCTION}", of=of)


def test_a_target_that_exists_without_the_function_is_reported() -> None:
    of = survey(side(SOURCE), side(SOURCE, rows=Rows(0, exact=True), version=parse("2.6.17")))
    findings = examination.examine(job("", f"{ANALYZED}, {FUNCTION}"), of, None)
    assert "it exists and has no function words." in [finding.what for finding in findings]


# The job file

WRONG = [
    ("Extract { fields { } }", "transform.Extract.fields: must be a block such as { writer"),
    ("Extract { fields { a = Text } }", "transform.Extract.fields: a requires type, one of Bool"),
    (
        "Extract { fields { a = { type = Array } } }",
        "transform.Extract.fields: a requires element_type, one of Bool, Int8",
    ),
    (
        "Extract { fields { a = { type = Int8, max_length = 3 } } }",
        "transform.Extract.fields: a: max_length does not apply to its type",
    ),
    (
        "Extract { fields { a = { type = VarChar, max_length = 70000 } } }",
        "transform.Extract.fields: a: max_length must be a whole number from 1 to 65,535",
    ),
    (
        "Extract { fields { a = { type = JSON, default_value = x } } }",
        "transform.Extract.fields: a: a field of type JSON cannot have a default value",
    ),
    (
        "Extract { fields { a = { type = Int8, default_value = 300 } } }",
        "transform.Extract.fields: a: 300 is not a valid Int8 value",
    ),
    (
        "Extract { fields { a = { type = Int8, nullable = true } } }",
        "transform.Extract.fields: a has the unknown key nullable; did you mean is_nullable?",
    ),
    ("Filtr { }", "transform.Filtr: unknown transform; did you mean Filter?"),
    ("Sql { query = x }", "transform.Sql: Kitelift has no SQL; select rows with RowFilter"),
    ("Filter { include_fields = [a], exclude_fields = [b] }", "transform.Filter: requires either include_fields"),
    ("Filter { fields = [a] }", "transform.Filter.fields: unknown key"),
    ("Filter = 5", "transform.Filter: must be a block"),
    ('RowFilter { expression = "Random_Sample(0.01) and price > 1" }',
     "transform.RowFilter: random_sample selects different rows each time, so the copy could not"),
    ('FieldRename { specific = [{ field_name = a, target_name = "" }] }',
     "transform.FieldRename.specific: has an empty target_name for a"),
    ("FieldMapper { }", "transform.FieldMapper.field_mapper: missing"),
    ("FieldRename { specific = [{ name = a }] }", "transform.FieldRename.specific: has the unknown key name"),
    ("FieldRename { convert_case = TITLE }", "transform.FieldRename.convert_case: must be one of"),
    (
        'Replace { replace_field = a, pattern = "(?=a)", replacement = b, is_regex = true }',
        "transform.Replace: pattern or replacement is invalid: Invalid regular expression",
    ),
    ("Constant { fields { a = [1] } }", "transform.Constant.fields: a must be text"),
    (
        "Constant { fields { a = { type = Int8, value = 300 } } }",
        "transform.Constant.fields: a: 300 is not a valid Int8 value",
    ),
    ('Python { function = "json" }', 'transform.Python.function: must be "package.module:function"'),
    (
        'Python { function = "no_such:f" }',
        "transform.Python.function: no_such cannot be imported: ModuleNotFoundError",
    ),
    ('Python { function = "json:no" }', "transform.Python.function: json has no function no"),
    ('Filter { table_match_regex = "(" , exclude_fields = [a] }',
     "transform.Filter.table_match_regex: is not a regular expression"),
    (
        "Filter { exclude_fields = [a] }\n Filter { exclude_fields = 5 }",
        "transform.Filter[2].exclude_fields: must be a list",
    ),
    (
        ("Filter { exclude_fields = [a], plugin_output = x }, "
        "Copy { fields { a = b }, plugin_input = y }"),
        "transform.Copy.plugin_input: differs from plugin_output of the previous plugin",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("transform", "line"), WRONG)
def test_a_wrong_transform_has_its_line(transform: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        job(transform)
    [said] = raised.value.problems
    assert said.startswith(line)


def test_the_documentation_has_an_example_of_each_transform(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    (tmp_path / "shrink.py").write_text(docs.examples("python"))
    transforms = docs.examples("hocon") + docs.examples("hocon-2.5")
    made = clusters.job(transform=transforms, sink=docs.examples("hocon-sink"))
    assert {type(each).__name__ for each in made.transform} == set(PLUGINS)
    assert len(made.sink.field_schema) == 2
    newer = [clusters.job(sink=block).sink for block in docs.example_blocks("hocon-sink-2.5")]
    assert [(len(sink.field_schema), len(sink.functions)) for sink in newer] == [(1, 0), (1, 1)]


def test_names_that_wire_a_chain_are_accepted() -> None:
    chain = (
        "Filter { plugin_input = a, plugin_output = b, exclude_fields = [price] }\n"
        "Filter { source_table_name = b, result_table_name = c, exclude_fields = [title] }"
    )
    made = clusters.job(source="plugin_output = a", sink="plugin_input = c", transform=chain)
    assert len(made.transform) == 2


def test_collections_are_renamed_by_rule_after_their_own_names() -> None:
    transform = "TableRename { prefix = p_, suffix = _s, convert_case = UPPER }"
    made = job(transform, sink="collection_rename { docs = papers }")
    assert (made.name_of("docs"), made.name_of("other")) == ("p_PAPERS_s", "p_OTHER_s")


def test_transforms_are_among_the_settings_that_change_the_result() -> None:
    assert job("Filter { exclude_fields = [price] }").result_settings()["transform"] == [
        {"Filter": {"exclude_fields": ["price"]}}
    ]


# Chains


@st.composite
def chains(draw: st.DrawFn) -> list[Plugin]:
    """Transforms that fit a collection with a key `id`, a `title` and a `vector`, in a row."""
    names, plugins = ["id", "title", "vector"], list[Plugin]()
    for step in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(names))
        kind = draw(st.sampled_from(["drop", "rename", "copy", "constant"]))
        if kind == "drop" and name not in names[:3]:
            plugins.append(Filter(exclude_fields=[name]))
            names.remove(name)
        elif kind == "rename":
            specific = [{"field_name": name, "target_name": f"new_{step}"}]
            plugins.append(FieldRename(specific=specific))
            names[names.index(name)] = f"new_{step}"
        elif kind == "copy":
            plugins.append(Copy(fields={f"copy_{step}": name}))
            names.append(f"copy_{step}")
        else:
            plugins.append(Constant(fields={f"constant_{step}": step}))
            names.append(f"constant_{step}")
    return plugins


def resolved(plugins: list[Plugin], source: Description) -> Reshaped:
    sink = clusters.job().sink
    return apply_transforms(source, tuple(plugins), sink, lambda stages, before: "not tried")


@strategies.laws
@given(chains(), st.data())
def test_a_chain_is_its_transforms_one_after_the_other(plugins, data) -> None:
    source = described(clusters.schema())
    _, rows = data.draw(strategies.batches(source.schema))
    at_once = resolved(plugins, source)
    one_by_one, there = rows, source
    for plugin in plugins:
        step = resolved([plugin], there)
        one_by_one, there = reshape(one_by_one, step.shape).rows, step.described
    assert at_once.problems == ()
    folded = reshape(rows, at_once.shape).rows
    assert folded.schema == one_by_one.schema
    assert fingerprint.of(folded) == fingerprint.of(one_by_one)  # NaN is not equal to itself.
    assert at_once.described == there
    assert len(at_once.shape.stages) <= 1


@strategies.laws
@given(strategies.collections(), st.data())
def test_each_vector_keeps_its_index_whatever_is_dropped_renamed_or_copied(message, data) -> None:
    bare = described(message)
    source = replace(bare, indexes=tuple(Index(name, f"by_{name}", ()) for name in bare.vectors))
    names = [name for name in field_layout.names(source) if name != "$meta"]
    kept = data.draw(st.lists(st.sampled_from(names), unique=True))
    copied = data.draw(st.lists(st.sampled_from(names), unique=True))
    slots = [Slot(data.draw(st.sampled_from([name, f"new_{name}"])), name) for name in kept]
    made = field_layout.lay_out(
        source, slots + [Slot(f"copy_{name}", name, True) for name in copied]
    )
    assert {index.field for index in made.indexes} == {*made.vectors}
    assert len({index.name for index in made.indexes}) == len(made.indexes)


def test_a_function_may_be_in_a_file_beside_the_job_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.path", [*sys.path])
    (tmp_path / "beside_the_job.py").write_text("def same(rows):\n    return rows\n")
    text = """
        source { Milvus { url = "http://a" } }
        sink { Milvus { url = "http://b" } }
        transform { Python { function = "beside_the_job:same" } }
    """
    [plugin] = config.parse(text, base=tmp_path).transform
    assert plugin.to_setting() == {"Python": {"function": "beside_the_job:same"}}
