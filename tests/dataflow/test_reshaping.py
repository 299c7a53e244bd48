"""What a job file changes about the target, in the calls that the target sees."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, row, rows, written


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
    names = [each.field_name for each in reshaped.target["docs"].indexes]
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
    assert all("id >= 8 and id != 13" in each.expr for each in pages)


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
    assert "does not take the filter yaer > 2020: failed to create query plan: field yaer" in said
    assert "id is the primary key and cannot be dropped" in said
    assert changing(job.target) == set()


def test_the_report_calls_nothing_lost_that_was_asked_for(reshaped: Job) -> None:
    fates = {each["what"]: each["fate"] for each in reshaped.collection()["carried"]}
    assert fates["fields.weight"] == "dropped"
    assert (fates["fields.key"], fates["fields.heading"]) == ("kept", "new")
    assert "lost" not in fates.values()
    assert reshaped.collection()["reshaped"] == [
        'only rows with id >= 8 and id != 13 or title == "title of 2": 27 of 35',
        "left out: weight",
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
    assert "does not take the filter idd < 5" in capsys.readouterr().err
    assert not job.source["docs"].loaded
    job.transform = 'RowFilter { expression = "id < 5" }'
    assert job.run() == 0
    assert job.collection()["rows_source"] == 5
