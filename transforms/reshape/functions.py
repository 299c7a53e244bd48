"""Finds the Python functions that a job file names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from transforms.errors import FunctionFailed


@cache
def function_of(name: str) -> Callable[..., Any]:
    """Imports a function by its name, `package.module:function`.

    Raises:
        FunctionFailed: it cannot be imported.
    """
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:  # A script may end itself while it is imported.
        why = f"{type(error).__name__}: {error}"
        raise FunctionFailed(name, f"{module} cannot be imported: {why}") from error
    if not callable(found):
        raise FunctionFailed(name, f"{module} has no function {function}")
    return found  # type: ignore[no-any-return]
