"""What changed since a job started: in its job file, in the source, in the target.

Each function returns or yields one message per change; none if nothing changed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pipeline.console.formatting import number, plural
from pipeline.jobfile.job import default_settings
from pipeline.planning.survey import Survey
from pipeline.reports.report_values import Report
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


def compare_settings(settings: Mapping[str, Any], existing: Plan) -> list[str]:
    """Compares the settings that decide what the target will contain; `settings` are those now."""
    # If a key did not exist yet when the job started, it had its default.
    before = default_settings() | existing.settings
    return [
        f"{path}: was {_written(before.get(path))} when the job started, is {_written(value)} now"
        for path, value in settings.items()
        if before.get(path) != value and not _agreed(path, value, existing)
    ]


def _agreed(path: str, value: Any, existing: Plan) -> bool:
    """Whether a key that did not decide the schema when the job started agrees with its schema."""
    wanted = [collection.wanted for collection in existing.collections]
    schema = {
        "sink.Milvus.partition_key": {described.partition_key for described in wanted},
        "sink.Milvus.enable_dynamic_field": {
            described.message.enable_dynamic_field for described in wanted
        },
    }
    return path in schema and path not in existing.settings and schema[path] == {value}


def compare_source(existing: Plan, survey: Survey) -> list[str]:
    """Compares which collections the source has, and their schemas; not their rows."""
    changed = []
    for collection in existing.collections:
        where = f"source collection {collection.name}"
        now = survey.source.described.get(collection.name)
        if now is None:
            changed.append(f"{where}: no longer exists")
        elif _recreated(collection.source, now):
            changed.append(f"{where}: was dropped and recreated")
        elif now.raw_schema != collection.source.raw_schema:
            changed.append(f"{where}: its schema has changed")
    return changed


def compare_unfinished_target(created: Plan, begun: Collection[str], survey: Survey) -> list[str]:
    """Compares the target with what an unfinished job left there.

    `begun` are the collections that may have rows, by their names in the source.
    """
    lost = (
        _lost(collection, survey) for collection in created.collections if collection.name in begun
    )
    return [f"{line}, and this job has copied rows into it" for line in lost if line]


def compare_target(created: Plan, survey: Survey) -> list[str]:
    """Compares the collections of the target with those that a job created there."""
    return [lost for collection in created.collections if (lost := _lost(collection, survey))]


def missing_rows(created: Plan, done: Report, survey: Survey) -> Iterator[str]:
    """Yields which collections of the target lost rows since the job finished, with the remedy.

    More rows than the job copied are normal: an application may write there by now.
    """
    copied = {
        collection.name: collection.keys - collection.rejected for collection in done.collections
    }
    for collection in created.collections:
        rows = survey.target.rows.get(collection.target)
        if rows is not None and rows.exact and rows.count < copied.get(collection.name, 0):
            was, now = plural(copied[collection.name], "row"), number(rows.count)
            yield (
                f"target collection {collection.target}: {was} were copied, but it has {now} now; "
                "`kitelift verify` lists the missing rows, `kitelift sync` copies them again"
            )


def source_changes(existing: Plan, survey: Survey) -> Iterator[str]:
    """Yields what the source has now that a finished job has not copied."""
    for collection in existing.collections:
        rows = survey.source.rows.get(collection.name)
        changed = rows is not None and rows.exact and rows.count != collection.rows
        if rows is not None and changed and collection.has_rows:
            was, now = plural(collection.rows, "row"), number(rows.count)
            yield (
                f"source collection {collection.name}: it had {was} and has {now} now; "
                "`kitelift sync` copies the changes"
            )
    planned = {collection.name for collection in existing.collections}
    for name in survey.chosen:
        if name not in planned:
            yield (
                f"source collection {name}: it was not part of this job when the job started; "
                "copy it with a separate job"
            )


def _written(value: Any) -> str:
    """Returns a setting as it can be written in a job file."""
    return json.dumps(value, ensure_ascii=False)


def _lost(created: CollectionPlan, survey: Survey) -> str:
    """Says that a target collection is not the one that the job created; "" if it is."""
    now = survey.target.described.get(created.target)
    if created.target not in survey.target.names:
        return f"target collection {created.target}: no longer exists"
    if now is not None and _recreated(created.wanted, now):
        return f"target collection {created.target}: was dropped and recreated"
    return ""


def _recreated(before: Description, now: Description) -> bool:
    """Whether a collection was recreated; False if the server gives no collection ids."""
    ids = before.collection_id, now.collection_id
    return all(ids) and ids[0] != ids[1]
