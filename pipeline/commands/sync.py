"""`kitelift sync`: makes the target equal to the source again."""

from __future__ import annotations

from pipeline.commands import job_ledger, job_run, resume, steps
from pipeline.commands.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing
from pipeline.target import check_created
from transforms.errors import ConfigError


def sync(config: JobConfig, arguments: Arguments) -> int:
    """Makes the target equal to the source again, range by range; what is equal is not touched."""
    if config.sink.enable_auto_id or config.env.verify != "full":
        raise ConfigError(
            ["sync compares content by key: it needs enable_auto_id = false and verify = full"]
        )
    if arguments.delete and config.sink.data_save_mode == "APPEND_DATA":
        raise ConfigError(["--delete would delete the rows of others that APPEND_DATA leaves"])
    ledger = job_ledger.find(config)
    run = job_run.JobRun(config, arguments, ledger)
    existing = ledger.plan()
    found, findings = steps.examine(config, existing, "sync")
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    # The receipts of a sync say what the source holds now, so they replace those of the copy.
    if existing is not None:
        resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = steps.begin(config, found, findings, ledger, "sync")
        plan_listing.show(made, ledger, verb="syncs")
        made = check_created.create_targets(config, made, ledger, begins=True, has_rows=True)
        return run.execute(made, "sync", sync="all" if arguments.delete else "keep")
