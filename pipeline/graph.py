"""Builds the dataflow of a plan.

    copy      names > [Split > Spread > Read] > Convert > Write ..> Finish > Verify ..>
                  Finish the slow > Verify ..> Report
    verify    names ..............................................> Count > Verify ..> Report
    compare   names > [Split > Spread > Read] > Convert > Record ..> Count > Verify ..> Report
    sync      names > [Split > Spread > Read] > Convert > Record ..> Finish > Sync ..>
                  Finish ..> Report
    replay    names ....................................> Finish > Verify ..> Report

Collections that do not stay loaded are verified, or synced, by VerifyInTurn: one is in memory at a
time.

A dotted arrow is a barrier: the next step starts when the previous step is finished. Read, Convert
and Write (or Record) are fused into one stage: no batch ever crosses a barrier or the Spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.transforms.util import WaitOn

from pipeline.engines import submissions
from pipeline.jobfile.job import JobConfig
from pipeline.planning.planner import Purpose
from pipeline.reports import report_files
from pipeline.target import temporary_changes
from transforms.batch import Batch
from transforms.convert import Convert
from transforms.finish import PATIENCE_S, Complete, Finish, Seal
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger, Verdict
from transforms.ledger.receipts import Receipt
from transforms.plan import Plan
from transforms.read import ReadRanges
from transforms.record_receipts import Record
from transforms.verify import Method, SyncMode, Verify
from transforms.verify_in_turn import VerifyInTurn
from transforms.write import WriteBatches


@dataclass(frozen=True)
class Run:
    """One submission of a job: what every step needs to know.

    Attributes:
        run_id: distinguishes the verdicts of this run from those of other runs.
        sync: what a sync does with keys that only the target has.
    """

    config: JobConfig
    plan: Plan
    ledger: Ledger
    run_id: str
    purpose: Purpose = "copy"
    sync: SyncMode = ""

    @property
    def method(self) -> Method | None:
        """How the target is compared with the receipts; None if it is not compared.

        Milvus reads only indexed and loaded collections: if the job creates no indexes, only
        `verify` and `compare` compare, since their preflight checks that indexes exist. With new
        keys appended to existing rows, Kitelift cannot distinguish its rows from the others.
        """
        verify = self.config.env.verify
        indistinct = any(
            collection.append and collection.new_ids for collection in self.plan.collections
        )
        sink = self.config.sink
        unindexed = not sink.create_index and self.purpose not in ("verify", "compare")
        return None if verify == "none" or indistinct or unindexed or not sink.rows else verify

    @property
    def in_turn(self) -> frozenset[str]:
        """The collections that are loaded, compared and released one after the other."""
        loads = self.purpose != "compare" and not self.config.target_endpoint.folder
        return self.plan.proven_in_turn if self.method and loads else frozenset()


def build(pipeline: beam.Pipeline, run: Run) -> None:
    """Adds the whole job to a pipeline, and the report, so that a detached run writes it too."""
    builders: dict[Purpose, Callable[[beam.Pipeline, Run], beam.PCollection[Verdict]]] = {
        "copy": _copy,
        "verify": _verify,
        "compare": _compare,
        "sync": _sync,
        "replay": _replay,
    }
    last = builders[run.purpose](pipeline, run)
    job = pipeline | "Job" >> beam.Create([run.plan.job_id], reshuffle=False)
    _ = job | "Until done" >> WaitOn(last) | "Report" >> beam.ParDo(_WriteReport(run))


def _copy(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[Verdict]:
    receipts = _read(pipeline, run) | "Write" >> WriteBatches(
        run.config.target_endpoint,
        run.plan,
        run.ledger,
        upsert=run.config.sink.enable_upsert,
        fail_fast=run.config.env.fail_fast,
        max_rejected=run.config.env.max_rejected,
    )
    names, finish = _names(pipeline, run, after=receipts), _finish(run, last=True)
    if run.method is None:
        return names | "Finish" >> finish
    if len(run.plan.collections) == 1:
        return names | "Finish" >> finish | "Verify" >> _compare_ranges(run)
    # A large index does not delay the proof of the other collections.
    sealed = names | "Seal" >> Seal(finish, PATIENCE_S)
    complete, slow = sealed | "Finish" >> Complete(finish, PATIENCE_S)
    verdicts = _compare_all(complete, run, "Verify")
    late, _ = (
        slow | "Wait for the others" >> WaitOn(verdicts) | "Finish the slow" >> Complete(finish)
    )
    return (verdicts, _compare_all(late, run, "Verify the slow")) | "All" >> beam.Flatten()


def _verify(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[Verdict]:
    counted = _names(pipeline, run) | "Count" >> _finish(run, touch=False)
    return _compare_all(counted, run, "Verify")


def _compare(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[Verdict]:
    receipts = _read(pipeline, run) | "Record" >> Record(run.ledger)
    counted = _names(pipeline, run, after=receipts) | "Count" >> _finish(run, touch=False)
    return counted | "Verify" >> _compare_ranges(run)


def _sync(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[str]:
    receipts = _read(pipeline, run) | "Record" >> Record(run.ledger)
    readable = _names(pipeline, run, after=receipts) | "Finish" >> _finish(run)
    synced = _compare_all(readable, run, "Sync")
    return _names(pipeline, run, after=synced, label="Synced") | "Finish again" >> _finish(run)


def _replay(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[Verdict]:
    finished = _names(pipeline, run) | "Finish" >> _finish(run)
    return _compare_all(finished, run, "Verify")


def _read(pipeline: beam.Pipeline, run: Run) -> beam.PCollection[Batch]:
    read = ReadRanges(
        run.config.source_endpoint,
        run.plan,
        run.ledger,
        workers=run.config.env.parallelism,
        page_rows=run.config.source.batch_size,
        without_hidden="unreadable-rows" in run.config.env.accept and run.purpose != "sync",
    )
    convert = Convert(
        run.plan,
        request_rows=run.config.sink.batch_size,
        request_bytes=run.config.request_bytes,
    )
    return _names(pipeline, run, label="Read") | "Read" >> read | "Convert" >> convert


def _finish(run: Run, *, touch: bool = True, last: bool = False) -> Finish:
    return Finish(
        run.config.source_endpoint,
        run.config.target_endpoint,
        run.plan,
        run.ledger,
        create_index=bool(run.config.sink.create_index),
        prove=run.method is not None,
        touch=touch,
        in_turn=run.in_turn,
        last=last,
    )


def _compare_all(names: beam.PCollection[str], run: Run, label: str) -> beam.PCollection[Verdict]:
    """Compares the named collections; those that do not stay loaded, one after the other."""
    compare, in_turn = _compare_ranges(run), run.in_turn
    touch = run.purpose not in ("verify", "compare")
    if not in_turn:
        return names | label >> compare
    loaded = names | f"{label} loaded" >> beam.Filter(lambda name: name not in in_turn)
    others = names | f"{label} released" >> beam.Filter(lambda name: name in in_turn)
    verdicts = (
        loaded | label >> compare,
        others | f"{label} in turn" >> VerifyInTurn(compare, run.config.env.parallelism, touch),
    )
    return verdicts | f"{label} all" >> beam.Flatten()


def _compare_ranges(run: Run) -> Verify:
    return Verify(
        run.config.source_endpoint,
        run.config.target_endpoint,
        run.plan,
        run.ledger,
        method=run.method or "full",
        run_id=run.run_id,
        sync=run.sync,
        auto_load=run.config.source.auto_load,
    )


def _names(
    pipeline: beam.Pipeline,
    run: Run,
    *,
    after: beam.PCollection[Receipt] | beam.PCollection[Verdict] | None = None,
    label: str = "Collections",
) -> beam.PCollection[str]:
    """Adds the names of the collections as a separate root, which waits for `after`.

    A shared root would prevent the fusion of reading and writing, and a whole collection would be
    kept in memory. Create's own Reshuffle is off: Flink would drop ours, which follows.
    """
    names = [plan.name for plan in run.plan.collections]
    root = pipeline | f"{label} names" >> beam.Create(names, reshuffle=False)
    return root if after is None else root | f"{label} wait" >> WaitOn(after)


class _WriteReport(beam.DoFn):
    """Restores the temporary changes, and writes the report into the ledger's folder."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def process(self, job_id: str) -> None:
        temporary_changes.restore_all(self._run.config, self._run.ledger)
        verify = self._run.config.env.verify
        worker_limits.flush_retries(self._run.ledger)
        report_files.write(
            self._run.ledger,
            self._run.plan,
            self._run.run_id,
            verify,
            settings=self._run.config.non_default_settings(),
            accept=self._accepted(),
            again=self._run.purpose == "verify",
        )
        submissions.forget(self._run.ledger)

    def _accepted(self) -> tuple[str, ...]:
        """Returns the accepted finding codes; `verify` and `replay` keep those of the copy."""
        accepted = self._run.config.env.accept
        before = report_files.read(self._run.ledger)
        if before is None or self._run.purpose not in ("verify", "replay"):
            return accepted
        return (*accepted, *(finding.code for finding in before.findings if finding.accepted))
