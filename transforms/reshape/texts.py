"""Replaces parts of texts with Arrow."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from transforms.reshape.column import Replacement


def replaced(texts: pa.Array, how: Replacement) -> pa.Array:
    """Returns the texts with the pattern replaced; null stays null."""
    replace = pc.replace_substring_regex if how.regex else pc.replace_substring
    most = 1 if how.first else None
    return replace(texts, how.pattern, how.replacement, max_replacements=most)


def replaced_in(text: str, how: Replacement) -> str:
    """Returns one text with the pattern replaced.

    Raises:
        ValueError: the pattern or the replacement is not valid in RE2.
    """
    try:
        result: str = replaced(pa.array([text]), how)[0].as_py()
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None
    return result
