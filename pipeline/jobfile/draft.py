"""A job file before validation: its keys by path, and its problems.

The blocks become a flat table (`source.Milvus.url`), so that a rule looks up a path and a problem
has a path. A path has at most one problem: the first one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.jobfile.spelling import suggestion
from pipeline.jobfile.variables import VARIABLE, Given

PLUGIN = "Milvus"
TOPS = ("env", "source", "transform", "sink")

_QUOTE = '"'
_MISSPELLED = 0.8
"""How similar a misspelled name is at least; names of other plugins are less similar."""

# Separates the name of a transform from its number: HOCON allows it in a key, and no name has it.
_NUMBER = "/"

# Every bracket that opens or closes a block or a list, with the name before it.
# Texts, comments and substitutions come first, so that brackets in them are skipped.
_BRACKETS = re.compile(
    r'"""[\s\S]*?"""'
    r"|(?:#|(?<!\S)//)[^\n]*"
    r"|\$\{[^}]*\}"
    r'|(?P<name>[\w.-]+|"[\w.-]+")?\s*(?:\+?=|:)?\s*(?P<open>[\[{])'
    r'|"(?:\\.|[^"\\\n])*"'
    r"|(?P<close>[\]}])"
)


@dataclass
class Draft:
    """The keys of a job file by path, and its problems."""

    keys: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # path -> the user's spelling
    blocks: set[str] = field(default_factory=set)  # paths of blocks to validate
    unset: set[str] = field(default_factory=set)  # unset variables without a problem so far
    transforms: list[str] = field(default_factory=list)  # paths of the blocks, in order
    ledger_only: bool = False  # do not check what only servers need
    variables: Given = field(default_factory=Given)  # from the command line
    notes: dict[str, str] = field(default_factory=dict)  # path -> note on an accepted key

    def refuse(self, path: str, why: str) -> None:
        """Removes a key and adds a problem, unless the path has one already."""
        self.keys.pop(path, None)
        self.problems.setdefault(path, why)

    def note(self, path: str, what: str) -> None:
        """Adds a note on a key; a note does not stop the job."""
        self.notes.setdefault(self.shown.get(path, path), what)

    def lines(self) -> list[str]:
        """Returns the problems in the user's spelling, block by block."""
        paths = sorted(self.problems, key=_rank)
        return [f"{self.shown.get(path, path)}: {self.problems[path]}" for path in paths]


def _rank(path: str) -> int:
    top = path.partition(".")[0]
    return TOPS.index(top) if top in TOPS else -1


def flatten(tree: dict[str, Any], text: str, draft: Draft) -> None:
    """Stores every key of the tree, which was parsed from `text`, under its path."""
    named = [*VARIABLE.findall(text), *draft.unset, *draft.variables.values]
    variables = {top for name in named for top in (name.split(".")[0], name.split(":")[0])}
    opened = _opened(text)
    draft.blocks.add("env")
    for top in (top for top in tree if top not in TOPS and top not in variables):
        hint = suggestion(top, TOPS) or f"; the blocks are {', '.join(TOPS)}"
        draft.refuse(top, f"unknown block{hint}")
    for top in TOPS:
        block = tree.get(top, {})
        if top == "env" and isinstance(block, dict):
            draft.keys.update(_leaves("env", block))
        elif top == "env" or not isinstance(block, dict | list):
            draft.refuse(top, f"must be a block; write {top} {{ ... }}")
        elif top == "transform":
            _flatten_transforms(_plugins(block), draft)
        else:
            _flatten_side(top, _plugins(block), opened[f"{top}.{PLUGIN}"], draft)


