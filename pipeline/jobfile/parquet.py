"""`source { Parquet }` and `sink { Parquet }`: files in place of a server.

Their keys are converted to those of a Milvus block, so that the rest of the job is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.spelling import suggestion
from transforms.milvus.endpoint import FILES

FILES_PLUGIN = "Parquet"

KEYS: Mapping[str, Mapping[str, str]] = {
    "source": {"path": "url", "collections": "collections"},
    "sink": {"path": "url"},
}
"""The keys of each side, with their names in a Milvus block."""

ALSO: Mapping[str, Mapping[str, Any]] = {
    # Files can be read whether or not the source had loaded the collection.
    "source": {"auto_load": True},
    # Only bytes limit the size of a file.
    "sink": {"batch_size": 1_000_000},
}
"""Keys that each side sets implicitly."""


def replace_blocks(tree: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Replaces each Parquet block by a Milvus block; stores the user's spelling of the keys."""
    return tree | {
        side: {PLUGIN: _block(side, tree[side][FILES_PLUGIN], draft)}
        for side in KEYS
        if isinstance(tree.get(side), dict)
        and list(tree[side]) == [FILES_PLUGIN]
        and isinstance(tree[side][FILES_PLUGIN], dict)
    }


def _block(side: str, files: Mapping[str, Any], draft: Draft) -> dict[str, Any]:
    known, block = KEYS[side], dict(ALSO[side])
    for key, value in files.items():
        path = f"{side}.{FILES_PLUGIN}.{key}"
        if key in known:
            draft.shown[f"{side}.{PLUGIN}.{known[key]}"] = path
            block[known[key]] = value
        else:
            hint = suggestion(key, [*known]) or f"; the keys are {', '.join(known)}"
            draft.refuse(path, f"unknown key{hint}")
    place = files.get("path")
    if isinstance(place, str) and place.strip():
        local = "://" not in place
        block["url"] = FILES + (str(Path(place).expanduser().absolute()) if local else place)
    else:
        block["url"] = f"{FILES}/"  # Prevents a second problem, about a missing url.
        draft.refuse(f"{side}.{FILES_PLUGIN}.path", 'missing; write path = "/folder" or a URI')
    return block
