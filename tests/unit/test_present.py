"""How what the commands say is laid out."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console
from rich.text import Text

from pipeline import present

WORDS = "the collection is not loaded. Load it, or set auto_load = true"


@pytest.mark.parametrize(
    ("terminal", "lines"),
    [
        (
            True,
            [
                "error  the collection is not loaded.",
                "       Load it, or set auto_load =",
                "       true",
            ],
        ),
        (False, [f"error  {WORDS}"]),
    ],
    ids=["terminal", "file"],
)
def test_a_line_is_wrapped_at_words_on_a_terminal_only(terminal: bool, lines: list[str]) -> None:
    out = StringIO()
    console = Console(file=out, width=36, force_terminal=terminal, color_system=None)
    present.put(console, Text("error  "), Text(WORDS))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == lines
