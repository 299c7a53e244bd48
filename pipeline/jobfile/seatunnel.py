"""The keys of SeaTunnel's and VTS' job files that Kitelift spells differently or does not have.

Some are other spellings of a key. Some have no effect and get a note. Some are refused.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.patterns import is_pattern
from pipeline.jobfile.settings import BLOCKS
from pipeline.jobfile.spelling import suggestion
from pipeline.jobfile.target_functions import NO_EFFECT
from pipeline.jobfile.variables import PLACEHOLDERS

SPELLINGS = {
    "env.execution.parallelism": "env.parallelism",
    "source.Milvus.parallelism": "env.parallelism",
    "sink.Milvus.parallelism": "env.parallelism",
    "env.read_limit.rows_per_second": "source.Milvus.rate_limit_rows",
    "env.read_limit.bytes_per_second": "source.Milvus.rate_limit_bytes",
    "source.Milvus.rate_limit": "source.Milvus.rate_limit_rows",
    "sink.Milvus.rate_limit": "sink.Milvus.rate_limit_bytes",
    "source.Milvus.collection": "source.Milvus.collections",
    "source.Milvus.collection_name": "source.Milvus.collections",
    "source.Milvus.result_table_name": "source.Milvus.plugin_output",
    "sink.Milvus.source_table_name": "sink.Milvus.plugin_input",
    "sink.Milvus.collection_name": "sink.Milvus.collection",
    "sink.Milvus.functionList": "sink.Milvus.functions",
    "sink.Milvus.function_list": "sink.Milvus.functions",
}
"""Other spellings of keys, with the main spelling."""

_RESUMES = "a job resumes from its own ledger"
_RETRIES = "env.retry.max_outage limits retries, and the same command resumes the job"
_ENGINE = "engine options are set on the command line"

NOTED: dict[str, str] = {
    "env.checkpoint": _RESUMES,
    "env.min-pause": _RESUMES,
    "env.job.retry": _RETRIES,
    "env.savemode": "the launcher creates the target's collections",
    "env.jars": _ENGINE,
    "env.custom_parameters": _ENGINE,
    "env.pipeline_concurrency": "env.parallelism is the number of workers",
    "env.tag_filter": _ENGINE,
    "env.execution": _ENGINE,
    "env.flink": _ENGINE,
    "env.spark": _ENGINE,
    "sink.Milvus.enable_nullable_field": "fields are nullable if they are in the source",
    "sink.Milvus.batch_interval": "a batch is sent as soon as it is full",
    "sink.Milvus.multi_table_sink_replica": "env.parallelism is the number of workers",
    "sink.Milvus.bulk_writer_config": "Kitelift inserts rows and does not stage files",
}
"""Keys, with all keys below them, that have no effect and cannot change the result; and why."""

_AS_SOURCE = "Kitelift copies this from the source; remove the key"
_AS_IS = "Kitelift copies values unchanged; remove the key"

NOT_HERE: dict[str, str] = {
    "env.shade": "Kitelift does not read encrypted job files; set tokens as env:NAME or file:/path",
    "sink.Milvus.timezone": _AS_SOURCE,
    "sink.Milvus.write_mode": "Kitelift writes no change stream; remove the key, and transfer "
    "later changes with `kitelift sync`",
    "sink.Milvus.struct_fields": "Kitelift copies all fields; remove the key",
    "sink.Milvus.geometry_string_coord_order": _AS_IS,
    "sink.Milvus.geometry_convert_mode": _AS_IS,
}
"""Keys, with all keys below them, that would change the result in an unsupported way; and why."""

DIFFERENT: dict[str, str] = {
    "source.Milvus.batch_size": "the largest page; the default is 16,384 rows, which is faster",
    "sink.Milvus.batch_size": "the largest insert; the default is 16,384 rows, which is faster",
    "sink.Milvus.data_save_mode": "in SeaTunnel 2.3 and VTS 2.22.0, `DROP_DATA` and "
    "`ERROR_WHEN_DATA_EXISTS` do nothing; Kitelift does what they say, and "
    "`ERROR_WHEN_DATA_EXISTS` is its default",
    "sink.Milvus.create_index": "indexes keep all parameters; the default is `true`; `before` "
    "creates them before the rows, `AUTOINDEX` an AUTOINDEX for each vector",
    "sink.Milvus.load_collection": "the default is `as_source`",
    "sink.Milvus.enable_auto_id": "VTS ignores it; in Kitelift, `true` generates new keys",
    "sink.Milvus.enable_upsert": "applies if it is unknown whether a write arrived; otherwise "
    "Kitelift inserts. VTS ignores it",
    "sink.Milvus.enable_dynamic_field": "the default is as in the source; accept what `false` "
    "loses",
    "sink.Milvus.partition_key": "the default is as in the source",
    "sink.Milvus.field_schema": "fields that are not listed stay as in the source; VTS creates "
    "only the listed fields",
}
"""Keys that Kitelift has too, and what is different."""

_EMBEDS = "the rows already have vectors; remove the key"

EARLIEST: dict[str, str] = {
    "milvus_host": "is part of url in Kitelift",
    "milvus_port": "is part of url in Kitelift",
    "username": 'is part of token in Kitelift; write token = "USER:PASSWORD"',
    "password": 'is part of token in Kitelift; write token = "USER:PASSWORD"',
    "partition_field": "Kitelift copies partitions and their key from the source; remove the key",
    "openai_engine": _EMBEDS,
    "openai_api_key": _EMBEDS,
    "dimension": _EMBEDS,
    "embeddings_fields": _EMBEDS,
}
"""The keys of SeaTunnel's first Milvus sink (2.3.2 to 2.3.5), and what to write instead."""

