"""The job file: HOCON text -> JobConfig, or all that is wrong with it at once."""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pyhocon import ConfigFactory, ConfigTree
from pyhocon.exceptions import (
    ConfigException,
    ConfigSubstitutionException,
)
from pyparsing import ParseBaseException, ParserElement

from pipeline.jobfile import locations, parquet, seatunnel
from pipeline.jobfile.block import Block
from pipeline.jobfile.draft import (
    PLUGIN,
    TOPS,
    Draft,
    find_change_stream,
    flatten,
    number_transforms,
)
from pipeline.jobfile.includes import rewriting_includes
from pipeline.jobfile.job import BLOCKS, Env, JobConfig, Sink, Source
from pipeline.jobfile.seatunnel import NOT_HERE, NOTED, SPELLINGS
from pipeline.jobfile.transform import PLUGINS, REFUSED, Plugin
from pipeline.jobfile.values import nearest, suggestion
from pipeline.jobfile.variables import VARIABLE, Given
from transforms.errors import ConfigError

B = TypeVar("B", bound=Block)

__all__ = [
    "NOTED",
    "NOT_HERE",
    "SPELLINGS",
    "Env",
    "JobConfig",
    "Sink",
    "Source",
    "load",
    "parse",
]

# Stands for the value of a variable that is not set; private characters, so that no text has it.
_UNSET = re.compile("\ue000(.*?)\ue001")
_SET = "export it before the run, or give it by -i NAME=VALUE"


_NO_STREAM = (
    "there is no change stream here: copy by `kitelift run`, then bring later changes over by "
    "`kitelift sync`"
)


def load(
    place: Path | str,
    *,
    text: str = "",
    overrides: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    ledger_only: bool = False,
) -> JobConfig:
    """Reads a job file.

    Args:
        place: its path, or a URI.
        text: the job itself; the file is not looked for.
        overrides: values by path (`env.verify`) from the command line.
        variables: values of `${name}` by name, from the command line; before the environment's.
        ledger_only: whether nothing but the job's ledger is needed: tokens, PEM files and functions
            are not looked for.

    Raises:
        ConfigError: with every problem of the file, a line each.
    """
    read = partial(parse, overrides=overrides, variables=variables, ledger_only=ledger_only)
    if text:
        return read(text, base=Path())
    text, base = locations.read_text(place), Path(place).parent
    try:
        return read(text, base=base)
    except ConfigError as error:
        named = (
            f"{place}: {problem}" if problem.startswith("line ") else problem
            for problem in error.problems
        )
        raise ConfigError([*named]) from None


def with_resolved_state(job: JobConfig, folder: Path) -> JobConfig:
    """Returns a job whose ledger is relative to the folder of its file."""
    state = locations.resolve_state(job.env.state, folder, job.job_id)
    return job.model_copy(update={"env": job.env.model_copy(update={"state": state})})


def parse(
    text: str,
    *,
    base: Path,
    overrides: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
    ledger_only: bool = False,
) -> JobConfig:
    """Parses a job, as `load` does; `base` is the folder that its includes are relative to.

    Raises:
        ConfigError: with every problem of the text, a line each.
    """
    seen = Counter[str]()
    draft = Draft(ledger_only=ledger_only, variables=Given(variables or {}))
    kinds, text = [*PLUGINS, *REFUSED], number_transforms(draft.variables.collect(text), seen)
    with rewriting_includes(
        lambda more: number_transforms(draft.variables.collect(more), seen, included=kinds)
    ):
        tree = draft.variables.fill_quoted(_evaluate(text, base, draft))
    if stream := find_change_stream(tree):
        raise ConfigError([f"{stream}: {_NO_STREAM}"])
    flatten(parquet.replace_blocks(tree, draft), text, draft)
    _judge_variables(draft, variables or {})
    seatunnel.reread_limits(draft)
    _respell(draft)
    _override(draft, overrides or {})
    _judge_known(draft)
    seatunnel.refuse_earliest(draft)
    seatunnel.rename(draft)
    _wire(draft)
    return _build(draft, base)


def _evaluate(text: str, base: Path, draft: Draft) -> dict[str, Any]:
    """HOCON text to plain values; where a variable is not set, its name in private characters."""
    unset: dict[str, str] = {}
    while (tree := _resolved(text, base, draft, unset)) is None:
        pass
    if not isinstance(tree, ConfigTree):
        raise ConfigError(["the file must hold blocks: env, source and sink"])
    draft.unset.update(unset)
    return dict(tree.as_plain_ordered_dict())