def _leaves(path: str, block: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if isinstance(value, dict):
            yield from _leaves(f"{path}.{key}", value)
        else:
            yield f"{path}.{key}", value


def _plugins(block: dict[str, Any] | list[Any]) -> list[tuple[str, Any]]:
    """Returns the plugins of a block with their names; the JSON form of a block is a list."""
    if isinstance(block, dict):
        return list(block.items())
    named = [item if isinstance(item, dict) else {} for item in block]
    return [(str(item.get("plugin_name", "?")), item) for item in named]


def _flatten_transforms(plugins: list[tuple[str, Any]], draft: Draft) -> None:
    """Stores the keys of each transform: `transform.Filter`, then `transform.Filter[2]`."""
    for named, blocks in plugins:
        name = named.strip('"').partition(_NUMBER)[0]
        for block in blocks if isinstance(blocks, list) else [blocks]:
            count = sum(
                transform.partition("[")[0] == f"transform.{name}" for transform in draft.transforms
            )
            path = f"transform.{name}[{count + 1}]" if count else f"transform.{name}"
            if not isinstance(block, dict):
                draft.refuse(path, f"must be a block; write {name} {{ ... }}")
                continue
            draft.transforms.append(path)
            draft.keys.update({f"{path}.{key}": value for key, value in block.items()})


def _flatten_side(side: str, plugins: list[tuple[str, Any]], opened: int, draft: Draft) -> None:
    """Stores the keys of the one plugin of a side."""
    names = [name for name, block in plugins if isinstance(block, dict)]
    for name in (name for name, block in plugins if not isinstance(block, dict)):
        draft.refuse(f"{side}.{name}", f"must be inside {side} {{ {PLUGIN} {{ ... }} }}")
    if not plugins:
        draft.refuse(side, f'missing; write {side} {{ {PLUGIN} {{ url = "http://host:19530" }} }}')
    elif len(names) > 1 or opened > 1:
        listed = " and ".join(names) if len(names) > 1 else f"{PLUGIN} twice"
        draft.refuse(side, f"has {listed}; keep one")
    elif names and names != [PLUGIN]:
        draft.refuse(f"{side}.{names[0]}", _unknown_plugin(names[0]))
    for name, block in plugins[:1]:
        if isinstance(block, dict) and suggestion(name, [PLUGIN], likeness=_MISSPELLED):
            draft.blocks.add(f"{side}.{PLUGIN}")
            draft.keys.update({f"{side}.{PLUGIN}.{key}": value for key, value in block.items()})


def _unknown_plugin(name: str) -> str:
    hint = (
        suggestion(name, [PLUGIN], likeness=_MISSPELLED) or f"; use {PLUGIN}, or Parquet for files"
    )
    return f"unknown plugin{hint}"


def find_change_stream(tree: dict[str, Any]) -> str:
    """Returns the path of a plugin that reads a change stream; "" if there is none."""
    for top in ("source", "sink"):
        block = tree.get(top)
        for name, _ in _plugins(block) if isinstance(block, dict | list) else ():
            if name.strip('"').casefold().endswith("-cdc"):
                return f"{top}.{name.strip(_QUOTE)}"
    return ""


def number_transforms(text: str, seen: Counter[str], *, included: Collection[str] = ()) -> str:
    """Returns the text with a number in the name of each further transform of the same kind.

    HOCON would merge blocks with the same name. `seen` counts them across included files. An
    include may be inside of `transform`; there, top-level names in `included` are transforms too.
    """
    numbered, at = "", 0
    for path, bracket in _blocks(text):
        top, _, name = path.rpartition(".")
        if not (top == "transform" and name) and path not in included:
            continue
        seen[name] += 1
        if seen[name] > 1:
            end = bracket.end("name") - bracket["name"].endswith('"')
            numbered, at = f"{numbered}{text[at:end]}{_NUMBER}{seen[name]}", end
    return numbered + text[at:]


def _opened(text: str) -> Counter[str]:
    """Counts how often each block is opened: HOCON would merge two into one."""
    return Counter(path for path, _ in _blocks(text))


def _blocks(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yields the path and bracket of each block or list; a path without a name ends in a dot."""
    path: list[str] = []
    for match in _BRACKETS.finditer(text):
        if match["open"]:
            path.append((match["name"] or "").strip('"'))
            yield ".".join(path).lstrip("."), match
        elif match["close"] and path:
            path.pop()