TABLE_NAME, DATABASE_NAME = (f"${{{name}}}" for name in PLACEHOLDERS)

RATES = {
    "source": "is rows per second in Kitelift, for this job only; in SeaTunnel it is queries per "
    "second, each of up to batch_size rows, for all clients of the collection",
    "sink": "is MiB per second, as in SeaTunnel, but for this job only; SeaTunnel limits all "
    "clients of the collection",
}
"""What `rate_limit` means, by side: SeaTunnel sets properties of the collection in the server."""


def reason_for(path: str, known: dict[str, str]) -> str:
    """Returns the reason that `known` has for a key or for a key above it; "" if none.

    >>> reason_for("env.jars.x", {"env.jars": "no"}), reason_for("env.jarsx", {"env.jars": "no"})
    ('no', '')
    """
    return next((why for key, why in known.items() if f"{path}.".startswith(f"{key}.")), "")


def unsupported(path: str) -> str:
    """Returns why a key would change the result in an unsupported way; "" if it would not."""
    return "" if _is_near_known(path) else reason_for(path, NOT_HERE)


def without_effect(path: str) -> str:
    """Returns why a key has no effect; "" if it has one."""
    return "" if _is_near_known(path) else reason_for(path, NOTED)


def _is_near_known(path: str) -> bool:
    """Whether Kitelift has a key, or has one of which it is a misspelling."""
    known = (f"{block}.{key}" for block, model in BLOCKS.items() for key in model.known())
    exact = path in NOT_HERE or path in NOTED
    return not exact and bool(suggestion(path, [*SPELLINGS, *known], likeness=0.95))


def reread_limits(draft: Draft) -> None:
    """Reads `rate_limit` in SeaTunnel's units; must run before spellings are unified."""
    for side, note in RATES.items():
        path = f"{side}.{PLUGIN}.rate_limit"
        if path not in draft.keys:
            continue
        number = str(draft.keys[path]).strip()
        if number == "-1":
            draft.keys[path] = 0
            continue
        draft.note(path, note)
        if side == "sink" and re.fullmatch(r"[0-9.]+", number):
            draft.keys[path] = f"{number} MiB"


def unify_spellings(draft: Draft) -> None:
    """Moves each key to its main spelling.

    Two spellings of one key must be in different blocks and have the same value.
    """
    for spelling, path in SPELLINGS.items():
        if spelling not in draft.keys:
            continue
        value = draft.keys.pop(spelling)
        if path.endswith(".collections") and not isinstance(value, list):
            value = [value]
        other = draft.shown.get(path, path)
        same_block = other.rpartition(".")[0] == spelling.rpartition(".")[0]
        if path in draft.keys and (same_block or draft.keys[path] != value):
            draft.refuse(spelling, f"is also set as {other}; remove one of them")
        else:
            draft.keys[path] = value
            draft.shown[path] = spelling


def reread_functions(draft: Draft) -> None:
    """Notes the parameters of functions: VTS has them, but BM25 has none."""
    path = f"sink.{PLUGIN}.functions"
    functions = draft.keys.get(path)
    for function in functions if isinstance(functions, list) else ():
        if isinstance(function, dict) and function.get(NO_EFFECT):
            shown = f"{draft.shown.get(path, path)}.{NO_EFFECT}"
            draft.note(shown, "has no effect: BM25 has no parameters")


