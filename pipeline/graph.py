"""Plan -> the dataflow. The one screen that shows everything.

names > Split > Spread > Read > Convert > Write > receipts
                         `------ one stage -----'    | (barrier)
names ------------------------------------------> Finish > Verify > verdicts
                                                              | (barrier)
                                                           Report
"""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam

from pipeline import archive, prepare
from pipeline.job import JobConfig
from transforms.convert import Convert
from transforms.finish import Finish
from transforms.ledger import Ledger, Verdict
from transforms.plan import Plan
from transforms.read import ReadFromMilvus
from transforms.verify import Method, Verify
from transforms.write import WriteToMilvus


@dataclass(frozen=True)
class Run:
    """One submission of a job: what every step needs to know. `run_id` tells verdicts apart."""

    config: JobConfig
    plan: Plan
    ledger: Ledger
    run_id: str

    @property
    def method(self) -> Method | None:
        """How the target is to be compared with the receipts; None if it is not.

        Milvus reads only what is indexed and loaded.
        """
        verify = self.config.env.verify
        return None if verify == "none" or not self.config.sink.create_index else verify


def build(pipeline: beam.Pipeline, run: Run) -> None:
    """Adds the whole job to a pipeline: copy, finish, verify, report."""
    names = pipeline | "Collections" >> _names(run)
    receipts = (
        names
        | "Read"
        >> ReadFromMilvus(
            run.config.source.endpoint,
            run.plan,
            run.ledger,
            workers=run.config.env.parallelism,
            page_rows=run.config.source.batch_size,
        )
        | "Convert" >> Convert(run.plan, request_rows=run.config.sink.batch_size)
        | "Write"
        >> WriteToMilvus(
            run.config.sink.endpoint,
            run.plan,
            run.ledger,
            upsert=run.config.sink.enable_upsert,
            fail_fast=run.config.env.fail_fast,
        )
    )
    # A root of its own: a side input made from the same root as the data would end the fusion of
    # reading and writing, and the whole collection would be held in memory.
    finished = (
        pipeline
        | "Collections to finish" >> _names(run)
        | "Finish"
        >> Finish(
            run.config.source.endpoint,
            run.config.sink.endpoint,
            run.plan,
            run.ledger,
            receipts,
            create_index=bool(run.config.sink.create_index),
            prove=run.method is not None,
        )
    )
    conclude(pipeline, run, finished)


def build_verify(pipeline: beam.Pipeline, run: Run) -> None:
    """Adds only the proof and the report: ``kitelift verify``."""
    conclude(pipeline, run, pipeline | "Collections" >> _names(run))


def conclude(pipeline: beam.Pipeline, run: Run, finished: beam.PCollection[str]) -> None:
    """Adds the proof of the finished collections, and the report on all."""
    waited_for: beam.PCollection[str] | beam.PCollection[Verdict] = finished
    if run.method:
        waited_for = finished | "Verify" >> Verify(
            run.config.source.endpoint,
            run.config.sink.endpoint,
            run.plan,
            run.ledger,
            method=run.method,
            run_id=run.run_id,
        )
    _ = (
        pipeline
        | "Job" >> beam.Create([run.plan.job_id], reshuffle=False)
        | "Report" >> beam.ParDo(_Report(run), beam.pvalue.AsIter(waited_for))
    )


def _names(run: Run) -> beam.Create:
    # Without its own Reshuffle: Flink would drop ours, which follows.
    return beam.Create([plan.name for plan in run.plan.collections], reshuffle=False)


class _Report(beam.DoFn):
    """Writes the report beside the ledger, so that a detached run ends complete too."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def process(self, job_id: str, waited_for: object) -> None:
        prepare.conclude(self._run.config, self._run.plan)
        verify = self._run.config.env.verify
        archive.write(self._run.ledger, self._run.plan, self._run.run_id, verify)
