"""What is installed: the versions that a question or a bug report should name."""

from __future__ import annotations

import platform
from importlib import metadata


def describe_installation() -> str:
    """Names Kitelift and what it stands on, in a line; nothing of it is imported."""
    below = ", ".join(_named(each) for each in ("apache-beam", "pymilvus"))
    return f"{_named('kitelift')} (Python {platform.python_version()}, {below})"


def _named(package: str) -> str:
    """Says which version is installed; Kitelift's own stands in setup.py alone."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"
