"""What a job file changes about the target, in the calls that the target sees."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows, written
from tests.fakes.memory import Row

pytestmark = pytest.mark.slow


def order(job: Job) -> list[str]:
    """The calls that make and fill the target, each kind once, in order."""
    calls = ("CreateCollection", "CreateIndex", "Insert", "Flush")
    return list(dict.fromkeys(name for name, _ in job.target.requests if name in calls))


def test_indexes_are_made_after_the_rows(job: Job) -> None:
    job.source.create(schema(), rows(20))
    assert job.run() == 0
    assert order(job) == ["CreateCollection", "Insert", "Flush", "CreateIndex"]


def test_indexes_are_made_before_the_rows_on_request(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["create_index"] = "before"
    assert job.run() == 0
    assert order(job) == ["CreateCollection", "CreateIndex", "Insert", "Flush"]
    assert len(job.target.asked("CreateIndex")) == 1


def test_a_renamed_collection_is_written_and_proven_under_its_new_name(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.to_sink["collection_rename"] = {"docs": "papers"}
    assert job.run() == 0
    assert job.target.keys("papers") == [*range(20)]
    found = job.collection()
    assert (found["name"], found["target"], found["outcome"]) == ("docs", "papers", "proven")


CHOSEN = """
  RowFilter { expression = "id >= 8 and id != 13 or title == \\"title of 2\\"" }
  Filter { exclude_fields = [weight] }
  FieldRename { specific = [{ field_name = id, target_name = key }] }
  FieldRename { specific = [{ field_name = vector, target_name = embedding }] }
  Copy { fields { heading = title } }
"""
KEYS = [2, *range(8, 13), *range(14, 35)]


@pytest.fixture
def reshaped(job: Job) -> Job:
    """A job that has copied some rows of 35, with some fields, under other names."""
    job.source.create(
        schema(weight=DataType.Double), [{**each, "weight": 0.5} for each in rows(35)]
    )
    job.transform = CHOSEN
    assert job.run() == 0
    return job


def test_chosen_rows_arrive_with_their_chosen_fields(reshaped: Job) -> None:
    expected = [
        {"key": key, "title": made["title"], "embedding": made["vector"], "heading": made["title"]}
        for key, made in ((key, row(key)) for key in KEYS)
    ]
    assert reshaped.target["docs"].rows() == expected
    names = [index.field_name for index in reshaped.target["docs"].indexes]
    assert names == ["embedding"]


def test_the_report_counts_the_chosen_rows(reshaped: Job) -> None:
    found = reshaped.collection()
    counts = ("rows_source", "keys", "repeats", "rows_read", "rows_written", "rows_target")
    assert [found[count] for count in counts] == [27, 27, 0, 27, 27, 27]
    assert (found["outcome"], found["ranges"]["total"]) == ("proven", 2)


def test_what_is_not_needed_is_not_asked_for(reshaped: Job) -> None:
    asked = {name for each in reshaped.source.asked("Query") for name in each.output_fields}
    assert asked == {"count(*)", "id", "title", "vector"}
    pages = [each for each in reshaped.source.asked("Query") if "title" in each.output_fields]
    assert all("id >= 8 and id != 13" in page.expr for page in pages)


def test_a_reshaped_copy_is_verified_and_made_equal_again(reshaped: Job) -> None:
    target = reshaped.target["docs"]
    target.delete("key in [2, 9]")
    target.upsert([{**target.rows()[0], "title": "another"}])
    target.insert([{**target.rows()[1], "key": 77}])
    assert reshaped.run("verify") == 4
    assert reshaped.differences() == ["- 2", "* 8 title", "- 9", "+ 77"]
    assert reshaped.run("sync", "--delete") == 0
    assert [each["key"] for each in target.rows()] == KEYS
    assert target.rows()[1]["title"] == "title of 8"


def test_a_reshaped_copy_is_compared_without_its_ledger(reshaped: Job) -> None:
    reshaped.env["job.name"] = "another"
    assert reshaped.run("verify") == 0
    reshaped.target["docs"].delete("key in [9]")
    assert reshaped.run("verify") == 4
    reshaped.env["verify"] = "count"
    assert reshaped.run("verify") == 4


def test_a_reshaped_copy_goes_on_where_it_stopped(reshaped: Job) -> None:
    lost = reshaped.crash(lost=2)
    assert reshaped.run() == 0
    assert set(written(reshaped.target, "Upsert", key="key")) == lost & set(KEYS)
    assert reshaped.collection()["outcome"] == "proven"


def test_another_reshaping_is_another_job(
    reshaped: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    reshaped.transform = CHOSEN.replace("heading", "headline")
    assert reshaped.run() == 3
    assert "transform: was" in capsys.readouterr().err


def test_a_filter_that_the_source_refuses_stops_the_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(5))
    job.transform = 'RowFilter { expression = "yaer > 2020" }, Filter { exclude_fields = [id] }'
    assert job.run() == 3
    said = capsys.readouterr().err
    assert (
        'rejects the filter `yaer > 2020`: "cannot parse expression: yaer > 2020, error: ' in said
    )
    assert "id is the primary key and cannot be dropped" in said
    assert changing(job.target) == set()


def test_the_report_calls_nothing_lost_that_was_asked_for(reshaped: Job) -> None:
    fates = {each["what"]: each["fate"] for each in reshaped.collection()["carried"]}
    assert fates["fields.weight"] == "dropped"
    assert (fates["fields.key"], fates["fields.heading"]) == ("kept", "new")
    assert "lost" not in fates.values()
    assert reshaped.collection()["reshaped"] == [
        'only rows with id >= 8 and id != 13 or title == "title of 2": 27 of 35',
        "dropped: weight",
        "renamed: id to key, vector to embedding",
        "copied: title to heading",
    ]


# Called by its name from a job file.
def checked(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Adds how long each title is; refuses key 17."""
    if 17 in rows.column("id").to_pylist():
        raise ValueError("17 is unlucky")
    return rows.append_column("length", pc.binary_length(rows.column("title")).cast(pa.int32()))


