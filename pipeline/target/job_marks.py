"""Marks the target collections that a job writes to, so that no second job writes to them.

A mark is a temporary change: the end of the job removes it, or after a crash that of the next run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

from pipeline.jobfile.job import JobConfig
from pipeline.planning.survey import Survey
from pipeline.preflight import examination, target_checks
from transforms.errors import AccessDenied, Refused
from transforms.finding import Finding
from transforms.ledger import temporary_changes
from transforms.ledger.ledger import Ledger
from transforms.milvus import job_mark
from transforms.milvus.client import Client
from transforms.milvus.job_mark import JobMark
from transforms.plan import Plan

MARKED_AT_ONCE = 8

YIELD_S = 10.0
"""Of two jobs that start together, the later one removes its mark. The earlier one waits for that
at most this long."""

_POLL_S = 0.2


def without_own_marks(survey: Survey, ledger: Ledger) -> Survey:
    """Returns the survey without the marks that an earlier run of this job has left."""
    own = temporary_changes.own_marks(ledger)
    described = {
        name: replace(existing, marks=tuple(mark for mark in existing.marks if mark not in own))
        for name, existing in survey.target.described.items()
    }
    return replace(survey, target=replace(survey.target, described=described))


def mark_targets(config: JobConfig, plan: Plan, ledger: Ledger) -> tuple[Finding, ...]:
    """Marks each target collection; returns a finding for each that another job has marked.

    Each job makes its mark before it reads those of others. So of two jobs that start together, at
    most one writes.
    """
    if config.target_endpoint.folder:
        return ()
    client = Client(config.target_endpoint)
    try:
        targets = [collection.target for collection in plan.collections]
        with ThreadPoolExecutor(MARKED_AT_ONCE) as pool:
            mark = partial(_mark_if_permitted, client, config, ledger)
            results = list(pool.map(mark, targets))
    finally:
        client.close()
    findings = [finding for found in results if isinstance(found, list) for finding in found]
    refusals = (found for found in results if not isinstance(found, list))
    notes = [_unmarked(config, error) for error in islice(refusals, 1)]
    return tuple(examination.mark_accepted(each, config.env.accept) for each in [*findings, *notes])


def _mark_if_permitted(
    client: Client, config: JobConfig, ledger: Ledger, target: str
) -> list[Finding] | Refused | AccessDenied:
    """Marks a collection; returns findings on other marks, or why it cannot be marked."""
    try:
        _drop(client, target, [JobMark.new(config.job_id).alias])  # May it, later?
        return _mark(client, config, ledger, target)
    except (Refused, AccessDenied) as error:
        return error


def _mark(client: Client, config: JobConfig, ledger: Ledger, target: str) -> list[Finding]:
    """Marks a collection, unless it has the mark of this job; returns findings on other marks."""
    before, existing = temporary_changes.own_mark(ledger, target), client.marks(target)
    if client.hides_marks:
        raise client.denied["ListAliases"]
    own = before if before in existing else ""
    if not own:
        if before:
            _drop(client, target, [before])
        own = JobMark.new(config.job_id).alias
        temporary_changes.record(ledger, temporary_changes.marked(target, own))
        try:
            client.create_alias(target, own)
        except (Refused, AccessDenied):
            # A retried call is refused if the first one was done and only its answer was lost.
            if own not in client.marks(target):
                temporary_changes.forget(ledger, temporary_changes.marked(target, own))
                raise
    others = _wait_for_later(client, target, own)
    if target_checks.IN_USE in config.env.accept:
        _drop(client, target, others)
    return list(target_checks.in_use(target, others, config.job_id))


def _wait_for_later(client: Client, target: str, own: str) -> tuple[str, ...]:
    """Returns the other marks, unless all of them are removed soon because they are later ones."""
    until = time.monotonic() + YIELD_S
    while others := tuple(mark for mark in client.marks(target) if mark != own):
        first = min(map(job_mark.parse, (own, *others)))
        if first.alias != own or time.monotonic() > until:
            break
        time.sleep(_POLL_S)
    return others


def _drop(client: Client, target: str, marks: Iterable[str]) -> None:
    for mark in marks:
        client.drop_alias(client.beside(target, mark))


def _unmarked(config: JobConfig, error: Refused | AccessDenied) -> Finding:
    return Finding(
        "target-unmarked",
        f"target {config.sink.url}",
        f"Kitelift cannot mark the collections that it writes to ({error.call}: {error.detail}), "
        "so it does not notice a second job that writes to them.",
        "No action needed if only one job writes to them. Otherwise grant `CreateAlias`, "
        "`DropAlias` and `ListAliases`.",
        severity="info",
    )
