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

_TLS = ("ca_pem_path", "client_pem_path", "client_key_path", "server_name")
_COMMON = ("url", "token", "database")
THEIRS: dict[str, list[tuple[str, str]]] = {
    "env": [
        *(("yyy", f"job.{key}") for key in ("name", "mode", "retry.times")),
        *(("yyy", f"checkpoint.{key}") for key in ("interval", "timeout")),
        *(("yyy", key) for key in ("parallelism", "execution.parallelism", "jars")),
        *(("yyy", f"read_limit.{unit}_per_second") for unit in ("rows", "bytes")),
        *(("yyy", key) for key in ("savemode.execute.location", "shade.identifier")),
    ],
    "source.Milvus": [
        *(("yyy", key) for key in _COMMON),
        ("y--", "collection"),
        ("-yy", "collections"),
        ("yyy", "batch_size"),
        ("y--", "rate_limit"),
        *(("yyy", key) for key in ("plugin_output", "result_table_name")),
        ("-yy", "parallelism"),
        *(("-yy", key) for key in _TLS),
        ("-dd", "server_pem_path"),
    ],
    "sink.Milvus": [
        *(("yyy", key) for key in _COMMON),
        ("y--", "collection"),
        *(("yyy", key) for key in ("schema_save_mode", "data_save_mode")),
        ("y-y", "create_index"),
        ("y--", "load_collection"),
        *(("ydd", key) for key in ("enable_auto_id", "enable_upsert")),
        *(("yyy", key) for key in ("enable_dynamic_field", "collection_description", "batch_size")),
        *(("y--", key) for key in ("enable_nullable_field", "partition_key")),
        *(("y--", key) for key in ("batch_interval", "rate_limit", "multi_table_sink_replica")),
        *(("yyy", key) for key in ("plugin_input", "source_table_name", "parallelism")),
        *(("-yy", key) for key in ("collection_rename", "field_schema", "shard_num")),
        *(("-yy", key) for key in ("consistency_level", "function_list")),
        ("-dd", "functionList"),
        *(("-yy", key) for key in ("struct_fields", "bulk_writer_config")),
        *(("--y", key) for key in ("partition_num", "timezone", "write_mode")),
        *(("--y", key) for key in ("geometry_string_coord_order", "geometry_convert_mode")),
        *(("-yy", key) for key in _TLS),
        ("-dd", "server_pem_path"),
    ],
}
"""The keys of other tools: which of `TOOLS` has each (y), or only in its docs (d), and its name."""

TOOLS = ("SeaTunnel", "VTS 2.22.0", "VTS 2026-08")
_MARKS = {"y": "yes", "d": "docs only", "-": ""}

TAKEN = ("source.Milvus.plugin_output", "sink.Milvus.plugin_input", "sink.Milvus.collection")
"""Keys that are read, and become others."""

OTHERWISE = {
    "env.job.mode": "`BATCH` only",
    "env.parallelism": "the same, for every runner",
    "sink.Milvus.database": "the same; if left out, the source's",
    "sink.Milvus.collection": "the target name of the one source collection, or with "
    "`${table_name}` of each; otherwise use `collection_rename`",
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
        (f"`{block}.{key}`", *(_MARKS[mark] for mark in marks), _here(block, key))
        for block, keys in THEIRS.items()
        for marks, key in keys
    )
    return {"keys": _table(("key", *TOOLS, "here"), rows)}


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
        more = f"the same; {different}" if (different := seatunnel.DIFFERENT.get(path)) else ""
        return OTHERWISE.get(path) or more or "the same"
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
