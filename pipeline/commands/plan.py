"""`kitelift plan`: shows everything that `run` would do and find. Writes nothing."""

from __future__ import annotations

from dataclasses import replace

from pipeline.commands import drift, job_ledger, resume, steps
from pipeline.commands.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.preflight import examination
from pipeline.reports import job_status, plan_listing, report_printer


def plan(config: JobConfig, arguments: Arguments) -> int:
    """Shows everything that run would do and find; writes nothing anywhere."""
    from pipeline.commands import speed_test
    from pipeline.engines import cluster_checks, runners

    ledger = job_ledger.find(config)
    if existing := ledger.plan():
        resume.refuse_changes(drift.of_settings(config, existing), ledger)
        if done := resume.finished(ledger):
            since = resume.since(config, existing, done, ledger)
            report_printer.show_finished(existing, done, ledger, since, as_json=arguments.as_json)
            return 0
        resume.refuse_unsynced(existing, ledger)
    found, findings = steps.examine(config, existing, "copy")
    if engine := runners.engine(config, arguments.runner, arguments.beam):
        findings = (*findings, *cluster_checks.findings(engine, config))
    made = existing or steps.new_plan(config, found, findings)
    made = replace(made, findings=findings)
    guess, cut = None, None
    if not any(finding.stops for finding in findings):
        standing = job_status.read(ledger)
        there = {
            collection.name: collection.rows_acknowledged for collection in standing.collections
        }
        guess = speed_test.measure(config, made, there, write=arguments.probe_write)
        cut = list(speed_test.ranges(config, made)) if arguments.ranges else None
    if arguments.as_json:
        print(plan_listing.as_json(made, guess, cut))
    else:
        finding_lines.show(findings)
        if guess:
            plan_listing.show(made, ledger, verb="goes on with" if existing else "copies")
            plan_listing.show_estimate(guess, cut)
    examination.raise_if_stopped(findings)
    return 0
