"""`kitelift run`: copies and proves; resumes where an earlier run of the same job stopped."""

from __future__ import annotations

from dataclasses import replace

from pipeline.commands.shared import drift, earlier_run, job_ledger, job_run, steps
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing, report_printer
from pipeline.target import create_and_check, drop, temporary_changes


def run(config: JobConfig, arguments: Arguments) -> int:
    """Copies and proves; resumes where an earlier run of the same job stopped."""
    ledger = job_ledger.find(config, restart=arguments.restart)
    run = job_run.JobRun(config, arguments, ledger)
    existing = None if arguments.restart else ledger.plan()
    if existing:
        earlier_run.require_unchanged(
            drift.compare_settings(config.result_settings(), existing), ledger
        )
        if done := earlier_run.finished_report(ledger):
            changes = earlier_run.check_finished(config, existing, done, ledger)
            # Users may have been added since.
            finding_lines.show(create_and_check.grant_access(config, existing))
            report_printer.show_nothing_to_do(done, ledger, changes)
            return run.deliver(0)
        earlier_run.require_synced(existing, ledger)
    survey, findings = steps.examine(config, existing, "copy", ledger)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    if existing:
        created = create_and_check.with_recorded(existing, ledger)
        begun = ledger.begun_collections(collection.name for collection in created.collections)
        changed = drift.compare_unfinished_target(created, begun, survey)
        earlier_run.require_unchanged([*drift.compare_source(existing, survey), *changed], ledger)
    else:
        drop.confirm(steps.new_plan(config, survey, findings), yes=arguments.yes)
    if arguments.restart:
        # Only after every check: archiving removes what the earlier run recorded.
        earlier_run.archive_ledger(ledger, run.run_id)
    with run.hold():
        plan = ledger.plan() or steps.start(config, survey, findings, ledger)
        plan = replace(plan, findings=findings)
        plan_listing.show(plan, ledger, verb="resumes" if existing else "copies")
        if existing and config.source.auto_load:
            temporary_changes.load_sources(config.source_endpoint, plan, ledger)
        plan = create_and_check.create_targets(config, plan, ledger, begins=existing is None)
        return run.execute(plan, "copy")
