"""Receipts: all are kept, and what they say of a range is exact."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import keys
from tests.receipts import WHOLE, acknowledged, receipt, record
from transforms.errors import LedgerError
from transforms.ledger.ledger import Ledger, range_id
from transforms.ledger.receipts import Receipts, ReceiptWriter
from transforms.ranges import KeyRange, split

on_disk = settings(max_examples=40)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


ANY_RANGE = keys.of_one_kind(
    lambda kind: st.builds(
        KeyRange,
        st.sampled_from(["docs", "docs_2"]),
        st.none() | kind,
        st.none() | kind,
        st.sampled_from(["", "eu"]),
    )
)


# Receipts


@on_disk
@given(ANY_RANGE)
def test_a_receipt_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, covered: KeyRange
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    written = receipt(covered, failed='the "server"\nsaid no')
    record(ledger, written)
    assert list(Receipts(ledger).news()) == [written]


def test_receipts_are_in_the_ledger_soon_without_being_flushed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.ledger.receipts.RECEIPTS_EVERY_S", 0.01)
    writer = ReceiptWriter(ledger)
    writer.add(receipt(WHOLE))
    deadline = time.monotonic() + 5
    while not list(Receipts(ledger).news()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(list(Receipts(ledger).news())) == 1


def test_receipts_of_many_threads_and_workers_are_all_kept(ledger: Ledger) -> None:
    pieces = split(WHOLE, range(100))
    writers = [ReceiptWriter(ledger) for _ in range(3)]

    def add(number: int) -> None:
        writer = writers[number % 3]
        writer.add(receipt(pieces[number]))
        if number % 7 == 0:
            writer.flush()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(101)))
    for writer in writers:
        writer.flush()
    assert acknowledged(ledger).missing(WHOLE) == []
    assert acknowledged(ledger).sum(WHOLE)[0] == 101


def test_receipts_that_could_not_be_written_are_written_with_the_next_ones(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = ReceiptWriter(ledger)
    writer.add(receipt(WHOLE))
    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full_disk)
        with pytest.raises(LedgerError):
            writer.flush()
    writer.flush()
    assert acknowledged(ledger).missing(WHOLE) == []


def test_half_written_objects_do_not_count(ledger: Ledger, tmp_path: Path) -> None:
    record(ledger, receipt(KeyRange("docs", None, 7)))
    [whole] = (tmp_path / "job" / "receipts").iterdir()
    half = whole.read_bytes()[:40]
    (whole.parent / f".{whole.name}.4f1d").write_bytes(half)
    assert len(list(Receipts(ledger).news())) == 1
    assert acknowledged(ledger).missing(WHOLE) == [KeyRange("docs", 7)]


def test_a_writer_that_is_killed_leaves_only_whole_receipts(ledger: Ledger, tmp_path: Path) -> None:
    program = """
import sys, time
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipt, ReceiptWriter
from transforms.ranges import KeyRange
writer = ReceiptWriter(Ledger(sys.argv[1], "job"))
for number in range(10**6):
    covered = KeyRange("docs", number, number + 1)
    for _ in range(200):
        writer.add(Receipt("docs", covered, 1, 1, "0" * 32, time.time()))
    writer.flush()
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command) as process:
        while len(ledger.names("receipts")) < 5:
            time.sleep(0.005)
        process.kill()
    counted = len(list(Receipts(ledger).news()))
    assert counted == 200 * len(ledger.names("receipts"))


def test_receipts_are_read_as_they_come_each_once(ledger: Ledger) -> None:
    follower = Receipts(ledger)
    assert list(follower.news()) == []
    record(ledger, receipt(KeyRange("docs", None, 7)))
    assert [each.covered.upto for each in follower.news()] == [7]
    record(ledger, receipt(KeyRange("docs", 7)))
    assert [each.covered.after for each in follower.news()] == [7]
    assert list(follower.news()) == []


# What is acknowledged


def test_what_has_no_receipt_is_missing(ledger: Ledger) -> None:
    pieces = split(WHOLE, [10, 20, 30])
    record(ledger, receipt(pieces[0]), receipt(pieces[2]))
    assert acknowledged(ledger).missing(WHOLE) == [pieces[1], pieces[3]]


