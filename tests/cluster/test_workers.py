"""The other ways in which workers start, on a real Flink of one TaskManager; and how a job fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kitelift, ports, zoo
from tests.cluster import runs
from tests.cluster.conftest import available
from tests.cluster.flink import Flink
from tests.end_to_end.conftest import Desk

# It passes the trial on the first rows.
BROKEN = """
def late(rows):
    if rows.num_rows > 10:
        raise ValueError("no more than ten")
    return rows
"""

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def one() -> Iterator[Flink]:
    """A Flink of one TaskManager, which does not try again what has failed."""
    settings = {"restart-strategy.type": "none"}
    with available(lambda: Flink(managers=1, slots=2, **settings)) as cluster:
        yield cluster


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[str]:
    """The address of a ``kitelift worker-pool``."""
    guard, (port, *_) = ports.reserve()
    command = [sys.executable, "-m", "pipeline", "worker-pool", f"--listen=localhost:{port}"]
    with (
        guard,
        (tmp_path / "pool.txt").open("wb") as log,
        subprocess.Popen(command, cwd=kitelift.ROOT, stdout=log, stderr=log) as process,
    ):
        yield f"localhost:{port}"
        process.terminate()


def test_workers_are_threads_of_the_launcher_where_nothing_else_is_said(
    desk: Desk, one: Flink
) -> None:
    zoo.numbers(desk.source, "docs", rows=5_000)
    conf = desk.job("docs", env={"parallelism": 2})
    ended = runs.run(one, conf, workers=runs.LOOPBACK)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert desk.differences("docs") == []


def test_a_pool_starts_workers_and_ends_them(desk: Desk, one: Flink, pool: str) -> None:
    zoo.numbers(desk.source, "docs", rows=5_000)
    one.wait_for_slots()
    conf = desk.job("docs", env={"parallelism": 2})
    ended = runs.run(one, conf, workers=runs.external(pool))
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert desk.differences("docs") == []


def test_a_failure_comes_back_as_one_line_and_not_as_a_java_stack(desk: Desk, one: Flink) -> None:
    zoo.numbers(desk.source, "docs", rows=5_000)
    one.wait_for_slots()
    (desk.folder / "broken.py").write_text(BROKEN)
    function = 'Python { collections = ["docs"], function = "broken:late" }'
    conf = desk.job("docs", env={"parallelism": 2, "fail_fast": True}, transform=function)
    ended = runs.run(one, conf, workers=runs.LOOPBACK)
    assert ended.code == 4, ended.text
    assert "broken:late" in ended.err
    assert "Traceback" not in ended.text
    assert "java." not in ended.text
