"""Finds fields of the target that are also keys in the dynamic field of source rows.

Servers reject such rows. The field may come from a transform, or it was added to the source after
the rows were written.
"""

from __future__ import annotations

from pipeline.planning.reshaping import Reshaped
from transforms.errors import ServerError
from transforms.milvus import field_layout
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.filters import both, with_key
from transforms.milvus.row_counts import count_rows
from transforms.milvus.snapshot import BOUNDED


def find_clashes(
    client: Client, source: Description, reshaped: Reshaped, partitions: tuple[str, ...]
) -> tuple[tuple[str, int], ...]:
    """Returns those fields after the transforms, each with the number of rows with such a key.

    Only rows that the transforms select, of these partitions, are counted. Returns nothing if the
    source fails or takes too long; then the target rejects the rows.
    """
    where = reshaped.shape.where
    names = _new_fields(source, reshaped)

    def rows(*keys: str) -> int:
        among = " or ".join(map(with_key, keys))
        return count_rows(client, source, partitions, both(among, where), seen=BOUNDED)

    try:
        if not names or not rows(*names):
            return ()
        counted = [(name, rows(name)) for name in names]
    except ServerError:
        return ()
    return tuple((name, count) for name, count in counted if count)


def _new_fields(source: Description, reshaped: Reshaped) -> tuple[str, ...]:
    """Returns the fields to look for: only new ones, because each query scans all rows."""
    if source.loaded is False or not source.message.enable_dynamic_field:
        return ()
    columns = (column for stage in reshaped.shape.stages for column in stage.columns)
    removed = {key for column in columns for key in column.removed}
    known = ({*field_layout.names(source)} - {*source.added}) | removed
    names = tuple(name for name in field_layout.names(reshaped.described) if name not in known)
    return names if reshaped.described.message.enable_dynamic_field else ()
