"""What the unit tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import logs


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    with logs.kept():
        yield
