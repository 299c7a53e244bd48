"""Imports the Python functions that a job file names."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

from transforms.errors import FunctionFailed


@cache
def function_of(name: str) -> Callable[..., Any]:
    """Returns a function by its name, `package.module:function`.

    Raises:
        FunctionFailed: the function cannot be imported.
    """
    module, _, function = name.partition(":")
    try:
        attribute = getattr(importlib.import_module(module), function, None)
    except (Exception, SystemExit) as error:  # A script may exit during its import.
        why = f"{type(error).__name__}: {error}"
        raise FunctionFailed(name, f"{module} cannot be imported: {why}") from error
    if not callable(attribute):
        raise FunctionFailed(name, f"{module} has no function {function}")
    return attribute  # type: ignore[no-any-return]
