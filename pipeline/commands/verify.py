"""`kitelift verify`: compares source and target after a run, or after another tool copied."""

from __future__ import annotations

from pipeline.commands.shared import drift, earlier_run, job_ledger, job_run, steps
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing
from pipeline.target import create_and_check, temporary_changes
from transforms.errors import ConfigError
from transforms.ledger.ledger import Ledger


def verify(config: JobConfig, arguments: Arguments) -> int:
    """Compares what an earlier run copied; without an earlier run, fingerprints both sides."""
    if config.env.verify == "none":
        raise ConfigError(
            ["env.verify: is none, so there is nothing to verify; set full, sample or count"]
        )
    if not config.sink.rows:
        raise ConfigError(["sink.Milvus.rows: is false, so there are no rows to verify"])
    ledger = job_ledger.find(config)
    plan = ledger.plan()
    if plan is None:
        return _compare(config, arguments)
    run = job_run.JobRun(config, arguments, ledger)
    earlier_run.require_finished(plan, ledger)
    survey = steps.examine_again(config, plan, "verify", ledger)
    earlier_run.require_unchanged(drift.compare_source(plan, survey), ledger)
    with run.hold():
        temporary_changes.load_targets(config.target_endpoint, plan, ledger)
        return run.execute(create_and_check.with_recorded(plan, ledger), "verify")


def _compare(config: JobConfig, arguments: Arguments) -> int:
    """Fingerprints both sides; uses a separate ledger, so that it is never taken for a copy."""
    ledger = Ledger(config.env.state, f"{config.job_id}.compare")
    run = job_run.JobRun(config, arguments, ledger)
    survey, findings = steps.examine(config, None, "compare", ledger)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    earlier_run.archive_ledger(ledger, run.run_id)
    with run.hold():
        plan = steps.start(config, survey, findings, ledger, "compare")
        plan_listing.show(plan, ledger, verb="compares")
        return run.execute(plan, "compare")
