"""Rejected rows within `env.max_rejected`: none is lost or counted twice, none above the limit."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, rows, writes
from tests.fakes.script import Fault
from tests.receipts import WHOLE, acknowledged, record
from transforms.errors import LedgerError
from transforms.ledger import rejected_rows
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipts
from transforms.ranges import KeyRange, split

pytestmark = pytest.mark.slow

# Late enough that several writes are under way.
REFUSED = Fault(code=1100, text="the server does not like it", delay_s=0.05)


def reject(job: Job, *keys: int) -> None:
    """Makes the target reject the rows with these keys."""
    for key in keys:
        for method in ("Insert", "Upsert"):
            job.target.fails(method, REFUSED, when=writes(key), times=None)


def rejected_keys(job: Job) -> list[int]:
    """Returns the keys of the recorded rejected rows."""
    found = (job.folder / "state" / "job" / "rejected.parquet").rglob("*.parquet")
    return sorted(key for path in found for key in pq.read_table(path)["id"].to_pylist())


@pytest.fixture
def rejecting(job: Job) -> Job:
    """A job of one range, of which the target has rejected one row."""
    job.source.create(schema(), rows(10))
    job.env["max_rejected"] = 1
    reject(job, 4)
    assert job.run() == 4
    assert (job.collection()["outcome"], rejected_keys(job)) == ("proven", [4])
    return job


def test_a_range_with_a_rejected_row_can_be_resumed(rejecting: Job) -> None:
    rejecting.crash(lost=1)
    [left] = acknowledged(rejecting.ledger).missing(WHOLE)
    assert 4 not in left
    assert rejecting.run() == 4
    assert rejecting.report["failures"] == []
    assert (rejecting.collection()["outcome"], rejecting.collection()["rejected"]) == ("proven", 1)


@pytest.mark.parametrize("taken", [False, True])
def test_rejected_rows_of_a_killed_attempt_do_not_count(rejecting: Job, taken: bool) -> None:
    rejecting.crash()
    rejecting.to_sink["batch_size"] = 100  # Now its intervals are others.
    if taken:
        rejecting.target.heal()
    assert rejecting.run() == (0 if taken else 4)
    assert rejecting.collection()["outcome"] == "proven"
    assert rejected_keys(rejecting) == ([] if taken else [4])


def test_writes_at_once_do_not_exceed_what_is_allowed(job: Job) -> None:
    job.source.create(schema(), rows(10))
    job.env["max_rejected"] = 1
    reject(job, 1, 4)
    assert job.run() == 4
    assert len(rejected_keys(job)) <= 1
    assert "env.max_rejected" in job.report["failures"][0]["reason"]


class Killed(BaseException):
    """What nobody catches: the process is gone."""


def test_a_replay_that_is_killed_before_its_receipt_is_done_again(
    rejecting: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    rejecting.target.heal()
    replace_object = Ledger.replace

    def until_receipts(ledger: Ledger, name: str, data: bytes) -> None:
        if name.startswith("receipts/"):
            raise Killed
        replace_object(ledger, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "replace", until_receipts)
        with pytest.raises(Killed):
            rejecting.run("replay")
    assert rejecting.run("replay") == 0
    assert rejecting.collection()["outcome"] == "proven"
    assert rejected_keys(rejecting) == []


def test_a_replay_counts_whatever_the_clock_says(rejecting: Job) -> None:
    rejecting.target.heal()
    ahead = [
        replace(receipt, at=receipt.at + 3600) for receipt in Receipts(rejecting.ledger).news()
    ]
    record(rejecting.ledger, *ahead)
    assert rejecting.run("replay") == 0
    assert (rejecting.collection()["outcome"], rejecting.collection()["rejected"]) == ("proven", 0)


# The record of rejected rows


PIECES = split(WHOLE, [10, 20, 30])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


def some(count: int) -> pa.RecordBatch:
    return pa.record_batch({"id": [*range(count)], rejected_rows.REASON: ["no"] * count})


def test_a_full_disk_keeps_the_recorded_rejected_rows(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    allowed = rejected_rows.Allowance(ledger, 5)
    allowed.use(WHOLE, some(3))
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(LedgerError):
        allowed.use(WHOLE, some(2))
    assert rejected_rows.load(ledger, WHOLE, 3) == some(3)


def test_concurrent_workers_record_no_more_rejected_rows_than_allowed(ledger: Ledger) -> None:
    workers = [rejected_rows.Allowance(ledger, 4), rejected_rows.Allowance(ledger, 4)]
    start = Barrier(len(PIECES))

    def use(worker: rejected_rows.Allowance, covered: KeyRange) -> bool:
        assert worker.left(covered) == 4
        start.wait()
        return worker.use(covered, some(3))

    with ThreadPoolExecutor(len(PIECES)) as pool:
        allowed = list(pool.map(use, workers * 2, PIECES))
    assert sum(allowed) <= 1
    kept = [piece for piece in PIECES if rejected_rows.load(ledger, piece, 3)]
    assert len(kept) == sum(allowed)


def test_rows_that_the_target_accepts_on_a_retry_are_no_longer_recorded_as_rejected(
    ledger: Ledger,
) -> None:
    allowed = rejected_rows.Allowance(ledger, 4)
    allowed.use(PIECES[0], some(3))
    allowed.use(PIECES[1], some(1))
    assert allowed.left(PIECES[2]) == 0
    allowed.use(PIECES[0], None)
    assert (allowed.left(PIECES[2]), allowed.left(PIECES[1])) == (3, 4)