def test_a_range_is_acknowledged_when_its_receipts_tile_it(ledger: Ledger) -> None:
    pieces = split(WHOLE, [10, 20])
    record(ledger, *(receipt(piece, rows=2, of=7) for piece in pieces))
    assert acknowledged(ledger).missing(WHOLE) == []
    assert acknowledged(ledger).sum(WHOLE) == (6, 21)


def test_an_interval_that_was_written_twice_counts_once(ledger: Ledger) -> None:
    one = receipt(KeyRange("docs", None, 7), rows=3, of=5)
    record(ledger, one)
    record(ledger, replace(one, worker="another", at=one.at + 1))
    assert acknowledged(ledger).sum(WHOLE) == (3, 5)


ATTEMPTS = st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=3)
"""Of each attempt at a range: after which keys it cut it."""


@on_disk
@given(ATTEMPTS, st.data())
def test_a_range_that_some_receipts_tile_is_whole_whatever_others_there_are(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[set[int]], data: st.DataObject
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    whole, *others = [
        split(WHOLE, cuts) for cuts in [data.draw(st.sets(st.integers(0, 9))), *attempts]
    ]
    left = data.draw(st.sets(st.sampled_from([piece for cut in others for piece in cut])))
    record(ledger, *map(receipt, data.draw(st.permutations([*whole, *left]))))
    found = acknowledged(ledger)
    assert found.missing(WHOLE) == []
    assert split(WHOLE, [each.covered.upto for each in found.of(WHOLE)[:-1]]) == [
        each.covered for each in found.of(WHOLE)
    ]


def test_of_receipts_that_leave_something_open_those_with_most_rows_count(ledger: Ledger) -> None:
    most = receipt(KeyRange("docs", 3, 9), rows=8)
    record(ledger, *(receipt(piece) for piece in split(KeyRange("docs", None, 5), [2, 4])), most)
    assert acknowledged(ledger).missing(WHOLE) == [KeyRange("docs", 2, 3), KeyRange("docs", 9)]


@on_disk
@given(ATTEMPTS, st.data())
def test_of_attempts_that_cut_a_range_differently_each_key_counts_once(
    tmp_path_factory: pytest.TempPathFactory, attempts: list[set[int]], data: st.DataObject
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    written = [piece for cuts in attempts for piece in split(WHOLE, cuts)]
    record(ledger, *map(receipt, data.draw(st.sets(st.sampled_from(written)))))
    found = acknowledged(ledger)
    counted = [each.covered for each in found.of(WHOLE)]
    for key in range(-1, 11):
        assert sum(key in each for each in [*counted, *found.missing(WHOLE)]) == 1


def test_a_range_that_one_attempt_wrote_as_a_whole_is_whole_whatever_others_left(
    ledger: Ledger,
) -> None:
    record(ledger, receipt(KeyRange("docs", None, 5)), *map(receipt, split(WHOLE, [15])))
    assert acknowledged(ledger).missing(WHOLE) == []


@on_disk
@given(st.lists(st.integers(0, 2**128 - 1), min_size=1))
def test_the_fingerprint_of_a_range_is_the_sum_over_its_receipts(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int]
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    pieces = split(WHOLE, range(1, len(parts)))
    record(ledger, *(receipt(piece, of=of) for piece, of in zip(pieces, parts, strict=True)))
    assert acknowledged(ledger).sum(WHOLE) == (len(parts), sum(parts) % 2**128)


def test_a_failed_receipt_acknowledges_nothing_and_says_why(ledger: Ledger) -> None:
    record(ledger, receipt(WHOLE, failed="the target refuses"))
    found = acknowledged(ledger)
    assert found.missing(WHOLE) == [WHOLE]
    assert found.sum(WHOLE) == (0, 0)
    assert found.failures[range_id(WHOLE)].failed == "the target refuses"


def test_receipts_of_other_ranges_do_not_count(ledger: Ledger) -> None:
    other = KeyRange("docs", None, 7)
    record(ledger, receipt(other, planned=other))
    assert acknowledged(ledger).missing(WHOLE) == [WHOLE]
    assert acknowledged(ledger).missing(other) == []
