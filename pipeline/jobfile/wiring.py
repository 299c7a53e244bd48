"""The names that connect the plugins of a job file: plugins form a chain in the file's order."""

from __future__ import annotations

from typing import Any

from pipeline.jobfile.draft import PLUGIN, Draft

CONNECTING = ("plugin_output", "result_table_name", "plugin_input", "source_table_name")
"""The keys whose values are such names: of an output, then of an input; each has an older name."""


def check_wiring(draft: Draft) -> None:
    """Drops the names that connect plugins: plugins form a chain in the order of the file."""
    source, sink = f"source.{PLUGIN}", f"sink.{PLUGIN}"
    output = None
    for path in (source, *draft.transforms, sink):
        if path not in (source, sink) or draft.keys.get(f"{path}.plugin_name") == PLUGIN:
            draft.keys.pop(f"{path}.plugin_name", None)
        if path != source:
            _check_input(draft, path, output)
        output = _pop(draft, path, "plugin_output", "result_table_name")
        output = "" if output is None and path in draft.transforms else output


def _check_input(draft: Draft, path: str, output: Any) -> None:
    """Refuses a plugin whose input is not the output of the previous plugin."""
    wanted = _pop(draft, path, "plugin_input", "source_table_name")
    if wanted is not None and output is not None and wanted not in (output, [output]):
        previous = "previous plugin" if draft.transforms else "source"
        why = f"differs from plugin_output of the {previous}; remove both keys"
        draft.refuse(f"{path}.plugin_input", why)


def _pop(draft: Draft, path: str, *keys: str) -> Any:
    """Removes the keys; returns the first value that is not null."""
    values = [draft.keys.pop(f"{path}.{key}", None) for key in keys]
    return next((value for value in values if value is not None), None)
