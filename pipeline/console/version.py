"""The installed versions, for a question or a bug report."""

from __future__ import annotations

import platform
from importlib import metadata


def describe_installation() -> str:
    """Returns the versions of Kitelift and its main libraries in one line; imports none of them."""
    libraries = ", ".join(_installed(package) for package in ("apache-beam", "pymilvus"))
    return f"{_installed('kitelift')} (Python {platform.python_version()}, {libraries})"


def _installed(package: str) -> str:
    """Returns a package with its installed version; only setup.py has Kitelift's own."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return f"{package} (not installed)"
