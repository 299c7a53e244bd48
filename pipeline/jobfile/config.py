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
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pyhocon import ConfigFactory, ConfigTree
from pyhocon.exceptions import (
    ConfigException,
    ConfigSubstitutionException,
)
from pyparsing import ParseBaseException, ParserElement

from pipeline.jobfile import parquet, places
from pipeline.jobfile.block import Block
from pipeline.jobfile.draft import PLUGIN, VARIABLE, Draft, apart, lay_out
from pipeline.jobfile.includes import rewritten
from pipeline.jobfile.job import BLOCKS, Env, JobConfig, Sink, Source
from pipeline.jobfile.transform import PLUGINS, REFUSED, Plugin
from pipeline.jobfile.values import suggestion
from transforms.errors import ConfigError

B = TypeVar("B", bound=Block)

__all__ = ["Env", "JobConfig", "Sink", "Source", "load", "parse"]

_RESUMES = "a job resumes from its own ledger; remove the key"
_RETRIES = "each call is retried by itself, and the same command goes on; remove the key"
_ENGINE = "options of an engine are given on the command line; remove the key"
_AS_SOURCE = "it is taken from the source; remove the key"
_AS_IS = "values are copied as they are; remove the key"
_NAMES = "the target's collections are named by collection_rename; remove the key"

# What SeaTunnel and VTS know and what has no meaning here, with all that stands below it.
NOT_HERE: dict[str, str] = {
    "env.checkpoint": _RESUMES,
    "env.min-pause": _RESUMES,
    "env.job.retry": _RETRIES,
    "env.savemode": "the launcher makes the target's collections; remove the key",
    "env.shade": "encrypted job files are not read; give tokens as env:NAME or file:/path",
    "env.jars": _ENGINE,
    "env.custom_parameters": _ENGINE,
    "env.pipeline_concurrency": "use env.parallelism; remove the key",
    "env.tag_filter": _ENGINE,
    "env.execution": _ENGINE,
    "env.flink": _ENGINE,
    "env.spark": _ENGINE,
    "sink.Milvus.enable_dynamic_field": _AS_SOURCE,
    "sink.Milvus.partition_key": _AS_SOURCE,
    "sink.Milvus.timezone": _AS_SOURCE,
    "sink.Milvus.function_list": _AS_SOURCE,
    "sink.Milvus.functionList": _AS_SOURCE,
    "sink.Milvus.struct_fields": "all fields are copied; remove the key",
    "sink.Milvus.collection": _NAMES,
    "sink.Milvus.collection_name": _NAMES,
    "sink.Milvus.batch_interval": "rows are sent as soon as they fill a batch; remove the key",
    "sink.Milvus.multi_table_sink_replica": "use env.parallelism; remove the key",
    "sink.Milvus.bulk_writer_config": "rows are inserted, no files are staged; remove the key",
    "sink.Milvus.geometry_string_coord_order": _AS_IS,
    "sink.Milvus.geometry_convert_mode": _AS_IS,
}

# Other spellings of a key, as SeaTunnel's files have them.
SPELLINGS = {
    "env.execution.parallelism": "env.parallelism",
    "source.Milvus.parallelism": "env.parallelism",
    "sink.Milvus.parallelism": "env.parallelism",
    "env.read_limit.rows_per_second": "source.Milvus.rate_limit_rows",
    "env.read_limit.bytes_per_second": "source.Milvus.rate_limit_bytes",
    "source.Milvus.rate_limit": "source.Milvus.rate_limit_rows",
    "sink.Milvus.rate_limit": "sink.Milvus.rate_limit_rows",
    "source.Milvus.collection": "source.Milvus.collections",
    "source.Milvus.collection_name": "source.Milvus.collections",
    "source.Milvus.result_table_name": "source.Milvus.plugin_output",
    "sink.Milvus.source_table_name": "sink.Milvus.plugin_input",
}

# Stands for the value of a variable that is not set; private characters, so that no text has it.
_UNSET = re.compile("\ue000(.*?)\ue001")


