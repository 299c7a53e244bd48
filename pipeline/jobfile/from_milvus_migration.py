"""Converts a `migration.yaml` of milvus-migration, the older tool for Milvus 2.x to Milvus 2.x."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import yaml

from pipeline.jobfile.conversion import Conversion
from pipeline.jobfile.draft import PLUGIN
from pipeline.jobfile.variables import Kept
from transforms.errors import ConfigError

TOOL = "milvus-migration"

_TOP = re.compile(r"^(dumper|loader|meta)[ \t]*:", re.MULTILINE | re.IGNORECASE)
_MODE = "milvus2x"
_FIELDS = "meta.fields"
_LEVELS = ("strong", "session", "bounded", "eventually")

_SIZES = "Kitelift limits the sizes of messages itself"
_WORKERS = "env.parallelism is the number of workers"

IGNORED = {
    "meta.mode": "Kitelift reads the schema from the source",
    "meta.version": "Kitelift asks the source for its version",
    "loader.worker.limit": _WORKERS,
    "dumper.worker.writer.buffersize": _SIZES,
    "source.milvus2x.grpc": _SIZES,
    "target.milvus2x.grpc": _SIZES,
    "source.mode": "Kitelift needs no storage between the servers",
    "target.mode": "Kitelift needs no storage between the servers",
}
"""Keys, with all keys below them, that have no effect; and why."""


def is_migration_yaml(text: str) -> bool:
    """Whether a text begins a block that only this tool has."""
    return bool(_TOP.search(text))


def convert(text: str) -> Conversion:
    """Converts the text of a file.

    Raises:
        ConfigError: the text is not YAML, or not from Milvus 2.x to Milvus 2.x.
    """
    variables = Kept(())
    keys = dict(_leaves("", _parsed(variables.collect(text))))
    if lists := [key for key, value in keys.items() if isinstance(value, list) and key != _FIELDS]:
        raise ConfigError([f"{key}: must be one value, not a list" for key in lists])
    mode = keys.pop("dumper.worker.workmode", _MODE)
    if str(mode).lower() != _MODE:
        raise ConfigError(
            [f"dumper.worker.workMode: Kitelift copies from Milvus 2.x only; must be {_MODE}"]
        )
    if missing := [side for side in _SIDES if f"{side}.{_MODE}.endpoint" not in keys]:
        raise ConfigError([f"{side}.{_MODE}.endpoint: missing" for side in missing])
    job = Conversion(TOOL, variables, {})
    for theirs, side in _SIDES.items():
        _convert_side(job, theirs, f"{side}.{PLUGIN}", keys)
    for key in [key for key in CONVERT if key in keys]:
        CONVERT[key](job, keys.pop(key))
    _convert_name(job, keys)
    for key, value in keys.items():
        why = next((why for path, why in IGNORED.items() if f"{key}.".startswith(f"{path}.")), "")
        if value not in (None, ""):
            job.leave_out(key, f"no effect; {why}" if why else "Kitelift does not know this key")
    if f"source.{PLUGIN}.collections" not in job.keys:
        missing_name = "every loaded collection is copied; the original gets a name by -t"
        job.left_out.setdefault(f"source.{PLUGIN}", []).append(f"no collections: {missing_name}")
    return job


_SIDES = {"source": "source", "target": "sink"}


class _Loader(yaml.SafeLoader):
    """Reads plain words as texts, so that a password or name such as `yes` or `012345` stays.

    Only decimal numbers, which stay the same as texts, and null are values.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _words, _begins in (
    ("int", "-?(0|[1-9][0-9]*)", "-0123456789"),
    ("null", "~|null|Null|NULL|", ("~", "n", "N", "")),
    ("merge", "<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_words})$"), [*_begins]
    )


def _parsed(text: str) -> dict[str, Any]:
    try:
        tree = yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ConfigError([f"{where}the text is not valid YAML"]) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(["the text is not valid YAML"]) from None
    if not isinstance(tree, dict):
        raise ConfigError(["the file must consist of blocks: dumper, meta, source and target"])
    return tree


