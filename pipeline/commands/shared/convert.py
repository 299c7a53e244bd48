"""`kitelift init --from`: converts a job file of SeaTunnel, VTS or milvus-migration.

No server is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pipeline.commands.shared import new_file
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import logs
from pipeline.console.formatting import listed, plural
from pipeline.console.wrapping import say
from pipeline.jobfile import (
    config,
    from_milvus_migration,
    from_seatunnel,
    job_text,
    locations,
)
from pipeline.jobfile.conversion import Conversion
from transforms.errors import ConfigError

_HEAD = """\
# A Kitelift job file, converted from {name} ({tool}) by `kitelift init --from`.
# A comment above a key says what is different; comments of the original are not copied.
#
#     kitelift plan --config={path}    show findings and plan; write nothing
#     kitelift run  --config={path}    copy and prove; run it again to resume
#
# docs/coming-from.md explains all keys.

"""

_YAML = (".yaml", ".yml")
_WORDS = ("source", "sink", "milvus")
_TOOLS = "SeaTunnel, VTS or milvus-migration"


def convert(arguments: Arguments) -> int:
    """Writes the converted job file, and says what to do before a run.

    Raises:
        ConfigError: the original cannot be read, or is not from Milvus to Milvus.
    """
    place, path = arguments.convert_from, arguments.config
    try:
        job = _converted(place)
        job.apply(arguments.overrides)
        has_token = job.comment_tokens()
        problems = _problems(job, path.parent, arguments.variables)
    except ConfigError as error:
        raise ConfigError([f"{place}: {problem}" for problem in error.problems]) from None
    head = _HEAD.format(name=Path(place).name, tool=job.tool, path=path)
    blocks = job_text.render(job, problems)
    new_file.write(path, head + blocks)
    for line in _summary(job, place, path, job.variables.required(blocks), has_token=has_token):
        say(line)
    if problems:
        what = f"{plural(len(problems), 'key')} not possible: {listed([*problems], most=10)}"
        logs.say(
            f"warning: {path}: {what}. `kitelift plan` refuses the file until you change this; "
            "the comments in the file say how.",
            "warning",
        )
    return 0


def _converted(place: str) -> Conversion:
    """Returns the conversion of a file, by the tool that its content is for."""
    local = "://" not in place
    if local and not Path(place).exists():
        raise ConfigError(["no such file"])
    try:
        text = locations.read_text(Path(place) if local else place)
    except ConfigError as error:
        raise ConfigError([why.removeprefix(f"{place}: ") for why in error.problems]) from None
    if not text.strip():
        raise ConfigError(["is empty"])
    if from_milvus_migration.is_migration_yaml(text):
        return from_milvus_migration.convert(text)
    if Path(place).suffix.lower() in _YAML and not text.lstrip().startswith("{"):
        raise ConfigError(["is not a migration.yaml: it has no block dumper, loader or meta"])
    if not all(word in text.lower() for word in _WORDS) and "include" not in text:
        raise ConfigError([f"is not a job file of {_TOOLS}: it names no Milvus as source and sink"])
    return from_seatunnel.convert(text, Path(place).parent)


def _problems(job: Conversion, folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the keys that Kitelift refuses, with the reasons; variables need not be set.

    Raises:
        ConfigError: there is a problem that no key of the file has.
    """
    try:
        config.parse(job_text.render(job, {}), base=folder, variables=variables, ledger_only=True)
    except ConfigError as error:
        named = dict(problem.partition(": ")[::2] for problem in error.problems)
    else:
        return {}
    problems: dict[str, str] = {}
    others = []
    for path, why in named.items():
        if config.is_unset(why):
            continue
        if place := _place(job, path):
            key = path.removeprefix(place)[1:] if path.startswith(f"{place}.") else ""
            line = f"{key}: {why}" if key else why
            problems[place] = f"{problems[place]}; {line}" if place in problems else line
        else:
            others.append(f"{path}: {why}")
    if others:
        raise ConfigError(others)
    return problems


def _place(job: Conversion, path: str) -> str:
    """Returns the key or the transform of the file that a problem is about; "" if there is none."""
    if path in job.keys or path in job.transforms:
        return path
    transforms = (name for name in job.transforms if path.startswith(f"{name}."))
    url = f"{path}.url"  # Of a problem that several keys of a side have.
    return next(transforms, url if url in job.keys else "")


def _summary(
    job: Conversion, place: str, path: Path, required: list[str], *, has_token: bool
) -> Iterator[str]:
    yield f"{path}: converted from {place} ({job.tool})."
    if required:
        shown = listed(required, most=10)
        yield f"Set before a run, in the environment or with -i NAME=VALUE: {shown}."
    if has_token:
        yield (
            "The file contains a token in plain text, as the original does; use env:NAME or "
            "file:/path instead."
        )
    yield f"Next: kitelift doctor --config={path}"
