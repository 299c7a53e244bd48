"""What has changed since a job began: in its file, in the source, in the target.

Each function returns lines for people; none where nothing has changed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from pipeline.console.formatting import number, plural
from pipeline.jobfile.job import JobConfig, default_settings
from pipeline.planning.survey import Survey
from pipeline.reports.outcome import Report
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


def of_settings(config: JobConfig, existing: Plan) -> list[str]:
    """Compares the settings that decide what the target will hold."""
    # A key that is newer than the job had its default.
    before = default_settings() | existing.settings
    return [
        f"{path}: was {_written(before.get(path))} when the job began, is {_written(value)} now"
        for path, value in config.result_settings().items()
        if before.get(path) != value
    ]


def of_source(existing: Plan, found: Survey) -> list[str]:
    """Compares which collections the source has, and their schemas; not their rows."""
    changed = []
    for collection in existing.collections:
        where = f"source collection {collection.name}"
        now = found.source.described.get(collection.name)
        if now is None:
            changed.append(f"{where}: is no longer there")
        elif _another(collection.source, now):
            changed.append(f"{where}: was dropped and made again")
        elif now.raw_schema != collection.source.raw_schema:
            changed.append(f"{where}: its schema has changed")
    return changed


def of_begun(left: Plan, begun: Collection[str], found: Survey) -> list[str]:
    """Compares the target with what a job has left there that had not come to its end.

    `begun` are the collections, by their names in the source, of which rows may be there.
    """
    lost = (_lost(collection, found) for collection in left.collections if collection.name in begun)
    return [f"{line}, and this job has copied rows into it" for line in lost if line]


def of_target(made: Plan, found: Survey) -> list[str]:
    """Compares the collections of the target with those that a job has made there."""
    return [lost for collection in made.collections if (lost := _lost(collection, found))]


def fewer_rows(made: Plan, done: Report, found: Survey) -> Iterator[str]:
    """Yields what has gone from the target since a job was done, with the remedy.

    More rows than it copied are none of ours: an application may write there by now.
    """
    copied = {
        collection.name: collection.keys - collection.rejected for collection in done.collections
    }
    for collection in made.collections:
        rows = found.target.rows.get(collection.target)
        if rows is not None and rows.exact and rows.count < copied.get(collection.name, 0):
            held, holds = plural(copied[collection.name], "row"), number(rows.count)
            yield (
                f"target collection {collection.target}: {held} were copied, it holds {holds} now; "
                "`kitelift verify` names what is missing, `kitelift sync` brings it back"
            )


def since_done(existing: Plan, found: Survey) -> Iterator[str]:
    """Yields what the source has now and a job that was done has not copied."""
    for collection in existing.collections:
        rows = found.source.rows.get(collection.name)
        if rows is not None and rows.exact and rows.count != collection.rows:
            was, now = plural(collection.rows, "row"), number(rows.count)
            yield (
                f"source collection {collection.name}: it had {was} and has {now} now; "
                "`kitelift sync` carries the changes over"
            )
    planned = {collection.name for collection in existing.collections}
    for name in found.chosen:
        if name not in planned:
            yield (
                f"source collection {name}: it is not part of this job, which began without it; "
                "copy it by a job of its own"
            )


def _written(value: Any) -> str:
    """Writes a setting as a job file may have it."""
    return json.dumps(value, ensure_ascii=False)


def _lost(made: CollectionPlan, found: Survey) -> str:
    """Says that a collection of the target is not the one that was made there; "" if it is."""
    now = found.target.described.get(made.target)
    if made.target not in found.target.names:
        return f"target collection {made.target}: is no longer there"
    if now is not None and _another(made.wanted, now):
        return f"target collection {made.target}: was dropped and made again"
    return ""


def _another(before: Description, now: Description) -> bool:
    """Whether a collection was made anew; a server that gives no ids does not tell."""
    ids = before.collection_id, now.collection_id
    return all(ids) and ids[0] != ids[1]
