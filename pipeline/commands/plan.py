"""`kitelift plan`: shows what `run` would do. Writes nothing."""

from __future__ import annotations

from dataclasses import replace

from pipeline.commands.shared import drift, earlier_run, job_ledger, steps
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import job_status, plan_listing, report_printer


def plan(config: JobConfig, arguments: Arguments) -> int:
    """Prints findings, plan and estimate; writes nothing."""
    from pipeline.commands.shared import speed_test
    from pipeline.engines import cluster_checks, engine_choice

    ledger = job_ledger.find(config)
    if existing := ledger.plan():
        earlier_run.require_unchanged(
            drift.compare_settings(config.result_settings(), existing), ledger
        )
        if done := earlier_run.finished_report(ledger):
            changes = earlier_run.check_finished(config, existing, done, ledger)
            report_printer.show_finished(existing, done, ledger, changes, as_json=arguments.as_json)
            return 0
        earlier_run.require_synced(existing, ledger)
    survey, findings = steps.examine(config, existing, "copy", ledger)
    if engine := engine_choice.create_engine(config, arguments.runner, arguments.beam):
        findings = (*findings, *cluster_checks.findings(engine, config))
    job_plan = replace(existing or steps.new_plan(config, survey, findings), findings=findings)
    estimate, ranges = None, None
    if not any(finding.stops for finding in findings):
        status = job_status.read(ledger)
        copied = {
            collection.name: collection.rows_acknowledged for collection in status.collections
        }
        estimate = speed_test.estimate_job(config, job_plan, copied, write=arguments.probe_write)
        ranges = list(speed_test.cut_ranges(config, job_plan)) if arguments.ranges else None
    if arguments.as_json:
        print(plan_listing.as_json(job_plan, estimate, ranges))
    else:
        finding_lines.show(findings)
        if estimate:
            plan_listing.show(job_plan, ledger, verb="resumes" if existing else "copies")
            plan_listing.show_estimate(estimate, ranges)
    examination.raise_if_stopped(findings)
    return 0
