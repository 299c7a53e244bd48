"""`kitelift run`: copies and proves; resumes where an earlier run of the same job stopped."""

from __future__ import annotations

from dataclasses import replace

from pipeline.commands import drift, job_ledger, job_run, resume, steps
from pipeline.commands.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import plan_listing, report_printer
from pipeline.target import check_created, drop, temporary_changes


def run(config: JobConfig, arguments: Arguments) -> int:
    """Copies and proves; goes on where an earlier run of the same job stopped."""
    ledger = job_ledger.find(config, restart=arguments.restart)
    run = job_run.JobRun(config, arguments, ledger)
    existing = None if arguments.restart else ledger.plan()
    if existing:
        resume.refuse_changes(drift.of_settings(config, existing), ledger)
        if done := resume.finished(ledger):
            since = resume.since(config, existing, done, ledger)
            # Users may have been added since.
            finding_lines.show(check_created.grant_access(config, existing))
            report_printer.show_nothing_to_do(done, ledger, since)
            return run.deliver(0)
        resume.refuse_unsynced(existing, ledger)
    found, findings = steps.examine(config, existing, "copy")
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    if existing:
        left = check_created.with_recorded(existing, ledger)
        begun = ledger.begun_collections(collection.name for collection in left.collections)
        changed = drift.of_begun(left, begun, found)
        resume.refuse_changes([*drift.of_source(existing, found), *changed], ledger)
    else:
        drop.confirm(steps.new_plan(config, found, findings), yes=arguments.yes)
    if arguments.restart:
        # Not before all has been asked that can refuse: with it goes what an earlier run knew.
        resume.set_aside(ledger, run.run_id)
    with run.hold():
        made = ledger.plan() or steps.begin(config, found, findings, ledger)
        made = replace(made, findings=findings)
        plan_listing.show(made, ledger, verb="goes on with" if existing else "copies")
        if existing:
            temporary_changes.load_sources(config, made, ledger)
        made = check_created.create_targets(config, made, ledger, begins=existing is None)
        return run.execute(made, "copy")
