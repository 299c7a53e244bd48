"""What the tests on real engines share.

| fixture | scope | is |
|---|---|---|
| `flink` | session | a Flink cluster: two TaskManagers with two slots each |
| `spark` | session | a Spark cluster: two workers with one core each |
| `desk` | test | as in tests/end_to_end |

Where Java or Maven is missing, or a package cannot be fetched, the tests are skipped and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.cluster import packages
from tests.cluster.flink import Flink
from tests.cluster.processes import Processes
from tests.cluster.spark import Spark
from tests.end_to_end.conftest import Desk, open_desk
from tests.servers import Server

Cluster = TypeVar("Cluster", bound=Processes)


@pytest.fixture(scope="session")
def flink() -> Iterator[Flink]:
    with available(lambda: Flink(managers=2, slots=2)) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def spark() -> Iterator[Spark]:
    with available(lambda: Spark(workers=2, cores=1)) as cluster:
        yield cluster


def available(made: Callable[[], Cluster]) -> Cluster:
    """A cluster, or the reason why the tests that want it are skipped."""
    try:
        return made()
    except packages.NotAvailable as error:
        pytest.skip(str(error))


@pytest.fixture
def desk(tmp_path: Path, source: Server, target: Server) -> Iterator[Desk]:
    with open_desk(tmp_path, source, target, "cluster") as opened:
        yield opened
