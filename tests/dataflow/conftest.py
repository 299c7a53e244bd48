"""What the tests of the dataflow share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflow.jobs import Job, between_fakes


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with between_fakes(tmp_path) as made:
        yield made


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The command line sets up logging for its process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
