"""The variables of a job file, as `-i NAME=VALUE` gives them on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDERS = ("table_name", "database_name")
"""Names that SeaTunnel's sinks replace for each collection; they are no variables of HOCON."""

VARIABLE = re.compile(r"\$\{\??([^}]+)\}")

_QUOTED = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
"""A variable in quotes, where HOCON replaces none, and its default after a colon."""


class Given:
    """Values of variables, and which of them the files use.

    Attributes:
        values: what HOCON is to put in place of `${...}`, by what stands in the braces.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})
        self._used: set[str] = set()
        self.values: dict[str, str] = {}

    @property
    def unused(self) -> list[str]:
        """The names that stand in no file."""
        return [name for name in self._variables if name not in self._used]

    def collect(self, text: str) -> str:
        """Takes notice of the variables of a file; returns its text as it is."""
        for inside in VARIABLE.findall(text):
            name, colon, default = inside.partition(":")
            self._used.add(name.strip())
            if name.strip() in self._variables:
                self.values[inside] = self._variables[name.strip()]
            elif inside in PLACEHOLDERS:
                self.values[inside] = f"${{{inside}}}"
            elif colon:
                self.values[inside] = os.environ.get(name.strip(), default.strip())
        return text

    def fill_quoted(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Replaces variables in quotes, too, where they are given or have a default."""
        return {key: self._fill(value) for key, value in tree.items()}

    def _fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.fill_quoted(value)
        if isinstance(value, list):
            return [self._fill(each) for each in value]
        return _QUOTED.sub(self._value, value) if isinstance(value, str) else value

    def _value(self, found: re.Match[str]) -> str:
        name, default = found[1].strip(), found[2]
        if name in self._variables:
            return self._variables[name]
        return found[0] if default is None else os.environ.get(name, default)
