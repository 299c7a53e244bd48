"""Collections that are made for a moment, to see what a target makes of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from transforms.errors import Refused
from transforms.milvus.client import Client
from transforms.milvus.description import Description

SCRATCH = "kitelift_probe_"
"""Begins the name of such a collection."""


@contextmanager
def scratch(target: Client, job_id: str, wanted: Description) -> Iterator[str]:
    """A collection like the one that is wanted, without indexes and aliases; yields its name.

    A job has one name for them, so that what a run that was killed has left is dropped here.

    Raises:
        ServerError: the target does not make it, or does not drop it.
    """
    name = name_of(job_id)
    with contextlib.suppress(Refused):
        target.drop_collection(name)  # Shows, too, that this user may drop what comes now.
    target.create_collection(name, replace(wanted, aliases=(), indexes=()))
    try:
        yield name
    finally:
        target.drop_collection(name)


def name_of(job_id: str) -> str:
    """Returns what the scratch collections of a job are called."""
    return SCRATCH + hashlib.sha256(job_id.encode()).hexdigest()[:12]
