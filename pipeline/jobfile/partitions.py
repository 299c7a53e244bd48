"""`partitions` of the source: the partitions to copy, for all collections or by collection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, Field

from pipeline.jobfile.patterns import fits
from pipeline.jobfile.value_types import read_names
from transforms.milvus.qualified_names import spellings


def _partitions(value: object) -> dict[str, tuple[str, ...]]:
    """Returns the names by collection; those of a list are for all collections."""
    if isinstance(value, list | tuple):
        return {"*": read_names(value)}
    if not isinstance(value, dict):
        raise ValueError('must be a list such as ["p1"], or a block such as { docs = ["p1"] }')
    names: dict[str, tuple[str, ...]] = {}
    for collection, item in _by_collection(value):
        try:
            names[collection] = read_names(item)
        except ValueError as error:
            raise ValueError(f"{collection} {error}") from None
    return names


def _by_collection(block: dict[object, object]) -> Iterator[tuple[str, object]]:
    """Yields each collection with its value.

    HOCON may have kept the quotes around a name, and splits one without quotes at its dots.
    """
    for name, item in block.items():
        plain = str(name).strip('"')
        if isinstance(item, dict) and item:
            yield from ((f"{plain}.{rest}", value) for rest, value in _by_collection(item))
        else:
            yield plain, item


Partitions = Annotated[
    dict[str, tuple[str, ...]],
    BeforeValidator(_partitions),
    Field(title="list of names, or lists by collection"),
]


def partitions_of(partitions: dict[str, tuple[str, ...]], collection: str) -> tuple[str, ...]:
    """Returns the partitions of a collection that the job file names; () for all.

    An exact name has priority over a pattern, and the first pattern over the others. In a job that
    copies several databases, a name with its database has priority over one without.

    >>> partitions_of({"*": ("new",), "docs": ("old",)}, "docs")
    ('old',)
    >>> partitions_of({"log_*": ("new",)}, "docs")
    ()
    >>> partitions_of({"docs": ("new",), "sales.docs": ("old",)}, "sales.docs")
    ('old',)
    """
    exact = [name for name in spellings(collection) if name in partitions]
    patterns = [name for name in partitions if fits(name, collection)]
    return partitions[(exact or patterns)[0]] if patterns else ()