def _resolved(text: str, base: Path, draft: Draft, unset: dict[str, str]) -> Any:
    """The tree, or None when one more variable turned out to be unset: pyhocon tells one a time."""
    try:
        with _held_back(draft):
            tree = ConfigFactory.parse_string(text, str(base), resolve=False)
            if not isinstance(tree, ConfigTree):
                return tree
            # Only now have all included files been read, and with them their variables.
            return ConfigFactory.from_dict({**unset, **draft.variables.values}).with_fallback(tree)
    except ConfigSubstitutionException as error:
        names = VARIABLE.findall(str(error))
        problem = "a ${...} refers to itself: " + ", ".join(names)
        if "cycles" not in str(error) and names and names[0] not in unset:
            unset[names[0]] = f"\ue000{names[0]}\ue001"
            return None
    except Exception as error:  # noqa: BLE001 - pyhocon has no one error for what it cannot read
        problem = _unreadable(error, text)
    # Raised out here, it does not carry pyhocon's error, which holds values.
    raise ConfigError([problem])


@contextmanager
def _held_back(draft: Draft) -> Iterator[None]:
    """Keeps pyhocon from logging the file's values; a missing include is a problem, not a log line.

    Also puts back the white space that its parser sets for all of pyparsing.
    """

    def take(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and isinstance(record.args, tuple):
            draft.refuse(f'include "{record.args[0]}"', "no such file")
        return False

    logger = logging.getLogger("pyhocon.config_parser")
    level = logger.level
    logger.setLevel(logging.WARNING)  # However much else is logged: the filter is our ear.
    logger.addFilter(take)
    white = ParserElement.DEFAULT_WHITE_CHARS
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            yield
    finally:
        ParserElement.set_default_whitespace_chars(white)
        logger.removeFilter(take)
        logger.setLevel(level)


def _unreadable(error: Exception, text: str) -> str:
    """Says why; never more of the text than one character, as it may be a secret's."""
    if isinstance(error, ParseBaseException):
        return _misplaced(error, text)
    if isinstance(error, OSError):
        return f"include: {error.filename}: {error.strerror}"
    if isinstance(error, RecursionError):
        return "a file includes itself, or blocks are nested too deep"
    if isinstance(error, ConfigException):
        return "a key is given once as a value and once as a block or list; keep one"
    return f"the text cannot be read as HOCON ({type(error).__name__})"


def _misplaced(error: ParseBaseException, text: str) -> str:
    char = error.pstr[error.loc : error.loc + 1]
    if not char:
        why = "the text ends inside of a block or list; a closing } or ] is missing"
    elif char == '"':
        why = "a double quote stands where none can, or its text does not end on this line"
    elif char in "`+?!@*&^$\\":
        why = f"text with {char} must stand in double quotes"
    else:
        why = f"{json.dumps(char)} cannot stand here; a value is missing, or a bracket is too many"
    file = "" if error.pstr == text else "in an included file, "
    return f"{file}line {error.lineno}, column {error.column}: {why}"


def _judge_variables(draft: Draft, variables: Mapping[str, str]) -> None:
    """Refuses those without a value; notes those of the command line that no file uses."""
    _refuse_unset(draft)
    for name in variables:
        if name.partition(".")[0] in TOPS:
            draft.refuse(f"-i {name}", "names a block of the job file, and no variable")
    for name in draft.variables.unused:
        draft.note(f"-i {name}", f"has no effect: no ${{{name}}} is in the job file")


def _refuse_unset(draft: Draft) -> None:
    for path, value in list(draft.keys.items()):
        names = _UNSET.findall(json.dumps(value, default=str, ensure_ascii=False))
        if path in names:
            del draft.keys[path]  # it is there only because something refers to it
        elif names and draft.ledger_only and path.endswith(".token"):
            del draft.keys[path]
            draft.unset.difference_update(names)
        elif names:
            draft.refuse(path, f"${{{names[0]}}} is not set; {_SET}")
            draft.unset.difference_update(names)
    for name in draft.unset:
        draft.refuse(f"${{{name}}}", f"is not set; {_SET}")


def _respell(draft: Draft) -> None:
    """Moves each key to its one spelling; two for one key must agree, or stand in two blocks."""
    for spelling, path in SPELLINGS.items():
        if spelling not in draft.keys:
            continue
        value = draft.keys.pop(spelling)
        if path.endswith(".collections") and not isinstance(value, list):
            value = [value]
        other = draft.shown.get(path, path)
        same_block = other.rpartition(".")[0] == spelling.rpartition(".")[0]
        if path in draft.keys and (same_block or draft.keys[path] != value):
            draft.refuse(spelling, f"is also given as {other}; keep one")
        else:
            draft.keys[path] = value
            draft.shown[path] = spelling


def _override(draft: Draft, overrides: Mapping[str, str]) -> None:
    """Puts the command line's values over the file's; accepted codes are added to them."""
    for path, value in overrides.items():
        if path == "env.accept" and path in draft.keys:
            draft.keys[path] = [draft.keys[path], value]
        else:
            draft.keys[path] = value
        draft.shown[path] = f"--{path.removeprefix('env.')}"


def _judge_known(draft: Draft) -> None:
    """Refuses, or notes, what is known elsewhere and has no meaning here."""
    known = {f"{block}.{key}" for block, model in BLOCKS.items() for key in model.known()}
    for path in list(draft.keys):
        exact = path in NOT_HERE or path in NOTED
        if not exact and suggestion(path, [*SPELLINGS, *known], likeness=0.95):
            continue  # It has a meaning here, or is a misspelling of a key that has.
        if reason := seatunnel.reason_for(path, NOT_HERE):
            draft.refuse(path, reason)
        elif reason := seatunnel.reason_for(path, NOTED):
            del draft.keys[path]
            draft.note(path, f"has no effect: {reason}")


def _wire(draft: Draft) -> None:
    """Drops the names that wire plugins together: they are a chain, in the order of the file."""
    source, sink = f"source.{PLUGIN}", f"sink.{PLUGIN}"
    output = None
    for path in (source, *draft.transforms, sink):
        if path not in (source, sink) or draft.keys.get(f"{path}.plugin_name") == PLUGIN:
            draft.keys.pop(f"{path}.plugin_name", None)
        if path != source:
            _link(draft, path, output)
        output = _named(draft, path, "plugin_output", "result_table_name")
        output = "" if output is None and path in draft.transforms else output


def _link(draft: Draft, path: str, output: Any) -> None:
    """Refuses a plugin that names another input than the output of the plugin before it."""
    wanted = _named(draft, path, "plugin_input", "source_table_name")
    if wanted is not None and output is not None and wanted not in (output, [output]):
        before = "plugin before it" if draft.transforms else "source"
        why = f"is not what the {before} calls its output; remove both names"
        draft.refuse(f"{path}.plugin_input", why)


def _named(draft: Draft, path: str, *keys: str) -> Any:
    found = [draft.keys.pop(f"{path}.{key}", None) for key in keys]
    return next((each for each in found if each is not None), None)


def _build(draft: Draft, base: Path) -> JobConfig:
    env = _validated(draft, "env", Env)
    source = _validated(draft, f"source.{PLUGIN}", Source)
    sink = _validated(draft, f"sink.{PLUGIN}", Sink)
    transforms = [_transform(draft, path, base) for path in draft.transforms]
    if draft.problems or not (env and source and sink):
        raise ConfigError(draft.lines())
    return JobConfig(
        env=env,
        source=source,
        sink=sink,
        transform=tuple(transform for transform in transforms if transform),
        notes=tuple(draft.notes.items()),
    )


def _transform(draft: Draft, path: str, base: Path) -> Plugin | None:
    name = path.removeprefix("transform.").partition("[")[0]
    if name == "Python" and (folder := str(base.resolve())) not in sys.path:
        sys.path.append(folder)  # A function may stand in a file beside the job's.
    if name in PLUGINS:
        draft.blocks.add(path)
        return _validated(draft, path, PLUGINS[name])
    known = f"; known are {', '.join(PLUGINS)}"
    hint = suggestion(name, [*PLUGINS, *REFUSED], likeness=0.75)
    draft.refuse(path, REFUSED.get(name) or f"unknown transform{hint or known}")
    return None


def _validated(draft: Draft, path: str, model: type[B]) -> B | None:
    if path not in draft.blocks:
        return None
    under = f"{path}."
    given = {
        key.removeprefix(under): draft.keys[key] for key in draft.keys if key.startswith(under)
    }
    try:
        return model.model_validate(given, context={"ledger_only": draft.ledger_only})
    except ValidationError as error:
        for wrong in error.errors(include_url=False, include_input=False):
            place = ".".join([path, *map(str, wrong["loc"][:1])])
            draft.refuse(place, _why(path, model, wrong))
    return None


def _why(path: str, model: type[Block], wrong: Mapping[str, Any]) -> str:
    if wrong["type"] == "missing":
        name = str(wrong["loc"][0])
        example = '"http://host:19530"' if name == "url" else "..."
        return f"missing; write {name} = {example}"
    if wrong["type"] == "extra_forbidden":
        return "unknown key" + _known(path, model, str(wrong["loc"][0]))
    return str(wrong.get("ctx", {}).get("error", wrong["msg"]))


_SHOWN = 5
"""Of the known keys, how many a message lists."""


def _known(path: str, model: type[Block], key: str) -> str:
    """Names the key that was meant, or else those that are nearest."""
    under = f"{path}."
    others = [*SPELLINGS, *SPELLINGS.values()]
    names = [name.removeprefix(under) for name in others if name.startswith(under)]
    near = ", ".join(nearest(key, model.known(), most=_SHOWN, likeness=0.0))
    return suggestion(key, [*model.known(), *names]) or (
        f"; the nearest keys are {near}; docs/configuration.md has all"
    )
