"""The plugins of `transform { }`: their keys, and how each changes the columns of a collection.

Plugins and keys that SeaTunnel has too are named as in SeaTunnel. A plugin sees the columns that
the previous plugin returns, but no rows. `pipeline.planning.reshaping` applies the plugins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from pipeline.jobfile.block import key
from pipeline.jobfile.columns import Columns, Unfit
from pipeline.jobfile.constant_values import Constants
from pipeline.jobfile.extracted_keys import Extract
from pipeline.jobfile.plugin import Plugin, regex
from pipeline.jobfile.spelling import suggestion
from pipeline.jobfile.value_types import ByName, Case, Flag, NameList, Text, Verbatim, must_exist
from transforms.errors import FunctionFailed
from transforms.reshape.column import Column, Replacement
from transforms.reshape.functions import function_of


class FieldMapper(Plugin):
    """Keeps only the fields that it names, and renames them."""

    field_mapper: ByName = key(
        "`{ old = new }`: the fields to keep, and their names in the target."
    )

    def apply(self, columns: Columns) -> Columns:
        """Keeps the mapped fields."""
        columns.check(self.field_mapper)
        return columns.with_columns(
            replace(columns[old], name=new) for old, new in self.field_mapper.items()
        )


class Filter(Plugin):
    """Keeps or drops fields."""

    include_fields: NameList = key("The fields to keep; all others are dropped.", None)
    exclude_fields: NameList = key("The fields to drop; all others are kept.", None)

    @model_validator(mode="after")
    def _one_of_both(self) -> Filter:
        if (self.include_fields is None) == (self.exclude_fields is None):
            raise ValueError("requires either include_fields or exclude_fields")
        return self

    def apply(self, columns: Columns) -> Columns:
        """Keeps the fields that are included, or that are not excluded."""
        kept, dropped = self.include_fields, self.exclude_fields or ()
        columns.check(kept or dropped)
        return columns.with_columns(
            column
            for column in columns.columns
            if (column.name not in dropped if kept is None else column.name in kept)
        )


def _rules(value: object, keys: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
    """Returns the blocks of a list; each has only these keys, and the first two of them."""
    if not isinstance(value, list | tuple) or not all(isinstance(rule, dict) for rule in value):
        raise ValueError(f"must be a list of blocks: [{{ {keys[0]} = ..., {keys[1]} = ... }}]")
    for rule in value:
        for name in rule:
            if name not in keys:
                hint = suggestion(name, keys) or f"; the keys are {', '.join(keys)}"
                raise ValueError(f"has the unknown key {name}{hint}")
        for name in keys[:2]:
            if not isinstance(rule.get(name), str):
                raise ValueError(f"requires {name}, as text, in each block")
    return tuple(value)


def _named(rules: tuple[dict[str, Any], ...]) -> Iterator[tuple[str, str]]:
    for rule in rules:
        if not rule["target_name"]:
            raise ValueError(f"has an empty target_name for {rule['field_name']}")
        yield rule["field_name"], rule["target_name"]


def _specific(value: object) -> tuple[tuple[str, str], ...]:
    rules = _rules(value, ("field_name", "target_name"))
    return tuple(_named(rules))


def _replacements(value: object) -> tuple[tuple[str, str, bool], ...]:
    rules = _rules(value, ("replace_from", "replace_to", "is_regex"))
    replacements = []
    for rule in rules:
        is_regex = rule.get("is_regex", True) not in (False, "false")
        pattern = rule["replace_from"] if is_regex else re.escape(rule["replace_from"])
        replacements.append((regex(pattern), rule["replace_to"], is_regex))
    return tuple(replacements)


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
    """A plugin that renames by rules."""

    convert_case: Case = key("Change letters to upper case or lower case.", None)
    prefix: Text = key("Text to add before each name.", "")
    suffix: Text = key("Text to add after each name.", "")
    replacements_with_regex: Replacements = key(
        "Replacements in each name. If several match, only the last one applies. With "
        "`is_regex = false`, `replace_from` must equal the whole name.",
        (),
    )

    def by_rule(self, name: str) -> str:
        """Returns the new name by the rules."""
        cased = {"UPPER": str.upper, "LOWER": str.lower}.get(self.convert_case or "", str)
        rules = [rule for rule in self.replacements_with_regex if _matches(rule, name)]
        if not rules:
            return f"{self.prefix}{cased(name)}{self.suffix}"
        pattern, text, _ = rules[-1]
        # The pattern matches the original name; only the parts that do not match change case.
        renamed, at = "", 0
        for match in re.finditer(pattern, name):
            renamed, at = renamed + cased(name[at : match.start()]) + text.strip(), match.end()
        return f"{self.prefix}{renamed}{cased(name[at:])}{self.suffix}"


def _matches(rule: tuple[str, str, bool], name: str) -> bool:
    pattern, _, is_regex = rule
    return bool(re.search(pattern, name) if is_regex else re.fullmatch(pattern, name))


class FieldRename(Renaming):
    """Renames fields one by one or by rules."""

    specific: Specific = key("New names of single fields; the rules do not apply to these.", ())

    def apply(self, columns: Columns) -> Columns:
        """Renames the fields, except the dynamic field."""
        specific = dict(self.specific)
        columns.check(specific)
        return columns.with_columns(
            replace(column, name=specific.get(column.name) or self._ruled(columns, column))
            for column in columns.columns
        )

    def _ruled(self, columns: Columns, column: Column) -> str:
        return column.name if columns.is_dynamic(column) else self.by_rule(column.name)


class TableRename(Renaming):
    """Renames collections by rules, after `collection_rename` of the sink."""


class TablePathMapper(Plugin):
    """Renames collections one by one, after `collection_rename` of the sink."""

    table_mapper: ByName = key("`{ old = new }`: names of collections, and their new names.")

    def by_rule(self, name: str) -> str:
        """Returns the mapped name."""
        return self.table_mapper.get(name, name)


class Copy(Plugin):
    """Adds copies of fields."""

    fields: ByName = key("`{ new = old }`: names of the copies, and the fields to copy.")

    def apply(self, columns: Columns) -> Columns:
        """Adds the copies after all other fields."""
        columns.check(self.fields.values())
        copies = [self._copy(columns, new, old) for new, old in self.fields.items()]
        return columns.with_columns((*columns.columns, *copies))

    @staticmethod
    def _copy(columns: Columns, new: str, old: str) -> Column:
        if columns[old].origin in columns.computed:
            raise Unfit(f"cannot copy {old}: the server computes it and does not return it.")
        return replace(columns[old], name=new, copied=True)


class RowFilter(Plugin):
    """Copies only the rows that match a Milvus filter expression in the source."""

    expression: Text = key(
        "A Milvus filter expression that selects the rows to copy; use the fields' names in the "
        "source."
    )

    @model_validator(mode="after")
    def _steady(self) -> RowFilter:
        if re.search(r"\brandom_sample\s*\(", self.expression, re.IGNORECASE):
            raise ValueError(
                "random_sample selects different rows each time, so the copy could not be proven; "
                "select rows by their fields"
            )
        return self


class Replace(Plugin):
    """Replaces parts of the texts of a field."""

    replace_field: Text = key("The field: a VarChar or Text that is not the primary key.")
    pattern: Verbatim = key("The text, or the regular expression, to replace.")
    replacement: Verbatim = key(
        "The new text. If `pattern` is a regular expression, `$1` is its first group."
    )
    is_regex: Flag = key("Whether `pattern` is a regular expression (RE2 syntax).", False)
    replace_first: Flag = key("Whether to replace only the first match in each text.", False)

    @model_validator(mode="after")
    def _can_be_done(self) -> Replace:
        if not self.pattern:
            raise ValueError("pattern is empty; set the text to replace")
        try:
            _replaced("a", self._replacement)
        except ValueError as error:
            raise ValueError(f"pattern or replacement is invalid: {error}") from None
        return self

    @property
    def _replacement(self) -> Replacement:
        text = _re2(self.replacement) if self.is_regex else self.replacement
        return Replacement(self.pattern, text, self.is_regex, self.replace_first)

    def apply(self, columns: Columns) -> Columns:
        """Adds the replacement to the field, or applies it to a constant."""
        old = columns[self.replace_field]
        if old.name == columns.key:
            raise Unfit(f"cannot replace texts of {old.name}: it is the primary key.")
        if (kind := columns.kind(old)) not in ("VarChar", "Text"):
            raise Unfit(f"cannot replace texts of {old.name}: its type is {kind}.")
        new = replace(old, replacements=(*old.replacements, self._replacement))
        if not old.origin:
            new = replace(old, value=_replaced(str(old.value), self._replacement))
        return columns.with_columns(new if column is old else column for column in columns.columns)


def _replaced(text: str, how: Replacement) -> str:
    from transforms.reshape import texts  # Slow: it imports Arrow, which only Replace needs.

    return texts.replaced_in(text, how)


def _re2(replacement: str) -> str:
    r"""Converts a Java replacement, in which `$1` is a group, to RE2's syntax.

    SeaTunnel uses Java's syntax.

    >>> print(_re2("$1-$2"), _re2(r"100 \$"), _re2(r"a\\b"))
    \1-\2 100 $ a\\b
    """

    def part(match: re.Match[str]) -> str:
        if match[1]:
            return f"\\{match[1]}"
        return "\\\\" if match[0] in ("\\", "\\\\") else match[0][-1]

    return re.sub(r"\$(\d)|\\.|\\", part, replacement)


class Constant(Plugin):
    """Adds fields that have the same value in all rows."""

    fields: Constants = key(
        "`{ name = value }` or `{ name = { type = Int32, value = 7 } }`. Default types: VarChar "
        "for text, Int64 for whole numbers, Double for other numbers, Bool for true and false."
    )

    def apply(self, columns: Columns) -> Columns:
        """Adds the fields after all other fields."""
        new = [Column(name, value=value, kind=kind) for name, (kind, value) in self.fields.items()]
        return columns.with_columns((*columns.columns, *new))


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
    """Calls your Python function with the columns, and copies the columns that it returns."""

    function: Function = key(
        "The function. It takes one `pyarrow.RecordBatch` and returns one with the same rows and "
        "keys."
    )


PLUGINS: dict[str, type[Plugin]] = {
    plugin.__name__: plugin
    for plugin in (
        RowFilter,
        Filter,
        FieldMapper,
        FieldRename,
        Copy,
        Constant,
        Extract,
        Replace,
        Python,
        TableRename,
        TablePathMapper,
    )
}

_FUNCTION = 'write it as a function: Python { function = "package.module:function" }'

# The transforms that SeaTunnel has and Kitelift does not have, and what to use instead.
REFUSED: dict[str, str] = {
    "Sql": "Kitelift has no SQL; select rows with RowFilter and fields with Filter or FieldMapper, "
    "and change values with Replace, Constant or Python",
    "SimpleSql": "Kitelift has no SQL; use RowFilter, Filter and FieldMapper",
    "FilterRowKind": "rows of a collection have no row kinds; remove this block",
    "RowKindExtractor": "rows of a collection have no row kinds; remove this block",
    "TableFilter": "select collections with source.Milvus.collections, and remove this block",
    "TableMerge": "Kitelift merges no collections in one job; run two jobs with APPEND_DATA",
    "Embedding": f"call your model yourself; {_FUNCTION}",
    "LLM": f"call your model yourself; {_FUNCTION}",
    "DynamicCompile": _FUNCTION,
    "JsonPath": f"take keys of the dynamic field with Extract; for other values, {_FUNCTION}",
    "Split": _FUNCTION,
    "Metadata": "rows have no metadata; to store where they come from, use Constant",
}
