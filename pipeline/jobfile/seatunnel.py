"""The keys of SeaTunnel's and VTS' job files that are not Kitelift's own, and what becomes of each.

Some are other spellings, some have no effect and get a note, some ask for what is not done and are
refused.
"""

from __future__ import annotations

import re
from typing import Any

from pipeline.jobfile.draft import PLUGIN, Draft
from pipeline.jobfile.variables import PLACEHOLDERS

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
    "sink.Milvus.collection_name": "sink.Milvus.collection",
}
"""Other spellings of a key."""

_RESUMES = "a job resumes from its own ledger"
_RETRIES = "each call is retried until env.retry.max_outage, and the same command resumes the job"
_ENGINE = "options of an engine are given on the command line"

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
    "sink.Milvus.enable_nullable_field": "fields are nullable where they are in the source",
    "sink.Milvus.batch_interval": "rows are sent as soon as they fill a batch",
    "sink.Milvus.multi_table_sink_replica": "env.parallelism is the number of workers",
    "sink.Milvus.bulk_writer_config": "rows are inserted, no files are staged",
}
"""Keys, with all below them, that have no effect and cannot change the result; and why."""

_AS_SOURCE = "it is taken from the source; remove the key"
_AS_IS = "values are copied as they are; remove the key"

NOT_HERE: dict[str, str] = {
    "env.shade": "encrypted job files are not read; give tokens as env:NAME or file:/path",
    "sink.Milvus.timezone": _AS_SOURCE,
    "sink.Milvus.function_list": _AS_SOURCE,
    "sink.Milvus.functionList": _AS_SOURCE,
    "sink.Milvus.struct_fields": "all fields are copied; remove the key",
    "sink.Milvus.geometry_string_coord_order": _AS_IS,
    "sink.Milvus.geometry_convert_mode": _AS_IS,
}
"""Keys, with all below them, that would change the result in a way that is not offered; and why."""

_EMBEDS = "rows have their vectors already; remove the key"

EARLIEST: dict[str, str] = {
    "milvus_host": "is part of url here",
    "milvus_port": "is part of url here",
    "username": 'is part of token here; write token = "USER:PASSWORD"',
    "password": 'is part of token here; write token = "USER:PASSWORD"',
    "partition_field": "partitions and partition key are taken from the source; remove the key",
    "openai_engine": _EMBEDS,
    "openai_api_key": _EMBEDS,
    "dimension": _EMBEDS,
    "embeddings_fields": _EMBEDS,
}
"""The keys of SeaTunnel's first Milvus sink (2.3.2 to 2.3.5), and what to write instead."""

TABLE_NAME, DATABASE_NAME = (f"${{{name}}}" for name in PLACEHOLDERS)

_RATE = (
    "is rows a second here, for this job alone; SeaTunnel sets it in the server as queries a "
    "second (source) or MB a second (sink)"
)


def reason_for(path: str, known: dict[str, str]) -> str:
    """Returns what is said of a key, or of the one that it is below; "" if nothing is.

    >>> reason_for("env.jars.x", {"env.jars": "no"}), reason_for("env.jarsx", {"env.jars": "no"})
    ('no', '')
    """
    return next((why for key, why in known.items() if f"{path}.".startswith(f"{key}.")), "")


def reread_limits(draft: Draft) -> None:
    """Takes `rate_limit = -1` for no limit; must come before spellings are unified."""
    for path in (f"source.{PLUGIN}.rate_limit", f"sink.{PLUGIN}.rate_limit"):
        if path not in draft.keys:
            continue
        if str(draft.keys[path]).strip() == "-1":
            draft.keys[path] = 0
        else:
            draft.note(path, _RATE)


def refuse_earliest(draft: Draft) -> None:
    """Refuses the keys of SeaTunnel's first sink, each with what to write instead."""
    for side in ("source", "sink"):
        given = {key: draft.keys.get(f"{side}.{PLUGIN}.{key}") for key in EARLIEST}
        host, port = str(given["milvus_host"]), str(given["milvus_port"] or 19530)
        for key, value in given.items():
            if value is not None:
                hint = _url(host, port) if key == "milvus_host" else ""
                draft.refuse(f"{side}.{PLUGIN}.{key}", EARLIEST[key] + hint)
        if given["milvus_host"] is not None:
            # So that the url, of which a line is told already, is not asked for once more.
            draft.keys.setdefault(f"{side}.{PLUGIN}.url", "http://host:19530")


def _url(host: str, port: str) -> str:
    plain = re.fullmatch(r"[\w.-]+", host) and port.isdecimal()
    return f'; write url = "http://{f"{host}:{port}" if plain else "HOST:19530"}"'


def rename(draft: Draft) -> None:
    """Makes a rename of the name that the sink gives to the one collection of the source."""
    _same_database(draft)
    path, renames = f"sink.{PLUGIN}.collection", f"sink.{PLUGIN}.collection_rename"
    wanted = draft.keys.get(path)
    if wanted is None:
        return
    if not isinstance(wanted, str) or not wanted.strip():
        draft.refuse(path, "must be the name of one collection, as text")
        return
    new = wanted.strip().replace(TABLE_NAME, "*").replace(DATABASE_NAME, _database(draft))
    if new == "*":
        del draft.keys[path]
    elif renames in draft.keys:
        draft.refuse(path, "is also given as sink.Milvus.collection_rename; keep one")
    elif why := _unclear(draft, new):
        draft.refuse(path, why)
    else:
        old = "*" if "*" in new else str(draft.keys[f"source.{PLUGIN}.collections"][0]).strip()
        del draft.keys[path]
        if old != new:
            draft.keys[renames] = {old: new}
            draft.shown[renames] = draft.shown.get(path, path)


def _same_database(draft: Draft) -> None:
    """A sink's `database = "${database_name}"` is the source's, as where it is left out."""
    path = f"sink.{PLUGIN}.database"
    if draft.keys.get(path) == DATABASE_NAME:
        del draft.keys[path]


def _database(draft: Draft) -> str:
    return str(draft.keys.get(f"source.{PLUGIN}.database", "default"))


def _unclear(draft: Draft, new: str) -> str:
    """Says why a name is not that of one collection's copy; "" if it is."""
    path = f"source.{PLUGIN}.collections"
    names: Any = draft.keys.get(path)
    given = draft.shown.get(path, path)
    renaming = [
        transform
        for transform in draft.transforms
        if re.search(r"\.Table(Rename|PathMapper)", transform)
    ]
    if renaming and "*" not in new:
        return f"names the target's collection, as {renaming[0]} does; keep one"
    if "*" in new:
        return ""
    if not isinstance(names, list) or not names:
        return (
            f"names one collection, and {given} is left out, which means every loaded one; write "
            f'{given} = ["NAME"], or collection_rename {{ NAME = {new} }} instead of this key'
        )
    if len(names) > 1 or any(each in str(names[0]) for each in "*!"):
        line = ", ".join(f"{each} = NEW_NAME" for each in map(str, names[:3]))
        more = ", …" if len(names) > 3 else ""
        number = len(names) if len(names) > 1 else "several"
        return (
            f"names one collection, and {given} names {number}; write "
            f"collection_rename {{ {line}{more} }} instead of this key"
        )
    return ""
