"""What goes to stderr beside results: lines of words for people, or of JSON for programs.

Which of the two is a matter of the whole process, as logging is: it stands in the log's formatter.
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
    """Logs our own words to stderr; of libraries only errors, since they repeat what we say."""
    # gRPC's C core writes to stderr by itself, once for each connection that fails.
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


def line(at: float, level: str, message: str, **facts: Any) -> str:
    """Returns one line of JSON; `at` is in seconds since 1970."""
    return json.dumps({"at": round(at, 3), "level": level, "message": message, **facts})


def say(text: str, level: str = "info") -> None:
    """Tells the user something beside the results, line by line."""
    as_json = are_json()
    for each in text.splitlines():
        words = fit_to_terminal(f"kitelift: {each}", sys.stderr)
        said = line(time.time(), level, each) if as_json else words
        print(said, file=sys.stderr, flush=True)


def say_trace(text: str) -> None:
    """Shows where a bug is."""
    said = line(time.time(), "error", "a bug", traceback=text) if are_json() else text.rstrip()
    print(said, file=sys.stderr, flush=True)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = {"logger": record.name}
        if record.exc_info:
            facts["traceback"] = self.formatException(record.exc_info)
        return line(record.created, record.levelname.lower(), record.getMessage(), **facts)
