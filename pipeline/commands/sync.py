"""`kitelift sync`: makes the target equal to the source again."""

from __future__ import annotations

from pipeline.commands.shared import earlier_run, job_ledger, job_run, steps
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing
from pipeline.target import create_and_check
from transforms.errors import ConfigError


def sync(config: JobConfig, arguments: Arguments) -> int:
    """Makes the target equal to the source again, by key ranges; equal ranges are not written."""
    if not config.sink.rows:
        raise ConfigError(["sink.Milvus.rows: is false, so there are no rows to sync"])
    if config.sink.enable_auto_id or config.env.verify != "full":
        raise ConfigError(
            ["sync compares content by key: set `enable_auto_id = false` and `env.verify = full`"]
        )
    if arguments.delete and config.sink.data_save_mode == "APPEND_DATA":
        why = "with APPEND_DATA, --delete would delete rows that this job did not write; remove it"
        raise ConfigError([why])
    ledger = job_ledger.find(config)
    run = job_run.JobRun(config, arguments, ledger)
    existing = ledger.plan()
    survey, findings = steps.examine(config, existing, "sync", ledger)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    # The receipts of a sync say what the source has now, so they replace those of the copy.
    if existing is not None:
        earlier_run.archive_ledger(ledger, run.run_id)
    with run.hold():
        plan = steps.start(config, survey, findings, ledger, "sync")
        plan_listing.show(plan, ledger, verb="syncs")
        plan = create_and_check.create_targets(config, plan, ledger, begins=True, has_rows=True)
        return run.execute(plan, "sync", sync="all" if arguments.delete else "keep")