FUNCTION = f'Python {{ function = "{__name__}:checked" }}'


def test_rows_go_through_a_function(job: Job) -> None:
    job.source.create(schema(), rows(15))
    job.transform = (
        f'{FUNCTION}\n Replace {{ replace_field = title, pattern = of, replacement = "-" }}'
    )
    job.transform += "\n Constant { fields { origin = fake } }"
    assert job.run() == 0
    assert job.target["docs"].rows()[12] == {
        **row(12),
        "title": "title - 12",
        "length": 11,
        "origin": "fake",
    }
    assert job.collection()["outcome"] == "proven"


def test_a_range_that_a_function_fails_on_is_named_and_the_others_go_on(job: Job) -> None:
    job.source.create(schema(), rows(30))
    job.transform = FUNCTION
    assert job.run() == 4
    [failure] = job.report["failures"]
    assert failure["reason"].endswith("checked: raised ValueError: 17 is unlucky")
    found = job.collection()
    assert (found["ranges"]["total"], found["ranges"]["failed"]) == (3, 1)


def fewer(rows: pa.RecordBatch) -> object:
    return rows.slice(1)


def other_keys(rows: pa.RecordBatch) -> object:
    return rows.set_column(0, "id", pc.add(rows.column("id"), 1))


def no_batch(rows: pa.RecordBatch) -> object:
    return rows.to_pydict()


def leaves(rows: pa.RecordBatch) -> object:
    return sys.exit("usage: leaves")


def another_type(rows: pa.RecordBatch) -> object:
    return rows.set_column(1, "title", pa.array([[1]] * rows.num_rows))


def null(rows: pa.RecordBatch) -> object:
    return rows.set_column(1, "title", pa.nulls(rows.num_rows, pa.string()))


FAULTS = {
    fewer: "returned 3 rows for 4",
    other_keys: "returned other keys: it must not change id or the order of rows",
    no_batch: "returned dict, not a pyarrow.RecordBatch",
    leaves: "raised SystemExit: usage: leaves",
    another_type: "returned title as list<item: int64>, not string",
}


