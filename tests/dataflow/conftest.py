"""What the tests of the dataflow share."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflow import jobs
from tests.dataflow.jobs import Job
from tests.fakes.milvus import FakeMilvus
from transforms import split


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    monkeypatch.setattr(split, "MIN_RANGE_ROWS", jobs.RANGE_ROWS)
    with FakeMilvus() as source, FakeMilvus() as target:
        yield Job(tmp_path, source, target)


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    """The command line sets up logging for its process, which here is that of all tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