def _leaves(path: str, tree: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yields the values by path in lower case: the tool ignores the case of keys."""
    for key, value in tree.items():
        under = f"{path}.{key}".lower().lstrip(".")
        if isinstance(value, dict):
            yield from _leaves(under, value)
        else:
            yield under, value


def _convert_side(job: Conversion, theirs: str, ours: str, keys: dict[str, Any]) -> None:
    """Converts the connection of one side."""
    under = f"{theirs}.{_MODE}"
    endpoint = str(keys.pop(f"{under}.endpoint"))
    job.keys[f"{ours}.url"] = endpoint if "://" in endpoint else f"http://{endpoint}"
    job.comment(f"{ours}.url", f"was {under}.endpoint")
    user, password = (keys.pop(f"{under}.{name}", None) for name in ("username", "password"))
    if user not in (None, ""):
        job.keys[f"{ours}.token"] = f"{user}:{'' if password is None else password}"
        job.comment(f"{ours}.token", f"was {under}.username and password")
    if database := keys.pop(f"{under}.database", None):
        job.keys[f"{ours}.database"] = str(database)
        if theirs == "target":
            job.keys[f"{ours}.create_database"] = True
            job.comment(f"{ours}.create_database", f"{TOOL} creates a missing database")
    elif theirs == "target" and f"source.{PLUGIN}.database" in job.keys:
        job.keys[f"{ours}.database"] = "default"
        job.comment(
            f"{ours}.database", f"the default of {TOOL}; in Kitelift, the source's database"
        )


def _convert_workers(job: Conversion, limit: Any) -> None:
    job.keys["env.parallelism"] = limit
    job.comment("env.parallelism", "was dumper.worker.limit")


def _convert_page(job: Conversion, rows: Any) -> None:
    path = f"source.{PLUGIN}.batch_size"
    job.keys[path] = rows
    job.comment(path, "was dumper.worker.reader.bufferSize")
    job.comment(path, "the largest page; the default is 16,384 rows, which is faster")


def _convert_fields(job: Conversion, fields: Any) -> None:
    items = fields if isinstance(fields, list) else [fields]
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if fields and not all(names):
        raise ConfigError([f"{_FIELDS}: must be a list such as [{{name: id}}, {{name: vector}}]"])
    if fields:
        job.transforms.append("transform.Filter")
        job.keys["transform.Filter.include_fields"] = names
        job.comment("transform.Filter", "was meta.fields")


def _convert_write_mode(job: Conversion, mode: Any) -> None:
    if str(mode).lower() == "upsert":
        path = f"sink.{PLUGIN}.data_save_mode"
        job.keys[path] = "APPEND_DATA"
        job.comment(path, "was writeMode: upsert; replaces rows of the target with the same key")


def _convert_dynamic(job: Conversion, closed: Any) -> None:
    if str(closed).lower() == "true":
        path = f"sink.{PLUGIN}.enable_dynamic_field"
        job.keys[path] = False
        job.comment(path, "was meta.milvus.closeDynamicField; if rows may lose dynamic keys, that "
                          "must be accepted")  # fmt: skip


def _convert_shards(job: Conversion, number: Any) -> None:
    job.keys[f"sink.{PLUGIN}.shard_num"] = number
    job.comment(f"sink.{PLUGIN}.shard_num", "was meta.milvus.shardNum")


def _convert_level(job: Conversion, level: Any) -> None:
    path = f"sink.{PLUGIN}.consistency_level"
    if str(level).lower() in _LEVELS:
        job.keys[path] = level
        job.comment(path, "was meta.milvus.consistencyLevel")
    elif level:
        job.leave_out(path, f"{level} is not a level; Kitelift keeps the source's")


def _convert_auto_id(job: Conversion, text: Any) -> None:
    if str(text).lower() == "true":
        path = f"sink.{PLUGIN}.enable_auto_id"
        job.keys[path] = True
        job.comment(path, "was meta.milvus.autoId")
    elif text not in (None, ""):
        job.leave_out("meta.milvus.autoId", "Kitelift keeps the source's keys and setting")


def _convert_name(job: Conversion, keys: dict[str, Any]) -> None:
    """Converts the collection, and its name in the target."""
    old, new = keys.pop("meta.collection", None), keys.pop("meta.milvus.collection", None)
    if old:
        job.keys[f"source.{PLUGIN}.collections"] = [str(old)]
        job.comment(f"source.{PLUGIN}.collections", "was meta.collection")
    if new and new != old:
        # Not collection_rename: a variable cannot be the name of a key.
        job.keys[f"sink.{PLUGIN}.collection"] = str(new)
        job.comment(f"sink.{PLUGIN}.collection", "was meta.milvus.collection")


CONVERT: dict[str, Callable[[Conversion, Any], None]] = {
    "dumper.worker.limit": _convert_workers,
    "dumper.worker.reader.buffersize": _convert_page,
    _FIELDS: _convert_fields,
    "meta.milvus.closedynamicfield": _convert_dynamic,
    "meta.milvus.shardnum": _convert_shards,
    "meta.milvus.consistencylevel": _convert_level,
    "meta.milvus.autoid": _convert_auto_id,
    "target.milvus2x.writemode": _convert_write_mode,
}
"""How each key becomes one of Kitelift; keys in lower case."""
