"""The columns of a collection between two transforms, and their valid names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.jobfile.spelling import suggestion
from transforms.reshape.column import Column

if TYPE_CHECKING:
    from transforms.milvus.schema import Field

NAME = re.compile(r"[A-Za-z_]\w{0,254}", re.ASCII)
"""A valid name of a field or collection in Milvus."""

_WORDS = frozenset(
    {
        *("and", "or", "not", "in", "like", "exists", "is", "null", "true", "false"),
        *("text_match", "phrase_match", "random_sample", "array_length", "iso", "interval"),
        *(f"{of}_contains{what}" for of in ("json", "array") for what in ("", "_all", "_any")),
    }
)
"""Keywords of filter expressions, in any case. No filter can name such a field, and newer servers
do not create one."""

_OF_THE_SERVER = frozenset(["RowID", "Timestamp"])
"""Hidden fields that every collection has."""


def misnamed(name: str) -> str:
    """Returns why a new field cannot have a name; "" if it can.

    >>> misnamed("title"), misnamed("a title"), misnamed("IN")
    ('', 'use letters, digits and _.', 'it is a keyword of filter expressions.')
    """
    if not NAME.fullmatch(name):
        return "use letters, digits and _."
    if name.casefold() in _WORDS:
        return "it is a keyword of filter expressions."
    return "Milvus has a hidden field with this name." if name in _OF_THE_SERVER else ""


class Unfit(Exception):
    """A plugin cannot be applied to a collection; each of `reasons` is a sentence."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


@dataclass(frozen=True)
class Columns:
    """The columns between two transforms, and the fields that they come from.

    Attributes:
        columns: the columns in order.
        fields: the fields of the collection, by their names in the source.
        computed: the names of the fields that the server computes, and that clients can neither
            read nor write.
    """

    columns: tuple[Column, ...]
    fields: Mapping[str, Field]
    computed: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The current name of the primary key."""
        keys = (name for name, field in self.fields.items() if field.primary)
        primary = next(keys, "")
        names = (
            column.name for column in self.columns if column.origin == primary and not column.copied
        )
        return next(names, "")

    @property
    def names(self) -> list[str]:
        """The names, in order."""
        return [column.name for column in self.columns]

    def __getitem__(self, name: str) -> Column:
        for column in self.columns:
            if column.name == name:
                return column
        raise Unfit(self._unknown(name))

    def check(self, names: Iterable[str]) -> None:
        """Checks that the fields exist; Unfit names all that do not."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise Unfit(*map(self._unknown, missing))

    def _unknown(self, name: str) -> str:
        return f"no field {name}{suggestion(name, self.names) or '.'}"

    def with_columns(self, columns: Iterable[Column]) -> Columns:
        """Returns a copy with other columns.

        Raises:
            Unfit: two columns have the same name, or a name is not valid.
        """
        new = tuple(columns)
        names = [column.name for column in new]
        duplicates = sorted({name for name in names if names.count(name) > 1})
        reasons = [f"two fields would be named {name}." for name in duplicates]
        for column in new:
            if self.is_dynamic(column) and (column.name != column.origin or column.copied):
                reasons.append(f"the dynamic field {column.origin} cannot be renamed or copied.")
            elif column.name != column.origin and (why := misnamed(column.name)):
                reasons.append(f"{column.name} is not a valid field name: {why}")
        if reasons:
            raise Unfit(*reasons)
        return replace(self, columns=new)

    def is_dynamic(self, column: Column) -> bool:
        """Whether a column contains the dynamic fields, which the schema does not name."""
        field = self.fields.get(column.origin)
        return field is not None and field.dynamic and column.extracted is None

    def kind(self, column: Column) -> str:
        """Returns the name of a column's Milvus type."""
        field = self.fields.get(column.origin)
        return column.kind or (field.type.name if field else "field of another type")
