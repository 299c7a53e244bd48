"""How findings are joined, and wrapped on a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from pipeline.console import finding_lines
from transforms.finding import Finding

PLACE = "the ledger is /srv/kitelift/state/10.0.0.1_to_10.0.0.2"
WORDS = "the collection is not loaded. Load it, or set auto_load = true"


def lost(collection: str, feature: str, *, accepted: bool = False) -> Finding:
    code = f"lost:{collection}.{feature}"
    what = f"nullable {feature}: the target, Milvus 2.3.5, does not store it."
    remedy = f"Rerun with `--accept={code}` to copy without it."
    return Finding(code, f"target collection {collection}", what, remedy, "error", True, accepted)


def test_many_findings_with_one_reason_are_one_line() -> None:
    others = (lost("b", "x"), lost("b", "y"), Finding("rbac", "users", "a: b."))
    found = (*(lost("a", f"f{number}") for number in range(13)), *others)
    joined, *rest = finding_lines.grouped(found)
    assert tuple(rest) == others
    assert str(joined) == (
        "target collection a: nullable f0, nullable f1, nullable f2, nullable f3, nullable f4 and 8 "
        "more: the target, Milvus 2.3.5, does not store them. "
        "Rerun with `--accept=lost:a.*` to copy without them."
    )
    assert (joined.code, joined.severity) == ("lost:a.*", "error")


def test_the_code_of_one_line_names_database_and_collection() -> None:
    names = ("sales.docs", "sales.notes")
    found = tuple(lost(name, feature) for name in names for feature in "xyz")
    codes = [joined.code for joined in finding_lines.grouped(found)]
    assert codes == ["lost:sales.docs.*", "lost:sales.notes.*"]


def test_accepted_findings_are_not_joined_with_others() -> None:
    found = (lost("a", "x"), lost("a", "y"), lost("a", "z", accepted=True))
    assert finding_lines.grouped(found) == list(found)


@pytest.mark.parametrize(
    ("terminal", "text", "lines"),
    [
        (
            True,
            WORDS,
            [
                "error  the collection is not loaded.",
                "       Load it, or set auto_load =",
                "       true",
            ],
        ),
        (True, PLACE, ["error  the ledger is", f"       {PLACE.rsplit(maxsplit=1)[-1]}"]),
        (False, WORDS, [f"error  {WORDS}"]),
    ],
    ids=["terminal", "too long", "file"],
)
def test_a_line_is_wrapped_at_words_on_a_terminal_only(
    terminal: bool, text: str, lines: list[str]
) -> None:
    out = StringIO()
    console = Console(file=out, width=36, force_terminal=terminal, color_system=None)
    finding_lines.print_wrapped(console, Text("error  "), Text(text))
    assert out.getvalue().splitlines() == lines
