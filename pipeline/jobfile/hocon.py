"""HOCON text as plain values; an error quotes no value of the file."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyhocon import ConfigFactory, ConfigTree, config_parser
from pyhocon.exceptions import (
    ConfigException,
    ConfigSubstitutionException,
)
from pyparsing import ParseBaseException, ParserElement

from pipeline.jobfile.draft import Draft
from pipeline.jobfile.variables import VARIABLE
from transforms.errors import ConfigError


def placeholder(variable: str) -> str:
    """Returns the value of an unset variable: private-use characters, which no text contains."""
    return f"\ue000{variable}\ue001"


def evaluate(text: str, base: Path, draft: Draft, rewrite: Callable[[str], str]) -> dict[str, Any]:
    """Returns the plain values of HOCON text; an unset variable becomes its placeholder.

    `rewrite` changes the text of each included file before it is parsed.
    """
    unset: dict[str, str] = {}
    with _rewriting_includes(rewrite):
        while (tree := _resolved(text, base, draft, unset)) is None:
            pass
    if not isinstance(tree, ConfigTree):
        raise ConfigError(["the file must consist of blocks: env, source and sink"])
    draft.unset.update(unset)
    return dict(tree.as_plain_ordered_dict())


def _resolved(text: str, base: Path, draft: Draft, unset: dict[str, str]) -> Any:
    """Returns the tree, or None after adding one to `unset`: pyhocon reports one at a time."""
    try:
        with _capture_log(draft):
            tree = ConfigFactory.parse_string(text, str(base), resolve=False)
            if not isinstance(tree, ConfigTree):
                return tree
            # Only now are all included files, and so all their variables, known.
            return ConfigFactory.from_dict({**unset, **draft.variables.values}).with_fallback(tree)
    except ConfigSubstitutionException as error:
        names = VARIABLE.findall(str(error))
        problem = "a variable refers to itself: " + ", ".join(f"${{{name}}}" for name in names)
        if "cycles" not in str(error) and names and names[0] not in unset:
            unset[names[0]] = placeholder(names[0])
            return None
    except Exception as error:  # noqa: BLE001 - pyhocon has no common base class for its errors
        problem = _parse_problem(error, text)
    # Raised here, the error does not chain pyhocon's error, which contains values.
    raise ConfigError([problem])


@contextmanager
def _rewriting_includes(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Makes pyhocon rewrite each included file; it has no setting for that."""
    plain = config_parser.ConfigFactory

    class Rewriting(plain):  # type: ignore[misc,valid-type]  # pyhocon has no types.
        @classmethod
        def parse_string(cls, content: str, *arguments: Any, **options: Any) -> Any:
            return plain.parse_string(rewrite(content), *arguments, **options)

    config_parser.ConfigFactory = Rewriting  # pyhocon looks it up by this name for includes.
    try:
        yield
    finally:
        config_parser.ConfigFactory = plain


@contextmanager
def _capture_log(draft: Draft) -> Iterator[None]:
    """Stops pyhocon from logging values of the file; turns a missing include into a problem.

    Also restores pyparsing's global white space characters, which pyhocon's parser changes.
    """

    def add_problem(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and isinstance(record.args, tuple):
            draft.refuse(f'include "{record.args[0]}"', "no such file")
        return False

    logger = logging.getLogger("pyhocon.config_parser")
    level = logger.level
    logger.setLevel(logging.WARNING)  # Whatever the log level of the process: the filter needs it.
    logger.addFilter(add_problem)
    white = ParserElement.DEFAULT_WHITE_CHARS
    try:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            yield
    finally:
        ParserElement.set_default_whitespace_chars(white)
        logger.removeFilter(add_problem)
        logger.setLevel(level)


def _parse_problem(error: Exception, text: str) -> str:
    """Returns why the text cannot be parsed; quotes at most one character: it may be a secret."""
    if isinstance(error, ParseBaseException):
        return _syntax_problem(error, text)
    if isinstance(error, OSError):
        return f"include: {error.filename}: {error.strerror}"
    if isinstance(error, RecursionError):
        return "a file includes itself, or blocks are nested too deeply"
    if isinstance(error, ConfigException):
        return "a key is set both to a value and to a block or list; remove one"
    return f"the text is not valid HOCON ({type(error).__name__})"


def _syntax_problem(error: ParseBaseException, text: str) -> str:
    char = error.pstr[error.loc : error.loc + 1]
    if not char:
        why = "the text ends inside a block or list; add the missing } or ]"
    elif char == '"':
        why = "unexpected double quote, or the quoted text does not end on this line"
    elif char in "`+?!@*&^$\\":
        why = f"text that contains {char} must be in double quotes"
    else:
        why = f"unexpected {json.dumps(char)}; a value is missing, or there is one bracket too many"
    file = "" if error.pstr == text else "in an included file, "
    return f"{file}line {error.lineno}, column {error.column}: {why}"
