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
class DynamicKey:
    """A key of the dynamic field, and the field that it becomes.

    Attributes:
        key: the key.
        kind: the name of the field's Milvus type.
        element: the name of the type of its items, of an Array; else "".
        max_length: the maximum bytes of its texts; 0 if it has none.
        max_capacity: the maximum items of an Array; 0 for other types.
        nullable: whether the field may be null.
        default: the value of rows without the key; None for none.
    """

    key: str
    kind: str
    element: str = ""
    max_length: int = 0
    max_capacity: int = 0
    nullable: bool = False
    default: ConstantValue | None = None


@dataclass(frozen=True)
class Column:
    """One column of a stage.

    Attributes:
        name: its name.
        origin: the column of the stage before that it is taken from; "" for a constant.
        copied: whether it is a second copy of its origin.
        replacements: the replacements in its texts, applied in order.
        value: the value of a constant.
        kind: the name of the Milvus type of a constant, or of a key of the dynamic field.
        extracted: the key that it has of its origin, which is the dynamic field.
        removed: the keys that are removed from the dynamic field.
    """

    name: str
    origin: str = ""
    copied: bool = False
    replacements: tuple[Replacement, ...] = ()
    value: ConstantValue | None = None
    kind: str = ""
    extracted: DynamicKey | None = None
    removed: tuple[str, ...] = ()
