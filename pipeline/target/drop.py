"""Drops what the job file says, after the user confirmed it; nothing else, never the source."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from functools import partial

from pipeline.jobfile.job import JobConfig
from pipeline.planning import same_collection
from pipeline.preflight import target_checks
from pipeline.reports.report_values import sides
from transforms.errors import PreflightError
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


def confirm(plan: Plan, *, yes: bool) -> None:
    """Asks the user to confirm what the job drops, unless `yes`.

    Raises:
        PreflightError: the user did not confirm.
    """
    names = [collection.target for collection in plan.collections if collection.replaces]
    if not names or yes:
        return
    _, target = sides(plan)
    what = f"{target.address}: this job drops all existing rows of {', '.join(names)}"
    if not sys.stdin.isatty():
        raise PreflightError([f"{what}. To agree, add --yes. Nothing was written."])
    if input(f"{what}. Type yes to continue: ").strip().lower() != "yes":
        raise PreflightError(["not confirmed; nothing was written."])


def drop(
    client: Client,
    config: JobConfig,
    plan: Plan,
    collection: CollectionPlan,
    own_marks: Collection[str] = (),
) -> None:
    """Drops a collection of the target that the plan replaces, its aliases and marks.

    Raises:
        PreflightError: it is a source collection, under another address of the same server. Or
            another unfinished job writes to it.
    """
    existing = client.describe(collection.target)
    refuse_source(config, plan, existing)
    _refuse_in_use(config, existing, own_marks)
    for alias in (*_own_aliases(client, existing), *existing.marks):
        client.drop_alias(client.beside(existing.name, alias))
    client.drop_collection(collection.target)


def _own_aliases(client: Client, existing: Description) -> Iterator[str]:
    """Yields the aliases that certainly belong to a collection.

    The description alone may come from the cache of a Milvus proxy: the alias may belong to
    another collection by now. Such an alias is left alone. If it does belong to this collection,
    Milvus 2.4 and later refuse to drop the collection.
    """
    listed = client.aliases(existing.name)
    if listed is not None:
        yield from listed
        return
    for alias in existing.aliases:
        if client.alias_owner(client.beside(existing.name, alias)) == existing.name:
            yield alias


def _refuse_in_use(config: JobConfig, existing: Description, own_marks: Collection[str]) -> None:
    others = [mark for mark in existing.marks if mark not in own_marks]
    if others and target_checks.IN_USE not in config.env.accept:
        findings = target_checks.in_use(existing.name, others, config.job_id)
        raise PreflightError([f"{finding}" for finding in findings])


def refuse_source(config: JobConfig, plan: Plan, existing: Description) -> None:
    """Checks that a collection of the target is not one that the job reads.

    Raises:
        PreflightError: it is, or it may be and the finding is not accepted.
    """
    source = next(
        (collection.source for collection in plan.collections if collection.name == existing.name),
        None,
    )
    if source is None:
        return
    servers = partial(
        same_collection.compare_servers, config.source_endpoint, config.target_endpoint
    )
    match = same_collection.match_collection(config, source, existing, servers)
    if match and (match.certain or same_collection.CODE not in config.env.accept):
        what = f"target collection {existing.name} is or may be the source's: {match.why}"
        raise PreflightError([f"{what}. Kitelift does not drop it. Use another target."])
