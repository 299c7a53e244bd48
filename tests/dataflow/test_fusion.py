"""The shape of the graph: rows are written in the stage that reads them, and never travel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pytest
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.pipeline_context import PipelineContext
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.transforms.environments import EmbeddedPythonEnvironment

from pipeline import graph
from pipeline.planning import planner
from tests.clusters import job, survey
from transforms.batch import Batch, BatchCoder
from transforms.ledger.ledger import Ledger
from transforms.ranges import KeyRange

PURPOSES: tuple[graph.Purpose, ...] = ("copy", "compare", "sync")


@dataclass
class Graph:
    """The graph of a job, and the stages that the local runner makes of it."""

    proto: Any
    stages: list[Any]
    components: Any

    @property
    def batches(self) -> set[str]:
        """The collections of batches, by their ids."""
        context = PipelineContext(self.components)
        return {
            name
            for name, each in self.components.pcollections.items()
            if isinstance(context.coders.get_by_id(each.coder_id), BatchCoder)
        }

    def stage_of(self, step: str) -> int:
        [place] = [
            place
            for place, stage in enumerate(self.stages)
            if any(
                f"{transform.unique_name}/".startswith(f"{step}/") for transform in stage.transforms
            )
        ]
        return place

    def path(self, step: str) -> list[str]:
        """The steps from the root to this one; a Reshuffle, whatever is in it, is one step."""
        leaves = self.proto.components.transforms
        reshuffles = [
            leave.unique_name
            for leave in leaves.values()
            if leave.spec.urn == common_urns.composites.RESHUFFLE.urn
        ]
        makers = {
            output: leave
            for leave in leaves.values()
            if not leave.subtransforms
            for output in {*leave.outputs.values()} - {*leave.inputs.values()}
        }
        at = next(leave for leave in leaves.values() if leave.unique_name == step)
        names = [step]
        while at.inputs:
            at = makers[at.inputs[_main_input(at)]]
            inside = [name for name in reshuffles if at.unique_name.startswith(f"{name}/")]
            name = min(inside, key=len, default=at.unique_name)
            if name != names[0]:
                names.insert(0, name)
        return names

    def touching(self, collection: str) -> Iterator[int]:
        """The stages that write or read a collection."""
        for place, stage in enumerate(self.stages):
            for transform in stage.transforms:
                if collection in (*transform.inputs.values(), *transform.outputs.values()):
                    yield place


def _main_input(transform: Any) -> str:
    sides = {}
    if transform.spec.urn == common_urns.primitives.PAR_DO.urn:
        payload = beam_runner_api_pb2.ParDoPayload.FromString(transform.spec.payload)
        sides = payload.side_inputs
    return next(name for name in transform.inputs if name not in sides)


def shape(purpose: graph.Purpose) -> Graph:
    plan = planner.build_plan(job(), survey(), (), plan_id="p1", made_at=1.5)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    graph.build(pipeline, graph.Run(job(), plan, Ledger("/nowhere", "job"), "run1", purpose))
    proto = pipeline.to_runner_api(default_environment=EmbeddedPythonEnvironment.default())
    context, stages = FnApiRunner().create_stages(proto)
    return Graph(proto, stages, context.components)


@pytest.fixture(scope="module", params=PURPOSES)
def made(request: pytest.FixtureRequest) -> Graph:
    return shape(request.param)


@pytest.fixture(scope="module")
def copy() -> Graph:
    return shape("copy")


def test_reading_converting_and_writing_share_one_stage(copy: Graph) -> None:
    steps = ("Read/Read", "Convert/Cut", "Write/Write")
    assert len({copy.stage_of(step) for step in steps}) == 1


def test_splitting_is_a_stage_before_and_finishing_one_after(copy: Graph) -> None:
    steps = ("Read/Split/Cut", "Read/Read", "Finish/Complete", "Verify/Compare", "Report")
    places = [copy.stage_of(step) for step in steps]
    assert places == sorted(set(places))


def test_no_batch_crosses_a_stage(made: Graph) -> None:
    assert len(made.batches) == 2
    for batches in made.batches:
        assert len({*made.touching(batches)}) == 1


def test_no_batch_is_a_side_input(made: Graph) -> None:
    for stage in made.stages:
        assert made.batches.isdisjoint(stage.side_inputs())


def test_ranges_are_spread_once_before_they_are_read(made: Graph) -> None:
    assert [name for name in made.path("Read/Read") if name.endswith("/Spread")] == ["Read/Spread"]


@pytest.mark.parametrize(
    ("purpose", "step"), [("copy", "Verify"), ("compare", "Verify"), ("sync", "Sync")]
)
def test_ranges_are_spread_right_before_they_are_compared(
    purpose: graph.Purpose, step: str
) -> None:
    assert shape(purpose).path(f"{step}/Compare")[-2:] == [f"{step}/Spread", f"{step}/Compare"]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_between_two_reshuffles_is_a_grouping_since_flink_would_drop_the_second(
    purpose: graph.Purpose,
) -> None:
    proof = {"copy": "Verify/Compare", "compare": "Verify/Compare", "sync": "Sync/Compare"}
    for step in ("Read/Read", proof[purpose], "Report"):
        dealt = [
            name.rpartition("/")[2]
            for name in shape(purpose).path(step)
            if name.endswith(("/Spread", "/GroupByKey"))
        ]
        assert ("Spread", "Spread") not in pairwise(dealt)


def test_a_batch_cannot_be_encoded() -> None:
    rows = pa.record_batch({"id": [1, 2]})
    whole = KeyRange("docs")
    batch = Batch(whole, whole, rows)
    with pytest.raises(NotImplementedError, match="must not leave the stage that read it"):
        BatchCoder().encode(batch)
    with pytest.raises(NotImplementedError):
        BatchCoder().decode(b"")


@pytest.mark.parametrize(
    ("rows", "size"), [(pa.record_batch({"id": [1, 2]}), 16), (None, 0)], ids=["rows", "failed"]
)
def test_the_size_of_a_batch_is_told_without_encoding_it(
    rows: pa.RecordBatch | None, size: int
) -> None:
    whole = KeyRange("docs")
    assert BatchCoder().estimate_size(Batch(whole, whole, rows)) == size


def test_a_graph_in_which_batches_would_travel_does_not_run(tmp_path: Path) -> None:
    whole = KeyRange("docs")
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = (
        pipeline
        | beam.Create([0])
        | beam.Map(lambda _: Batch(whole, whole, None)).with_output_types(Batch)
        | beam.Reshuffle()
    )
    with pytest.raises(Exception, match="must not leave the stage that read it"):
        pipeline.run()
