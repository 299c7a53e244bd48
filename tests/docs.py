"""Writes the parts of the documentation that are made from the code: `python -m tests.docs`.

A part stands between `<!-- name -->` and `<!-- end -->`; a test holds each of them up to date.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

from pydantic.fields import FieldInfo

from pipeline import config, job
from transforms.milvus import features, types

ROOT = Path(__file__).parent.parent
CONFIGURATION = ROOT / "docs" / "configuration.md"
FIDELITY = ROOT / "docs" / "fidelity.md"
README = ROOT / "README.md"


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


def configuration() -> dict[str, str]:
    """The tables of docs/configuration.md."""
    blocks = {path: _keys(path, block) for path, block in job.BLOCKS.items()}
    spellings = ((f"`{given}`", f"`{path}`") for given, path in config.SPELLINGS.items())
    later = ((f"`{path}`", _listed(values)) for path, values in config.NOT_YET.items())
    refused = ((f"`{path}`", why) for path, why in config.NOT_HERE.items())
    decisive = (
        f"`{path}.{key}`"
        for path, block in job.BLOCKS.items()
        for key, field in block.known().items()
        if job.mark(field, "result")
    )
    return blocks | {
        "decisive": ",\n".join(decisive),
        "spellings": _table(("spelling", "is"), spellings),
        "not yet": _table(("key", "values"), later),
        "not here": _table(("key, with all below it", "why, and what to do"), refused),
    }


def readme() -> dict[str, str]:
    """The table of types of README.md."""
    rows = (
        (f"`{kind.name}`", _yes_or_no(kind), ".".join(map(str, kind.since))) for kind in types.TABLE
    )
    return {"types": _table(("field type", "copied", "first Milvus that has it"), rows)}


def fidelity() -> dict[str, str]:
    """The table of features of docs/fidelity.md."""
    rows = ((each.words, f"`{each.name}`", *_held(each)) for each in features.TABLE)
    head = ("of a collection", "FEATURE", "Milvus keeps it from", "milvus-lite 3.2.2", "if not")
    return {"features": _table(head, rows)}


def _held(feature: features.Feature) -> tuple[str, str, str]:
    since = ".".join(map(str, feature.since)) if feature.since else "any"
    lite = "keeps it" if feature.lite else "drops it"
    lost = "`target-type`" if feature.needed else "`lost`"
    return since, "has its own" if feature.fixed else lite, lost


def _yes_or_no(kind: types.FieldType) -> str:
    if kind.packing is None:
        return "no, refused by name before the first row"
    elements = ", ".join(f"`{types.name_of(each)}`" for each in sorted(_elements(kind)))
    return f"yes, of {elements}" if elements else "yes"


def _elements(kind: types.FieldType) -> Iterable[int]:
    return types.ELEMENTS.get(kind.number, ())


def _keys(path: str, block: type[job.Block]) -> str:
    rows = (
        (
            f"`{key}`",
            _type(path, key, field),
            _default(field),
            job.mark(field, "unit"),
            field.description,
        )
        for key, field in block.known().items()
    )
    return _table(("key", "type", "default", "unit", "meaning"), rows)


def _type(path: str, key: str, field: FieldInfo) -> str:
    later = {f"`{word}`" for word in config.NOT_YET.get(f"{path}.{key}", ())}
    words = [field.title] if field.title else _words(field.annotation)
    return ", ".join(word for word in words if word not in later)


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


def _listed(values: Iterable[str]) -> str:
    return ", ".join(f"`{value}`" for value in values) or "all"


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
        (README, readme()),
    )
    for path, parts in documents:
        text = path.read_text(encoding="utf-8")
        path.write_text(refreshed(text, parts), encoding="utf-8")


if __name__ == "__main__":
    main()
