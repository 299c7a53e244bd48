"""A job file of another tool, converted: its keys by Kitelift's names, with comments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.jobfile.draft import PLUGIN
from pipeline.jobfile.variables import Kept, is_marked
from transforms.milvus.endpoint import is_reference

DEFAULTS = {
    "data_save_mode": ("APPEND_DATA", "Kitelift stops if the target's collection has rows"),
    "create_index": (False, "Kitelift creates the source's indexes"),
    "load_collection": (False, "Kitelift loads what is loaded in the source"),
}
"""Keys of the sink with another default in other tools: that default, and what Kitelift does."""

IN_CLEAR = "in plain text, as in the original; env:NAME or file:/path keeps it out of this file"


@dataclass
class Conversion:
    """The keys of the new file by path, in the order of the original; tokens are not masked.

    Attributes:
        tool: the tool that the original is for.
        variables: the variables of the original, which are marks in the values.
        comments: lines above a key or a transform, by path.
        left_out: lines about keys that the new file does not have, by block.
        fallbacks: values by path that apply if the optional variable of the key is not set.
        defaults: the keys in `DEFAULTS` for which this tool has another default.
    """

    tool: str
    variables: Kept
    keys: dict[str, Any]
    transforms: list[str] = field(default_factory=list)
    comments: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    fallbacks: dict[str, Any] = field(default_factory=dict)
    defaults: tuple[str, ...] = tuple(DEFAULTS)

    def comment(self, path: str, line: str) -> None:
        """Adds a line above a key."""
        self.comments.setdefault(path, []).append(line)

    def leave_out(self, path: str, why: str) -> None:
        """Removes a key, with a line that says why."""
        self.keys.pop(path, None)
        block = next((name for name in BLOCKS if path.startswith(f"{name}.")), "env")
        line = f"left out {path.removeprefix(f'{block}.')}: {why}"
        self.left_out.setdefault(block, []).append(line)

    def apply(self, overrides: Mapping[str, str]) -> None:
        """Sets the values of the command line."""
        for path, value in overrides.items():
            self.keys[path] = value
            self.fallbacks.pop(path, None)

    def comment_tokens(self) -> bool:
        """Adds a line above each token in plain text; returns whether there is one."""
        paths = [f"{side}.{PLUGIN}.token" for side in ("source", "sink")]
        clear = [path for path in paths if self._in_clear(path)]
        for path in clear:
            self.comment(path, IN_CLEAR)
        return bool(clear)

    def _in_clear(self, path: str) -> bool:
        tokens = (self.keys.get(path), self.fallbacks.get(path))
        return any(isinstance(token, str) and _is_secret(token) for token in tokens)


def _is_secret(token: str) -> bool:
    """Whether a token is in plain text; one that ends in a colon is a user without a password."""
    return bool(token) and not (token.endswith(":") or is_marked(token) or is_reference(token))


BLOCKS = ("env", f"source.{PLUGIN}", "transform", f"sink.{PLUGIN}")
"""The blocks of a job file, in the order in which they are written."""
