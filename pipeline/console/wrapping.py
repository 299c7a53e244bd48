"""Wraps lines between words on a terminal; in a file, lines are not wrapped."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import pairwise
from typing import TextIO

HANG = 2
"""Columns by which the following parts of a wrapped line are indented."""

_WORD = re.compile(r"`[^`]*`\S*|\S+")


def say(text: str) -> None:
    """Prints a result, or a part of one, on stdout; `logs.say` prints all other messages."""
    print(fit_to_terminal(text, sys.stdout))


def fit_to_terminal(text: str, stream: TextIO) -> str:
    """Returns a text, wrapped if the stream is a terminal."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.splitlines() for part in wrap(line, columns))


def wrap(line: str, columns: int) -> list[str]:
    """Breaks a line between words; a command in backticks and a long word are never broken.

    >>> wrap("the ledger is /var/lib/kitelift/state", 20)
    ['the ledger is', '  /var/lib/kitelift/state']
    """
    blanks = " " * (len(line) - len(line.lstrip()) + HANG)
    first, *others = _parts(line, break_positions(line, columns, hang=len(blanks)))
    return [first, *(blanks + other for other in others)]


def break_positions(line: str, columns: int, *, hang: int = 0) -> list[int]:
    """Returns the positions at which a line is broken; all parts but the first have `hang` less.

    >>> break_positions("one two three", 7)
    [8]
    """
    from rich.cells import cell_len  # Not for --help, which must be quick.

    positions, began, room = [], 0, columns
    for word in _WORD.finditer(line):
        if line[began : word.start()].strip() and cell_len(line[began : word.end()]) > room:
            positions.append(word.start())
            began, room = word.start(), columns - hang
    return positions


def _parts(line: str, cuts: list[int]) -> list[str]:
    return [line[start:stop].rstrip() for start, stop in pairwise([0, *cuts, len(line)])]
