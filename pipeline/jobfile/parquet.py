"""`source { Parquet }` and `sink { Parquet }`: files that stand in for a server.

Their few keys become those of a Milvus block, so that all the rest of a job is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.values import suggestion
from transforms.milvus.endpoint import FILES

FILES_PLUGIN = "Parquet"

KEYS: Mapping[str, Mapping[str, str]] = {
    "source": {"path": "url", "collections": "collections"},
    "sink": {"path": "url"},
}
"""The keys of each side, and what they are called in a Milvus block."""

ALSO: Mapping[str, Mapping[str, Any]] = {
    # Whether the source had a collection loaded says nothing about its files.
    "source": {"auto_load": True},
    # A file holds what bytes allow.
    "sink": {"batch_size": 1_000_000},
}
"""What goes without saying."""


def replace_blocks(tree: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Puts a Milvus block in the place of each Parquet block; notes how the user spelt its keys."""
    return tree | {
        side: {PLUGIN: _block(side, tree[side][FILES_PLUGIN], draft)}
        for side in KEYS
        if isinstance(tree.get(side), dict)
        and list(tree[side]) == [FILES_PLUGIN]
        and isinstance(tree[side][FILES_PLUGIN], dict)
    }


def _block(side: str, given: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    known, made = KEYS[side], dict(ALSO[side])
    for key, value in given.items():
        path = f"{side}.{FILES_PLUGIN}.{key}"
        if key in known:
            draft.shown[f"{side}.{PLUGIN}.{known[key]}"] = path
            made[known[key]] = value
        else:
            hint = suggestion(key, [*known]) or f"; known keys are {', '.join(known)}"
            draft.refuse(path, f"unknown key{hint}")
    place = given.get("path")
    if isinstance(place, str) and place.strip():
        local = "://" not in place
        made["url"] = FILES + (str(Path(place).expanduser().absolute()) if local else place)
    else:
        made["url"] = f"{FILES}/"  # So that it is not asked for under another name.
        draft.refuse(f"{side}.{FILES_PLUGIN}.path", 'missing; write path = "/folder" or a URI')
    return made
