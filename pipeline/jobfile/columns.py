"""The columns of a collection on their way through the transforms, and what they may be named."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pipeline.jobfile.values import suggestion
from transforms.reshape.column import Column

if TYPE_CHECKING:
    from transforms.milvus.schema import Field

NAME = re.compile(r"[A-Za-z_]\w{0,254}", re.ASCII)
"""What Milvus takes as the name of a field or a collection."""

_WORDS = frozenset(
    {
        *("and", "or", "not", "in", "like", "exists", "is", "null", "true", "false"),
        *("text_match", "phrase_match", "random_sample", "array_length", "iso", "interval"),
        *(f"{of}_contains{what}" for of in ("json", "array") for what in ("", "_all", "_any")),
    }
)
"""The words of filters, whatever their case: no filter can name such a field, and newer servers do
not make one."""

_OF_THE_SERVER = frozenset(["RowID", "Timestamp"])
"""Fields that every collection has, unseen."""


def misnamed(name: str) -> str:
    """Says why a new field cannot have a name; "" if it can.

    >>> misnamed("title"), misnamed("a title"), misnamed("IN")
    ('', 'use letters, digits and _.', 'it is a word of filter expressions.')
    """
    if not NAME.fullmatch(name):
        return "use letters, digits and _."
    if name.casefold() in _WORDS:
        return "it is a word of filter expressions."
    return "Milvus has such a field of its own." if name in _OF_THE_SERVER else ""


class Unfit(Exception):
    """A plugin that cannot be applied to a collection; each of `reasons` is a sentence."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


@dataclass(frozen=True)
class Columns:
    """The columns at one point of the way, each with its name, and what is known of their origins.

    Attributes:
        fields: the fields that the columns are taken from, by their names.
        computed: those among them that the server makes itself and neither shows nor takes.
    """

    columns: tuple[Column, ...]
    fields: Mapping[str, Field]
    computed: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """The name that the primary key has now."""
        keys = (name for name, field in self.fields.items() if field.primary)
        primary = next(keys, "")
        found = (
            column.name for column in self.columns if column.origin == primary and not column.copied
        )
        return next(found, "")

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
        """Makes sure that the fields are there; Unfit names all that are not."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise Unfit(*map(self._unknown, missing))

    def _unknown(self, name: str) -> str:
        return f"there is no field {name}{suggestion(name, self.names) or '.'}"

    def with_columns(self, columns: Iterable[Column]) -> Columns:
        """Returns other columns of the same fields.

        Raises:
            Unfit: two have one name, or a name is none for a field.
        """
        made = tuple(columns)
        names = [each.name for each in made]
        twice = sorted({name for name in names if names.count(name) > 1})
        reasons = [f"two fields would be named {name}." for name in twice]
        for each in made:
            if self.is_dynamic(each) and (each.name != each.origin or each.copied):
                reasons.append(f"the dynamic field {each.origin} cannot be renamed or copied.")
            elif each.name != each.origin and (why := misnamed(each.name)):
                reasons.append(f"{each.name} is no name of a field: {why}")
        if reasons:
            raise Unfit(*reasons)
        return replace(self, columns=made)

    def is_dynamic(self, column: Column) -> bool:
        """Whether it holds the fields that the schema does not name."""
        field = self.fields.get(column.origin)
        return field is not None and field.dynamic

    def kind(self, column: Column) -> str:
        """Returns the name of a column's Milvus type."""
        field = self.fields.get(column.origin)
        return column.kind or (field.type.name if field else "field of another type")
