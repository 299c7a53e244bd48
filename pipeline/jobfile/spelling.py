"""Suggestions for misspelled words, as the end of an error message."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 5
"""How many known names a message lists at most."""


def nearest(word: str, known: Iterable[str], *, most: int = 1, likeness: float = 0.6) -> list[str]:
    """Returns at most `most` known words that are similar to a misspelled one, nearest first.

    >>> nearest("DOCS", ["docs", "dogs", "cats"], most=2)
    ['docs', 'dogs']
    """
    by_fold = {name.casefold(): name for name in known}
    near = get_close_matches(word.casefold(), by_fold, n=most, cutoff=likeness)
    return [by_fold[match] for match in near]


def suggestion(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """Returns the end of a message about a misspelled word; "" if no known word is similar.

    >>> suggestion("tokn", ["url", "token"])
    '; did you mean token?'
    """
    near = nearest(word, known, likeness=likeness)
    return f"; did you mean {near[0]}?" if near else ""


def suggestion_sentence(word: str, known: Iterable[str]) -> str:
    """Returns the same as a sentence of its own, for a remedy; "" if no known word is similar.

    >>> suggestion_sentence("docs", ["Docs"])
    'Did you mean Docs?'
    """
    return suggestion(word, known).replace("; d", "D", 1)


def similar(word: str, known: Iterable[str], what: str) -> str:
    """Returns the end of a message about an unknown word: some known words, and where all are.

    >>> similar("x", ["url", "token"], "keys")
    '; closest keys: url, token; docs/configuration.md lists all keys'
    """
    near = ", ".join(nearest(word, known, most=SHOWN, likeness=0.0))
    return f"; closest {what}: {near}; docs/configuration.md lists all {what}"
