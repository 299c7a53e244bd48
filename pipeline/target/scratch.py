"""Scratch collections: created to see what the target does, then dropped."""

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
"""Prefix of the name of a scratch collection."""


@contextmanager
def scratch(target: Client, job_id: str, wanted: Description, *, beside: str) -> Iterator[str]:
    """Creates a collection like `wanted`, without indexes and aliases; yields its name.

    It is created in the database of the collection `beside`.

    A job always uses the same name, so the next run drops what a killed run left.

    Raises:
        ServerError: the target refuses to create it, or to drop it.
    """
    name = target.beside(beside, name_of(job_id))
    with contextlib.suppress(Refused):
        target.drop_collection(name)  # Also shows that this user may drop it later.
    target.create_collection(name, replace(wanted, aliases=(), indexes=()))
    try:
        yield name
    finally:
        target.drop_collection(name)


def name_of(job_id: str) -> str:
    """Returns the name of a job's scratch collections."""
    return SCRATCH + hashlib.sha256(job_id.encode()).hexdigest()[:12]
