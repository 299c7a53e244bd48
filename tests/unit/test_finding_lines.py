"""How findings are wrapped on a terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from pipeline.console import finding_lines

PLACE = "the ledger is /srv/kitelift/state/10.0.0.1_to_10.0.0.2"
WORDS = "the collection is not loaded. Load it, or set auto_load = true"


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
