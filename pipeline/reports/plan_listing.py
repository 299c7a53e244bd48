"""A plan for people and for scripts, and the estimate beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from pipeline.console import formatting
from pipeline.console.wrapping import say
from pipeline.planning import fidelity, reshaping
from pipeline.planning.estimate import Estimate
from pipeline.reports.outcome import sides
from transforms.ledger.ledger import Ledger
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange


def show(made: Plan, ledger: Ledger, *, verb: str) -> None:
    """Prints what is about to be done, to which collections."""
    noun = formatting.plural(len(made.collections), "collection")
    rows = formatting.plural(sum(collection.rows for collection in made.collections), "row")
    source, target = sides(made)
    say(f"{source}")
    say(f"  -> {target}")
    say(f"Job {made.job_id} {verb} {noun}, {rows}; ledger: {ledger.location}")
    for collection in made.collections:
        say(f"  {_summary(collection)}")
        for line in (*reshaping.describe_changes(collection), *_settings(collection)):
            say(f"    {line}")


def _settings(each: CollectionPlan) -> Iterator[str]:
    """Yields the settings that the target is to have otherwise than the source."""
    features = fidelity.feature_fates(each, {})
    new = {feature.what for feature in features if feature.fate == "new"}
    for feature in features:
        field = feature.what.rpartition(".")[0]
        added = feature.fate == "new" and field.startswith("fields.") and field not in new
        if added or feature.fate == "changed":
            yield f"{feature.what}: {feature.target}, in the source {feature.source or 'none'}"


def _summary(each: CollectionPlan) -> str:
    fields = formatting.plural(len(each.written.fields), "field")
    indexes = formatting.plural(len(each.wanted.indexes), "index", "indexes")
    parts = [formatting.plural(each.rows, "row"), fields, indexes]
    if each.source.partition_key:
        count = each.source.partition_count
        parts.append(f"{count} partitions by {each.source.partition_key}")
    elif len(each.partitions) > 1:
        parts.append(formatting.plural(len(each.partitions), "partition"))
    name = each.name if each.name == each.target else f"{each.name} -> {each.target}"
    return f"{name}: {', '.join(parts)}"


def show_estimate(guess: Estimate, cut: Iterable[KeyRange] | None) -> None:
    """Prints what a job will take, and its key ranges if they were cut."""
    say("Estimate, from a trial of seconds with one stream:")
    for line in (*guess.lines(), *(cut or ())):
        say(f"  {line}")


def as_json(
    made: Plan,
    guess: Estimate | None = None,
    cut: Iterable[KeyRange] | None = None,
    *,
    finished: bool = False,
) -> str:
    """Writes a plan for scripts; without an estimate where nothing would be copied."""
    source, target = sides(made)
    value = {
        "job": made.job_id,
        "source": asdict(source),
        "target": asdict(target),
        "finished": finished,
        "starts": not any(finding.stops for finding in made.findings),
        "findings": [asdict(finding) for finding in made.findings],
        "collections": [
            {
                "name": collection.name,
                "target": collection.target,
                "rows": collection.rows,
                "fields": list(collection.written.names),
                "reshaped": list(reshaping.describe_changes(collection)),
                "partitions": list(collection.source.partitions),
                "indexes": [asdict(index) for index in collection.wanted.indexes],
                "load": collection.load,
            }
            for collection in made.collections
        ],
        "estimate": guess and guess.facts(),
    }
    if cut is not None:
        value["ranges"] = [asdict(each) for each in cut]
    return json.dumps(value, indent=1)
