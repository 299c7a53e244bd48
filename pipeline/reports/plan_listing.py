"""Prints a plan for people or for scripts, and its estimate."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from pipeline.console import formatting
from pipeline.console.wrapping import say
from pipeline.planning import change_lines, fidelity
from pipeline.planning.estimate import Estimate
from pipeline.reports.report_values import sides
from transforms.ledger.ledger import Ledger
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange


def show(plan: Plan, ledger: Ledger, *, verb: str) -> None:
    """Prints what a job does, and to which collections."""
    noun = formatting.plural(len(plan.collections), "collection")
    rows = formatting.plural(sum(collection.rows for collection in plan.collections), "row")
    source, target = sides(plan)
    say(f"{source}")
    say(f"  -> {target}")
    say(f"Job {plan.job_id} {verb} {noun}, {rows}; ledger: {ledger.location}")
    for collection in plan.collections:
        say(f"  {_summary(collection)}")
        for line in (*change_lines.describe_changes(collection), *_settings(collection)):
            say(f"    {line}")


def _settings(collection: CollectionPlan) -> Iterator[str]:
    """Yields the settings that differ between source and target."""
    features = fidelity.feature_fates(collection, {})
    new = {feature.what for feature in features if feature.fate == "new"}
    for feature in features:
        field = feature.what.rpartition(".")[0]
        by_partition = feature.what == "partitions" and collection.chosen_partitions
        if by_partition or feature.what in collection.requested_indexes:
            continue  # `describe_changes` has it.
        added = feature.fate == "new" and field.startswith("fields.") and field not in new
        if added or feature.fate == "changed":
            yield f"{feature.what}: {feature.target}, in the source {feature.source or 'none'}"


def _summary(collection: CollectionPlan) -> str:
    fields = formatting.plural(len(collection.written.fields), "field")
    indexes = formatting.plural(len(collection.wanted.indexes), "index", "indexes")
    parts = [formatting.plural(collection.rows, "row"), fields, indexes]
    wanted, name = collection.wanted, collection.name
    if wanted.partition_key:
        parts.append(f"{wanted.partition_count} partitions by {wanted.partition_key}")
    elif len(collection.partitions) > 1:
        parts.append(formatting.plural(len(collection.partitions), "partition"))
    if name != collection.target:
        name = f"{name} -> {collection.target}"
    return f"{name}: {', '.join(parts)}"


def show_estimate(estimate: Estimate, ranges: Iterable[KeyRange] | None) -> None:
    """Prints the estimate of a job, and its key ranges if there are any."""
    say("Estimate, from a speed test with one stream:")
    for line in (*estimate.lines(), *(ranges or ())):
        say(f"  {line}")


def as_json(
    plan: Plan,
    estimate: Estimate | None = None,
    ranges: Iterable[KeyRange] | None = None,
    *,
    finished: bool = False,
) -> str:
    """Returns a plan as JSON; without an estimate if nothing would be copied."""
    source, target = sides(plan)
    value = {
        "job": plan.job_id,
        "source": asdict(source),
        "target": asdict(target),
        "finished": finished,
        "starts": not any(finding.stops for finding in plan.findings),
        "findings": [asdict(finding) for finding in plan.findings],
        "collections": [
            {
                "name": collection.name,
                "target": collection.target,
                "rows": collection.rows,
                "fields": list(collection.written.names),
                "reshaped": list(change_lines.describe_changes(collection)),
                "partitions": [*(collection.chosen_partitions or collection.source.partitions)],
                "indexes": [asdict(index) for index in collection.wanted.indexes],
                "load": collection.load,
            }
            for collection in plan.collections
        ],
        "estimate": estimate and estimate.facts(),
    }
    if ranges is not None:
        value["ranges"] = [asdict(key_range) for key_range in ranges]
    return json.dumps(value, indent=1)
