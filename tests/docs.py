"""Writes the parts of the documentation that are made from the code: `python -m tests.docs`.

A part stands between `<!-- name -->` and `<!-- end -->`; a test holds each of them up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic.fields import FieldInfo

from pipeline.jobfile import seatunnel, settings
from pipeline.jobfile.block import Block, mark
from pipeline.jobfile.field_schema import FieldSetting
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.target_functions import TargetFunction
from pipeline.jobfile.transform import PLUGINS, REFUSED
from pipeline.jobfile.value_types import ACCEPTABLE
from pipeline.planning.fidelity import FeatureFate
from pipeline.reports import report_values
from transforms.finding import Finding
from transforms.milvus import features, types, versions

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
FIDELITY = ROOT / "docs" / "fidelity.md"
REPORT = ROOT / "docs" / "report.md"
COMING_FROM = ROOT / "docs" / "coming-from.md"
RESHAPING = ROOT / "docs" / "reshaping.md"
README = ROOT / "README.md"
README_ZH = ROOT / "README.zh.md"

_TLS = ("server_pem_path", "ca_pem_path", "client_key_path", "server_name")
THEIRS: dict[str, list[tuple[str, str]]] = {
    "env": [
        *(("SV", f"job.{key}") for key in ("name", "mode", "retry.times")),
        *(("SV", f"checkpoint.{key}") for key in ("interval", "timeout")),
        *(("SV", key) for key in ("parallelism", "execution.parallelism", "jars")),
        *(("SV", f"read_limit.{unit}_per_second") for unit in ("rows", "bytes")),
        *(("SV", key) for key in ("savemode.execute.location", "shade.identifier")),
    ],
    "source.Milvus": [
        *(("SV", key) for key in ("url", "token", "database", "collection")),
        ("V", "collections"),
        *(("SV", key) for key in ("batch_size", "rate_limit", "plugin_output")),
        ("SV", "result_table_name"),
        ("V", "parallelism"),
        *(("V", key) for key in _TLS),
    ],
    "sink.Milvus": [
        *(("SV", key) for key in ("url", "token", "database", "collection")),
        *(("SV", key) for key in ("schema_save_mode", "data_save_mode", "create_index")),
        ("S", "load_collection"),
        *(("SV", key) for key in ("enable_auto_id", "enable_upsert")),
        *(("SV", key) for key in ("enable_dynamic_field", "collection_description", "batch_size")),
        ("S", "enable_nullable_field"),
        *(("S", key) for key in ("partition_key", "batch_interval", "rate_limit")),
        *(("SV", key) for key in ("plugin_input", "source_table_name")),
        *(("SV", key) for key in ("multi_table_sink_replica", "parallelism")),
        *(("V", key) for key in ("collection_rename", "field_schema", "shard_num")),
        *(("V", key) for key in ("consistency_level", "timezone")),
        *(("V", key) for key in ("function_list", "functionList")),
        *(("V", key) for key in ("struct_fields", "bulk_writer_config")),
        *(("V", key) for key in ("geometry_string_coord_order", "geometry_convert_mode")),
        *(("V", key) for key in _TLS),
    ],
}
"""The keys of SeaTunnel 2.3 and VTS 2.22: which of the two has the key (S, V), and its name."""

TAKEN = ("source.Milvus.plugin_output", "sink.Milvus.plugin_input", "sink.Milvus.collection")
"""Keys that are read, and become others."""

OTHERWISE = {
    "env.job.mode": "`BATCH` only",
    "env.parallelism": "the same, for every runner",
    "source.Milvus.batch_size": "the largest page (default: 16,384 rows); smaller if rows are large",
    "sink.Milvus.database": "the same; if left out, the source's",
    "sink.Milvus.batch_size": "the largest insert (default: 16,384 rows); smaller if rows are large",
    "sink.Milvus.data_save_mode": "the same, with all values; the default is "
    "`ERROR_WHEN_DATA_EXISTS`",
    "sink.Milvus.create_index": "the same, with all parameters; the default is `true`; "
    "also `before`",
    "sink.Milvus.load_collection": "the same; the default is `as_source`",
    "sink.Milvus.enable_upsert": "the same, if it is unknown whether a write arrived; otherwise "
    "Kitelift inserts",
    "sink.Milvus.collection": "the target name of the one source collection, or with "
    "`${table_name}` of each; otherwise use `collection_rename`",
    "sink.Milvus.enable_dynamic_field": "accepted; must agree with the source",
    "sink.Milvus.partition_key": "accepted; must agree with the source",
    "source.Milvus.plugin_output": "accepted",
    "sink.Milvus.plugin_input": "accepted; must be the previous plugin's `plugin_output`",
}


def refreshed(text: str, parts: dict[str, str]) -> str:
    """The text with each part in its place.

    >>> print(refreshed("a <!-- x --> old <!-- end --> b", {"x": "new"}))
    a <!-- x -->
    new
    <!-- end --> b
    """
    for name, part in parts.items():
        whole = rf"(<!-- {re.escape(name)} -->).*?(<!-- end -->)"
        literal = part.replace("\\", r"\\")
        text, places = re.subn(whole, rf"\1\n{literal}\n\2", text, flags=re.DOTALL)
        assert places == 1, f"{name} has {places} places"
    return text


def commands(page: Path) -> list[str]:
    """The lines of a page's code that call us: each is to be tried by a test."""
    blocks = re.findall(
        r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    ours = ("kitelift ", "python -m pipeline ", "make ")
    return [line for block in blocks for line in block.splitlines() if line.startswith(ours)]


def examples(language: str) -> str:
    """All examples of docs/reshaping.md in a language, together."""
    return "\n".join(example_blocks(language))


def example_blocks(language: str) -> list[str]:
    """Each example of docs/reshaping.md in a language."""
    text = RESHAPING.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def configuration() -> dict[str, str]:
    """The tables of docs/configuration.md."""
    blocks = {path: _keys(block) for path, block in settings.BLOCKS.items()}
    blocks["field_schema"] = _keys(FieldSetting)
    blocks["functions"] = _keys(TargetFunction)
    blocks["transform"] = _keys(Plugin)
    blocks |= {f"transform.{name}": _keys(block, without=Plugin) for name, block in PLUGINS.items()}
    spellings = ((f"`{given}`", f"`{path}`") for given, path in seatunnel.SPELLINGS.items())
    refused = ((f"`{path}`", why) for path, why in seatunnel.NOT_HERE.items())
    noted = ((f"`{path}`", why) for path, why in seatunnel.NOTED.items())
    codes = ((f"`{code}`", meaning) for code, meaning in ACCEPTABLE.items())
    decisive = (
        f"`{path}.{key}`"
        for path, block in settings.BLOCKS.items()
        for key, field in block.known().items()
        if mark(field, "result")
    )
    return blocks | {
        "codes": _table(("code", "what it allows"), codes),
        "decisive": ",\n".join(decisive),
        "spellings": _table(("spelling", "is"), spellings),
        "not transforms": _table(
            ("transform", "what to use instead"),
            ((f"`{name}`", why) for name, why in REFUSED.items()),
        ),
        "noted": _table(("key, with all below it", "why it has no effect"), noted),
        "not here": _table(("key, with all below it", "why, and what to do"), refused),
    }


def fidelity() -> dict[str, str]:
    """The tables of features and of types of docs/fidelity.md."""
    kinds = (
        (f"`{kind.name}`", _yes_or_no(kind), versions.named(*kind.releases)) for kind in types.TABLE
    )
    copied = _table(("field type", "copied", "first Milvus that has it"), kinds)
    rows = ((each.words, f"`{each.name}`", *_held(each)) for each in features.TABLE)
    head = ("of a collection", "FEATURE", "Milvus keeps it from", "milvus-lite 3.2.2", "if not")
    return {"features": _table(head, rows), "types": copied}


def coming_from() -> dict[str, str]:
    """The table of keys of docs/coming-from.md: SeaTunnel's and VTS', and what they are here."""
    rows = (
        (f"`{block}.{key}`", *("yes" if tool in tools else "" for tool in "SV"), _here(block, key))
        for block, keys in THEIRS.items()
        for tools, key in keys
    )
    return {"keys": _table(("key", "SeaTunnel", "VTS", "here"), rows)}


def report() -> dict[str, str]:
    """The tables of docs/report.md: every key of report.json."""
    others = (
        report_values.EndpointReport,
        Finding,
        report_values.RangeSums,
        report_values.Failure,
        report_values.KeyDifference,
    )
    more = (
        f"**{other.__name__}**\n\n{_attributes(other)}"
        for other in (*others, report_values.Retry, FeatureFate)
    )
    return {
        "report": _attributes(report_values.Report),
        "collection": _attributes(report_values.CollectionReport),
        "others": "\n\n".join(more),
    }


def _attributes(kind: type) -> str:
    """The fields of a value with the meanings that its docstring gives them."""
    told = (kind.__doc__ or "").partition("Attributes:")[2]
    meanings = dict(re.findall(r"^ {8}(\w+): ((?:.|\n {12})*)", told, re.MULTILINE))
    hints = get_type_hints(kind)
    rows = (
        (f"`{field.name}`", _kind(hints[field.name]), _plain(meanings[field.name]))
        for field in fields(kind)
    )
    return _table(("key", "is", "meaning"), rows)


def _plain(text: str) -> str:
    """A docstring's line as Markdown."""
    words = re.sub(r"\s+", " ", text).strip().rstrip(".")
    return words.replace("``", "`").replace("None", "null")


_KINDS = {str: "text", int: "whole number", float: "number", bool: "true, false"}


def _kind(hint: Any) -> str:
    """A type in words; that of a key of the job's own choice is what JSON makes of it."""
    if hint in _KINDS or is_dataclass(hint):
        return _KINDS.get(hint) or hint.__name__
    if hint is datetime:
        return "time"
    origin, parts = get_origin(hint), get_args(hint)
    if origin is tuple:
        return f"list of {_kind(parts[0])}"
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (UnionType, Union):
        return " or ".join("null" if part is NoneType else _kind(part) for part in parts)
    return "block"


def _here(block: str, key: str) -> str:
    path = f"{block}.{key}"
    if path in seatunnel.SPELLINGS:
        return f"is `{seatunnel.SPELLINGS[path]}`"
    if key in settings.BLOCKS[block].known() or path in TAKEN:
        return OTHERWISE.get(path, "the same")
    if why := seatunnel.reason_for(path, seatunnel.NOTED):
        return f"no effect, with a note: {why}"
    return f"refused: {seatunnel.reason_for(path, seatunnel.NOT_HERE)}"


def _held(feature: features.Feature) -> tuple[str, str, str]:
    since = versions.named(*feature.since) if feature.since else "any"
    lite = "keeps it" if feature.lite else "drops it"
    lost = "`target-type`" if feature.needed else "`lost`"
    return since, "has its own" if feature.fixed else lite, lost


def _yes_or_no(kind: types.FieldType) -> str:
    if kind.packing is None:
        return "no; an error before the first row names the field"
    elements = ", ".join(f"`{types.name_of(element)}`" for element in sorted(_elements(kind)))
    return f"yes, of {elements}" if elements else "yes"


def _elements(kind: types.FieldType) -> Iterable[int]:
    return types.ELEMENTS.get(kind.number, ())


def _keys(block: type[Block], *, without: type[Block] = Block) -> str:
    rows = (
        (
            f"`{key}`",
            ", ".join([field.title] if field.title else _words(field.annotation)),
            _default(field),
            mark(field, "unit"),
            field.description,
        )
        for key, field in block.known().items()
        if key not in without.known()
    )
    return _table(("key", "type", "default", "unit", "meaning"), rows)


def _words(annotation: Any) -> list[str]:
    """The values that a Literal, or a union with one, allows."""
    if annotation is bool:
        return ["true", "false"]
    if isinstance(annotation, str):
        return [f"`{annotation}`"]
    return [word for part in get_args(annotation) for word in _words(part)]


def _default(field: FieldInfo) -> str:
    default = field.get_default()
    if field.is_required():
        return "required"
    if default is None or str(default) == "":
        return ""
    return f"`{json.dumps(default)}`"


def _table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    lines = [[*head], *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---" for _ in lines[0]])
    return "\n".join(
        "|" + "".join(f" {cell} |" if cell else " |" for cell in line) for line in lines
    )


def main() -> None:
    """Rewrites the documents."""
    documents = (
        (CONFIGURATION, configuration()),
        (FIDELITY, fidelity()),
        (COMING_FROM, coming_from()),
        (REPORT, report()),
    )
    for path, parts in documents:
        text = path.read_text(encoding="utf-8")
        path.write_text(refreshed(text, parts), encoding="utf-8")


if __name__ == "__main__":
    main()
