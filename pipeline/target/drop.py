"""Drops what a job file says is to be dropped, after asking; nothing else, and never the source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from pipeline.jobfile.job import JobConfig
from pipeline.planning import same_collection
from pipeline.reports.outcome import sides
from transforms.errors import PreflightError
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


def confirm(plan: Plan, *, yes: bool) -> None:
    """Makes sure that the user wants what is dropped to be dropped.

    Raises:
        PreflightError: nobody said yes.
    """
    names = [collection.target for collection in plan.collections if collection.replaces]
    if not names or yes:
        return
    _, target = sides(plan)
    what = f"{target.address}: {', '.join(names)}: the rows that are there are dropped"
    if not sys.stdin.isatty():
        raise PreflightError([f"{what}. If that is right, give --yes; nothing was written."])
    if input(f"{what}. Type yes to go on: ").strip().lower() != "yes":
        raise PreflightError(["not confirmed; nothing was written."])


def drop(client: Client, config: JobConfig, plan: Plan, each: CollectionPlan) -> None:
    """Drops a collection of the target that the plan replaces, and its aliases with it.

    Raises:
        PreflightError: it is the source's, by another name of the same server.
    """
    there = client.describe(each.target)
    refuse_source(config, plan, there)
    for alias in _own_aliases(client, there):
        client.drop_alias(alias)
    client.drop_collection(each.target)


def _own_aliases(client: Client, there: Description) -> Iterator[str]:
    """Yields the aliases that surely belong to a collection.

    What a description alone says may be the cache of a proxy: the alias may be another
    collection's by now. It is left alone, and 2.4 and later refuse the drop if it was not.
    """
    listed = client.aliases(there.name)
    if listed is not None:
        yield from listed
        return
    yield from (alias for alias in there.aliases if client.alias_owner(alias) == there.name)


def refuse_source(config: JobConfig, plan: Plan, there: Description) -> None:
    """Makes sure that a collection of the target is not one that the job reads.

    Raises:
        PreflightError: it is, or may be and that is not accepted.
    """
    here = next(
        (collection.source for collection in plan.collections if collection.name == there.name),
        None,
    )
    if here is None:
        return
    servers = partial(
        same_collection.compare_servers, config.source_endpoint, config.target_endpoint
    )
    match = same_collection.match_collection(config, here, there, servers)
    if match and (match.certain or same_collection.CODE not in config.env.accept):
        what = f"target collection {there.name} is or may be the source's: {match.why}"
        raise PreflightError([f"{what}. It is not dropped. Use another target."])
