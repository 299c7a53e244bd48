"""Milvus filter expressions for key ranges.

Escaping: only backslash, double quote, LF, CR and TAB; everything else stands as raw UTF-8. JSON's
escapes do not all parse, and filter templates need 2.5 (measured on 94 nasty strings against 2.3.5
and milvus-lite 3.2.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.milvus.schema import Field
from transforms.milvus.types import META
from transforms.ranges import Key, KeyRange

MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1

PORTION_KEYS = 1_000
"""Keys that one filter names, ..."""

PORTION_BYTES = 512 * 1024
"""... which is some tens of kilobytes, but for texts: those may have 64 KB each, and a server takes
no message above its limit, however often it is sent. The smallest common limit is 1 MB (nginx)."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(key: Key) -> str:
    r"""Writes a key as an expression's literal.

    >>> print(literal(-5), literal('say "hi"\n'))
    -5 "say \"hi\"\n"
    """
    return str(key) if isinstance(key, int) else f'"{key.translate(_ESCAPES)}"'


def within(primary: str, keys: KeyRange) -> str:
    """Returns the filter for the keys of a range; "" where it has no bound.

    -2^63 cannot be written as a literal (2.3.5: the minus sign is parsed apart from the number), so
    bounds at it are moved to its neighbour.

    >>> within("id", KeyRange("docs", 10, 20))
    'id > 10 and id <= 20'
    >>> within("id", KeyRange("docs", -(2**63), None))
    'id >= -9223372036854775807'
    """
    bounds = []
    if keys.after == MIN_INT64:
        bounds.append(f"{primary} >= {MIN_INT64 + 1}")
    elif keys.after is not None:
        bounds.append(f"{primary} > {literal(keys.after)}")
    if keys.upto == MIN_INT64:
        bounds.append(f"{primary} < {MIN_INT64 + 1}")
    elif keys.upto is not None:
        bounds.append(f"{primary} <= {literal(keys.upto)}")
    return " and ".join(bounds)


def anything(primary: Field) -> str:
    """Returns a filter that lets every key pass: milvus-lite heeds a partition only beside one.

    >>> anything(Field("id", 5)), anything(Field("key", 21))
    ('id < 0 or id >= 0', 'key >= ""')
    """
    name, text = primary.name, primary.type.name == "VarChar"
    return f'{name} >= ""' if text else f"{name} < 0 or {name} >= 0"


def among(primary: str, keys: list[Key]) -> str:
    """Returns the filter for exactly these keys.

    >>> among("id", [1, -(2**63)])
    '(id in [1]) or (id < -9223372036854775807)'
    """
    named = f"{primary} in [{', '.join(literal(key) for key in keys if key != MIN_INT64)}]"
    return f"({named}) or ({primary} < {MIN_INT64 + 1})" if MIN_INT64 in keys else named


def portions(keys: list[Key]) -> Iterator[list[Key]]:
    """Yields the keys in lists that one filter can name."""
    portion: list[Key] = []
    size_bytes = 0
    for key in keys:
        own = len(literal(key).encode())
        if len(portion) == PORTION_KEYS or (portion and size_bytes + own > PORTION_BYTES):
            yield portion
            portion, size_bytes = [], 0
        portion.append(key)
        size_bytes += own
    if portion:
        yield portion


def multiples(primary: str, of: int) -> str:
    """Returns the filter for the keys that are multiples of a number.

    >>> multiples("id", 17)
    'id % 17 == 0'
    """
    return f"{primary} % {of} == 0"


def with_key(key: str) -> str:
    """Returns the filter for rows that have a key in their dynamic field.

    >>> with_key("color")
    'exists $meta["color"]'
    """
    return f"exists {META}[{literal(key)}]"


def both(*filters: str) -> str:
    """Joins filters; empty ones count for nothing.

    >>> both("id > 3", "", "a < 2 or b < 2")
    '(id > 3) and (a < 2 or b < 2)'
    """
    given = [text for text in filters if text]
    return given[0] if len(given) == 1 else " and ".join(f"({text})" for text in given)
