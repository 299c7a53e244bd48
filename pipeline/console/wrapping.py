"""Lines that end between words on a terminal; in a file they are as long as they are."""

from __future__ import annotations

import re
import shutil
import sys
from itertools import pairwise
from typing import TextIO

HANG = 2
"""Columns by which a line goes on further to the right than it began."""

_WORD = re.compile(r"`[^`]*`\S*|\S+")


def say(text: str) -> None:
    """Prints a result, or a part of one; `logs.say` is for what is none."""
    print(fit_to_terminal(text, sys.stdout))


def fit_to_terminal(text: str, stream: TextIO) -> str:
    """Returns a text as it is to be written to a stream."""
    if not stream.isatty():
        return text
    columns = shutil.get_terminal_size().columns
    return "\n".join(part for line in text.splitlines() for part in wrap(line, columns))


def wrap(line: str, columns: int) -> list[str]:
    """Breaks a line between words; commands and words that are too long stay in one piece.

    >>> wrap("the ledger is /var/lib/kitelift/state", 20)
    ['the ledger is', '  /var/lib/kitelift/state']
    """
    blanks = " " * (len(line) - len(line.lstrip()) + HANG)
    first, *others = _parts(line, break_positions(line, columns, hang=len(blanks)))
    return [first, *(blanks + other for other in others)]


def break_positions(line: str, columns: int, *, hang: int = 0) -> list[int]:
    """Returns where in a line others begin, so that each fits; all but the first are shifted.

    >>> break_positions("one two three", 7)
    [8]
    """
    from rich.cells import cell_len  # Not for --help, which is to be quick.

    found, began, room = [], 0, columns
    for word in _WORD.finditer(line):
        if line[began : word.start()].strip() and cell_len(line[began : word.end()]) > room:
            found.append(word.start())
            began, room = word.start(), columns - hang
    return found


def _parts(line: str, cuts: list[int]) -> list[str]:
    return [line[start:stop].rstrip() for start, stop in pairwise([0, *cuts, len(line)])]
