"""Keys of the dynamic field become fields; what does not fit is a rejected row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests import docs
from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, keys_of, row
from tests.fakes.memory import Row
from tests.fakes.script import Fault

pytestmark = pytest.mark.slow

COUNT = 60
NUMBERS = (3, 4, 31)
"""Keys of rows whose `author` is a number."""
MISSING = (7, 32)
"""Keys of rows without `author`."""

REJECTED = Fault(code=1100, text="no")

WRITER: dict[str, Any] = {"source_field_name": "author", "field_name": "writer", "data_type": 21}
WRITER |= {"max_length": 256, "is_nullable": True}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    versions = {"source_version": "v2.5.27", "target_version": "v2.6.19"}
    with between_fakes(tmp_path, **versions) as made:
        made.source.create(schema(dynamic=True), [article(key) for key in range(COUNT)])
        made.to_sink["field_schema"] = [WRITER]
        made.env["max_rejected"] = len(NUMBERS)
        yield made


def article(key: int) -> Row:
    more: dict[str, Any] = {"claps": key, "author": f"author of {key}", "by": {"author": 1}}
    if key in NUMBERS:
        more["author"] = key
    if key in MISSING:
        del more["author"]
    return row(key) | {"$meta": json.dumps(more).encode()}


def expected(key: int, writer: str | None) -> Row:
    more = json.dumps({"claps": key, "by": {"author": 1}}).encode()
    name = f"author of {key}" if key not in MISSING else writer
    return row(key) | {"writer": name, "$meta": more}


def stored(job: Job) -> list[Row]:
    return sorted(job.target["docs"].rows(), key=lambda found: found["id"])


@pytest.mark.parametrize(
    ("changes", "writer"),
    [({}, None), ({"is_nullable": False, "default_value": "nobody"}, "nobody")],
)
def test_texts_are_moved_and_other_types_are_rejected(
    job: Job, changes: dict[str, Any], writer: str | None
) -> None:
    job.to_sink["field_schema"] = [WRITER | changes]
    assert job.run() == 4
    keys = [key for key in range(COUNT) if key not in NUMBERS]
    assert stored(job) == [expected(key, writer) for key in keys]
    found = job.collection()
    assert (found["outcome"], found["rejected"], found["rows_target"]) == ("proven", 3, len(keys))
    assert "extracted: author to writer" in found["reshaped"]
    field = job.target["docs"].schema.fields[-1]
    assert (field.name, field.data_type) == ("writer", DataType.VarChar)


def test_the_transform_does_the_same_as_the_key_of_vts(job: Job) -> None:
    job.to_sink.pop("field_schema")
    job.transform = """Extract { fields { writer = {
        key = author, type = VarChar, max_length = 256, is_nullable = true } } }"""
    assert job.run() == 4
    keys = [key for key in range(COUNT) if key not in NUMBERS]
    assert stored(job) == [expected(key, None) for key in keys]


def test_rows_beyond_max_rejected_are_named_with_key_field_and_type(job: Job) -> None:
    job.env["max_rejected"] = 0
    job.to_sink["field_schema"] = [WRITER | {"is_nullable": False}]
    assert job.run() == 4
    reasons = " ".join(failure["reason"] for failure in job.report["failures"])
    for key in NUMBERS:
        why = "key `author` of the dynamic field is a number, but field `writer` is VarChar"
        assert f"key {key}: not sent: {why}" in reasons
    for key in MISSING:
        why = "the dynamic field has no key `author`, but field `writer` is VarChar, not nullable"
        assert f"key {key}: not sent: {why}" in reasons
    assert "leave them out with `transform.RowFilter`" in reasons
    keys = [key for key in range(COUNT) if key not in (*NUMBERS, *MISSING)]
    assert stored(job) == [expected(key, None) for key in keys]


def test_a_copy_with_extracted_fields_is_verified_and_synced(job: Job) -> None:
    fixed = [row(key) | {"$meta": b'{"author":"x"}'} for key in NUMBERS]
    assert job.run() == 4
    job.target["docs"].delete("id in [9]")
    job.target["docs"].upsert([expected(12, None) | {"writer": "somebody"}])
    assert job.run("verify") == 4
    assert {*job.differences()} - {f"- {key}" for key in NUMBERS} == {"- 9", "* 12 writer"}
    job.source["docs"].upsert(fixed)
    assert job.run("sync") == 0
    assert [found["id"] for found in stored(job)] == [*range(COUNT)]
    assert [stored(job)[key]["writer"] for key in (*NUMBERS, 12)] == ["x"] * 3 + ["author of 12"]


def test_sync_names_the_rows_that_it_cannot_write(job: Job) -> None:
    assert job.run() == 4
    job.source["docs"].upsert([article(key) for key in NUMBERS] + [row(5)])
    assert job.run("sync") == 4
    reasons = " ".join(failure["reason"] for failure in job.report["failures"])
    assert "key 3: not sent: key `author` of the dynamic field is a number" in reasons
    assert stored(job)[3]["id"] == 5


def test_replay_sends_no_row_without_a_valid_value_and_sync_writes_it_once_fixed(job: Job) -> None:
    job.target.fails("Insert", REJECTED, when=lambda request: 9 in keys_of(request), times=None)
    job.env["max_rejected"] = len(NUMBERS) + 1
    assert job.run() == 4
    advice = "Fix rows with the reason `not sent:` in the source, then run `kitelift sync`."
    assert advice in " ".join(job.report["next"])
    job.target.heal()
    for _ in range(2):
        assert job.run("replay") == 4
        assert [key for key in range(COUNT) if key not in job.target.keys("docs")] == [*NUMBERS]
        assert (job.collection()["outcome"], job.collection()["rejected"]) == ("proven", 3)
    job.source["docs"].upsert([row(key) | {"$meta": b'{"author":"x"}'} for key in NUMBERS])
    assert job.run("sync") == 0
    assert [stored(job)[key]["writer"] for key in NUMBERS] == ["x"] * 3


def test_a_resumed_copy_rejects_the_same_rows_once(job: Job) -> None:
    assert job.run() == 4
    job.crash(lost=3)
    assert job.run() == 4
    assert job.collection()["rejected"] == len(NUMBERS)
    assert job.collection()["outcome"] == "proven"


def test_a_key_and_its_field_may_have_one_name(job: Job) -> None:
    job.to_sink["field_schema"] = [
        {name: value for name, value in WRITER.items() if name != "field_name"}
    ]
    assert job.run() == 4
    assert stored(job)[0]["author"] == "author of 0"


def test_a_field_of_the_source_is_renamed(job: Job) -> None:
    job.to_sink["field_schema"] = [{"source_field_name": "title", "field_name": "heading"}]
    assert job.run() == 0
    assert stored(job)[5]["heading"] == row(5)["title"]


def test_the_examples_of_the_documentation_for_newer_targets_do_what_they_say(job: Job) -> None:
    articles = schema("articles", dynamic=True)
    job.source.create(articles, [article(key) for key in range(20) if key not in NUMBERS])
    job.to_sink.pop("field_schema")
    job.from_source["collections"] = ["articles"]
    job.transform = docs.examples("hocon-2.5")
    assert job.run() == 0
    authors = {found["id"]: found["author"] for found in job.target["articles"].rows()}
    assert (authors[0], authors[MISSING[0]]) == ("author of 0", "unknown")


def test_a_function_of_the_target_is_created_and_its_output_is_indexed(job: Job) -> None:
    job.to_sink["field_schema"] = [{"field_name": "title", "enable_analyzer": True}]
    function = {"name": "by_words", "input_field": "title", "output_field": "title_words"}
    job.to_sink["functions"] = [function]
    assert job.run() == 0
    [created] = job.target["docs"].schema.functions
    assert (created.input_field_names, created.output_field_names) == (["title"], ["title_words"])
    index = next(found for found in job.target["docs"].indexes if found.field_name == "title_words")
    params = {pair.key: pair.value for pair in index.params}
    assert (params["index_type"], params["metric_type"]) == ("SPARSE_INVERTED_INDEX", "BM25")
    assert [found["id"] for found in stored(job)] == [*range(COUNT)]
    assert job.collection()["outcome"] == "proven"
    fates = {found["what"]: found["fate"] for found in job.collection()["carried"]}
    assert (fates["functions.bm25.by_words"], fates["fields.title_words"]) == ("new", "new")
