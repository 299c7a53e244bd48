"""What a job has loaded only for itself, and what others have loaded: who releases it, and when."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from tests import kitelift, zoo
from tests.end_to_end.conftest import Desk
from tests.fakes.proxy import Proxy
from tests.fakes.script import Fault
from tests.servers import Server

ROWS = 400


def is_loaded(client: MilvusClient, name: str = "docs") -> bool:
    return str(client.get_load_state(name)["state"]) == "Loaded"


def wait_until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_copy_is_proven_again_with_its_source_released(desk: Desk) -> None:
    zoo.numbers(desk.source, "docs", rows=ROWS)
    conf = desk.job("docs")
    assert kitelift.run(conf).code == 0
    desk.source.release_collection("docs")

    again = kitelift.run(conf, "verify")
    assert again.code == 0, again.text
    assert again.seconds < 60, "nothing waits for a source that nobody loads"
    assert again.collection("docs")["outcome"] == "proven"
    assert "source-not-counted" in {each["code"] for each in again.report["findings"]}
    assert not is_loaded(desk.source)

    desk.target.delete("docs", ids=[7])
    named = kitelift.run(desk.job("docs", source={"auto_load": True}), "verify")
    assert named.code == 4
    assert [(each["sign"], each["key"]) for each in named.report["differences"]] == [("-", 7)]
    assert not is_loaded(desk.source)
    assert is_loaded(desk.target)


@pytest.fixture
def slow(desk: Desk, source: Server) -> Any:
    """A job whose source loads for as long as the proxy before it is not healed."""
    zoo.numbers(desk.source, "docs", rows=ROWS)
    desk.source.release_collection("docs")
    with Proxy(source.address) as proxy:
        never = Fault(delay_s=float("inf"))
        proxy.spoils(never, share=1, when=lambda method, _: method == "GetLoadingProgress")
        yield proxy


def job(desk: Desk, proxy: Proxy, **source: Any) -> Path:
    return kitelift.write_job(
        desk.folder,
        proxy.url,
        desk.target_url,
        ["docs"],
        env={"job.name": "job"},
        source={"database": desk.database, "auto_load": True, "batch_size": 20, **source},
        sink={"database": desk.database, "load_collection": False},
    )


def test_what_stopped_runs_have_loaded_is_released_at_the_end_and_what_others_load_is_not(
    desk: Desk, slow: Proxy
) -> None:
    with kitelift.start(job(desk, slow)) as running:
        wait_until(lambda: slow.calls["GetLoadingProgress"])
        running.kill()
    wait_until(lambda: is_loaded(desk.source))
    assert not (kitelift.state(desk.folder) / "job" / "plan.json").exists()

    slow.heal()
    with kitelift.start(job(desk, slow, rate_limit_rows=40)) as running:
        wait_until(lambda: "docs" in desk.target.list_collections())
        receipts = kitelift.state(desk.folder) / "job" / "receipts"
        wait_until(lambda: receipts.exists() and any(receipts.iterdir()))
        running.signal(signal.SIGINT)
        stopped = running.wait(timeout_s=60)
    assert stopped.code == 5, stopped.text
    assert (
        "Until then, these temporary changes remain: source collection docs loaded, "
        "target collection docs marked as in use." in stopped.err
    )
    assert is_loaded(desk.source)

    ended = kitelift.run(job(desk, slow))
    assert ended.code == 0, ended.text
    assert ended.collection("docs")["outcome"] == "proven"
    assert not is_loaded(desk.source)
    assert not is_loaded(desk.target)

    for client in (desk.source, desk.target):
        client.load_collection("docs")
    verified = kitelift.run(job(desk, slow), "verify")
    assert verified.code == 0, verified.text
    assert is_loaded(desk.source)
    assert is_loaded(desk.target)
    assert desk.differences("docs") == []


def test_a_run_that_fails_releases_what_it_had_loaded(desk: Desk, target: Server) -> None:
    zoo.numbers(desk.source, "docs", rows=ROWS)
    desk.source.release_collection("docs")
    with Proxy(target.address) as proxy:
        no = Fault(code=1100, text="the server does not like it")
        proxy.spoils(no, share=1, when=lambda method, _: method == "Insert")
        conf = kitelift.write_job(
            desk.folder,
            desk.source_url,
            proxy.url,
            ["docs"],
            env={"fail_fast": True},
            source={"database": desk.database, "auto_load": True},
            sink={"database": desk.database},
        )
        failed = kitelift.run(conf)
    assert failed.code == 4, failed.text
    assert "the server does not like it" in failed.err
    assert not is_loaded(desk.source)
