"""A job file in the making: its keys by path, and what is wrong with it.

The blocks become a flat table (`source.Milvus.url`), so that a rule is a look at a path and each
problem has its place. A path has one problem at most: the first one found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.jobfile.values import suggestion
from pipeline.jobfile.variables import VARIABLE, Given

PLUGIN = "Milvus"
TOPS = ("env", "source", "transform", "sink")

_QUOTE = '"'
_MISSPELT = 0.8
"""How like a name must be to be a misspelt one; that of another plugin is less."""

# Stands between the name of a transform and its number; no name has it, and HOCON takes it in one.
_AGAIN = "/"

# Every bracket that opens or closes a block or a list, with its name.
# Longer tokens come first: brackets in text, comments and substitutions do not count.
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
    """The keys of a job file by path, and what is wrong with it."""

    keys: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] = field(default_factory=dict)  # path -> how the user spelt it
    blocks: set[str] = field(default_factory=set)  # those that are there to be validated
    unset: set[str] = field(default_factory=set)  # variables that no problem names yet
    transforms: list[str] = field(default_factory=list)  # paths of the blocks, in order
    ledger_only: bool = False  # what only servers and workers need is not looked for
    variables: Given = field(default_factory=Given)  # variables of the command line
    notes: dict[str, str] = field(default_factory=dict)  # what is said of keys that are accepted

    def refuse(self, path: str, why: str) -> None:
        """Takes a key out; the first problem of a path is the one that is told."""
        self.keys.pop(path, None)
        self.problems.setdefault(path, why)

    def note(self, path: str, what: str) -> None:
        """Says something of a key that stops nothing."""
        self.notes.setdefault(self.shown.get(path, path), what)

    def lines(self) -> list[str]:
        """The problems as the user reads them, block by block."""
        paths = sorted(self.problems, key=_rank)
        return [f"{self.shown.get(path, path)}: {self.problems[path]}" for path in paths]


def _rank(path: str) -> int:
    top = path.partition(".")[0]
    return TOPS.index(top) if top in TOPS else -1


def flatten(tree: dict[str, Any], text: str, draft: Draft) -> None:
    """Puts every key of the tree that `text` stands for under its path."""
    named = [*VARIABLE.findall(text), *draft.unset, *draft.variables.values]
    variables = {top for name in named for top in (name.split(".")[0], name.split(":")[0])}
    opened = _opened(text)
    draft.blocks.add("env")
    for top in (top for top in tree if top not in TOPS and top not in variables):
        hint = suggestion(top, TOPS) or f"; known are {', '.join(TOPS)}"
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
    """The plugins of a block by name; in the JSON form of it each is an item that has its name."""
    if isinstance(block, dict):
        return list(block.items())
    named = [item if isinstance(item, dict) else {} for item in block]
    return [(str(item.get("plugin_name", "?")), item) for item in named]


def _flatten_transforms(plugins: list[tuple[str, Any]], draft: Draft) -> None:
    """Takes the keys of each transform: under `transform.Filter`, then `transform.Filter[2]`."""
    for named, given in plugins:
        name = named.strip('"').partition(_AGAIN)[0]
        for block in given if isinstance(given, list) else [given]:
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
    """Takes the keys of a side's one plugin."""
    names = [name for name, block in plugins if isinstance(block, dict)]
    for name in (name for name, block in plugins if not isinstance(block, dict)):
        draft.refuse(f"{side}.{name}", f"must stand in {side} {{ {PLUGIN} {{ ... }} }}")
    if not plugins:
        draft.refuse(side, f'missing; write {side} {{ {PLUGIN} {{ url = "http://host:19530" }} }}')
    elif len(names) > 1 or opened > 1:
        listed = " and ".join(names) if len(names) > 1 else f"{PLUGIN} twice"
        draft.refuse(side, f"has {listed}; a job has one {side}")
    elif names and names != [PLUGIN]:
        draft.refuse(f"{side}.{names[0]}", _unknown_plugin(names[0]))
    for name, block in plugins[:1]:
        if isinstance(block, dict) and suggestion(name, [PLUGIN], likeness=_MISSPELT):
            draft.blocks.add(f"{side}.{PLUGIN}")
            draft.keys.update({f"{side}.{PLUGIN}.{key}": value for key, value in block.items()})


def _unknown_plugin(name: str) -> str:
    hint = suggestion(name, [PLUGIN], likeness=_MISSPELT) or f"; the only one is {PLUGIN}"
    return f"unknown plugin{hint}"


def find_change_stream(tree: dict[str, Any]) -> str:
    """Returns the path of a plugin that reads a stream of changes; "" if the job has none."""
    for top in ("source", "sink"):
        block = tree.get(top)
        for name, _ in _plugins(block) if isinstance(block, dict | list) else ():
            if name.strip('"').casefold().endswith("-cdc"):
                return f"{top}.{name.strip(_QUOTE)}"
    return ""


def number_transforms(text: str, seen: Counter[str], *, included: Collection[str] = ()) -> str:
    """Gives transforms of one kind names of their own: HOCON would make one block of two.

    `seen` counts them from text to text. An included file may stand inside of the block, so there
    the names that are `included` are those of transforms at the top, too.
    """
    made, at = "", 0
    for path, found in _blocks(text):
        top, _, name = path.rpartition(".")
        if not (top == "transform" and name) and path not in included:
            continue
        seen[name] += 1
        if seen[name] > 1:
            end = found.end("name") - found["name"].endswith('"')
            made, at = f"{made}{text[at:end]}{_AGAIN}{seen[name]}", end
    return made + text[at:]


def _opened(text: str) -> Counter[str]:
    """Counts how often each block is opened: HOCON makes one of two, keeping the later keys."""
    return Counter(path for path, _ in _blocks(text))


def _blocks(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    """Yields the path of each block and list at its bracket; one without a name ends in a dot."""
    path: list[str] = []
    for found in _BRACKETS.finditer(text):
        if found["open"]:
            path.append((found["name"] or "").strip('"'))
            yield ".".join(path).lstrip("."), found
        elif found["close"] and path:
            path.pop()
