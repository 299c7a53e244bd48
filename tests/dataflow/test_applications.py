"""The job files of docs/applications.md, run on collections like those of each application."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline import cli
from tests import docs
from tests.clusters import schema
from tests.dataflow.jobs import Job

pytestmark = pytest.mark.slow

PAGE = docs.ROOT / "docs" / "applications.md"
EXAMPLES = dict(
    re.findall(r"<!-- ([^-]+) -->\n```\n(.*?)```\n<!-- end -->", PAGE.read_text(), re.DOTALL)
)
COUNT = 12
FOREIGN = "somebody_elses"
JSON = {"data": DataType.JSON, "metadata": DataType.JSON}
DIFY: dict[str, Any] = {"metadata": DataType.JSON, "auto_id": True}
OPEN_WEBUI: dict[str, Any] = {**JSON, "key": DataType.VarChar, "dynamic": True}
LANGCHAIN: dict[str, Any] = {"key": DataType.VarChar, "partition_key": "title"}

# The application, its collections, the arguments of their schema, and those that are copied.
APPLICATIONS = [
    (
        "Dify",
        ["Vector_index_1a_2b_Node", "Vector_index_3c_4d_Node"],
        DIFY,
        ["Vector_index_1a_2b_Node", "Vector_index_3c_4d_Node"],
    ),
    (
        "Open WebUI",
        ["open_webui_file_1a", "open_webui_user_memory_2b", "open_webui_web_search_3c"],
        OPEN_WEBUI,
        ["open_webui_file_1a", "open_webui_user_memory_2b"],
    ),
    ("LangChain", ["LangChainCollection", "another"], LANGCHAIN, ["LangChainCollection"]),
]


def row(number: int, fields: dict[str, Any]) -> dict[str, Any]:
    """A row with values for all fields that an application may have."""
    key = f"id-{number}" if fields.get("key") == DataType.VarChar else number
    values = {"title": f"text {number}", "vector": [number / 4, 1.0]}
    if not fields.get("auto_id"):
        values["id"] = key
    return values | {name: b'{"doc_id": "a"}' for name in JSON if name in fields}


@pytest.mark.parametrize(("name", "collections", "fields", "copied"), APPLICATIONS)
def test_the_job_file_of_an_application_copies_its_collections(
    job: Job,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    collections: list[str],
    fields: dict[str, Any],
    copied: list[str],
) -> None:
    for collection in collections:
        rows = [row(number, fields) for number in range(COUNT)]
        job.source.create(schema(collection, **fields), rows)
    job.source.create(schema(FOREIGN), [row(1, {})])
    if "auto_load = true" in EXAMPLES[name]:
        job.source[copied[-1]].loaded = False
    monkeypatch.setenv("SOURCE_TOKEN", "root:Milvus")
    monkeypatch.setenv("TARGET_TOKEN", "root:Milvus")
    text = EXAMPLES[name].replace("http://old-milvus:19530", job.source.url)
    conf = job.folder / "migration.conf"
    conf.write_text(text.replace("http://new-milvus:19530", job.target.url))
    state = f"--state={job.folder / 'state'}"
    assert cli.main(["run", f"--config={conf}", state, "--quiet", "--parallelism=1"]) == 0
    created = {call.collection_name for call in job.target.asked("CreateCollection")}
    assert sorted(created) == copied
    assert {len(job.target[each].rows()) for each in copied} == {COUNT}


def test_every_example_of_the_page_is_run() -> None:
    assert [name for name, *_ in APPLICATIONS] == [*EXAMPLES]
