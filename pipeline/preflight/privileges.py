"""The privileges that a job needs on each side, and which of them a user lacks."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.jobfile.job import JobConfig
from transforms.milvus.access import EVERY, Grant

SOURCE = ("ShowPartitions", "GetLoadState", "Query")
LOADING = ("Load", "GetLoadingProgress", "GetStatistics", "Release")
TARGET = (
    *("CreateCollection", "CreatePartition", "ShowPartitions", "CreateAlias"),
    *("Insert", "Upsert", "Flush", "GetFlushState", "CreateIndex", "Load", "GetLoadingProgress"),
    *("GetLoadState", "GetStatistics", "Query"),
)
"""What 2.3.5 asked for when jobs ran with these and no more (`tests/end_to_end/test_refusals.py`).

Beside them every user may do what the role `public` may: list and describe collections, databases
and indexes.
"""


def needed(config: JobConfig) -> dict[str, tuple[str, ...]]:
    """Returns the privileges that a copy needs of each side."""
    sink = config.sink
    drops = sink.schema_save_mode == "RECREATE_SCHEMA" or sink.data_save_mode == "DROP_DATA"
    return {
        "source": SOURCE + (LOADING if config.source.auto_load else ()),
        "target": (
            *TARGET,
            *(("DropCollection",) if drops else ()),
            *(("Delete",) if not sink.enable_upsert else ()),
            *(("CreateDatabase",) if sink.create_database else ()),
        ),
    }


def lacking(
    wanted: Iterable[str], grants: Iterable[Grant], collections: Iterable[str]
) -> tuple[str, ...]:
    """Returns the privileges that are granted neither for all objects nor for each collection."""
    held = {(grant.privilege, grant.name) for grant in grants}
    names = set(collections)
    if any(privilege == EVERY for privilege, _ in held):
        return ()
    return tuple(
        each
        for each in wanted
        if (each, EVERY) not in held and not (names and all((each, name) in held for name in names))
    )
