"""The variables of a job file that `-i NAME=VALUE` sets on the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

PLACEHOLDERS = ("table_name", "database_name")
"""Names that SeaTunnel's sinks replace per collection; they are not HOCON variables."""

VARIABLE = re.compile(r"\$\{\??([^}]+)\}")

_QUOTED = re.compile(r"\$\{([^}:]+)(?::([^}]*))?\}")
"""A variable in quotes, where HOCON does not replace it, and its default after a colon."""


class Given:
    """The values of variables, and which of them the files use.

    Attributes:
        values: the values that HOCON uses for `${...}`, by the text in the braces.
    """

    def __init__(self, variables: Mapping[str, str] | None = None) -> None:
        self._variables = dict(variables or {})
        self._used: set[str] = set()
        self.values: dict[str, str] = {}

    @property
    def unused(self) -> list[str]:
        """The names that no file uses."""
        return [name for name in self._variables if name not in self._used]

    def collect(self, text: str) -> str:
        """Collects the variables of a file; returns its text unchanged."""
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
        """Returns the tree with variables in quotes replaced, if they are set or have a default."""
        return {key: self._fill(value) for key, value in tree.items()}

    def _fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self.fill_quoted(value)
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        return _QUOTED.sub(self._value, value) if isinstance(value, str) else value

    def _value(self, match: re.Match[str]) -> str:
        name, default = match[1].strip(), match[2]
        if name in self._variables:
            return self._variables[name]
        return match[0] if default is None else os.environ.get(name, default)