def reread_auto_ids(draft: Draft) -> None:
    """Reads `auto_id` of the primary key in `field_schema`, as in VTS, as `enable_auto_id`.

    Not of some collections only: `enable_auto_id` is for all.
    """
    path, ours = f"sink.{PLUGIN}.field_schema", f"sink.{PLUGIN}.enable_auto_id"
    settings = draft.keys.get(path)
    if not isinstance(settings, list):
        return
    for place, setting in enumerate(settings):
        if not isinstance(setting, dict) or not setting.get("is_primary_key"):
            continue
        if setting.get("collections") is not None:
            continue
        value = setting.get("auto_id")
        if isinstance(value, bool) and draft.keys.get(ours, value) == value:
            rest = {name: given for name, given in setting.items() if name != "auto_id"}
            draft.keys[path] = [*settings[:place], rest, *settings[place + 1 :]]
            draft.keys[ours] = value
            draft.note(f"{path}.auto_id", "is sink.Milvus.enable_auto_id in Kitelift")
            return


def refuse_earliest(draft: Draft) -> None:
    """Refuses the keys of SeaTunnel's first sink, and says what to write instead."""
    for side in ("source", "sink"):
        values = {key: draft.keys.get(f"{side}.{PLUGIN}.{key}") for key in EARLIEST}
        host, port = str(values["milvus_host"]), str(values["milvus_port"] or 19530)
        for key, value in values.items():
            if value is not None:
                hint = _url(host, port) if key == "milvus_host" else ""
                draft.refuse(f"{side}.{PLUGIN}.{key}", EARLIEST[key] + hint)
        if values["milvus_host"] is not None:
            # Prevents a second line about the url.
            draft.keys.setdefault(f"{side}.{PLUGIN}.url", "http://host:19530")


def _url(host: str, port: str) -> str:
    plain = re.fullmatch(r"[\w.-]+", host) and port.isdecimal()
    return f'; write url = "http://{f"{host}:{port}" if plain else "HOST:19530"}"'


def rename(draft: Draft) -> None:
    """Turns `sink.Milvus.collection` into a rename of the source's one collection."""
    _same_database(draft)
    path, renames = f"sink.{PLUGIN}.collection", f"sink.{PLUGIN}.collection_rename"
    wanted = draft.keys.get(path)
    if wanted is None:
        return
    if not isinstance(wanted, str) or not wanted.strip():
        draft.refuse(path, "must be the name of one collection, in double quotes")
        return
    database = draft.keys.get(f"source.{PLUGIN}.database", "default")
    if DATABASE_NAME in wanted and (not isinstance(database, str) or is_pattern(database)):
        why = f"cannot contain {DATABASE_NAME}, because the source has several databases; set "
        draft.refuse(path, f"{why}sink.{PLUGIN}.database_rename")
        return
    new = wanted.strip().replace(TABLE_NAME, "*").replace(DATABASE_NAME, database)
    if new == "*":
        del draft.keys[path]
    elif renames in draft.keys:
        draft.refuse(path, "is also set as sink.Milvus.collection_rename; remove one of them")
    elif why := _unclear(draft, new):
        draft.refuse(path, why)
    else:
        old = "*" if "*" in new else str(draft.keys[f"source.{PLUGIN}.collections"][0]).strip()
        del draft.keys[path]
        if old != new:
            draft.keys[renames] = {old: new}
            draft.shown[renames] = draft.shown.get(path, path)


def _same_database(draft: Draft) -> None:
    """Drops a sink's `database = "${database_name}"`: the source's database is the default."""
    path = f"sink.{PLUGIN}.database"
    if draft.keys.get(path) == DATABASE_NAME:
        del draft.keys[path]


def _unclear(draft: Draft, new: str) -> str:
    """Returns why a name cannot be that of one collection's copy; "" if it can."""
    path = f"source.{PLUGIN}.collections"
    names: Any = draft.keys.get(path)
    shown = draft.shown.get(path, path)
    renaming = [
        transform
        for transform in draft.transforms
        if re.search(r"\.Table(Rename|PathMapper)", transform)
    ]
    if renaming and "*" not in new:
        return f"renames the collection, and so does {renaming[0]}; remove one of them"
    if "*" in new:
        return ""
    if not isinstance(names, list) or not names:
        return (
            f"names one collection, but {shown} is not set, which means every loaded collection; "
            f'add {shown} = ["NAME"], or replace this key by collection_rename {{ NAME = {new} }}'
        )
    if len(names) > 1 or any(sign in str(names[0]) for sign in "*!"):
        line = ", ".join(f"{name} = NEW_NAME" for name in map(str, names[:3]))
        more = ", …" if len(names) > 3 else ""
        number = len(names) if len(names) > 1 else "several"
        return (
            f"names one collection, but {shown} names {number}; replace this key by "
            f"collection_rename {{ {line}{more} }}"
        )
    return ""
