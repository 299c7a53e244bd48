"""Logging, which is one for the whole process, left as it was found."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept() -> Iterator[None]:
    """What happens inside the block may set logging up, as the command line does."""
    loggers = [logging.getLogger(name) for name in (None, "pipeline", "transforms")]
    before = [(each, each.handlers[:], each.level) for each in loggers]
    try:
        yield
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)
