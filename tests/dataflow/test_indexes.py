"""Indexes as a target takes them: in two steps, and under today's names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus.grpc_gen import common_pb2
from pymilvus.grpc_gen.common_pb2 import KeyValuePair
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Refusal

pytestmark = pytest.mark.slow

AUTO = {"index_type": "AUTOINDEX", "metric_type": "L2"}
MAPPED = AUTO | {"mmap.enabled": "true"}


def pairs(params: dict[str, str]) -> list[KeyValuePair]:
    return [KeyValuePair(key=key, value=value) for key, value in params.items()]


def params(server: FakeMilvus, name: str) -> dict[str, str]:
    [index] = [each for each in server["docs"].indexes if each.index_name == name]
    return {param.key: param.value for param in index.params}


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    """A source whose AUTOINDEX was altered; servers that make none with more than its metric."""

    def alter(server: FakeMilvus, request: Any, context: Any = None) -> Any:
        found = server[request.collection_name]
        if found.loaded:
            raise Refusal(104, "can't alter index on loaded collection")
        [index] = [each for each in found.indexes if each.index_name == request.index_name]
        index.params.extend(request.extra_params)
        return common_pb2.Status()

    monkeypatch.setattr(FakeMilvus, "AlterIndex", alter)
    with between_fakes(tmp_path) as made:
        docs = made.source.create(schema(), rows(10))
        del docs.indexes[:]
        docs.index("vector", "by_meaning", pairs(MAPPED))
        made.target.fails(
            "CreateIndex", REFUSED, times=None, when=lambda q: len(q.extra_params) > 2
        )
        yield made


def found(job: Job) -> list[str]:
    return [each["code"] for each in job.report["findings"]]


def test_an_autoindex_is_made_with_its_metric_and_altered_before_it_is_loaded(job: Job) -> None:
    assert job.run() == 0
    assert params(job.target, "by_meaning") == MAPPED
    assert job.collection()["outcome"] == "proven"
    assert found(job) == []


def test_what_a_target_does_not_alter_is_changed_and_nothing_else_is(job: Job) -> None:
    job.target.fails("AlterIndex", REFUSED, times=None)
    assert job.run() == 0
    assert params(job.target, "by_meaning") == AUTO
    assert job.collection()["outcome"] == "proven"
    assert found(job) == ["changed:docs.indexes.by_meaning"]


def test_old_names_of_scalar_indexes_become_those_of_today(tmp_path: Path) -> None:
    with FakeMilvus("v2.3.22") as source, FakeMilvus("v2.6.19") as target:
        job = Job(tmp_path, source, target)
        made = source.create(
            schema(pages=DataType.Int64), [{**row, "pages": 1} for row in rows(10)]
        )
        made.index("title", "by_title", pairs({"index_type": "marisa-trie"}))
        made.index("pages", "by_pages", pairs({"index_type": "Ascending"}))
        assert job.run() == 0
        assert params(target, "by_title") == {"index_type": "Trie"}
        assert params(target, "by_pages") == {"index_type": "STL_SORT"}
        assert found(job) == []
        carried = {each["what"]: each["fate"] for each in job.collection()["carried"]}
        assert carried["indexes.by_title"] == carried["indexes.by_pages"] == "changed"
        # Made by somebody else, under the old name: it is the same.
        [index] = [each for each in target["docs"].indexes if each.index_name == "by_title"]
        index.params[0].value = "marisa-trie"
        assert job.run() == 0
        assert found(job) == []
