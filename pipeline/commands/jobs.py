"""The commands: what happens from a job file to an exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pipeline.commands import drift, job_ledger, limit, resume
from pipeline.commands.arguments import Arguments
from pipeline.console import logs
from pipeline.console.interrupt import leave, until_interrupted
from pipeline.console.wrapping import say
from pipeline.engines import job_lock, submissions
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner, survey
from pipeline.planning.planner import Purpose
from pipeline.preflight import examination
from pipeline.reports import present
from pipeline.target import check_created, drop, temporary_changes
from transforms.errors import (
    ConfigError,
    Interrupted,
    LedgerError,
    MigrationError,
    PreflightError,
)
from transforms.ledger import rejected_rows
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import RECEIPTS_EVERY_S
from transforms.plan import Finding, Plan

if TYPE_CHECKING:
    from transforms.verify import Mend

logger = logging.getLogger(__name__)


def run(config: JobConfig, arguments: Arguments) -> int:
    """Copies and proves; goes on where an earlier run of the same job stopped."""
    ledger = job_ledger.find(config, restart=arguments.restart)
    run = _Run(config, arguments, ledger)
    existing = None if arguments.restart else ledger.plan()
    if existing:
        resume.refuse_changes(drift.of_settings(config, existing), ledger)
        if done := resume.finished(ledger):
            since = resume.since(config, existing, done, ledger)
            # Users may have been added since.
            present.findings(check_created.give_access(config, existing))
            present.nothing_to_do(done, ledger, since)
            return run.deliver(0)
        resume.refuse_unsynced(existing, ledger)
    found, findings = _look(config, existing, "copy")
    present.findings(findings)
    examination.refuse(findings)
    if existing:
        left = check_created.recall(existing, ledger)
        begun = ledger.collections_begun(each.name for each in left.collections)
        changed = drift.of_begun(left, begun, found)
        resume.refuse_changes([*drift.of_source(existing, found), *changed], ledger)
    else:
        drop.confirm(_planned(config, found, findings), yes=arguments.yes)
    if arguments.restart:
        # Not before all has been asked that can refuse: with it goes what an earlier run knew.
        resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = ledger.plan() or _begin(config, found, findings, ledger)
        made = replace(made, findings=findings)
        present.plan(made, ledger, verb="goes on with" if existing else "copies")
        if existing:
            temporary_changes.load_sources(config, made, ledger)
        made = check_created.make(config, made, ledger, begins=existing is None)
        return run.execute(made, "copy")


def plan(config: JobConfig, arguments: Arguments) -> int:
    """Shows everything that run would do and find; writes nothing anywhere."""
    from pipeline.commands import cluster_job, speed_test
    from pipeline.engines import runners

    ledger = job_ledger.find(config)
    if existing := ledger.plan():
        resume.refuse_changes(drift.of_settings(config, existing), ledger)
        if done := resume.finished(ledger):
            since = resume.since(config, existing, done, ledger)
            present.finished(existing, done, ledger, since, as_json=arguments.as_json)
            return 0
        resume.refuse_unsynced(existing, ledger)
    found, findings = _look(config, existing, "copy")
    if engine := runners.engine(config, arguments):
        findings = (*findings, *cluster_job.findings(engine, config))
    made = existing or _planned(config, found, findings)
    made = replace(made, findings=findings)
    guess, cut = None, None
    if not any(finding.stops for finding in findings):
        standing = present.standing(ledger)
        there = {each.name: each.rows_acknowledged for each in standing.collections}
        guess = speed_test.measure(config, made, there, write=arguments.probe_write)
        cut = list(speed_test.ranges(config, made)) if arguments.ranges else None
    if arguments.as_json:
        print(present.plan_json(made, guess, cut))
    else:
        present.findings(findings)
        if guess:
            present.plan(made, ledger, verb="goes on with" if existing else "copies")
            present.estimate(guess, cut)
    examination.refuse(findings)
    return 0


def verify(config: JobConfig, arguments: Arguments) -> int:
    """Compares again what an earlier run has copied, or else what another tool did."""
    if config.env.verify == "none":
        raise ConfigError(["env.verify: is none: nothing to verify; use full, sample or count"])
    ledger = job_ledger.find(config)
    made = ledger.plan()
    if made is None:
        return _compare(config, arguments)
    run = _Run(config, arguments, ledger)
    resume.refuse_unfinished(made, ledger)
    found = _look_again(config, made, "verify")
    resume.refuse_changes(drift.of_source(made, found), ledger)
    with run.hold():
        temporary_changes.load_targets(config, made, ledger)
        return run.execute(check_created.recall(made, ledger), "verify")


def replay(config: JobConfig, arguments: Arguments) -> int:
    """Sends the rows again that the target has refused, and proves what it took."""
    from pipeline.commands import replay as replays

    ledger = job_ledger.find(config)
    made = ledger.plan()
    if made is None:
        raise PreflightError([f"{ledger.location}: this job has not copied anything yet; use run"])
    run = _Run(config, arguments, ledger)
    _look_again(config, made, "replay")
    with run.hold():
        temporary_changes.open_targets(config, check_created.recall(made, ledger), ledger)
        taken, left = replays.replay(config, ledger, made)
        say(f"{taken:,} rejected rows were taken by the target now, {left:,} were refused again.")
        return run.execute(check_created.recall(made, ledger), "replay")


def sync(config: JobConfig, arguments: Arguments) -> int:
    """Makes the target equal to the source again, range by range; what is equal is not touched."""
    if config.sink.enable_auto_id or config.env.verify != "full":
        raise ConfigError(
            ["sync compares content by key: it needs enable_auto_id = false and verify = full"]
        )
    if arguments.delete and config.sink.data_save_mode == "APPEND_DATA":
        raise ConfigError(["--delete would delete the rows of others that APPEND_DATA leaves"])
    ledger = job_ledger.find(config)
    run = _Run(config, arguments, ledger)
    existing = ledger.plan()
    found, findings = _look(config, existing, "sync")
    present.findings(findings)
    examination.refuse(findings)
    # The receipts of a sync say what the source holds now, so they replace those of the copy.
    if existing is not None:
        resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = _begin(config, found, findings, ledger, "sync")
        present.plan(made, ledger, verb="syncs")
        made = check_created.make(config, made, ledger, begins=True, has_rows=True)
        return run.execute(made, "sync", mend="all" if arguments.delete else "keep")


def _compare(config: JobConfig, arguments: Arguments) -> int:
    """Fingerprints both sides; its ledger is one of its own, so that it never passes for a copy."""
    ledger = Ledger(config.env.state, f"{config.job_id}.compare")
    run = _Run(config, arguments, ledger)
    found, findings = _look(config, None, "compare")
    present.findings(findings)
    examination.refuse(findings)
    resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = _begin(config, found, findings, ledger, "compare")
        present.plan(made, ledger, verb="compares")
        return run.execute(made, "compare")


def status(config: JobConfig, arguments: Arguments) -> int:
    """Tells where a job stands, also while it runs elsewhere."""
    ledger = job_ledger.find(config, only_reads=True)
    if arguments.follow:
        from pipeline.commands import follow

        return follow.follow(ledger, quiet=arguments.quiet)
    standing = present.standing(ledger, limit.in_force(config, ledger))
    if arguments.as_json:
        print(json.dumps(asdict(standing), indent=1))
    else:
        say(str(standing))
    return 0


def cancel(config: JobConfig, arguments: Arguments) -> int:
    """Stops a job that runs on a cluster; what it has acknowledged stays good."""
    from pipeline.commands import cluster_job

    say(cluster_job.cancel(job_ledger.find(config, only_reads=True), gone=arguments.yes))
    return 0


# -- before ---------------------------------------------------------------------------------------


def _look(
    config: JobConfig, existing: Plan | None, purpose: Purpose
) -> tuple[survey.Survey, tuple[Finding, ...]]:
    found = survey.survey(config)
    return found, examination.examine(config, found, existing, purpose)


def _look_again(config: JobConfig, made: Plan, purpose: Purpose) -> survey.Survey:
    """Makes sure that both clusters, and what was copied, can be reached."""
    found, findings = _look(config, made, purpose)
    present.findings(findings)
    examination.refuse(findings)
    return found


def _planned(
    config: JobConfig,
    found: survey.Survey,
    findings: tuple[Finding, ...],
    purpose: Purpose = "copy",
) -> Plan:
    plan_id, now = uuid.uuid4().hex[:12], time.time()
    return planner.make(config, found, findings, plan_id=plan_id, made_at=now, purpose=purpose)


def _begin(
    config: JobConfig,
    found: survey.Survey,
    findings: tuple[Finding, ...],
    ledger: Ledger,
    purpose: Purpose = "copy",
) -> Plan:
    made = temporary_changes.load_sources(
        config, _planned(config, found, findings, purpose), ledger
    )
    ledger.write_plan(made)
    return made


# -- during ---------------------------------------------------------------------------------------


class _Run:
    """One submission: its id, its lock, and the pipeline that it becomes."""

    def __init__(self, config: JobConfig, arguments: Arguments, ledger: Ledger) -> None:
        from pipeline.commands import cluster_job
        from pipeline.display import metrics
        from pipeline.engines import runners

        self._config, self._arguments, self._ledger = config, arguments, ledger
        self.run_id = uuid.uuid4().hex[:12]
        # Before anything is asked or written, so that a wrong option is found first.
        if arguments.metrics:
            metrics.check(arguments.metrics)
        engine = runners.engine(config, arguments)
        self._cluster = cluster_job.Cluster(engine, config, ledger, self.run_id) if engine else None
        if engine:
            found = cluster_job.findings(engine, config)
            present.findings(found)
            examination.refuse(found)
        self._lock = self._cluster.lock if self._cluster else job_lock.Lock(ledger, self.run_id)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Holds the job; what fails puts back what is on loan, where no cluster works on with it.

        What was only interrupted keeps it, and says so.
        """
        with self._lock:
            try:
                yield
            except Interrupted:
                raise
            except BaseException:
                with contextlib.suppress(MigrationError):
                    if submissions.running(self._ledger) is None:
                        temporary_changes.withdraw(self._config, self._ledger)
                raise

    def execute(self, made: Plan, purpose: Purpose, mend: Mend = "") -> int:
        """Runs the dataflow to its end, prints the report and returns the exit code."""
        from pipeline import graph
        from pipeline.display import progress
        from pipeline.engines import runners

        rejected_rows.sweep(
            self._ledger
        )  # No attempt is under way: the job is held, and only begins.
        job = graph.Run(self._config, made, self._ledger, self.run_id, purpose, mend)
        if self._cluster:
            return self._cluster.execute(job, self._arguments, self.deliver)
        pipeline = runners.pipeline(self._arguments.beam, workers=self._config.env.parallelism)
        graph.build(pipeline, job)

        def work() -> None:
            shown = progress.following(
                self._ledger,
                made,
                self.run_id,
                quiet=self._arguments.quiet,
                proves=job.method is not None,
                purpose=purpose,
                metrics=self._arguments.metrics,
            )
            with shown:
                pipeline.run().wait_until_finish()

        until_interrupted(work, lambda: _stop(self._ledger, self._lock, purpose))
        return self.deliver(present.outcome(self._ledger))

    def deliver(self, exit_code: int) -> int:
        """Puts a copy of report.json where it was asked for."""
        place = self._arguments.report
        if place is not None:
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(self._ledger.read("report.json") or b"")
            except OSError as error:
                raise ConfigError([f"--report={place}: {error.strerror}"]) from error
        return exit_code


def _stop(ledger: Ledger, held: job_lock.Lock, purpose: Purpose) -> None:
    """Ends a run half way: what is acknowledged gets into the ledger, the rest is written again."""
    logs.say("stopping …")
    time.sleep(2 * RECEIPTS_EVERY_S)
    with contextlib.suppress(LedgerError):
        held.release()
    begins = "goes on where it stopped" if purpose == "copy" else "compares anew"
    how = f"Run the same command again: it {begins} ({ledger.location}).{temporary_changes.kept(ledger)}"
    logs.say(str(Interrupted(how)), "error")
    leave(Interrupted.exit_code)
