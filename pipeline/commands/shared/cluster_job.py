"""A job on a cluster: submit it, watch it, detach from it, stop it."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pipeline.console import finding_lines, logs
from pipeline.console.interrupt import exit_process, until_interrupted
from pipeline.display import progress
from pipeline.engines import engine, job_lock, submissions
from pipeline.engines.engine import Engine, Remote, Submission, SubmissionState
from pipeline.jobfile.job import JobConfig
from pipeline.reports import report_printer
from pipeline.target import temporary_changes
from transforms.errors import (
    ConfigError,
    EngineError,
    Interrupted,
    LedgerError,
    MigrationError,
    PreflightError,
)
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import RECEIPTS_EVERY_S

if TYPE_CHECKING:
    from pipeline import graph
    from pipeline.commands.shared.arguments import Arguments

POLL_S = 1.0
PATIENCE_S = 300.0
"""The longest time that an engine may not answer, for example while a JobManager restarts."""


class ClusterRun:
    """One run of a job on an engine."""

    def __init__(self, on: Engine, config: JobConfig, ledger: Ledger, run_id: str) -> None:
        self._engine, self._config, self._ledger = on, config, ledger
        self._run_id = run_id
        self.lock = _ProbingLock(ledger, run_id, self._probe)

    def execute(self, job: graph.Run, arguments: Arguments, deliver: Callable[[int], int]) -> int:
        """Runs the dataflow on the cluster; returns the exit code, 0 if detached."""
        from pipeline import graph
        from pipeline.engines import worker_harness

        if self._engine.inside:
            if arguments.detach:
                raise ConfigError(
                    ["--detach: with LOOPBACK, workers run in this process; remove one of the two"]
                )
            worker_harness.silence_tracebacks()
        pipeline = self._engine.pipeline(f"kitelift-{self._ledger.job_id}")
        graph.build(pipeline, replace(job, ledger=_absolute(self._ledger)))
        submission = self._engine.submit(pipeline)
        if not submission.id:
            print("The pipeline is built; the template's launcher submits it.", file=sys.stderr)
            return 0
        submission = replace(submission, run_id=self._run_id, purpose=job.purpose)
        submissions.record(self._ledger, submission)
        logs.say(f"{submission}: {submission.page or submission.address}")
        if arguments.detach:
            print(submission.id)
            return 0

        shown = progress.show_progress(
            self._ledger,
            job.plan,
            self._run_id,
            quiet=arguments.quiet,
            proves=job.method is not None,
            purpose=job.purpose,
            metrics=arguments.metrics,
        )
        until_interrupted(
            lambda: watch(self._ledger, submission, shown), lambda: self._interrupt(submission)
        )
        return deliver(report_printer.show(self._ledger))

    def _probe(self) -> None:
        """Checks that the workers can run the job."""
        if self._engine.inside or not self._engine.probed:
            return  # The worker is this process: it lacks nothing.
        from pipeline.engines import worker_probe

        ledger = _absolute(self._ledger)
        found = worker_probe.examine(self._engine, self._config, ledger, self._run_id)
        finding_lines.show(tuple(found))
        if found:
            raise PreflightError(["the workers cannot run this job; nothing was copied."])

    def _interrupt(self, submission: Submission) -> None:
        """Ends the launcher, and the submission too if the user says so."""
        stop = not submission.stays
        if submission.stays and sys.stdin.isatty():
            with contextlib.suppress(EOFError):
                stop = input(f"\nStop {submission} as well? [y/N] ").lower().startswith("y")
        how = "Follow it with `kitelift status --follow`, or stop it with `kitelift cancel`."
        if stop:
            with contextlib.suppress(MigrationError):
                submissions.remote(submission).cancel()
            pending = temporary_changes.describe_pending(self._ledger)
            how = f"Run the same command again: it resumes where it stopped.{pending}"
        if self._engine.inside:
            time.sleep(2 * RECEIPTS_EVERY_S)  # Until the workers here have written their receipts.
        with contextlib.suppress(LedgerError):
            self.lock.release()
        logs.say(f"{Interrupted(how)}" if stop else f"{submission} keeps running. {how}")
        self._engine.close()
        exit_process(Interrupted.exit_code)


def watch(
    ledger: Ledger, submission: Submission, shown: contextlib.AbstractContextManager[None]
) -> None:
    """Waits until a submission ends, and shows its progress.

    Raises:
        MigrationError: the submission failed, was cancelled, or is unknown to its engine.
    """
    remote = submissions.remote(submission)
    with shown:
        state = _wait(remote)
    if state == "failed":
        error = engine.explain_failure(submission, remote.failure())
        submissions.forget(ledger)
        raise error
    submissions.forget(ledger)
    if state == "cancelled":
        how = f"Run the same command again to resume.{temporary_changes.describe_pending(ledger)}"
        raise Interrupted(f"{submission} was cancelled. {how}")
    if state == "gone":
        raise EngineError(str(submission), "its engine no longer knows it; see `kitelift status`")


def cancel(ledger: Ledger, *, gone: bool) -> str:
    """Stops the submission of a job and returns a message about it.

    Args:
        gone: whether the user says that the engine no longer exists.

    Raises:
        PreflightError: nothing runs.
        EngineError: the engine does not answer.
    """
    submission = submissions.recorded(ledger)
    if submission is None:
        holder = job_lock.holder_of(ledger)
        where = (
            f" It runs on host {holder.host}: stop process {holder.pid} there." if holder else ""
        )
        raise PreflightError([f"{ledger.location}: this job does not run on a cluster.{where}"])
    try:
        remote = submissions.remote(submission)
        if remote.state() == "running":
            remote.cancel()
            _wait(remote)
    except EngineError:
        if not gone:
            raise
    submissions.forget(ledger)
    pending = temporary_changes.describe_pending(ledger)
    return f"Stopped {submission}. Run the same `kitelift run` command to resume.{pending}"


def _wait(remote: Remote) -> SubmissionState:
    """Waits until a submission ends; returns its final state."""
    answered = time.monotonic()
    while True:
        try:
            state = remote.state()
            answered = time.monotonic()
        except EngineError:
            state = "running"
            if time.monotonic() - answered > PATIENCE_S:
                raise
        if state != "running":
            return state
        time.sleep(POLL_S)


class _ProbingLock(job_lock.Lock):
    """The lock of a job on a cluster: checks the workers before anything is created for the job."""

    def __init__(self, ledger: Ledger, run_id: str, check_workers: Callable[[], None]) -> None:
        super().__init__(ledger, run_id)
        self._probe = check_workers

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._probe()
        except BaseException:
            self.release()
            raise
        return self


def _absolute(ledger: Ledger) -> Ledger:
    """Returns the ledger with an absolute path: workers run in another folder."""
    if "://" in ledger.state:
        return ledger
    return Ledger(str(Path(ledger.state.removeprefix("file:")).absolute()), ledger.job_id)
