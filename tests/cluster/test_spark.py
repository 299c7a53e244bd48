"""A job on a real Spark cluster: two workers with one core each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests import sockets, zoo
from tests.cluster import runs
from tests.cluster.spark import Spark
from tests.end_to_end.conftest import Desk, open_desk
from tests.kitelift import Ended
from tests.servers import Server

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Copied:
    """Two collections, and the run that copied them while a worker was killed."""

    desk: Desk
    ended: Ended


@pytest.fixture(scope="module")
def copied(
    tmp_path_factory: pytest.TempPathFactory, spark: Spark, source: Server, target: Server
) -> Iterator[Copied]:
    with (
        open_desk(tmp_path_factory.mktemp("spark"), source, target, "spark") as desk,
        sockets.Relay(target.port, pause_s=0.2) as relay,
    ):
        zoo.articles(desk.source, rows=20_000)
        zoo.numbers(desk.source, "docs", rows=10_000)
        names = ("docs", "medium_articles")
        conf = desk.job(*names, env={"parallelism": 2}, sink={"url": relay.url})
        with runs.start(spark, conf) as running:
            runs.wait_for_receipts(desk.folder, workers=2)
            spark.kill_worker()
            relay.hurry()
            yield Copied(desk, running.wait(timeout_s=240))


def test_a_copy_that_loses_a_worker_is_what_the_source_is(copied: Copied) -> None:
    assert copied.ended.code == 0, copied.ended.text
    assert copied.ended.report["outcome"] == "proven"
    assert copied.desk.count("medium_articles") == 20_000
    assert copied.desk.differences("docs") + copied.desk.differences("medium_articles") == []
    assert "Traceback" not in copied.ended.text


def test_workers_work_at_the_same_time(copied: Copied) -> None:
    found = runs.spans(runs.receipts(copied.desk.folder))
    assert runs.most_at_once(found) >= 2
