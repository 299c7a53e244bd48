"""Fields of the target that rows of the source have as keys of their dynamic field too.

No server takes such rows: be it that the field is one that a transform makes, or one that was added
to the source when they were there.
"""

from __future__ import annotations

from pipeline.jobfile.job import JobConfig
from pipeline.planning import reshaping
from pipeline.planning.reshaping import Tried
from transforms.errors import ServerError
from transforms.milvus import layout
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.filters import both, with_key
from transforms.milvus.snapshot import BOUNDED


def find_clashes(
    client: Client, config: JobConfig, source: Description, tried: Tried
) -> tuple[tuple[str, int], ...]:
    """Returns those fields of a collection, each with how many rows have such a key.

    None where the source cannot be asked, or takes too long: then the target tells it, by refusing
    the rows.
    """
    names = _asked(config, source, tried)
    where = reshaping.row_filter(config, source.name)

    def rows(*keys: str) -> int:
        among = " or ".join(map(with_key, keys))
        return client.count(source.name, where=both(among, where), seen=BOUNDED)

    try:
        if not names or not rows(*names):
            return ()
        counted = [(name, rows(name)) for name in names]
    except ServerError:
        return ()
    return tuple((name, count) for name, count in counted if count)


def _asked(config: JobConfig, source: Description, tried: Tried) -> tuple[str, ...]:
    """Returns the fields to look for: as few as can be, for all rows are looked at."""
    if source.loaded is False or not source.message.enable_dynamic_field:
        return ()
    made = reshaping.apply_transforms(config, source, tried).described
    old = {*layout.names(source)} - {*source.added}
    names = tuple(name for name in layout.names(made) if name not in old)
    return names if made.message.enable_dynamic_field else ()
