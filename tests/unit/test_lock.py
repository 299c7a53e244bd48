"""The lock: only one run of a job is active, and a dead run blocks no other."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from pipeline.engines import job_lock, processes
from pipeline.engines.job_lock import HEARTBEAT_S, STALE_S, Holder, Lock, holder_of
from transforms.errors import JobLocked, LedgerError
from transforms.ledger.ledger import Ledger

HERE = socket.gethostname()


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


SPACE = processes.pid_namespace()


def held(
    ledger: Ledger,
    *,
    run_id: str = "theirs",
    host: str = HERE,
    pid: int = 1,
    space: str = SPACE,
    ago_s: float = 1,
    clock_s: float = 0,
) -> Holder:
    """Writes the lock of another run, whose clock may be ahead."""
    at = time.time() - ago_s
    holder = Holder(run_id, host, pid, at + clock_s, space)
    ledger.replace("lock.json", json.dumps(asdict(holder)).encode())
    os.utime(f"{ledger.location}/lock.json", (at, at))
    recorded = holder_of(ledger)
    assert recorded is not None
    return recorded


@pytest.fixture
def dead_pid() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_a_job_is_locked_inside_the_block_and_free_after_it(ledger: Ledger) -> None:
    with Lock(ledger, "ours"):
        holder = holder_of(ledger)
        assert holder is not None
        assert (holder.run_id, holder.host, holder.pid) == ("ours", HERE, os.getpid())
        assert holder.alive()
    assert holder_of(ledger) is None


def test_a_job_is_free_after_an_error(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), Lock(ledger, "ours"):
        _ = 1 / 0
    assert holder_of(ledger) is None


def test_an_active_run_blocks_others_and_the_error_names_it(ledger: Ledger) -> None:
    holder = held(ledger, pid=os.getpid(), ago_s=3)
    with pytest.raises(JobLocked) as caught, Lock(ledger, "ours"):
        pass
    assert re.search(
        rf"host {re.escape(HERE)}, process {os.getpid()}, last heartbeat \d+ s ago",
        str(caught.value),
    )
    assert ledger.location in str(caught.value)
    assert holder_of(ledger) == holder


@pytest.mark.parametrize(
    ("host", "ago_s", "alive"),
    [
        ("elsewhere", 1, True),
        ("elsewhere", STALE_S - 5, True),
        ("elsewhere", STALE_S + 1, False),
        (HERE, STALE_S + 1, False),  # another process has its number now
    ],
)
def test_a_holder_is_alive_while_its_heartbeat_is_recent(
    ledger: Ledger, host: str, ago_s: float, alive: bool
) -> None:
    assert held(ledger, host=host, pid=os.getpid(), ago_s=ago_s).alive() is alive


def test_a_dead_process_of_this_host_is_taken_over_at_once(ledger: Ledger, dead_pid: int) -> None:
    held(ledger, pid=dead_pid, ago_s=0)
    with Lock(ledger, "ours"):
        assert holder_of(ledger).run_id == "ours"  # type: ignore[union-attr]


def test_a_silent_run_of_another_host_is_taken_over(ledger: Ledger) -> None:
    held(ledger, host="elsewhere", ago_s=STALE_S + 1)
    with Lock(ledger, "ours"):
        assert holder_of(ledger).run_id == "ours"  # type: ignore[union-attr]


def test_a_process_that_is_not_visible_from_here_does_not_count_as_dead(
    ledger: Ledger, dead_pid: int
) -> None:
    # A container may have this host's name, but it has other process numbers.
    holder = held(ledger, pid=dead_pid, space="another", ago_s=2)
    with pytest.raises(JobLocked), Lock(ledger, "ours"):
        pass
    assert holder_of(ledger) == holder


@pytest.mark.parametrize("clock_s", [-3_600, 3_600])
def test_the_clocks_of_hosts_do_not_matter(ledger: Ledger, clock_s: float) -> None:
    held(ledger, host="elsewhere", ago_s=3, clock_s=clock_s)
    with pytest.raises(JobLocked), Lock(ledger, "ours"):
        pass
    held(ledger, host="elsewhere", ago_s=STALE_S + 1, clock_s=clock_s)
    with Lock(ledger, "ours"):
        pass


def test_an_engines_restart_of_the_same_run_passes(ledger: Ledger) -> None:
    held(ledger, run_id="ours", host="elsewhere")
    with Lock(ledger, "ours"):
        assert holder_of(ledger).host == HERE  # type: ignore[union-attr]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"run_id": "theirs"}'])
def test_an_unreadable_lock_blocks_nobody(ledger: Ledger, data: bytes) -> None:
    ledger.replace("lock.json", data)
    with Lock(ledger, "ours"):
        assert holder_of(ledger).run_id == "ours"  # type: ignore[union-attr]


def test_the_heartbeat_is_renewed_while_the_job_is_locked(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lock, "HEARTBEAT_S", 0.01)
    with Lock(ledger, "ours"):
        first = holder_of(ledger)
        assert first is not None
        deadline = time.monotonic() + 5
        while (now := holder_of(ledger)) == first and time.monotonic() < deadline:
            time.sleep(0.01)
    assert now is not None
    assert now.at > first.at


RUN_WITH_LOCK = """
import sys, time
from pipeline.engines import job_lock
from transforms.ledger.ledger import Ledger
job_lock.HEARTBEAT_S = 0.1
with job_lock.Lock(Ledger(sys.argv[1], "job"), "ours"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_whose_job_was_taken_over_while_it_was_paused_ends(
    ledger: Ledger, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", RUN_WITH_LOCK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGSTOP)
        holder = held(ledger, run_id="theirs", host="elsewhere", ago_s=0)
        process.send_signal(signal.SIGCONT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == JobLocked.exit_code
    assert "Another run has taken over: host elsewhere, process 1" in errors.decode()
    assert holder_of(ledger) == holder


def test_a_run_that_cannot_renew_its_lock_ends_before_another_takes_over(tmp_path: Path) -> None:
    program = RUN_WITH_LOCK.replace(
        "job_lock.HEARTBEAT_S = 0.1", "job_lock.HEARTBEAT_S = job_lock.STALE_S = 0.2"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        (tmp_path / "job").rename(tmp_path / "away")
        (tmp_path / "job").touch()
        _, errors = process.communicate(timeout=20)
    assert process.returncode == LedgerError.exit_code
    assert "Another run may take over, so this run stops. ledger: cannot" in errors.decode()


def test_a_run_may_miss_six_heartbeats() -> None:
    assert HEARTBEAT_S * 6 <= STALE_S


def test_of_two_runs_that_start_together_one_gets_the_lock(ledger: Ledger) -> None:
    start, won, lost = threading.Barrier(2), [], []

    def run(name: str) -> None:
        start.wait()
        try:
            with Lock(ledger, name):
                start.wait()
        except JobLocked:
            lost.append(name)
            start.wait()
        else:
            won.append(name)

    threads = [threading.Thread(target=run, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 1)


def test_of_two_runs_that_take_over_together_one_gets_the_lock(
    tmp_path: Path, dead_pid: int
) -> None:
    class Slow(Ledger):
        """Writes its lock 0.5 s late, after the other one has the lock."""

        def replace(self, name: str, data: bytes) -> None:
            time.sleep(0.5 if name == "lock.json" else 0)
            super().replace(name, data)

    held(Ledger(str(tmp_path), "job"), pid=dead_pid)
    start, over = threading.Barrier(2), threading.Event()

    def run(ledger: Ledger) -> bool:
        start.wait()
        try:
            with Lock(ledger, str(id(ledger))):
                over.wait(1)
        except JobLocked:
            over.set()
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        won = list(pool.map(run, [Ledger(str(tmp_path), "job"), Slow(str(tmp_path), "job")]))
    assert sorted(won) == [False, True]
