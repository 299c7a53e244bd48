"""Steps that several commands share: survey and check, plan, start."""

from __future__ import annotations

import time
import uuid

from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.planning.planner import Purpose
from pipeline.planning.survey import Survey, survey_clusters
from pipeline.preflight import examination
from pipeline.target import job_marks, temporary_changes
from transforms.finding import Finding
from transforms.ledger.ledger import Ledger
from transforms.plan import Plan


def examine(
    config: JobConfig, existing: Plan | None, purpose: Purpose, ledger: Ledger
) -> tuple[Survey, tuple[Finding, ...]]:
    """Surveys both clusters and checks what the job requires of them."""
    survey = job_marks.without_own_marks(survey_clusters(config), ledger)
    return survey, examination.examine(config, survey, existing, purpose)


def examine_again(config: JobConfig, plan: Plan, purpose: Purpose, ledger: Ledger) -> Survey:
    """Checks again, for an existing plan, that both clusters allow what the command does."""
    survey, findings = examine(config, plan, purpose, ledger)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    return survey


def new_plan(
    config: JobConfig,
    survey: Survey,
    findings: tuple[Finding, ...],
    purpose: Purpose = "copy",
) -> Plan:
    """Returns the plan of a new job."""
    plan_id, now = uuid.uuid4().hex[:12], time.time()
    return planner.build_plan(
        config, survey, findings, plan_id=plan_id, made_at=now, purpose=purpose
    )


def start(
    config: JobConfig,
    survey: Survey,
    findings: tuple[Finding, ...],
    ledger: Ledger,
    purpose: Purpose = "copy",
) -> Plan:
    """Starts a job: loads the source collections if it may, and writes the plan."""
    plan = new_plan(config, survey, findings, purpose)
    if config.source.auto_load:
        plan = temporary_changes.load_sources(config.source_endpoint, plan, ledger)
    ledger.write_plan(plan)
    return plan
