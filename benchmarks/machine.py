"""Describes the host on which the figures were measured."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def described() -> str:
    """Returns the hardware and software of the host in one line, without its name.

    >>> "Python 3" in described()
    True
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{os.cpu_count()} cores ({_processor()})"
    python = f"Python {platform.python_version()}"
    return f"{cores}, {memory:.0f} GB, {platform.system()} {platform.release()}, {python}"


def today() -> str:
    """Returns the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
