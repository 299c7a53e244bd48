"""Finishing: what completes a collection, done twice, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from pymilvus.grpc_gen.common_pb2 import IndexState, KeyValuePair

from pipeline import prepare, runners
from pipeline.reports import archive
from tests import clusters
from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, rows
from tests.fakes.script import REFUSED
from transforms.finish import Finish
from transforms.milvus.endpoint import Endpoint


def finish(job: Job) -> None:
    """Runs the transform alone, with the plan of a job that has run."""
    plan = job.ledger.plan()
    assert plan is not None
    made = Finish(
        Endpoint(job.source.url),
        Endpoint(job.target.url),
        plan,
        job.ledger,
        create_index=True,
        prove=True,
    )
    with runners.pipeline([], workers=1) as pipeline:
        _ = pipeline | beam.Create(["docs"], reshuffle=False) | made


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job that has ended, with a collection that has all there is to be made."""
    with between_fakes(tmp_path_factory.mktemp("done")) as job:
        made = job.source.create(schema(), rows(10))
        made.aliases.append("papers")
        made.index("title", "by_title", [KeyValuePair(key="index_type", value="Trie")])
        assert job.run() == 0
        yield job


def test_preparing_and_reporting_twice_changes_nothing(done: Job) -> None:
    plan, before = done.ledger.plan(), done.report
    assert plan is not None
    done.target.requests.clear()
    config = clusters.job(sink=f'url = "{done.target.url}"')
    prepare.make_targets(config, plan)
    assert changing(done.target) == set()
    archive.write(done.ledger, plan, before["run"], "full", settings=before["settings"])
    assert done.report == before


def test_finishing_twice_changes_nothing(done: Job) -> None:
    target, before = done.target["docs"], done.ledger.finished("docs")
    state = (list(target.indexes), list(target.aliases), target.loaded, target.rows())
    done.target.requests.clear()
    finish(done)
    after = done.ledger.finished("docs")
    assert before is not None
    assert after is not None
    assert (after.rows_source, after.rows_target) == (before.rows_source, before.rows_target)
    assert (list(target.indexes), list(target.aliases), target.loaded, target.rows()) == state
    assert changing(done.target) <= {
        *("Flush", "GetFlushState", "LoadCollection", "GetLoadingProgress")
    }


def test_a_collection_of_which_an_interval_is_missing_is_left_as_it_is(job: Job) -> None:
    job.source.create(schema(), rows(40))
    job.run()
    job.crash(lost=2)
    job.target.requests.clear()
    finish(job)
    assert job.target.requests == []
    assert job.ledger.finished("docs") is None
    assert job.ledger.told()["docs"].phase == "failed"


def test_an_index_that_is_being_built_is_waited_for(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.finish._POLL_S", 0.0)
    job.source.create(schema(), rows(10))
    states = iter([IndexState.InProgress, IndexState.InProgress, IndexState.Finished])

    def build(request: Any) -> bool:
        for index in job.target["docs"].indexes:
            index.state = next(states, IndexState.Finished)
        return False

    job.target.fails("DescribeIndex", REFUSED, when=build)
    assert job.run() == 0
    assert next(states, None) is None


def test_an_index_that_cannot_be_built_is_told_in_the_servers_words(job: Job) -> None:
    job.source.create(schema(), rows(10))

    def fail(request: Any) -> bool:
        for index in job.target["docs"].indexes:
            index.state, index.index_state_fail_reason = IndexState.Failed, "out of memory"
        return False

    job.target.fails("DescribeIndex", REFUSED, when=fail)
    assert job.run() == 4
    assert "index 'vector' on docs.vector failed: out of memory" in str(
        job.collection()["problems"]
    )
