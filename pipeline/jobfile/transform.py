"""The plugins of `transform { }`: what each may be told, and what it makes of columns.

Their names and keys are SeaTunnel's where it has them. A plugin sees the columns as those before it
have left them, whatever the rows hold; `pipeline.planning.reshaping` puts them to work.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from pipeline.jobfile.block import Block, key
from pipeline.jobfile.columns import Columns, Unfit
from pipeline.jobfile.constants import Constants
from pipeline.jobfile.values import (
    ByName,
    Case,
    Flag,
    NameList,
    Text,
    Verbatim,
    must_exist,
    suggestion,
)
from transforms.errors import FunctionFailed
from transforms.reshape.column import Column, Replacement
from transforms.reshape.functions import function_of


def _regex(value: object) -> str:
    text = value if isinstance(value, str) else ""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if not text:
        raise ValueError('must be a regular expression in double quotes, as "docs_.*"')
    return text


Regex = Annotated[str, BeforeValidator(_regex), Field(title="regular expression")]


class Plugin(Block):
    """One block of `transform`; the two keys that all of them have."""

    collections: NameList = key("Only these collections, by their names in the source.", None)
    table_match_regex: Regex = key(
        "Only collections of which `name` or `database.name` matches as a whole.", ".*"
    )

    def applies_to(self, database: str, collection: str) -> bool:
        """Whether it is meant for a collection of the source."""
        if self.collections is not None and collection not in self.collections:
            return False
        names = (collection, f"{database}.{collection}")
        return any(re.fullmatch(self.table_match_regex, name) for name in names)

    def apply(self, columns: Columns) -> Columns:
        """Returns the columns as they are after it.

        Raises:
            Unfit: it cannot be applied to these.
        """
        return columns

    def to_setting(self) -> dict[str, Any]:
        """Its name with what it was told, for the settings of a job."""
        told = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {type(self).__name__: told}


class FieldMapper(Plugin):
    """Keeps the fields that are named, under other names."""

    field_mapper: ByName = key("`{ old = new }`: what is kept, and its name in the target.")

    def apply(self, columns: Columns) -> Columns:
        """Keeps what is mapped."""
        columns.check(self.field_mapper)
        return columns.with_columns(
            replace(columns[old], name=new) for old, new in self.field_mapper.items()
        )


class Filter(Plugin):
    """Keeps some fields, or drops some."""

    include_fields: NameList = key("The fields to keep; all others are dropped.", None)
    exclude_fields: NameList = key("The fields to drop; all others are kept.", None)

    @model_validator(mode="after")
    def _one_of_both(self) -> Filter:
        if (self.include_fields is None) == (self.exclude_fields is None):
            raise ValueError("needs include_fields or exclude_fields, and not both")
        return self

    def apply(self, columns: Columns) -> Columns:
        """Keeps what is included, or not excluded."""
        kept, dropped = self.include_fields, self.exclude_fields or ()
        columns.check(kept or dropped)
        return columns.with_columns(
            column
            for column in columns.columns
            if (column.name not in dropped if kept is None else column.name in kept)
        )


def _rules(value: object, keys: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """A list of blocks, each with some of these keys."""
    if not isinstance(value, list | tuple) or not all(isinstance(each, dict) for each in value):
        raise ValueError(f"must be a list of blocks, as [{{ {keys[0]} = ..., {keys[1]} = ... }}]")
    for each in value:
        for name in each:
            if name not in keys:
                raise ValueError(f"has {name}{suggestion(name, keys) or '; unknown key'}")
        for name in keys[:2]:
            if not isinstance(each.get(name), str):
                raise ValueError(f"needs {name}, as text, in each of its blocks")
    return tuple(value)


def _named(rules: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        if not rule["target_name"]:
            raise ValueError(f"has no target_name for {rule['field_name']}")
        yield rule["field_name"], rule["target_name"]


def _specific(value: object) -> tuple[tuple[str, str], ...]:
    rules = _rules(value, ("field_name", "target_name"))
    return tuple(_named(rules))


def _replacements(value: object) -> tuple[tuple[str, str, bool], ...]:
    rules = _rules(value, ("replace_from", "replace_to", "is_regex"))
    found = []
    for rule in rules:
        is_regex = rule.get("is_regex", True) not in (False, "false")
        pattern = rule["replace_from"] if is_regex else re.escape(rule["replace_from"])
        found.append((_regex(pattern), rule["replace_to"], is_regex))
    return tuple(found)


Specific = Annotated[
    tuple[tuple[str, str], ...],
    BeforeValidator(_specific),
    Field(title="list of `{ field_name, target_name }`"),
]
Replacements = Annotated[
    tuple[tuple[str, str, bool], ...],
    BeforeValidator(_replacements),
    Field(title="list of `{ replace_from, replace_to, is_regex }`"),
]


class Renaming(Plugin):
    """What gives new names by a rule."""

    convert_case: Case = key("`UPPER` or `LOWER`.", None)
    prefix: Text = key("Put before each name.", "")
    suffix: Text = key("Put after each name.", "")
    replacements_with_regex: Replacements = key(
        "Replaced in each name; of several that match, the last. With `is_regex = false` only a "
        "name that is equal.",
        (),
    )

    def by_rule(self, name: str) -> str:
        """Returns the name that the rules give."""
        cased = {"UPPER": str.upper, "LOWER": str.lower}.get(self.convert_case or "", str)
        rules = [rule for rule in self.replacements_with_regex if _matches(rule, name)]
        if not rules:
            return f"{self.prefix}{cased(name)}{self.suffix}"
        pattern, text, _ = rules[-1]
        # The pattern is held against the name as it is; only what it leaves changes its case.
        made, at = "", 0
        for found in re.finditer(pattern, name):
            made, at = made + cased(name[at : found.start()]) + text.strip(), found.end()
        return f"{self.prefix}{made}{cased(name[at:])}{self.suffix}"


def _matches(rule: tuple[str, str, bool], name: str) -> bool:
    pattern, _, is_regex = rule
    return bool(re.search(pattern, name) if is_regex else re.fullmatch(pattern, name))


class FieldRename(Renaming):
    """Gives fields new names, one by one or by a rule."""

    specific: Specific = key("New names of single fields; no rule applies to these.", ())

    def apply(self, columns: Columns) -> Columns:
        """Renames the fields; the dynamic field has no name to change."""
        specific = dict(self.specific)
        columns.check(specific)
        return columns.with_columns(
            replace(column, name=specific.get(column.name) or self._ruled(columns, column))
            for column in columns.columns
        )

    def _ruled(self, columns: Columns, column: Column) -> str:
        return column.name if columns.is_dynamic(column) else self.by_rule(column.name)


class TableRename(Renaming):
    """Gives collections new names by a rule, after `collection_rename` of the sink."""


class TablePathMapper(Plugin):
    """Gives collections new names one by one, after `collection_rename` of the sink."""

    table_mapper: ByName = key("`{ old = new }`: names of collections, and those in the target.")

    def by_rule(self, name: str) -> str:
        """Returns the name that the mapper gives."""
        return self.table_mapper.get(name, name)


class Copy(Plugin):
    """Adds fields that are copies of others."""

    fields: ByName = key("`{ new = old }`: fields to add, and what they are copies of.")

    def apply(self, columns: Columns) -> Columns:
        """Adds the copies behind all others."""
        columns.check(self.fields.values())
        copies = [self._copy(columns, new, old) for new, old in self.fields.items()]
        return columns.with_columns((*columns.columns, *copies))

    @staticmethod
    def _copy(columns: Columns, new: str, old: str) -> Column:
        if columns[old].origin in columns.computed:
            raise Unfit(f"{old} cannot be copied: the server makes it itself and does not show it.")
        return replace(columns[old], name=new, copied=True)


class RowFilter(Plugin):
    """Copies only the rows that the source finds by a filter expression of Milvus."""

    expression: Text = key(
        "The rows to copy, as a filter expression of Milvus; fields have their names in the source."
    )

    @model_validator(mode="after")
    def _steady(self) -> RowFilter:
        if re.search(r"\brandom_sample\s*\(", self.expression, re.IGNORECASE):
            raise ValueError(
                "random_sample finds other rows each time, so that nothing could be proven; choose "
                "rows by their fields"
            )
        return self


class Replace(Plugin):
    """Replaces a part of the texts of a field."""

    replace_field: Text = key("The field, a VarChar that is not the primary key.")
    pattern: Verbatim = key("What is replaced: this text, or what this expression matches.")
    replacement: Verbatim = key("What stands in its place; `$1` is the first group.")
    is_regex: Flag = key("Whether `pattern` is a regular expression, in the syntax of RE2.", False)
    replace_first: Flag = key("Whether only the first place of each text is replaced.", False)

    @model_validator(mode="after")
    def _can_be_done(self) -> Replace:
        if not self.pattern:
            raise ValueError("pattern is empty; say what is to be replaced")
        try:
            _replaced("a", self._replacement)
        except ValueError as error:
            raise ValueError(f"pattern or replacement cannot be used: {error}") from None
        return self

    @property
    def _replacement(self) -> Replacement:
        text = _re2(self.replacement) if self.is_regex else self.replacement
        return Replacement(self.pattern, text, self.is_regex, self.replace_first)

    def apply(self, columns: Columns) -> Columns:
        """Replaces in the values of the field."""
        found = columns[self.replace_field]
        if found.name == columns.key:
            raise Unfit(f"{found.name} is the primary key, which must stay as it is.")
        if (kind := columns.kind(found)) not in ("VarChar", "Text"):
            raise Unfit(f"{found.name} is a {kind}; only texts can be replaced.")
        made = replace(found, replacements=(*found.replacements, self._replacement))
        if not found.origin:
            made = replace(found, value=_replaced(str(found.value), self._replacement))
        return columns.with_columns(
            made if column is found else column for column in columns.columns
        )


def _replaced(text: str, how: Replacement) -> str:
    from transforms.reshape import (
        texts,  # With Arrow, which only a job file that replaces waits for.
    )

    return texts.replaced_in(text, how)


def _re2(replacement: str) -> str:
    r"""Writes a replacement of Java, as SeaTunnel takes them, in RE2's way: `$1` is a group.

    >>> print(_re2("$1-$2"), _re2(r"100 \$"), _re2(r"a\\b"))
    \1-\2 100 $ a\\b
    """

    def part(found: re.Match[str]) -> str:
        if found[1]:
            return f"\\{found[1]}"
        return "\\\\" if found[0] in ("\\", "\\\\") else found[0][-1]

    return re.sub(r"\$(\d)|\\.|\\", part, replacement)


class Constant(Plugin):
    """Adds fields that have one value in all rows."""

    fields: Constants = key(
        "`{ name = value }`, or `{ name = { type = Int32, value = 7 } }`; without a type text is "
        "VarChar, a whole number Int64, another one Double, true and false Bool."
    )

    def apply(self, columns: Columns) -> Columns:
        """Adds the fields behind all others."""
        made = [Column(name, value=value, kind=kind) for name, (kind, value) in self.fields.items()]
        return columns.with_columns((*columns.columns, *made))


def _function(value: object, info: ValidationInfo) -> str:
    name = value if isinstance(value, str) else ""
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
        raise ValueError('must be "package.module:function"')
    try:
        if must_exist(info):
            function_of(name)
    except FunctionFailed as error:
        raise ValueError(error.reason) from None
    return name


Function = Annotated[str, BeforeValidator(_function), Field(title="`package.module:function`")]


class Python(Plugin):
    """Gives the columns to a function of yours and takes what it returns."""

    function: Function = key(
        "The function: one pyarrow.RecordBatch in, one out, with the same rows and keys."
    )


PLUGINS: dict[str, type[Plugin]] = {
    each.__name__: each
    for each in (
        RowFilter,
        Filter,
        FieldMapper,
        FieldRename,
        Copy,
        Constant,
        Replace,
        Python,
        TableRename,
        TablePathMapper,
    )
}

_FUNCTION = 'write it in Python: Python { function = "package.module:function" }'

# What SeaTunnel has and Kitelift has not, and what to use instead.
REFUSED: dict[str, str] = {
    "Sql": "there is no SQL here; rows are chosen by RowFilter, fields by Filter and FieldMapper, "
    "and values are made by Replace, Constant and Python",
    "SimpleSql": "there is no SQL here; use RowFilter, Filter and FieldMapper",
    "FilterRowKind": "rows of a collection have no kinds, all are copied; remove it",
    "RowKindExtractor": "rows of a collection have no kinds; remove it",
    "TableFilter": "collections are chosen by source.Milvus.collections; remove it",
    "TableMerge": "each collection becomes one of its own; merge by two jobs with APPEND_DATA",
    "Embedding": f"call your model yourself; {_FUNCTION}",
    "LLM": f"call your model yourself; {_FUNCTION}",
    "DynamicCompile": _FUNCTION,
    "JsonPath": _FUNCTION,
    "Split": _FUNCTION,
    "Metadata": "rows have nothing but their fields; a Constant can say where they come from",
}
