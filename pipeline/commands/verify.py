"""`kitelift verify`: compares both sides again, or what another tool has copied."""

from __future__ import annotations

from pipeline.commands import drift, job_ledger, job_run, resume, steps
from pipeline.commands.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing
from pipeline.target import check_created, temporary_changes
from transforms.errors import ConfigError
from transforms.ledger.ledger import Ledger


def verify(config: JobConfig, arguments: Arguments) -> int:
    """Compares again what an earlier run has copied, or else what another tool did."""
    if config.env.verify == "none":
        raise ConfigError(["env.verify: is none: nothing to verify; use full, sample or count"])
    ledger = job_ledger.find(config)
    made = ledger.plan()
    if made is None:
        return _compare(config, arguments)
    run = job_run.JobRun(config, arguments, ledger)
    resume.refuse_unfinished(made, ledger)
    found = steps.examine_again(config, made, "verify")
    resume.refuse_changes(drift.of_source(made, found), ledger)
    with run.hold():
        temporary_changes.load_targets(config, made, ledger)
        return run.execute(check_created.with_recorded(made, ledger), "verify")


def _compare(config: JobConfig, arguments: Arguments) -> int:
    """Fingerprints both sides; its ledger is one of its own, so that it never passes for a copy."""
    ledger = Ledger(config.env.state, f"{config.job_id}.compare")
    run = job_run.JobRun(config, arguments, ledger)
    found, findings = steps.examine(config, None, "compare")
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = steps.begin(config, found, findings, ledger, "compare")
        plan_listing.show(made, ledger, verb="compares")
        return run.execute(made, "compare")
