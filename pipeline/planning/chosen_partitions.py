"""The partitions of a collection that the job file chooses. Pure."""

from __future__ import annotations

from dataclasses import replace

from pipeline.jobfile.partitions import partitions_of
from pipeline.jobfile.settings import Source
from transforms.milvus.description import Description

DEFAULT_PARTITION = "_default"


def chosen_partitions(source: Source, described: Description) -> tuple[str, ...]:
    """Returns the chosen partitions of a collection that are not all it has; () for all."""
    named = partitions_of(source.partitions, described.name)
    chosen = tuple(name for name in described.partitions if name in named)
    return () if described.partition_key or chosen == described.partitions else chosen


def with_chosen(described: Description, chosen: tuple[str, ...]) -> Description:
    """Returns the collection with the chosen partitions only, and the default one."""
    if not chosen or described.partition_key:
        return described
    kept = tuple(name for name in described.partitions if name in (*chosen, DEFAULT_PARTITION))
    return replace(described, partitions=kept, partition_count=len(kept))
