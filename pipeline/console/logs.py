"""Messages on stderr: text for people, or JSON for programs.

The format is a setting of the whole process, as logging is: the log's formatter has it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from pipeline.console.wrapping import fit_to_terminal


def set_up(*, verbose: bool, as_json: bool) -> None:
    """Logs to stderr; of libraries only errors, because other messages repeat Kitelift's own."""
    # gRPC's C core writes to stderr, once for each failed connection.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    handler = logging.StreamHandler(sys.stderr)
    words = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
    handler.setFormatter(_Json() if as_json else words)
    logging.basicConfig(level=logging.ERROR, handlers=[handler], force=True)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    for name in ("pipeline", "transforms"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.WARNING)


def are_json() -> bool:
    """Whether lines are JSON."""
    return any(isinstance(handler.formatter, _Json) for handler in logging.getLogger().handlers)


def are_verbose() -> bool:
    """Whether `--verbose` was given."""
    return logging.getLogger("pipeline").isEnabledFor(logging.DEBUG)


def line(at: float, level: str, message: str, **facts: Any) -> str:
    """Returns one line of JSON; `at` is in seconds since 1970."""
    return json.dumps({"at": round(at, 3), "level": level, "message": message, **facts})


def say(text: str, level: str = "info") -> None:
    """Prints a message on stderr, line by line."""
    as_json = are_json()
    for message in text.splitlines():
        words = fit_to_terminal(f"kitelift: {message}", sys.stderr)
        print(line(time.time(), level, message) if as_json else words, file=sys.stderr, flush=True)


def say_trace(text: str) -> None:
    """Prints the traceback of a bug."""
    as_json = line(time.time(), "error", "a bug", traceback=text)
    print(as_json if are_json() else text.rstrip(), file=sys.stderr, flush=True)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {"logger": record.name}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return line(record.created, record.levelname.lower(), record.getMessage(), **facts)
