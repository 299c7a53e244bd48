"""One column of rows in another shape: where it comes from. Values; `reshape` builds it.

The job file is read with these, so nothing here imports what is slow to import.
"""

from __future__ import annotations

from dataclasses import dataclass

ConstantValue = bool | int | float | str


@dataclass(frozen=True)
class Replacement:
    r"""What is replaced in texts; a `regex` is RE2's, its groups are `\1` in the replacement."""

    pattern: str
    replacement: str
    regex: bool = False
    first: bool = False


@dataclass(frozen=True)
class Column:
    """One column of a stage.

    Attributes:
        name: what it is called.
        origin: the column before it that it is taken from; "" for a constant.
        copied: whether it is a second one of its origin.
        replacements: what is replaced in its texts, one after the other.
        value: of a constant, whose Milvus type is named `kind`.
    """

    name: str
    origin: str = ""
    copied: bool = False
    replacements: tuple[Replacement, ...] = ()
    value: ConstantValue | None = None
    kind: str = ""
