"""What the tests on real engines share.

| fixture | scope | is |
|---|---|---|
| `flink` | session | a Flink cluster: two TaskManagers with two slots each |
| `spark` | session | a Spark cluster: two workers with one core each |
| `desk` | test | as in tests/end_to_end |

Where Java or Maven is missing, or a package cannot be fetched, the tests are skipped and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import packages
from tests.cluster.flink import Flink
from tests.cluster.spark import Spark
from tests.end_to_end.conftest import Desk, open_desk
from tests.servers import Server


@pytest.fixture(scope="session")
def flink() -> Iterator[Flink]:
    try:
        cluster = Flink(managers=2, slots=2)
    except packages.NotAvailable as error:
        pytest.skip(f"Flink: {error}")
    with cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark() -> Iterator[Spark]:
    try:
        cluster = Spark(workers=2, cores=1)
    except packages.NotAvailable as error:
        pytest.skip(f"Spark: {error}")
    with cluster:
        yield cluster


@pytest.fixture
def desk(tmp_path: Path, source: Server, target: Server) -> Iterator[Desk]:
    with open_desk(tmp_path, source, target, "cluster") as opened:
        yield opened
