"""Jobs on a real Flink cluster: two TaskManagers, four slots, workers in processes apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests import kitelift, sockets, zoo
from tests.cluster import runs
from tests.cluster.flink import Flink
from tests.end_to_end.conftest import Desk, open_desk
from tests.kitelift import Ended
from tests.servers import Server

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Vertex:
    """One vertex of a job: the steps in it, and from which others elements come, and how."""

    steps: str
    comes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Copied:
    """Two collections, and the run that copied them while a TaskManager was killed."""

    desk: Desk
    ended: Ended
    plan: list[Vertex]


@pytest.fixture(scope="module")
def copied(
    tmp_path_factory: pytest.TempPathFactory, flink: Flink, source: Server, target: Server
) -> Iterator[Copied]:
    with (
        open_desk(tmp_path_factory.mktemp("flink"), source, target, "flink") as desk,
        sockets.Relay(target.port, pause_s=0.4) as relay,
    ):
        # Many ranges, so that all workers get some; few of the rows whose index takes time.
        zoo.articles(desk.source, rows=6_000)
        zoo.numbers(desk.source, "docs", rows=20_000)
        names = ("docs", "medium_articles")
        sink = {"url": relay.url, "batch_size": 200}
        conf = desk.job(*names, env={"parallelism": 4}, sink=sink)
        with runs.start(flink, conf) as running:
            runs.wait_for_receipts(desk.folder, workers=3)
            flink.kill_manager()
            relay.hurry()
            ended = running.wait(timeout_s=240)
        flink.add_manager()
        yield Copied(desk, ended, plan_of(flink))


def plan_of(flink: Flink) -> list[Vertex]:
    """The vertices of the job that copied."""
    jobs = [each for each in flink.ask("/jobs/overview")["jobs"] if "probe" not in each["name"]]
    nodes: list[dict[str, Any]] = flink.ask(f"/jobs/{jobs[0]['jid']}/plan")["plan"]["nodes"]
    steps = {node["id"]: re.sub("<br/>", "", node["description"]) for node in nodes}
    return [
        Vertex(
            steps[node["id"]],
            tuple((each["ship_strategy"], steps[each["id"]]) for each in node.get("inputs", [])),
        )
        for node in nodes
    ]


def test_a_copy_that_loses_a_task_manager_is_what_the_source_is(copied: Copied) -> None:
    assert copied.ended.code == 0, copied.ended.text
    assert copied.ended.report["outcome"] == "proven"
    assert copied.desk.count("medium_articles") == 6_000
    assert copied.desk.differences("docs") + copied.desk.differences("medium_articles") == []
    assert "Traceback" not in copied.ended.text


def test_the_launcher_shows_progress_and_the_page_of_the_job(copied: Copied, flink: Flink) -> None:
    assert f": http://{flink.master}/#/job/running/" in copied.ended.err
    assert "/26,000 rows" in copied.ended.err


def test_rows_are_converted_and_written_where_they_are_read(copied: Copied) -> None:
    [reading] = [each for each in copied.plan if "Convert" in each.steps]
    assert "Read" in reading.steps, copied.plan
    assert "Write" in reading.steps, copied.plan


@pytest.mark.parametrize("steps", ["{Read, Convert, Write", "{Verify, "])
def test_ranges_are_dealt_out_anew_before_they_are_read(copied: Copied, steps: str) -> None:
    [reading] = [each for each in copied.plan if steps in each.steps]
    # A Reshuffle that Flink keeps is a vertex of its own; one that it drops is at the end of the
    # vertex before, and changes nothing.
    assert reading.comes == (("Forward", "Partition"),), copied.plan


def test_no_reshuffle_of_the_graph_is_dropped(copied: Copied) -> None:
    came = [strategy for each in copied.plan for strategy, _ in each.comes]
    # Before Read, before Verify, and before Verify of the collections that took long.
    assert came.count("Rebalance") == 3, copied.plan


def test_workers_work_at_the_same_time(copied: Copied) -> None:
    found = runs.spans(runs.receipts(copied.desk.folder))
    assert len(found) >= 3
    assert runs.most_at_once(found) >= 2


def test_nothing_is_left_on_the_cluster(copied: Copied, flink: Flink) -> None:
    assert flink.ask("/jars")["files"] == []
    assert flink.ask("/overview")["jobs-running"] == 0
    assert not list(kitelift.state(copied.desk.folder).glob("*/submission.json"))


def test_a_job_is_left_to_itself_then_stopped_then_taken_up_again(
    desk: Desk, flink: Flink, target: Server
) -> None:
    zoo.articles(desk.source, rows=6_000)
    flink.wait_for_slots()
    with sockets.Relay(target.port, pause_s=2) as relay:
        sink = {"url": relay.url, "batch_size": 100}
        conf = desk.job("medium_articles", env={"parallelism": 2}, sink=sink)
        detached = runs.run(flink, conf, "--detach")
        assert detached.code == 0, detached.text
        runs.wait_for_receipts(desk.folder, workers=1)
        refused = runs.run(flink, conf)
        assert refused.code == 3
        assert "works on this job" in refused.err
        stopped = kitelift.Running(conf, "cancel").wait()
        assert stopped.code == 0, stopped.text
        relay.hurry()
        flink.wait_for_slots()
        ended = runs.run(flink, conf)
    assert ended.code == 0, ended.text
    assert desk.differences("medium_articles") == []
