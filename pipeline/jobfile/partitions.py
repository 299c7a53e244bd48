"""`partitions` of the source: the partitions to copy, for all collections or by collection."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.jobfile.patterns import matching
from pipeline.jobfile.value_types import read_names


def _partitions(value: object) -> dict[str, tuple[str, ...]]:
    """Returns the names by collection; those of a list are for all collections."""
    if isinstance(value, list | tuple):
        return {"*": read_names(value)}
    if not isinstance(value, dict):
        raise ValueError('must be a list such as ["p1"], or a block such as { docs = ["p1"] }')
    names: dict[str, tuple[str, ...]] = {}
    for collection, item in value.items():
        try:
            names[str(collection).strip('"')] = read_names(item)
        except ValueError as error:
            raise ValueError(f"{collection} {error}") from None
    return names


Partitions = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(_partitions),
    Field(title="list of names, or lists by collection"),
]


def partitions_of(partitions: dict[str, tuple[str, ...]], collection: str) -> tuple[str, ...]:
    """Returns the partitions of a collection that the job file names; () for all.

    An exact name has priority over a pattern, and the first pattern over the others.

    >>> partitions_of({"*": ("new",), "docs": ("old",)}, "docs")
    ('old',)
    >>> partitions_of({"log_*": ("new",)}, "docs")
    ()
    """
    patterns = (name for name in partitions if matching(name, collection))
    named = collection if collection in partitions else next(patterns, "")
    return partitions.get(named, ())
