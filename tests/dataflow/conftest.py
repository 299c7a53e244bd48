"""What the tests of the dataflow share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dataflow.jobs import Job, between_fakes


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    with between_fakes(tmp_path) as made:
        yield made
