"""The variables of a job file: set by `-i NAME=VALUE`, or kept when a file is converted."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Mapping
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


_WRITTEN = re.compile(r"\$\{(\?)?([^}]+)\}")
_MARK = re.compile("\ue002([0-9]+)\ue003")  # Private-use characters, which no text contains.
NEVER_SET = "\ue004"
"""The name of a variable that no environment has."""


class Kept(Given):
    """Keeps every variable that the file does not define, as it is written.

    In the values, a mark stands for each; `split` finds the marks. Without `optional`, a variable
    such as `${?NAME}` is never set, so that its key has the value before it, if there is one.
    """

    def __init__(self, defined: Container[str], *, optional: bool = True) -> None:
        super().__init__()
        self._defined, self._optional = defined, optional
        self.written: dict[str, int] = {}
        """The variables as written, such as `${NAME}`, with the numbers of their marks."""

    def collect(self, text: str) -> str:
        """Returns the text of a file with a mark for each variable that is kept."""
        return _WRITTEN.sub(self._mark, text)

    def _mark(self, match: re.Match[str]) -> str:
        optional, inside = match.groups()
        if inside in PLACEHOLDERS:
            self.values[inside] = f"${{{inside}}}"
            return match[0]
        if inside in self._defined:
            return match[0]
        number = self.written.setdefault(match[0], len(self.written))
        return f"${{?{NEVER_SET}}}" if optional and not self._optional else f"\ue002{number}\ue003"

    def fill_quoted(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Returns the tree: its variables are marks, in quotes too."""
        return tree

    def required(self, text: str) -> list[str]:
        """Returns the variables of a file that must be set: not optional, and without a default.

        A variable of the original may be missing in `text`, such as one in a comment.
        """
        names = (variable[2:-1].strip() for variable in self.written if variable in text)
        return [name for name in names if not name.startswith("?") and ":" not in name]

    def split(self, text: str) -> list[str]:
        """Splits a text at its variables: literal, variable, literal, variable, … literal."""
        parts, written = _MARK.split(text), list(self.written)
        return [written[int(part)] if number % 2 else part for number, part in enumerate(parts)]

    def without_optional(self, text: str) -> str:
        """Returns a text as it is if no optional variable is set."""
        return "".join(part for part in self.split(text) if not part.startswith("${?"))


def is_marked(value: object) -> bool:
    """Whether a text contains a variable that `Kept` has marked."""
    return isinstance(value, str) and bool(_MARK.search(value))
