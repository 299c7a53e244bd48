"""The origin of one column of reshaped rows. Values only; `reshape` applies them.

The job file parser uses these classes, so this module imports nothing that is slow to import.
"""

from __future__ import annotations

from dataclasses import dataclass

ConstantValue = bool | int | float | str


@dataclass(frozen=True)
class Replacement:
    r"""One replacement in texts; a `regex` has RE2 syntax, with groups as `\1` in `replacement`."""

    pattern: str
    replacement: str
    regex: bool = False
    first: bool = False


@dataclass(frozen=True)
class Column:
    """One column of a stage.

    Attributes:
        name: its name.
        origin: the column of the stage before that it is taken from; "" for a constant.
        copied: whether it is a second copy of its origin.
        replacements: the replacements in its texts, applied in order.
        value: the value of a constant.
        kind: the name of the Milvus type of a constant.
    """

    name: str
    origin: str = ""
    copied: bool = False
    replacements: tuple[Replacement, ...] = ()
    value: ConstantValue | None = None
    kind: str = ""
