"""One run of a job: its id, its lock, and its pipeline."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines, logs
from pipeline.console.interrupt import exit_process, until_interrupted
from pipeline.engines import job_lock, submissions
from pipeline.jobfile.job import JobConfig
from pipeline.planning.planner import Purpose
from pipeline.preflight import examination
from pipeline.reports import report_printer
from pipeline.target import temporary_changes
from transforms.errors import ConfigError, Interrupted, LedgerError, MigrationError
from transforms.ledger import rejected_rows
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import RECEIPTS_EVERY_S
from transforms.plan import Plan

if TYPE_CHECKING:
    from transforms.verify import SyncMode


class JobRun:
    """One submission: its id, its lock, and its pipeline."""

    def __init__(self, config: JobConfig, arguments: Arguments, ledger: Ledger) -> None:
        from pipeline.commands.shared import cluster_job
        from pipeline.display import metrics
        from pipeline.engines import cluster_checks, engine_choice

        self._config, self._arguments, self._ledger = config, arguments, ledger
        self.run_id = uuid.uuid4().hex[:12]
        # Before any server is called or anything is written: a wrong option is found first.
        if arguments.metrics:
            metrics.check(arguments.metrics)
        engine = engine_choice.create_engine(config, arguments.runner, arguments.beam)
        self._cluster = (
            cluster_job.ClusterRun(engine, config, ledger, self.run_id) if engine else None
        )
        if engine:
            findings = cluster_checks.findings(engine, config)
            finding_lines.show(findings)
            examination.raise_if_stopped(findings)
        self._lock = self._cluster.lock if self._cluster else job_lock.Lock(ledger, self.run_id)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the job lock; after an error, restores temporary changes.

        They stay if the job was only interrupted (it says so), or if a cluster still runs it.
        """
        with self._lock:
            try:
                yield
            except Interrupted:
                raise
            except BaseException:
                with contextlib.suppress(MigrationError):
                    if submissions.running(self._ledger) is None:
                        temporary_changes.restore_after_error(self._config, self._ledger)
                raise

    def execute(self, plan: Plan, purpose: Purpose, sync: SyncMode = "") -> int:
        """Runs the dataflow to its end, prints the report and returns the exit code."""
        from pipeline import graph
        from pipeline.display import progress
        from pipeline.engines import engine_choice

        # Safe here: the job is locked, and no worker has started yet.
        rejected_rows.remove_orphans(self._ledger)
        job = graph.Run(self._config, plan, self._ledger, self.run_id, purpose, sync)
        if self._cluster:
            return self._cluster.execute(job, self._arguments, self.deliver)
        workers = self._config.env.parallelism
        pipeline = engine_choice.create_pipeline(self._arguments.beam, workers=workers)
        graph.build(pipeline, job)

        def work() -> None:
            shown = progress.show_progress(
                self._ledger,
                plan,
                self.run_id,
                quiet=self._arguments.quiet,
                proves=job.method is not None,
                purpose=purpose,
                metrics=self._arguments.metrics,
            )
            with shown:
                pipeline.run().wait_until_finish()

        until_interrupted(work, lambda: _stop(self._ledger, self._lock, purpose))
        return self.deliver(report_printer.show(self._ledger))

    def deliver(self, exit_code: int) -> int:
        """Writes the copy of report.json for `--report`, and returns `exit_code`."""
        path = self._arguments.report
        if path is not None:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._ledger.read("report.json") or b"")
            except OSError as error:
                raise ConfigError([f"--report={path}: {error.strerror}"]) from error
        return exit_code


def _stop(ledger: Ledger, lock: job_lock.Lock, purpose: Purpose) -> None:
    """Ends a run early: receipts are written first, and the next run writes the rest again."""
    logs.say("stopping …")
    time.sleep(2 * RECEIPTS_EVERY_S)
    with contextlib.suppress(LedgerError):
        lock.release()
    action = "resumes where it stopped" if purpose == "copy" else "starts the comparison over"
    pending = temporary_changes.describe_pending(ledger)
    how = f"Run the same command again: it {action} ({ledger.location}).{pending}"
    logs.say(str(Interrupted(how)), "error")
    exit_process(Interrupted.exit_code)
