"""Whatever happens on the way, each row arrives once: shown on real servers.

The short form. `make chaos` runs the long one, tests/chaos.py, whose figures are in
docs/reliability.md.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymilvus import DataType, MilvusClient

from tests import compare, kitelift, servers, sockets, zoo
from tests.end_to_end.conftest import Desk, open_desk
from tests.fakes.proxy import Proxy, When
from tests.fakes.script import AWAY, LOST_ANSWER, PASSING, RATE_LIMIT, Fault
from tests.kitelift import Ended, Running
from tests.servers import Server
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipt, Receipts
from transforms.milvus.channel import Patience
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.pages import Reader
from transforms.ranges import KeyRange

FAULTS: dict[str, list[Fault]] = {
    "dropped_before": [AWAY],
    "dropped_after": [LOST_ANSWER],
    "late": [Fault(delay_s=0.3)],
    "reset": [Fault(grpc.StatusCode.INTERNAL, text="RST_STREAM with error code 2", done=True)],
    "unready": [Fault(code=1, text="service not ready")],
    "no_memory": [Fault(code=3, text="memory limit exceeded")],
    "rate_limit": [RATE_LIMIT],
    "legacy_limit": [replace(RATE_LIMIT, code=0, legacy=49)],
    "named_limit": [replace(RATE_LIMIT, code=65535, legacy=1)],
    "quota": [Fault(code=9, text="quota exceeded[reason=deny to write]")],
    "channel_moves": [Fault(code=503, text="channel not available", done=True)],
    "timeout": [Fault(code=10001, text="context deadline exceeded", done=True)],
    "every_code": [*PASSING.values()],
}
"""What each of the calls about a collection may meet, by its name, which is the end of no other."""

SHARE = 0.2
ROWS = 2_000


def about(name: str) -> When:
    """Whether a call is about a collection."""
    return lambda method, request: name.encode() in request


def writing(method: str, request: bytes) -> bool:
    return method in ("Insert", "Upsert")


def spoil(proxy: Proxy, share: float) -> None:
    """Spoils a share of the calls about each of these collections, by its own faults in turn."""
    for name, faults in FAULTS.items():
        for fault in faults:
            proxy.spoils(fault, share=share / len(faults), when=about(f"{name}_"))


@dataclass(frozen=True)
class Spoilt:
    """A job on servers of which every fifth call fails, and what was done to it."""

    desk: Desk
    ended: Ended
    source: Proxy
    target: Proxy


@pytest.fixture(scope="module")
def spoilt(
    tmp_path_factory: pytest.TempPathFactory, source: Server, target: Server
) -> Iterator[Spoilt]:
    with (
        open_desk(tmp_path_factory.mktemp("spoilt"), source, target, "spoilt") as desk,
        Proxy(source.address, seed=1) as left,
        Proxy(target.address, seed=2) as right,
    ):
        for name in FAULTS:
            zoo.numbers(desk.source, f"{name}_", rows=ROWS)
        for proxy in (left, right):
            spoil(proxy, SHARE)
        ended = kitelift.run(
            job_through(desk, left.url, right.url, *(f"{name}_" for name in FAULTS))
        )
        yield Spoilt(desk, ended, left, right)


def job_through(desk: Desk, source: str, target: str, *names: str, **env: Any) -> Path:
    """A job of small requests, so that there are many of them."""
    return kitelift.write_job(
        desk.folder,
        source,
        target,
        names,
        env={"parallelism": 4, "job.name": "job", **env},
        source={"database": desk.database, "batch_size": 200},
        sink={"database": desk.database, "batch_size": 100},
    )


def ledger(desk: Desk) -> Ledger:
    return Ledger(str(kitelift.state(desk.folder)), "job")


def assert_arrived(desk: Desk, name: str, rows: int) -> None:
    assert desk.differences(name) == []
    assert desk.count(name) == rows


# Faults between Kitelift and the servers


@pytest.mark.timeout(600)
def test_a_job_of_which_every_fifth_call_fails_ends_well(spoilt: Spoilt) -> None:
    assert spoilt.ended.code == 0, spoilt.ended.text
    assert spoilt.ended.report["outcome"] == "proven"
    for proxy, methods in ((spoilt.source, ["Query"]), (spoilt.target, ["Insert", "Query"])):
        for method in methods:
            assert proxy.spoilt[method] > 0.1 * proxy.calls[method]


def test_the_report_says_which_calls_were_sent_again_and_why(spoilt: Spoilt) -> None:
    met = {"rate limit", "not ready", "not answered", "broken off"}
    for side, proxy in (("source", spoilt.source), ("target", spoilt.target)):
        assert met <= reasons(spoilt.ended, side)
        calls = sum(retry["calls"] for retry in retries(spoilt.ended, side))
        assert calls <= sum(proxy.spoilt.values())
    # Of one collection each, so few calls of one side meet them.
    assert {"quota", "overloaded"} <= reasons(spoilt.ended, "source", "target")
    assert "target: " in spoilt.ended.out
    assert "calls retried" in spoilt.ended.out


def retries(ended: Ended, side: str) -> list[dict[str, Any]]:
    return [each for each in ended.report["retries"] if each["side"] == side]


def reasons(ended: Ended, *sides: str) -> set[str]:
    return {retry["reason"] for side in sides for retry in retries(ended, side)}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_row_arrives_once_in_spite_of(spoilt: Spoilt, fault: str) -> None:
    assert_arrived(spoilt.desk, f"{fault}_", ROWS)


def test_messages_that_are_too_large_are_sent_in_parts(desk: Desk, source: Server, target: Server):
    zoo.wide(desk.source)  # 600 rows of 60 kB
    limit = 1_000_000
    with (
        Proxy(source.address, message_bytes=limit) as left,
        Proxy(target.address, message_bytes=limit) as right,
    ):
        conf = kitelift.write_job(
            desk.folder,
            left.url,
            right.url,
            ["wide"],
            source={"database": desk.database},
            sink={"database": desk.database},
        )
        ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert_arrived(desk, "wide", 600)


def test_a_call_that_is_never_answered_is_given_up_and_sent_again(
    desk: Desk, source: Server
) -> None:
    zoo.numbers(desk.source, "docs", rows=2_000)
    with Proxy(source.address, seed=3) as half_open:
        half_open.spoils(Fault(grpc.StatusCode.UNAVAILABLE, delay_s=float("inf")), share=0.2)
        endpoint = Endpoint(half_open.url, database=desk.database)
        client = Client(endpoint, Patience(timeout_s=0.5))
        with contextlib.closing(client):
            reader = Reader(client, "docs", client.describe("docs").schema, page_rows=100)
            scanned = [rows for _, rows in reader.scan(KeyRange("docs"))]
        assert half_open.spoilt["Query"] > 0
    assert [key for rows in scanned for key in rows.column("key").to_pylist()] == [*range(2_000)]


# Runs that are killed, interrupted, or started twice


KILLS = 10


def long(test: Callable[..., None]) -> Callable[..., None]:
    """Marks a test that takes minutes, and that only `KITELIFT_LONG=1` runs."""
    skip = pytest.mark.skipif("KITELIFT_LONG" not in os.environ, reason="minutes; KITELIFT_LONG=1")
    return pytest.mark.slow(skip(test))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_that_is_killed_again_and_again_arrives(desk: Desk, target: Server) -> None:
    rows, dice = 20_000, random.Random(1)
    zoo.numbers(desk.source, "docs", rows=rows)
    with Proxy(target.address) as slow:
        slow.spoils(Fault(delay_s=1), share=1.0, when=writing)
        conf = job_through(desk, desk.source_url, slow.url, "docs", parallelism=1)
        for _ in range(KILLS):
            run = kitelift.start(conf, "--quiet")
            wait_for_progress(run, ledger(desk))
            time.sleep(dice.uniform(0, 0.5))
            assert run.kill().code == -9
        slow.heal()
        ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert_arrived(desk, "docs", rows)


def wait_for_progress(run: Running, job: Ledger, timeout_s: float = 60) -> None:
    """Waits until a run has recorded something; it must not end before."""
    before, deadline = len(job.names("receipts")), time.monotonic() + timeout_s
    while len(job.names("receipts")) == before:
        assert time.monotonic() < deadline, run.kill().text
        time.sleep(0.02)


@contextlib.contextmanager
def under_way(desk: Desk, target: Server, rows: int) -> Iterator[tuple[Path, Running, Proxy]]:
    """A run that has written something, and would take minutes to end."""
    zoo.numbers(desk.source, "docs", rows=rows)
    with Proxy(target.address) as slow:
        slow.spoils(Fault(delay_s=1), share=1.0, when=writing)
        conf = job_through(desk, desk.source_url, slow.url, "docs")
        run = kitelift.start(conf, "--quiet")
        wait_for_progress(run, ledger(desk))
        yield conf, run, slow


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_within_seconds_and_the_same_command_goes_on(
    desk: Desk, target: Server, number: signal.Signals
) -> None:
    with under_way(desk, target, 20_000) as (conf, run, slow):
        heard = time.monotonic()
        run.signal(number)
        ended = run.wait()
        assert time.monotonic() - heard < 6
        assert ended.code == 5
        assert "Run the same command again: it resumes where it stopped" in ended.err
        assert "Traceback" not in ended.text
        slow.heal()
        resumed = kitelift.run(conf)
    assert resumed.code == 0, resumed.text
    assert_arrived(desk, "docs", 20_000)


def test_a_second_signal_ends_a_run_at_once(desk: Desk, target: Server) -> None:
    with under_way(desk, target, 10_000) as (_, run, _):
        run.signal(signal.SIGINT)
        time.sleep(0.5)
        again = time.monotonic()
        run.signal(signal.SIGINT)
        ended = run.wait()
        assert time.monotonic() - again < 1
    assert ended.code == 5
    assert "Traceback" not in ended.text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_row_ends_the_command_as_interrupted(
    desk: Desk, number: signal.Signals
) -> None:
    with sockets.silent() as url:
        run = kitelift.start(job_through(desk, url, desk.target_url, "docs"))
        time.sleep(4)
        run.signal(number)
        ended = run.wait()
    assert ended.code == 5, ended.text
    assert "Traceback" not in ended.text


def test_a_second_run_is_told_who_holds_the_job_and_a_dead_run_holds_nobody_up(
    desk: Desk, target: Server
) -> None:
    with under_way(desk, target, 10_000) as (conf, run, slow):
        second = kitelift.run(conf)
        assert second.code == 3
        assert (
            f"another run of this job is active: host {socket.gethostname()}, process {run.pid}"
            in (second.err)
        )
        assert run.kill().code == -9
        slow.heal()
        assert kitelift.run(conf).code == 0
    assert_arrived(desk, "docs", 10_000)


# What is found in the target, and mended


def test_what_was_changed_in_the_target_is_named_and_mended_and_nothing_else(desk: Desk) -> None:
    zoo.articles(desk.source, "docs", rows=3_000)
    conf = job_through(desk, desk.source_url, desk.target_url, "docs")
    assert kitelift.run(conf).code == 0
    keys = compare.Reader(desk.source, "docs").keys(None)
    bit, gone, twice, value = keys[10], keys[500], keys[1_500], keys[2_500]
    extra = keys[-1] + 1
    plant(desk.target, bit=bit, gone=gone, twice=twice, value=value, extra=extra)

    found = kitelift.run(conf, "verify")
    assert found.code == 4, found.text
    named = {(each["sign"], each["key"], *each["fields"]) for each in found.report["differences"]}
    assert named == {
        ("*", bit, "vector"),
        ("-", gone),
        ("#", twice),
        ("*", value, "$meta"),
        ("+", extra),
    }

    mended = kitelift.run(conf, "sync", "--delete")
    assert mended.code == 0, mended.text
    assert touched(desk) == (4, 1)  # the repeated key is taken away whole, and written again
    assert_arrived(desk, "docs", 3_000)

    again = kitelift.run(conf, "sync", "--delete")
    assert again.code == 0, again.text
    assert touched(desk) == (0, 0)


def plant(client: MilvusClient, *, bit: int, gone: int, twice: int, value: int, extra: int) -> None:
    """Changes one bit of a vector, a dynamic value, and the number of rows of three keys."""

    def row(key: int) -> dict[str, Any]:
        return dict(client.get("docs", ids=[key])[0])

    changed = row(bit)
    changed["vector"] = [-changed["vector"][0], *changed["vector"][1:]]  # its sign is one bit
    client.upsert("docs", [changed])
    client.upsert("docs", [row(value) | {"author": "somebody else"}])
    client.insert("docs", [row(twice), row(bit) | {"id": extra}])
    client.delete("docs", ids=[gone])


def touched(desk: Desk) -> tuple[int, int]:
    """Rows that the last sync has written, and deleted."""
    job = ledger(desk)
    [run] = job.names("verdicts")
    verdicts = job.verdicts(run)
    return sum(verdict.written for verdict in verdicts), sum(
        verdict.deleted for verdict in verdicts
    )


# A ledger elsewhere, and one that cannot be written


def test_a_ledger_that_cannot_grow_ends_the_run_with_the_reason_and_nothing_is_lost(
    desk: Desk, target: Server
) -> None:
    with under_way(desk, target, 10_000) as (conf, run, slow):
        run.limit_files(3_000)  # less than the receipts of a second
        slow.heal()
        full = run.wait()
        assert full.code == 4, full.text
        assert "ledger: cannot write" in full.err
        assert "File too large" in full.err
        assert "run the same command again" in full.err
        assert "Traceback" not in full.text
        assert kitelift.run(conf).code == 0
    assert_arrived(desk, "docs", 10_000)


# Servers that are killed, and servers that set limits


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_servers_that_are_killed_and_started_again_are_waited_for(
    tmp_path: Path, source: Server, target: Server
) -> None:
    with open_desk(tmp_path, source, target, "killed") as desk:
        zoo.numbers(desk.source, "docs", rows=30_000)
        with Proxy(source.address) as left, Proxy(target.address) as right:
            # Slow enough that both are in the middle of it when they die.
            left.spoils(Fault(delay_s=0.3), share=1.0, when=about("docs"))
            right.spoils(Fault(delay_s=0.3), share=1.0, when=writing)
            conf = job_through(desk, left.url, right.url, "docs")
            run = kitelift.start(conf)
            for server in (source, target):
                wait_for_progress(run, ledger(desk), 120)
                server.restart()
            left.heal()
            right.heal()
            ended = run.wait(500)
        assert ended.code == 0, ended.text
        assert_arrived(desk, "docs", 30_000)
        for side in ("source", "target"):
            assert {"not answered", "broken off"} & reasons(ended, side)


LIMITS = {
    "QUOTAANDLIMITS_ENABLED": "true",
    "QUOTAANDLIMITS_DML_ENABLED": "true",
    "QUOTAANDLIMITS_DML_INSERTRATE_MAX": "0.1",  # MB/s
    "QUOTAANDLIMITS_DML_UPSERTRATE_MAX": "0.1",
    "QUOTAANDLIMITS_DQL_ENABLED": "true",
    "QUOTAANDLIMITS_DQL_QUERYRATE_MAX": "2",  # calls/s
}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_limits_of_a_server_are_kept_and_everything_arrives(tmp_path: Path) -> None:
    with servers.milvus(tmp_path / "server", environment=LIMITS) as limited:
        left, right = database(limited, "left"), database(limited, "right")
        zoo.articles(left, "docs", rows=2_000)  # 1.2 MB, in one request
        conf = kitelift.write_job(
            tmp_path,
            limited.url,
            limited.url,
            ["docs"],
            source={"database": "left", "batch_size": 200},
            sink={"database": "right", "batch_size": 100},
        )
        ended = kitelift.run(conf, "--verbose", timeout_s=300)
        assert ended.code == 0, ended.text
        for side in ("source", "target"):
            assert "rate limit" in reasons(ended, side)
        for method in ("Insert", "Query"):
            assert re.search(rf"{method}: .*(?i:rate ?limit)", ended.err), ended.err
        assert compare.differences(left, right, "docs") == []


@long
@pytest.mark.timeout(600)
def test_the_speed_comes_back_when_the_limit_of_a_server_goes(tmp_path: Path, desk: Desk) -> None:
    zoo.articles(desk.source, "docs", rows=10_000)  # 6 MB: a minute
    limit = {name: value for name, value in LIMITS.items() if "DQL" not in name}
    with servers.milvus(tmp_path / "server", environment=limit) as limited:
        assert isinstance(limited, servers.Milvus)
        conf = kitelift.write_job(
            desk.folder,
            desk.source_url,
            limited.url,
            ["docs"],
            env={"job.name": "job"},
            source={"database": desk.database},
            sink={"database": "default", "batch_size": 100},
        )
        run = kitelift.start(conf, "--quiet")
        for _ in range(5):
            wait_for_progress(run, ledger(desk))
        limited.environment.clear()
        limited.restart()
        free = time.time()
        ended = run.wait(300)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    receipts = sorted(Receipts(ledger(desk)).news(), key=lambda receipt: receipt.at)
    slow, fast = (
        [receipt for receipt in receipts if (receipt.at > free) == after] for after in (False, True)
    )
    assert speed(fast[-len(fast) // 2 :]) > 5 * speed(slow), (speed(slow), speed(fast))


def speed(receipts: list[Receipt]) -> float:
    """Rows a second."""
    return sum(receipt.rows for receipt in receipts[1:]) / (receipts[-1].at - receipts[0].at)


def database(server: Server, name: str) -> MilvusClient:
    with contextlib.closing(MilvusClient(server.url)) as admin:
        admin.create_database(name)
    return MilvusClient(server.url, db_name=name)


# Rows that the target refuses for good


REFUSED_KEYS = [7, 700, 701]


def poison(client: MilvusClient, name: str, rows: int) -> None:
    """Texts that milvus-lite counts in characters, and a real Milvus in bytes: 15 of 10."""
    schema = MilvusClient.create_schema()
    schema.add_field("key", DataType.INT64, is_primary=True)
    schema.add_field("text", DataType.VARCHAR, max_length=10)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=4)
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="L2")
    client.create_collection(name, schema=schema, index_params=index)
    texts = ("世" * 5 if key in REFUSED_KEYS else f"row {key}" for key in range(rows))
    vector = [0.0, 1.0, 2.0, 3.0]
    client.insert(
        name, [{"key": key, "text": text, "vector": vector} for key, text in enumerate(texts)]
    )


def from_lite(folder: Path, lite: Server, target: str, name: str, max_rejected: int) -> Path:
    return kitelift.write_job(
        folder,
        lite.url,
        target,
        [name],
        env={
            "accept": ["source-version", "target-version"],
            "max_rejected": max_rejected,
            "job.name": "job",
        },
        sink={"batch_size": 100},
    )


def rejected(folder: Path) -> pa.Table:
    return pq.read_table(kitelift.state(folder) / "job" / "rejected.parquet")


@pytest.mark.parametrize("max_rejected", [0, 3])
def test_rows_that_the_target_refuses_fail_their_range_or_are_set_aside_whole(
    tmp_path: Path,
    lite: Server,
    lite_client: MilvusClient,
    target: Server,
    target_client: MilvusClient,
    name: Callable[[str], str],
    max_rejected: int,
) -> None:
    docs = name("docs")
    poison(lite_client, docs, 1_000)
    ended = kitelift.run(from_lite(tmp_path, lite, target.url, docs, max_rejected))
    assert ended.code == 4, ended.text
    if not max_rejected:
        assert "exceeds max length" in ended.report["failures"][0]["reason"]
        return
    kept = rejected(tmp_path).sort_by("key")
    assert kept["key"].to_pylist() == REFUSED_KEYS
    assert kept["text"].to_pylist() == ["世" * 5] * 3
    assert all("exceeds max length (10)" in reason for reason in kept["$reason"].to_pylist())
    there = target_client.query(docs, "key >= 0", output_fields=["key"], limit=2_000)
    assert {row["key"] for row in there} == {*range(1_000)} - {*REFUSED_KEYS}
    again = kitelift.run(tmp_path / "migration.conf", "replay")
    assert again.code == 4
    assert "Resent rejected rows: the target accepted 0, and rejected 3 again." in again.out
    assert rejected(tmp_path).num_rows == 3


def test_rejected_rows_are_brought_over_once_the_target_takes_them(
    desk: Desk, target: Server
) -> None:
    zoo.numbers(desk.source, "docs", rows=2_000)
    with Proxy(target.address) as picky:
        refusal = Fault(code=1100, text="the server does not like it")
        picky.spoils(
            refusal,
            share=1.0,
            when=lambda method, request: b"number 777" in request and writing(method, request),
        )
        conf = job_through(desk, desk.source_url, picky.url, "docs", max_rejected=1)
        ended = kitelift.run(conf)
        assert ended.code == 4, ended.text
        assert rejected(desk.folder)["key"].to_pylist() == [777]
        assert desk.count("docs") == 1_999
        picky.heal()
        replayed = kitelift.run(conf, "replay")
    assert replayed.code == 0, replayed.text
    assert replayed.report["outcome"] == "proven"
    assert_arrived(desk, "docs", 2_000)
