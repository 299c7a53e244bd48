"""The job file to begin with: what both servers said, as commented HOCON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.commands.arguments import INIT_KEYS, Arguments
from pipeline.console import logs
from pipeline.console.formatting import listed, plural
from pipeline.console.wrapping import say
from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.planning import survey
from pipeline.planning.collection_survey import Rows
from pipeline.planning.survey import ClusterSurvey, Survey
from transforms.errors import ConfigError, PreflightError, UnsupportedField
from transforms.milvus.description import Description
from transforms.milvus.endpoint import is_reference

LISTED = 500
"""Collections that a file names; of more, the file copies every loaded one."""

MOST_WORKERS = 4
"""More than a first run needs, whatever the machine."""

_HEAD = """\
# A Kitelift job, begun by `kitelift init`: what to copy, from where to where.
#
#     kitelift doctor --config={name}     is all well with servers, ledger and machine?
#     kitelift plan   --config={name}     what would happen; nothing is written
#     kitelift run    --config={name}     do it; after a crash, the same command goes on
#
# A line that begins with "# key =" shows a key with its default: take the # off to change it.
# docs/configuration.md has all keys.
"""

_ENV = {
    "parallelism": "how many copy at the same time",
    "state": "where ledger and reports go: a folder or a URI",
    "verify": "proof: full (content), sample, count, none",
    "accept": "findings that shall not stop the job",
}
"""The keys of `env` that the file shows, and what of each."""


def init(arguments: Arguments) -> int:
    """Asks both servers and writes a job file; never over another one.

    Raises:
        ConfigError: an option is wrong, or the file is there already.
        PreflightError: the source cannot be asked.
    """
    path = arguments.config
    if arguments.config_uri or arguments.job:
        option = "--job" if arguments.job else f"--config={arguments.config_uri}"
        raise ConfigError([f"{option}: init writes a file on this host; name it by --config=FILE"])
    if path.exists():
        raise ConfigError([f"{path}: is there already; choose another name by --config=FILE"])
    job = _job(arguments.overrides, path.parent)
    found = survey.survey_clusters(job)
    if found.source.problem:
        raise PreflightError([f"source {_unasked(found.source)}; no file was written."])
    if not found.source.has_database:
        raise PreflightError([f"source {found.source.url}: {_no_database(found.source)}"])
    _write(path, render(job, arguments.overrides, found, path))
    for line in _said(found, arguments.overrides, path):
        say(line)
    if found.target.problem:
        logs.say(
            f"warning: {path} was written without the target, which could not be asked: "
            f"{_unasked(found.target)}. Correct sink.Milvus.url there, or delete the file and run "
            "init again.",
            "warning",
        )
    return 0


def render(
    job: JobConfig, given: Mapping[str, str], found: Survey, path: Path, cores: int | None = None
) -> str:
    """Returns the text of the file; `given` are the values of the command line by their key."""
    workers = min(MOST_WORKERS, cores or os.cpu_count() or 1)
    blocks = [
        _HEAD.format(name=path),
        _env(job, given, workers),
        _side("source", given, found.source, [*_collections(found), *_SOURCE_MORE]),
        _side("sink", given, found.target, _sink_more(job, found.target)),
    ]
    return "\n".join(blocks)


_SOURCE_MORE = (
    "# batch_size = 16384              # rows: the largest page; fewer where rows are large",
    "# auto_load = false               # true: load what is not loaded, release it at the end",
)


def _sink_more(job: JobConfig, target: ClusterSurvey) -> Iterator[str]:
    missing = target.problem is None and not target.has_database
    if missing:
        yield f"create_database = true            # {job.sink.database} is not there yet"
    yield "# batch_size = 16384              # rows: the largest insert; fewer where rows are large"
    yield "# enable_auto_id = false          # true: the target makes new keys"
    yield '# data_save_mode = "ERROR_WHEN_DATA_EXISTS"    # or APPEND_DATA, DROP_DATA'
    yield '# collection_rename = {}          # { docs = articles, "old_*" = "new_*" }'


def _job(given: Mapping[str, str], folder: Path) -> JobConfig:
    """Checks the options as the keys of a job file that they become."""
    needed = [f"{option}: missing; write {option}=http://host:19530" for option in _missing(given)]
    if needed:
        raise ConfigError(needed)
    try:
        return config.parse(
            "source { Milvus {} }\nsink { Milvus {} }", base=folder, overrides=given
        )
    except ConfigError as error:
        options = {f"--{key}:": f"{option}:" for option, key in INIT_KEYS.items()}
        split = [line.partition(" ") for line in error.problems]
        raise ConfigError([f"{options.get(p, p)} {why}" for p, _, why in split]) from None


def _missing(given: Mapping[str, str]) -> list[str]:
    return [option for option in ("--source", "--target") if INIT_KEYS[option] not in given]


def _env(job: JobConfig, given: Mapping[str, str], workers: int) -> str:
    """The block `env`: what the command line says, and how many workers suit this machine."""
    written = {"env.parallelism", *given}
    values = {key: getattr(job.env, key) for key in _ENV}
    if "env.parallelism" not in given:
        values["parallelism"] = workers
    lines = (
        f"{'' if f'env.{key}' in written else '# '}{key} = {_text(values[key])}".ljust(31)
        + f" # {what}"
        for key, what in _ENV.items()
    )
    return "".join(["env {\n", *(f"  {line}\n" for line in lines), "}\n"])


def _side(
    name: str, given: Mapping[str, str], side: ClusterSurvey, more: Iterator[str] | list[str]
) -> str:
    keys = [
        f"{path.rpartition('.')[2]} = {_text(value)}"
        for path, value in given.items()
        if path.startswith(f"{name}.")
    ]
    keys[0] += f"   # {_answer(side)}"
    if f"{name}.Milvus.token" not in given:
        keys.append('# token = "env:NAME"              # or file:/path, or user:password')
    if f"{name}.Milvus.database" not in given:
        there = f"there are: {listed(sorted(side.databases), most=10)}" if side.databases else ""
        left_out = "left out, the source's" if name == "sink" else ""
        notes = "; ".join(note for note in (left_out, there) if note)
        keys.append(f"# database = {_text(side.database)}" + (f"    # {notes}" if notes else ""))
    lines = "".join(f"    {line}\n" for line in [*keys, *more])
    return f"{name} {{\n  Milvus {{\n{lines}  }}\n}}\n"


def _answer(side: ClusterSurvey) -> str:
    return "could not be asked" if side.problem else f"Milvus {side.version}"


def _collections(found: Survey) -> list[str]:
    """The list of collections; what is not loaded is shown, and not copied."""
    described = found.source.described
    if len(described) > LISTED:
        count = plural(len(described), "collection")
        return [f"# collections = []                # left out: every loaded one of {count}"]
    lines = [
        f"  {'# ' if found.chosen and each.loaded is False else ''}{_text(name)},"
        f"   # {_facts(each, found.source.rows[name])}"
        for name, each in sorted(described.items())
    ]
    if not found.chosen:
        named = (f"# {line.strip()}" for line in lines)
        why = "No collection is loaded. Name those to copy; auto_load = true loads them meanwhile."
        return [f"# {why}", "# collections = [", *named, "# ]"]
    return ["# Left out, every loaded collection is copied.", "collections = [", *lines, "]"]


def _facts(each: Description, rows: Rows) -> str:
    """What to know of a collection before one chooses it."""
    parts = [plural(rows.count, "row")]
    try:
        parts.append(plural(len(each.schema.fields), "field"))
    except UnsupportedField as error:
        parts.append(f"cannot be copied: {error.field} has the type {error.data_type}")
    if each.loaded is False:
        parts.append("not loaded")
    return ", ".join(parts)


def _write(path: Path, text: str) -> None:
    """Writes a file that nobody else may read, since it may hold a token."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from error


def _said(found: Survey, given: Mapping[str, str], path: Path) -> Iterator[str]:
    rows = sum(found.source.rows[name].count for name in found.chosen)
    chosen = plural(len(found.chosen), "loaded collection")
    yield f"{path}: {chosen}, {plural(rows, 'row')} of {found.source.url}."
    if not found.target.problem and not found.target.has_database:
        yield f"The target {_no_database(found.target)} The file has it created."
    tokens = (value for key, value in given.items() if key.endswith(".token"))
    if any(token and not is_reference(token) for token in tokens):
        yield "It holds a token in plain text; env:NAME or file:/path would keep it out."
    yield f"Next: kitelift doctor --config={path}"


def _text(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _no_database(side: ClusterSurvey) -> str:
    return f"has no database {side.database!r}; there are: {', '.join(side.databases)}."


def _unasked(side: ClusterSurvey) -> str:
    """Says why a server could not be asked; which call it was first is nothing to a user."""
    return f"{side.url}: {side.problem.detail}" if side.problem else side.url
