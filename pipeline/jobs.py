"""The commands: what happens from a job file to an exit code."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
import uuid
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from pipeline import archive, dropping, lock, making, planner, preflight, prepare, present, survey
from pipeline.arguments import Arguments
from pipeline.interrupt import leave, until_interrupted
from pipeline.job import JobConfig, default_settings
from pipeline.planner import Purpose
from transforms.errors import ConfigError, Interrupted, JobChanged, LedgerError, PreflightError
from transforms.ledger import RECEIPTS_EVERY_S, Ledger
from transforms.plan import Finding, Plan

if TYPE_CHECKING:
    from transforms.verify import Mend

logger = logging.getLogger(__name__)


def run(config: JobConfig, arguments: Arguments) -> int:
    """Copies and proves; goes on where an earlier run of the same job stopped."""
    ledger = Ledger(config.env.state, config.job_id)
    run = _Run(config, arguments, ledger)
    if arguments.restart:
        _set_aside(ledger, run.run_id)
    existing = ledger.plan()
    if existing:
        _refuse_changed_settings(config, existing, ledger)
        if (done := archive.read(ledger)) and done.exit_code == 0:
            present.nothing_to_do(done, ledger)
            return run.deliver(0)
    found, findings = _look(config, existing, "copy")
    present.findings(findings)
    _refuse(findings)
    if existing:
        _refuse_changed_source(existing, found, ledger)
    else:
        dropping.confirm(_planned(config, found, findings), yes=arguments.yes)
    with run.lock:
        made = ledger.plan() or _begin(config, found, findings, ledger)
        made = replace(made, findings=findings)
        present.plan(made, ledger, verb="goes on with" if existing else "copies")
        if existing:
            prepare.load_sources(config, made)
        made = making.make(config, made, ledger, begins=existing is None)
        return run.execute(made, "copy")


def plan(config: JobConfig, arguments: Arguments) -> int:
    """Shows everything that run would do and find; writes nothing anywhere."""
    ledger = Ledger(config.env.state, config.job_id)
    existing = ledger.plan()
    found, findings = _look(config, existing, "copy")
    made = existing or _planned(config, found, findings)
    made = replace(made, findings=findings)
    if arguments.as_json:
        print(present.plan_json(made))
    else:
        present.findings(findings)
        if not any(finding.stops for finding in findings):
            present.plan(made, ledger, verb="goes on with" if existing else "copies")
    _refuse(findings)
    return 0


def verify(config: JobConfig, arguments: Arguments) -> int:
    """Compares again what an earlier run has copied, or else what another tool did."""
    if config.env.verify == "none":
        raise ConfigError(["env.verify: is none, so there is nothing to verify; use full or count"])
    ledger = Ledger(config.env.state, config.job_id)
    made = ledger.plan()
    if made is None:
        return _compare(config, arguments)
    run = _Run(config, arguments, ledger)
    _look_again(config, made, "verify")
    with run.lock:
        prepare.load_targets(config, made)
        return run.execute(making.recall(made, ledger), "verify")


def replay(config: JobConfig, arguments: Arguments) -> int:
    """Sends the rows again that the target has refused, and proves what it took."""
    from pipeline import replay as replays

    ledger = Ledger(config.env.state, config.job_id)
    made = ledger.plan()
    if made is None:
        raise PreflightError([f"{ledger.location}: this job has not copied anything yet; use run"])
    run = _Run(config, arguments, ledger)
    _look_again(config, made, "replay")
    with run.lock:
        taken, left = replays.replay(config, ledger, made)
        print(f"{taken:,} rejected rows were taken by the target now, {left:,} were refused again.")
        return run.execute(making.recall(made, ledger), "replay")


def sync(config: JobConfig, arguments: Arguments) -> int:
    """Makes the target equal to the source again, range by range; what is equal is not touched."""
    if config.sink.enable_auto_id or config.env.verify != "full":
        raise ConfigError(
            ["sync compares content by key: it needs enable_auto_id = false and verify = full"]
        )
    if arguments.delete and config.sink.data_save_mode == "APPEND_DATA":
        raise ConfigError(["--delete would delete the rows of others that APPEND_DATA leaves"])
    ledger = Ledger(config.env.state, config.job_id)
    run = _Run(config, arguments, ledger)
    existing = ledger.plan()
    found, findings = _look(config, existing, "sync")
    present.findings(findings)
    _refuse(findings)
    # The receipts of a sync say what the source holds now, so they replace those of the copy.
    if existing is not None:
        _set_aside(ledger, run.run_id)
    with run.lock:
        made = _begin(config, found, findings, ledger, "sync")
        present.plan(made, ledger, verb="syncs")
        made = making.make(config, made, ledger, begins=True)
        return run.execute(made, "sync", mend="all" if arguments.delete else "keep")


def _compare(config: JobConfig, arguments: Arguments) -> int:
    """Fingerprints both sides; its ledger is one of its own, so that it never passes for a copy."""
    ledger = Ledger(config.env.state, f"{config.job_id}.compare")
    run = _Run(config, arguments, ledger)
    found, findings = _look(config, None, "compare")
    present.findings(findings)
    _refuse(findings)
    _set_aside(ledger, run.run_id)
    with run.lock:
        made = _begin(config, found, findings, ledger, "compare")
        present.plan(made, ledger, verb="compares")
        return run.execute(made, "compare")


def status(config: JobConfig, arguments: Arguments) -> int:
    """Tells where a job stands, also while it runs elsewhere."""
    ledger = Ledger(config.env.state, config.job_id)
    standing = present.standing(ledger)
    print(json.dumps(asdict(standing), indent=1) if arguments.as_json else str(standing))
    return 0


# -- before ---------------------------------------------------------------------------------------


def _look(
    config: JobConfig, existing: Plan | None, purpose: Purpose
) -> tuple[survey.Survey, tuple[Finding, ...]]:
    found = survey.survey(config)
    return found, preflight.examine(config, found, existing, purpose)


def _look_again(config: JobConfig, made: Plan, purpose: Purpose) -> None:
    """Makes sure that both clusters, and what was copied, can be reached."""
    _, findings = _look(config, made, purpose)
    present.findings(findings)
    _refuse(findings)


def _refuse(findings: tuple[Finding, ...]) -> None:
    stopping = [finding for finding in findings if finding.stops]
    if stopping:
        noun = "finding stops" if len(stopping) == 1 else "findings stop"
        raise PreflightError([f"{len(stopping)} {noun} the job; nothing was written."])


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
    made = prepare.load_sources(config, _planned(config, found, findings, purpose))
    ledger.write_plan(made)
    return made


def _refuse_changed_settings(config: JobConfig, existing: Plan, ledger: Ledger) -> None:
    # A key that is newer than the job had its default.
    before = default_settings() | existing.settings
    changed = [
        f"{path}: was {before.get(path)!r} when the job began, is {value!r} now"
        for path, value in config.result_settings().items()
        if before.get(path) != value
    ]
    if changed:
        raise JobChanged([*changed, _ways_on(ledger)])


def _refuse_changed_source(existing: Plan, found: survey.Survey, ledger: Ledger) -> None:
    changed = []
    for each in existing.collections:
        now = found.source.described.get(each.name)
        if now is None:
            changed.append(f"source collection {each.name}: is no longer there")
        elif now.collection_id != each.source.collection_id:
            changed.append(f"source collection {each.name}: was dropped and made again")
        elif now.raw_schema != each.source.raw_schema:
            changed.append(f"source collection {each.name}: its schema has changed")
    if changed:
        raise JobChanged([*changed, _ways_on(ledger)])


def _ways_on(ledger: Ledger) -> str:
    return (
        f"The job in {ledger.location} cannot go on like this. Put it back as it was, or drop the "
        "target collections and begin anew with --restart, or choose another env.job.name."
    )


def _set_aside(ledger: Ledger, run_id: str) -> None:
    if ledger.plan() is None:
        return
    with lock.Lock(ledger, run_id):
        logger.warning("the earlier ledger is now %s", ledger.set_aside())


# -- during ---------------------------------------------------------------------------------------


class _Run:
    """One submission: its id, its lock, and the pipeline that it becomes."""

    def __init__(self, config: JobConfig, arguments: Arguments, ledger: Ledger) -> None:
        from pipeline import runners

        self._config, self._arguments, self._ledger = config, arguments, ledger
        self.run_id = uuid.uuid4().hex[:12]
        self.lock = lock.Lock(ledger, self.run_id)
        # Before anything is asked or written, so that a wrong option is found first.
        self._pipeline = runners.pipeline(
            arguments.runner, arguments.beam, workers=config.env.parallelism
        )

    def execute(self, made: Plan, purpose: Purpose, mend: Mend = "") -> int:
        """Runs the dataflow to its end, prints the report and returns the exit code."""
        from pipeline import graph, progress

        job = graph.Run(self._config, made, self._ledger, self.run_id, purpose, mend)
        graph.build(self._pipeline, job)

        def work() -> None:
            shown = progress.following(
                self._ledger,
                made,
                self.run_id,
                quiet=self._arguments.quiet,
                proves=job.method is not None,
            )
            with shown:
                self._pipeline.run().wait_until_finish()

        until_interrupted(work, lambda: _stop(self._ledger, self.lock))
        done = archive.read(self._ledger)
        if done is None:
            raise AssertionError("the pipeline ended without a report")
        present.report(done, self._ledger)
        return self.deliver(done.exit_code)

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


def _stop(ledger: Ledger, held: lock.Lock) -> None:
    """Ends a run half way: what is acknowledged gets into the ledger, the rest is written again."""
    print("kitelift: stopping …", file=sys.stderr)
    time.sleep(2 * RECEIPTS_EVERY_S)
    with contextlib.suppress(LedgerError):
        held.release()
    how = f"Run the same command again: it goes on where it stopped ({ledger.location})."
    print(f"kitelift: {Interrupted(how)}", file=sys.stderr)
    leave(Interrupted.exit_code)