def load(
    place: Path | str,
    *,
    text: str = "",
    overrides: Mapping[str, str] | None = None,
    ledger_only: bool = False,
) -> JobConfig:
    """Reads a job file.

    Args:
        place: its path, or a URI.
        text: the job itself; the file is not looked for.
        overrides: values by path (`env.verify`) from the command line.
        ledger_only: whether nothing but the job's ledger is needed: tokens, PEM files and functions
            are not looked for.

    Raises:
        ConfigError: with every problem of the file, a line each.
    """
    if text:
        return parse(text, base=Path(), overrides=overrides, ledger_only=ledger_only)
    text, base = places.text_of(place), Path(place).parent
    try:
        return parse(text, base=base, overrides=overrides, ledger_only=ledger_only)
    except ConfigError as error:
        named = (
            f"{place}: {each}" if each.startswith("line ") else each for each in error.problems
        )
        raise ConfigError([*named]) from None


def beside(job: JobConfig, folder: Path) -> JobConfig:
    """Returns a job whose ledger is relative to the folder of its file."""
    state = places.of_state(job.env.state, folder, job.job_id)
    return job.model_copy(update={"env": job.env.model_copy(update={"state": state})})


def parse(
    text: str,
    *,
    base: Path,
    overrides: Mapping[str, str] | None = None,
    ledger_only: bool = False,
) -> JobConfig:
    """Parses a job, as `load` does; `base` is the folder that its includes are relative to.

    Raises:
        ConfigError: with every problem of the text, a line each.
    """
    seen = Counter[str]()
    draft, text = Draft(ledger_only=ledger_only), apart(text, seen)
    kinds = [*PLUGINS, *REFUSED]
    with rewritten(lambda included: apart(included, seen, included=kinds)):
        tree = _evaluate(text, base, draft)
    lay_out(parquet.stand_in(tree, draft), text, draft)
    _refuse_unset(draft)
    _respell(draft)
    _override(draft, overrides or {})
    _refuse_known(draft)
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
            tree = ConfigFactory.parse_string(text, str(base), resolve=not unset)
            return tree.with_fallback(ConfigFactory.from_dict(unset)) if unset else tree
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


def _refuse_unset(draft: Draft) -> None:
    for path, value in list(draft.keys.items()):
        names = _UNSET.findall(json.dumps(value, default=str, ensure_ascii=False))
        if path in names:
            del draft.keys[path]  # it is there only because something refers to it
        elif names and draft.ledger_only and path.endswith(".token"):
            del draft.keys[path]
            draft.unset.difference_update(names)
        elif names:
            draft.refuse(path, f"${{{names[0]}}} is not set; export it before the run")
            draft.unset.difference_update(names)
    for name in draft.unset:
        draft.refuse(f"${{{name}}}", "is not set; export it before the run")


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


def _refuse_known(draft: Draft) -> None:
    """Refuses what is known elsewhere, and has no meaning here."""
    for path in list(draft.keys):
        if reason := _no_meaning(path):
            draft.refuse(path, reason)


def _no_meaning(path: str) -> str:
    """Why a key has no meaning here; one that has, or is a misspelling of it, is for later."""
    known = (f"{block}.{key}" for block, model in BLOCKS.items() for key in model.known())
    if path in NOT_HERE or suggestion(path, [*SPELLINGS, *known], likeness=0.95):
        return NOT_HERE.get(path, "")
    return next((why for key, why in NOT_HERE.items() if path.startswith(f"{key}.")), "")


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
        env=env, source=source, sink=sink, transform=tuple(each for each in transforms if each)
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


def _known(path: str, model: type[Block], key: str) -> str:
    """Names the key that was meant, or else all there are."""
    under = f"{path}."
    others = [*SPELLINGS, *SPELLINGS.values()]
    names = [name.removeprefix(under) for name in others if name.startswith(under)]
    return suggestion(key, [*model.known(), *names]) or (
        f"; known keys are {', '.join(model.known())}"
    )
