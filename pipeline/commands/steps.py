"""Steps that several commands share: survey and check, plan, begin."""

from __future__ import annotations

import time
import uuid

from pipeline.console import finding_lines
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner, survey
from pipeline.planning.planner import Purpose
from pipeline.preflight import examination
from pipeline.target import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.plan import Finding, Plan


def examine(
    config: JobConfig, existing: Plan | None, purpose: Purpose
) -> tuple[survey.Survey, tuple[Finding, ...]]:
    """Surveys both clusters and checks what a job needs of them."""
    found = survey.survey_clusters(config)
    return found, examination.examine(config, found, existing, purpose)


def examine_again(config: JobConfig, made: Plan, purpose: Purpose) -> survey.Survey:
    """Makes sure that both clusters, and what was copied, can be reached."""
    found, findings = examine(config, made, purpose)
    finding_lines.show(findings)
    examination.raise_if_stopped(findings)
    return found


def new_plan(
    config: JobConfig,
    found: survey.Survey,
    findings: tuple[Finding, ...],
    purpose: Purpose = "copy",
) -> Plan:
    """Returns the plan of a job that begins."""
    plan_id, now = uuid.uuid4().hex[:12], time.time()
    return planner.build_plan(
        config, found, findings, plan_id=plan_id, made_at=now, purpose=purpose
    )


def begin(
    config: JobConfig,
    found: survey.Survey,
    findings: tuple[Finding, ...],
    ledger: Ledger,
    purpose: Purpose = "copy",
) -> Plan:
    """Loads the sources, and writes the plan into the ledger."""
    plan = new_plan(config, found, findings, purpose)
    plan = temporary_changes.load_sources(config, plan, ledger)
    ledger.write_plan(plan)
    return plan
