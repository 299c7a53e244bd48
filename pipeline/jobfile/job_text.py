"""Writes a converted job as HOCON, with comments."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from dateutil.relativedelta import relativedelta

from pipeline.jobfile.conversion import BLOCKS, DEFAULTS, Conversion
from pipeline.jobfile.draft import PLUGIN
from pipeline.jobfile.settings import BLOCKS as MODELS
from pipeline.jobfile.value_types import seconds_of
from pipeline.jobfile.variables import Kept

WIDTH = 100
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w-]*")
_ORIGINAL_DEFAULTS = "Other defaults in {tool}; remove the # to keep one:"


def render(job: Conversion, problems: Mapping[str, str]) -> str:
    """Returns the blocks of the file; `problems` are lines above keys that are not possible."""
    blocks = (_block(job, block, problems) for block in BLOCKS)
    return "\n".join(block for block in blocks if block)


def _block(job: Conversion, block: str, problems: Mapping[str, str]) -> str:
    if block == "transform":
        body = [line for path in job.transforms for line in _transform(job, path, problems)]
    else:
        body = [
            line
            for path in _sorted(job, block)
            for line in _key(job, path, path.removeprefix(f"{block}."), problems)
        ]
    body += [line for why in job.left_out.get(block, ()) for line in _comment(why)]
    if block == f"sink.{PLUGIN}":
        body += _defaults(job)
    if not body:
        return ""
    top, _, plugin = block.partition(".")
    return _braced(top, [_braced(plugin, body).rstrip()] if plugin else body)


def _transform(job: Conversion, path: str, problems: Mapping[str, str]) -> Iterator[str]:
    yield from _comments(job, path, problems)
    body = [
        line
        for key in job.keys
        if key.startswith(f"{path}.")
        for line in _key(job, key, key.removeprefix(f"{path}."), problems)
    ]
    name = path.removeprefix("transform.").partition("[")[0]
    yield from _braced(_name(name), body).splitlines()


def _key(job: Conversion, path: str, key: str, problems: Mapping[str, str]) -> Iterator[str]:
    yield from _comments(job, path, problems)
    values = [job.fallbacks[path]] if path in job.fallbacks else []
    for value in (*values, job.keys[path]):
        yield from f"{_path(key)} = {_value(value, job.variables)}".splitlines()


def _sorted(job: Conversion, block: str) -> list[str]:
    """Returns the keys of a block in the order of docs/configuration.md; others are last."""
    order = {f"{block}.{key}": number for number, key in enumerate(MODELS[block].known())}
    paths = (path for path in job.keys if path.startswith(f"{block}."))
    return sorted(paths, key=lambda path: order.get(path, len(order)))


def _comments(job: Conversion, path: str, problems: Mapping[str, str]) -> Iterator[str]:
    if path in job.comments:
        yield from _comment("; ".join(job.comments[path]))
    if path in problems:
        yield from _comment(f"NOT POSSIBLE: {problems[path]}")


def _defaults(job: Conversion) -> Iterator[str]:
    names = [name for name in job.defaults if f"sink.{PLUGIN}.{name}" not in job.keys]
    if names:
        yield from _comment(_ORIGINAL_DEFAULTS.format(tool=job.tool))
    for name in names:
        value, why = DEFAULTS[name]
        yield f"# {name} = {json.dumps(value)}".ljust(32) + f" # {why}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH - 6, initial_indent="# ", subsequent_indent="#   ", break_on_hyphens=False
    )


def _braced(name: str, body: list[str]) -> str:
    return f"{name} {{\n{textwrap.indent(chr(10).join(body), '  ')}\n}}\n"


def _path(key: str) -> str:
    """Returns a key such as `job.mode`; a part that is no plain name is quoted."""
    return ".".join(_name(part) for part in key.split("."))


def _name(text: str) -> str:
    plain = text.strip('"')
    return plain if _PLAIN_NAME.fullmatch(plain) else _quoted(plain)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _value(value: Any, variables: Kept) -> str:
    """Returns a value as HOCON; lists of blocks and long lists have an item per line."""
    if isinstance(value, str):
        return _text(value, variables)
    if isinstance(value, timedelta | relativedelta):
        return _quoted(f"{seconds_of(value):g} s")
    if isinstance(value, dict):
        items = [f"{_name(str(key))} = {_value(item, variables)}" for key, item in value.items()]
        return _enclosed("{", items, "}")
    if isinstance(value, list | tuple):
        return _enclosed("[", [_value(item, variables) for item in value], "]")
    return json.dumps(value, default=str)


def _enclosed(left: str, items: list[str], right: str) -> str:
    one_line = f"{left} {', '.join(items)} {right}" if left == "{" else f"[{', '.join(items)}]"
    if len(one_line) <= WIDTH - 30 or not items:
        return one_line.replace("{  }", "{}")
    lines = textwrap.indent(",\n".join(items), "  ")
    return f"{left}\n{lines}\n{right}"


def _text(text: str, variables: Kept) -> str:
    """Returns a text in quotes; its variables are outside of the quotes, next to them."""
    parts = variables.split(text)
    written = (
        part if number % 2 else _quoted(part)
        for number, part in enumerate(parts)
        if number % 2 or part or len(parts) == 1
    )
    return "".join(written)
