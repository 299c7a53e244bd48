"""The privileges that a job needs in source and target, and which of them a user lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.jobfile.job import JobConfig
from transforms.milvus import qualified_names
from transforms.milvus.access_control import EVERY, Grant

SOURCE = ("ShowPartitions", "GetLoadState", "Query")
LOADING = ("Load", "GetLoadingProgress", "GetStatistics", "Release")
TARGET = (
    *("CreateCollection", "CreatePartition", "ShowPartitions", "CreateAlias"),
    *("Insert", "Upsert", "Flush", "GetFlushState", "CreateIndex", "Load", "GetLoadingProgress"),
    *("GetLoadState", "GetStatistics", "Query"),
)
"""Milvus 2.3.5 lets a job run with exactly these (`tests/end_to_end/test_refusals.py`).

Every user also has the privileges of the role `public`: list and describe collections, databases
and indexes.
"""


def needed(config: JobConfig) -> dict[str, tuple[str, ...]]:
    """Returns the privileges that a copy needs, by side: `source` and `target`."""
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
    wanted: Sequence[str], grants: Iterable[Grant], collections: Iterable[str]
) -> tuple[str, ...]:
    """Returns the privileges that are granted neither for all objects nor for each collection.

    Qualified collections are checked database by database.
    """
    grants, names = list(grants), list(collections)
    missing: dict[str, None] = {}
    for database in qualified_names.databases_of(names) or ("",):
        here = [
            grant
            for grant in grants
            if not database or grant.kind != "Collection" or grant.database in (database, EVERY)
        ]
        places = (qualified_names.split(name) for name in names)
        local = [name for place, name in places if place == database]
        missing |= dict.fromkeys(_lacking(wanted, here, local))
    return tuple(missing)


def _lacking(
    wanted: Iterable[str], grants: Iterable[Grant], collections: Iterable[str]
) -> tuple[str, ...]:
    granted = {(grant.privilege, grant.name) for grant in grants}
    names = set(collections)
    if any(privilege == EVERY for privilege, _ in granted):
        return ()

    def is_granted(privilege: str) -> bool:
        if (privilege, EVERY) in granted:
            return True
        return bool(names) and all((privilege, name) in granted for name in names)

    return tuple(privilege for privilege in wanted if not is_granted(privilege))
