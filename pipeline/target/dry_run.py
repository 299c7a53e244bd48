"""Tries what a job will make, before it drops what is to be replaced.

Part of each job that drops; not the small job that an operator runs before the large one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pipeline.jobfile.job import JobConfig
from pipeline.target import create, drop
from pipeline.target.create import CreatedTargets
from pipeline.target.scratch import SCRATCH, scratch
from transforms.errors import AccessDenied, PreflightError, PrivilegeMissing, Refused
from transforms.finish import reasons
from transforms.milvus.client import Client
from transforms.plan import CollectionPlan, Plan


def rehearse(config: JobConfig, plan: Plan) -> CreatedTargets:
    """Makes what a plan makes under another name, one by one, and drops it again.

    Empty where the plan drops nothing: then what is refused can be dropped again.

    Raises:
        PreflightError: the target does not make a collection, or does not let it be dropped.
    """
    made = CreatedTargets()
    if create.lacks_database(config):
        return made
    client = Client(config.target_endpoint)
    try:
        there = client.collections()
        dropped = [
            collection
            for collection in plan.collections
            if collection.replaces and collection.target in there
        ]
        for each in dropped:
            drop.refuse_source(config, plan, client.describe(each.target))
        if not dropped or config.target_endpoint.folder:
            return made  # Files take everything, and a folder would be left.
        for collection in plan.collections:
            if collection.replaces or collection.target not in there:
                _try(client, config, collection, made)
        return made
    finally:
        client.close()


def _try(client: Client, config: JobConfig, plan: CollectionPlan, made: CreatedTargets) -> None:
    try:
        # Rights on a collection are none on the scratch one: where they end, nothing is known.
        with scratch(client, config.job_id, plan.created) as name, suppress(PrivilegeMissing):
            _furnish(client, config, replace(plan, target=name), made)
    except (Refused, AccessDenied) as error:
        raise _not_made(plan, error) from error


def _furnish(client: Client, config: JobConfig, plan: CollectionPlan, made: CreatedTargets) -> None:
    found = create.furnish(client, config, plan).items()
    refused = {feature: e for feature, e in found if not isinstance(e, PrivilegeMissing)}
    made.refused[plan.name] = reasons(refused)
    made.described[plan.name] = plan.closed(client.describe(plan.target))


def _not_made(plan: CollectionPlan, error: Refused | AccessDenied) -> PreflightError:
    said = f"target collection {plan.target}: {error.call}: {error.detail}"
    tried = f"so it cannot be made anew (it was tried under another name, {SCRATCH}…)"
    return PreflightError([said, f"{tried}; nothing was dropped, no row was written."])
