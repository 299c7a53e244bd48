"""Milvus filter expressions for key ranges.

Escaping: only backslash, double quote, LF, CR and TAB; everything else is raw UTF-8. Servers do not
parse all escapes of JSON, and filter templates need 2.5 (measured on 94 difficult strings against
2.3.5 and milvus-lite 3.2.2).
"""

from __future__ import annotations

from collections.abc import Iterator

from transforms.milvus.schema import Field
from transforms.milvus.types import META
from transforms.ranges import Key, KeyRange

MIN_INT64 = -(2**63)
MAX_INT64 = 2**63 - 1

MAX_KEYS = 1_000
"""The maximum of keys in one filter: tens of kilobytes, except for text keys of up to 64 KB."""

MAX_KEY_BYTES = 512 * 1024
"""The maximum of key bytes in one filter. The smallest common message limit is 1 MB (nginx)."""

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def literal(key: Key) -> str:
    r"""Returns a key as a literal of an expression.

    >>> print(literal(-5), literal('say "hi"\n'))
    -5 "say \"hi\"\n"
    """
    return str(key) if isinstance(key, int) else f'"{key.translate(_ESCAPES)}"'


def within(primary: str, keys: KeyRange) -> str:
    """Returns the filter for the keys of a range; "" if it has no bounds.

    -2^63 cannot be written as a literal (2.3.5 parses the minus sign apart from the number), so a
    bound at -2^63 is moved by one.

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
    """Returns a filter that matches every key: milvus-lite ignores a partition without a filter.

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


def batches(keys: list[Key]) -> Iterator[list[Key]]:
    """Yields the keys in lists that fit into one filter."""
    batch: list[Key] = []
    size_bytes = 0
    for key in keys:
        key_bytes = len(literal(key).encode())
        if len(batch) == MAX_KEYS or (batch and size_bytes + key_bytes > MAX_KEY_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(key)
        size_bytes += key_bytes
    if batch:
        yield batch


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
    """Joins filters by `and`; skips empty ones.

    >>> both("id > 3", "", "a < 2 or b < 2")
    '(id > 3) and (a < 2 or b < 2)'
    """
    texts = [text for text in filters if text]
    return texts[0] if len(texts) == 1 else " and ".join(f"({text})" for text in texts)
