"""The files that a job file includes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pyhocon import config_parser


@contextmanager
def rewriting_includes(rewrite: Callable[[str], str]) -> Iterator[None]:
    """Makes pyhocon parse each included file after `rewrite` has changed its text."""
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
