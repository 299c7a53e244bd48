"""Reads a job file: from HOCON text to a JobConfig, or to a list of all its problems."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from pipeline.jobfile import databases, hocon, locations, parquet, seatunnel
from pipeline.jobfile.block import Block
from pipeline.jobfile.draft import (
    PLUGIN,
    TOPS,
    Draft,
    find_change_stream,
    flatten,
    number_transforms,
)
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.seatunnel import SPELLINGS
from pipeline.jobfile.settings import Env, Sink, Source
from pipeline.jobfile.spelling import similar, suggestion
from pipeline.jobfile.transform import PLUGINS, REFUSED
from pipeline.jobfile.variables import Given
from pipeline.jobfile.wiring import check_wiring
from transforms.errors import ConfigError

B = TypeVar("B", bound=Block)

_UNSET = re.compile(hocon.placeholder("(.*?)"))
_SET = "export it before the run, or set it with -i NAME=VALUE"


_NO_STREAM = (
    "Kitelift does not read a change stream; copy with `kitelift run`, then transfer later changes "
    "with `kitelift sync`"
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
        text: the text of the job; if given, `place` is not read.
        overrides: values by path (`env.verify`) from the command line.
        variables: values of `${name}` by name, from the command line; they have priority over the
            environment.
        ledger_only: whether only the job's ledger is needed; then tokens, PEM files and functions
            need not exist.

    Raises:
        ConfigError: lists every problem of the file, one per line.
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
    """Returns the job with `env.state` relative to the folder of its job file."""
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
    """Parses the text of a job like `load`; includes are relative to the folder `base`.

    Raises:
        ConfigError: lists every problem of the text, one per line.
    """
    draft = Draft(ledger_only=ledger_only, variables=Given(variables or {}))
    read_keys(text, base, draft)
    _check_variables(draft, variables or {})
    seatunnel.reread_limits(draft)
    seatunnel.unify_spellings(draft)
    _apply_overrides(draft, overrides or {})
    _check_known(draft)
    seatunnel.refuse_earliest(draft)
    seatunnel.rename(draft)
    seatunnel.reread_functions(draft)
    seatunnel.reread_auto_ids(draft)
    check_wiring(draft)
    return _build(draft, base)


def read_keys(text: str, base: Path, draft: Draft) -> None:
    """Stores the keys of a HOCON text in the draft, and the problems of its form.

    Raises:
        ConfigError: the text is not HOCON, or it describes a change stream.
    """
    seen = Counter[str]()
    kinds, text = [*PLUGINS, *REFUSED], number_transforms(draft.variables.collect(text), seen)

    def rewrite(included: str) -> str:
        return number_transforms(draft.variables.collect(included), seen, included=kinds)

    tree = draft.variables.fill_quoted(hocon.evaluate(text, base, draft, rewrite))
    if stream := find_change_stream(tree):
        raise ConfigError([f"{stream}: {_NO_STREAM}"])
    flatten(parquet.replace_blocks(tree, draft), text, draft)


def is_unset(problem: str) -> bool:
    """Whether a problem of a key is that its variable is not set."""
    return problem.endswith(f"is not set; {_SET}")


def _check_variables(draft: Draft, variables: Mapping[str, str]) -> None:
    """Refuses variables without a value; notes those of the command line that no file uses."""
    _refuse_unset(draft)
    for name in variables:
        if name.partition(".")[0] in TOPS:
            draft.refuse(
                f"-i {name}",
                "begins with the name of a block; rename the variable",
            )
    for name in draft.variables.unused:
        draft.note(f"-i {name}", f"has no effect: the job file does not contain ${{{name}}}")


def _refuse_unset(draft: Draft) -> None:
    for path, value in list(draft.keys.items()):
        names = _UNSET.findall(json.dumps(value, default=str, ensure_ascii=False))
        if path in names:
            del draft.keys[path]  # The key exists only because something refers to it.
        elif names and draft.ledger_only and path.endswith(".token"):
            del draft.keys[path]
            draft.unset.difference_update(names)
        elif names:
            draft.refuse(path, f"${{{names[0]}}} is not set; {_SET}")
            draft.unset.difference_update(names)
    for name in draft.unset:
        draft.refuse(f"${{{name}}}", f"is not set; {_SET}")


def _apply_overrides(draft: Draft, overrides: Mapping[str, str]) -> None:
    """Applies the command line's values; codes of `--accept` are added to those of the file."""
    for path, value in overrides.items():
        if path == "env.accept" and path in draft.keys:
            draft.keys[path] = [draft.keys[path], value]
        else:
            draft.keys[path] = value
        draft.shown[path] = f"--{path.removeprefix('env.')}"


def _check_known(draft: Draft) -> None:
    """Refuses, or notes, the keys of SeaTunnel and VTS that have no meaning in Kitelift."""
    for path in list(draft.keys):
        if reason := seatunnel.unsupported(path):
            draft.refuse(path, reason)
        elif reason := seatunnel.without_effect(path):
            del draft.keys[path]
            draft.note(path, f"has no effect: {reason}")


def _build(draft: Draft, base: Path) -> JobConfig:
    env = _validated(draft, "env", Env)
    source = _validated(draft, f"source.{PLUGIN}", Source)
    sink = _validated(draft, f"sink.{PLUGIN}", Sink)
    if source and sink:
        databases.check(draft, source, sink)
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
        sys.path.append(folder)  # The function may be in a file next to the job file.
    if name in PLUGINS:
        draft.blocks.add(path)
        return _validated(draft, path, PLUGINS[name])
    hint = suggestion(name, [*PLUGINS, *REFUSED], likeness=0.75)
    hint = hint or similar(name, PLUGINS, "transforms")
    draft.refuse(path, REFUSED.get(name) or f"unknown transform{hint}")
    return None


def _validated(draft: Draft, path: str, model: type[B]) -> B | None:
    if path not in draft.blocks:
        return None
    under = f"{path}."
    values = {
        key.removeprefix(under): draft.keys[key] for key in draft.keys if key.startswith(under)
    }
    try:
        return model.model_validate(values, context={"ledger_only": draft.ledger_only})
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
    """Names the key that was meant, or else the nearest ones."""
    under = f"{path}."
    others = [*SPELLINGS, *SPELLINGS.values()]
    names = [name.removeprefix(under) for name in others if name.startswith(under)]
    return suggestion(key, [*model.known(), *names]) or similar(key, model.known(), "keys")