@pytest.fixture(params=FAULTS, ids=lambda fault: fault.__name__)
def fault(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_a_function_that_fails_on_the_first_rows_stops_the_job_before_it_begins(
    job: Job, fault: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(4))
    job.transform = f'Python {{ function = "{__name__}:{fault.__name__}" }}'
    assert job.run() == 3
    said = capsys.readouterr().err
    where = "[reshape] transform.Python, collection docs: function"
    assert f"{where} {__name__}:{fault.__name__}: {FAULTS[fault]}" in said
    assert "Correct it, or limit it to other collections" in said
    assert changing(job.target) == set()


# The function of the job, until key 17 comes.
late: list[Any] = []


def until_17(rows: pa.RecordBatch) -> object:
    return late[-1](rows) if 17 in rows.column("id").to_pylist() else rows


LATE = FAULTS | {null: "nulls, but the field is not nullable"}


@pytest.mark.parametrize("fault", LATE, ids=lambda fault: fault.__name__)
def test_a_function_that_fails_later_fails_the_range(job: Job, fault: Any) -> None:
    late.append(fault)
    job.source.create(schema(), rows(30))
    job.transform = f'Python {{ function = "{__name__}:until_17" }}'
    assert job.run() == 4
    [failure] = job.report["failures"]
    assert LATE[fault] in failure["reason"]
    found = job.collection()["ranges"]
    assert (found["total"], found["copied"], found["failed"]) == (3, 2, 1)
    late.append(lambda rows: rows)
    assert job.run() == 0
    assert job.collection()["outcome"] == "proven"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("no_such:f", "no_such cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        (f"{__name__}:no_such", f"{__name__} has no function no_such"),
        (f"{__name__}", 'must be "package.module:function"'),
    ],
)
def test_a_function_that_is_not_there_is_an_error_of_the_job_file(
    job: Job, function: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.transform = f'Python {{ function = "{function}" }}'
    assert job.run() == 2
    assert f"transform.Python.function: {words}" in capsys.readouterr().err


def halved(rows: pa.RecordBatch) -> pa.RecordBatch:
    """As the example of the docs: numpy cannot reshape no vectors."""
    wide = rows.column("vector").flatten().to_numpy().reshape(len(rows), -1)
    half = pa.FixedSizeListArray.from_arrays(pa.array(wide[:, 0].copy()), 1)
    return rows.set_column(rows.schema.get_field_index("vector"), "vector", half)


def test_a_function_shapes_a_collection_without_rows_too(job: Job) -> None:
    job.source.create(schema(), [])
    job.transform = f'Python {{ function = "{__name__}:halved" }}'
    assert job.run() == 0
    [vector] = [field for field in job.target["docs"].schema.fields if field.name == "vector"]
    assert {pair.key: pair.value for pair in vector.type_params} == {"dim": "1"}


def test_it_is_told_that_a_function_was_tried_without_rows(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(5)).loaded = False
    job.from_source |= {"auto_load": True, "collections": ["docs"]}
    job.transform = f'Python {{ function = "{__name__}:no_batch" }}'
    assert job.run() == 3
    assert "(tried with a sample row of zeros and empty texts," in capsys.readouterr().err


def test_new_ids_are_made_for_chosen_rows_too(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.transform = 'RowFilter { expression = "id < 12" }, FieldRename { prefix = f_ }'
    job.to_sink["enable_auto_id"] = True
    assert job.run() == 0
    titles = {each["f_title"] for each in job.target["docs"].rows()}
    assert titles == {f"title of {key}" for key in range(12)}
    assert job.collection()["outcome"] == "proven"


def test_only_chosen_rows_are_compared_among_the_rows_of_others(job: Job) -> None:
    job.source.create(schema(), rows(20))
    job.transform = 'RowFilter { expression = "id < 5" }'
    assert job.run() == 0
    job.target["docs"].insert([row(key) for key in range(50, 60)])
    job.env["job.name"], job.transform = "again", 'RowFilter { expression = "id >= 5" }'
    job.to_sink["data_save_mode"] = "APPEND_DATA"
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(20), *range(50, 60)]


def test_a_collection_that_is_loaded_for_the_job_has_its_filter_tried_then(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(20)).loaded = False
    job.from_source |= {"auto_load": True, "collections": ["docs"]}
    job.transform = 'RowFilter { expression = "idd < 5" }'
    assert job.run() == 3
    assert "rejects the filter `idd < 5`" in capsys.readouterr().err
    assert not job.source["docs"].loaded
    job.transform = 'RowFilter { expression = "id < 5" }'
    assert job.run() == 0
    assert job.collection()["rows_source"] == 5


# Keys of the dynamic field


def dynamic(count: int) -> list[Row]:
    """Rows of which every fifth has a color in its dynamic field."""
    color = [b'{"color": null}', *[b'{"depth": {"color": 1}}'] * 4]
    return [{**each, "$meta": color[each["id"] % 5]} for each in rows(count)]


@pytest.mark.parametrize(
    "transform",
    [
        "Constant { fields { color = red } }",
        "Copy { fields { color = title } }",
        "FieldRename { specific = [{ field_name = title, target_name = color }] }",
        f'Python {{ function = "{__name__}:colored" }}',
    ],
)
def test_a_new_field_that_rows_have_as_a_key_stops_the_job(
    job: Job, transform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(dynamic=True), dynamic(20))
    job.transform = transform
    assert job.run() == 3
    said = capsys.readouterr().err
    assert "[dynamic-key] source collection docs: the dynamic field of 4 rows has the key" in said
    assert changing(job.target) == set()
    job.transform += '\n RowFilter { expression = "id in [1, 2, 3, 6]" }'
    assert job.run() == 0
    assert job.target.keys("docs") == [1, 2, 3, 6]


def colored(rows: pa.RecordBatch) -> pa.RecordBatch:
    return rows.append_column("color", pa.array(["red"] * rows.num_rows))


def test_a_key_of_the_name_of_a_field_that_was_added_stops_the_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    docs = job.source.create(schema(dynamic=True, color=DataType.VarChar))
    docs.insert([{**each, "color": "red", "$meta": b"{}"} for each in rows(5)])
    for number, field in zip((100, 101, 102, 104), docs.schema.fields, strict=True):
        field.fieldID = number
    docs.rows()[3]["$meta"] = b'{"color": "blue"}'
    assert job.run() == 3
    assert "the dynamic field of 1 row has the key `color`" in capsys.readouterr().err
    job.transform = 'Filter { exclude_fields = ["$meta"] }'
    assert job.run() == 0
    assert job.collection()["outcome"] == "proven"


def test_rows_with_such_a_key_may_be_set_aside(job: Job) -> None:
    job.target.version = "2.5.27"  # 2.3 and 2.4 take such keys.
    job.source.create(schema(dynamic=True), dynamic(20))
    job.transform = "Constant { fields { color = red } }"
    job.env["max_rejected"] = 4
    assert job.run() == 4
    assert (job.collection()["outcome"], job.collection()["rejected"]) == ("proven", 4)
    assert [each["code"] for each in job.report["findings"]] == ["dynamic-key", "rejected-rows"]
    assert job.target.keys("docs") == [key for key in range(20) if key % 5]
