"""Dry run: creates a job's collections under another name, before the job drops existing ones.

Every job that drops collections does this. It is not a trial migration with few rows.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pipeline.jobfile.job import JobConfig
from pipeline.target import create, drop
from pipeline.target.create import CreatedTargets
from pipeline.target.scratch import SCRATCH, scratch
from transforms.completion import reasons
from transforms.errors import AccessDenied, PreflightError, PrivilegeMissing, Refused
from transforms.milvus import qualified_names
from transforms.milvus.client import Client
from transforms.plan import CollectionPlan, Plan


def try_creation(config: JobConfig, plan: Plan) -> CreatedTargets:
    """Creates each collection of a plan under another name, one by one, and drops it again.

    Returns nothing if the plan drops nothing: then a failed creation can simply be undone.

    Raises:
        PreflightError: the target refuses to create a collection, or to drop it.
    """
    created = CreatedTargets()
    missing = {database for _, database in create.missing_databases(config, plan)}
    if missing and not config.qualifies:
        return created
    client = Client(config.target_endpoint)
    try:
        existing = create.existing_targets(client, plan)
        dropped = [
            collection
            for collection in plan.collections
            if collection.replaces and collection.target in existing
        ]
        for collection in dropped:
            drop.refuse_source(config, plan, client.describe(collection.target))
        if not dropped or config.target_endpoint.folder:
            return created  # Files accept everything, and a folder would remain.
        for collection in plan.collections:
            if qualified_names.split(collection.target)[0] in missing:
                continue  # There is no place for the dry run, and nothing to drop.
            if collection.replaces or collection.target not in existing:
                _try(client, config, collection, created)
        return created
    finally:
        client.close()


def _try(client: Client, config: JobConfig, plan: CollectionPlan, created: CreatedTargets) -> None:
    try:
        # Privileges on one collection do not cover the scratch collection: without them, the
        # dry run learns nothing, and the job continues.
        scratched = scratch(client, config.job_id, plan.created, beside=plan.target)
        with scratched as name, suppress(PrivilegeMissing):
            _complete(client, config, replace(plan, target=name), created)
    except (Refused, AccessDenied) as error:
        raise _not_created(plan, error) from error


def _complete(
    client: Client, config: JobConfig, plan: CollectionPlan, created: CreatedTargets
) -> None:
    """Creates partitions and indexes, and records what the target refused and what it has now."""
    refusals = create.create_partitions_and_indexes(client, config, plan).items()
    refused = {feature: e for feature, e in refusals if not isinstance(e, PrivilegeMissing)}
    created.refused[plan.name] = reasons(refused)
    created.described[plan.name] = plan.closed(client.describe(plan.target))


def _not_created(plan: CollectionPlan, error: Refused | AccessDenied) -> PreflightError:
    said = f"target collection {plan.target}: {error.call}: {error.detail}"
    tried = f"so it cannot be recreated (a dry run tried it as {SCRATCH}…)"
    return PreflightError([said, f"{tried}; nothing was dropped, no row was written."])
