"""Beam's counters of a whole job say what the report says."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows, writes
from tests.fakes.script import REFUSED
from transforms import counters


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The results of all pipelines that run."""
    found: list[Any] = []
    run = beam.Pipeline.run

    def kept(pipeline: beam.Pipeline, *arguments: Any, **more: Any) -> Any:
        found.append(run(pipeline, *arguments, **more))
        return found[-1]

    monkeypatch.setattr(beam.Pipeline, "run", kept)
    return found


def test_each_counter_counts_what_its_name_says(job: Job, results: list[Any]) -> None:
    job.source.create(schema(), rows(40))
    job.target.fails("Insert", REFUSED, when=writes(7), times=None)
    job.target.fails("Upsert", REFUSED, when=writes(7), times=None)
    job.env["max_rejected"] = 1
    job.run()

    [result] = results
    asked = MetricsFilter().with_namespace(counters.NAMESPACE)
    found = {
        each.key.metric.name: each.committed for each in result.metrics().query(asked)["counters"]
    }

    assert found["read_rows"] == 40
    assert (found["written_rows"], found["rejected_rows"]) == (39, 1)
    assert min(found["read_bytes"], found["written_bytes"]) > 40 * 16
    assert found["compared_ranges"] == job.report["ranges"]["total"]
    assert (found.get("unequal_ranges", 0), found.get("failed_writes", 0)) == (0, 0)
    assert found.keys() <= set(counters.Name.__args__)
