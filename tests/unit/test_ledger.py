"""The ledger: whatever crashes, it stays readable, and what it says is so."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymilvus.grpc_gen import schema_pb2

from tests import disks, keys
from tests.receipts import WHOLE, acknowledged, receipt, record
from transforms.errors import JobChanged, LedgerError
from transforms.finding import Finding
from transforms.ledger.ledger import Difference, Finished, Ledger, Verdict, range_id
from transforms.ledger.receipts import Receipts, ReceiptWriter
from transforms.milvus.description import Description, Index
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import Key, KeyRange, split

on_disk = settings(max_examples=40)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(str(tmp_path), "job")


def plan(schema: bytes = b"", **changes: object) -> Plan:
    described = Description(
        name="docs",
        collection_id=447_000_000_000_000_001,
        raw_schema=schema,
        shards=2,
        consistency_level=2,
        partition_count=1,
        properties=(("collection.ttl.seconds", "3600"),),
        aliases=("papers",),
        partitions=("_default", "eu"),
        indexes=(Index("vector", "hnsw", (("index_type", "HNSW"), ("params", '{"M": 16}'))),),
        loaded=True,
    )
    collection = CollectionPlan(described, "docs", described, ("_default", "eu"), 5)
    made = Plan("job", "p1", 1.5, "http://a", "http://b", "2.3.7", "2.6.5", (collection,))
    return replace(made, **changes)


# Objects


def test_what_is_not_there_is_none(ledger: Ledger) -> None:
    assert ledger.read("plan.json") is None
    assert ledger.plan() is None
    assert ledger.frozen("docs") is None
    assert ledger.finished("docs") is None
    assert ledger.names("receipts") == []


def test_an_object_is_written_once_and_never_changed(ledger: Ledger) -> None:
    assert ledger.write_once("intents/a", b"first")
    assert not ledger.write_once("intents/a", b"second")
    assert ledger.read("intents/a") == b"first"


@pytest.mark.parametrize("write", [Ledger.write_once, Ledger.replace])
def test_the_disk_keeps_the_name_of_an_object_before_it_counts_as_written(
    ledger: Ledger,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    write: Callable[[Ledger, str, bytes], object],
) -> None:
    fsync, kept = os.fsync, {}

    def look(descriptor: int) -> None:
        fsync(descriptor)
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        kept[folder] = [each.name for each in folder.iterdir()] if folder.is_dir() else []

    monkeypatch.setattr(os, "fsync", look)
    write(ledger, "intents/a", b"{}")
    assert kept[tmp_path / "job" / "intents"] == ["a"]
    assert kept[tmp_path / "job"] == ["intents"]
    assert kept[tmp_path] == ["job"]


def test_of_many_threads_that_write_one_object_one_wins(ledger: Ledger) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> bool:
        start.wait()
        return ledger.write_once("intents/a", b"%d" % number)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(write, range(8)))
    assert won.count(True) == 1
    assert ledger.read("intents/a") == b"%d" % won.index(True)


def test_of_many_processes_that_write_one_object_one_wins(ledger: Ledger, tmp_path: Path) -> None:
    program = """
import os, sys
from pathlib import Path
from transforms.ledger.ledger import Ledger
ledger = Ledger(sys.argv[1], "job")
for name in "ab":
    if os.fork() == 0:
        won = [str(ledger.write_once(f"intents/{each}", name.encode())) for each in range(200)]
        Path(sys.argv[1], name).write_text(" ".join(won))
        os._exit(0)
for name in "ab":
    os.wait()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    won = [(tmp_path / name).read_text().split() for name in "ab"]
    for each, (by_a, by_b) in enumerate(zip(*won, strict=True)):
        assert {by_a, by_b} == {"True", "False"}
        assert ledger.read(f"intents/{each}") == (b"a" if by_a == "True" else b"b")


def test_an_object_that_is_replaced_is_always_whole(ledger: Ledger) -> None:
    versions = [letter * 100_000 for letter in (b"a", b"b")]
    ledger.replace("status/docs.json", versions[0])
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            for version in versions:
                ledger.replace("status/docs.json", version)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(write)
        seen = {ledger.read("status/docs.json") for _ in range(300)}
        over.set()
    assert seen <= set(versions)


def test_an_object_that_is_removed_is_gone_and_may_be_removed_again(ledger: Ledger) -> None:
    ledger.replace("lock.json", b"{}")
    ledger.remove("lock.json")
    ledger.remove("lock.json")
    assert ledger.read("lock.json") is None


def test_a_ledger_pickles_and_names_the_same_objects(ledger: Ledger) -> None:
    ledger.write_plan(plan())
    copy = pickle.loads(pickle.dumps(ledger))
    assert copy.plan() == ledger.plan()
    assert copy.location == ledger.location


@pytest.mark.parametrize("prefix", ["", "file:", "file://"])
def test_a_local_folder_may_be_written_as_a_path_or_a_uri(tmp_path: Path, prefix: str) -> None:
    ledger = Ledger(f"{prefix}{tmp_path}/state/", "job")
    ledger.replace("plan.json", b"{}")
    assert (tmp_path / "state" / "job" / "plan.json").read_bytes() == b"{}"


def test_a_relative_folder_is_seen_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = Ledger("./state", "job")
    ledger.replace("plan.json", b"{}")
    assert ledger.location == "./state/job"
    assert (tmp_path / "state" / "job" / "plan.json").exists()


def test_a_folder_may_be_written_as_seen_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    Ledger("~/state", "job").replace("plan.json", b"{}")
    assert (tmp_path / "state" / "job" / "plan.json").exists()


def test_an_archived_ledger_keeps_its_content_and_frees_its_place(
    ledger: Ledger,
) -> None:
    ledger.write_plan(plan())
    aside = ledger.archive()
    assert ledger.plan() is None
    assert json.loads(Path(aside, "plan.json").read_bytes())["plan"]["plan_id"] == "p1"


def test_ledgers_archived_within_one_second_are_all_kept(ledger: Ledger) -> None:
    places = set()
    for _ in range(3):
        ledger.write_plan(plan())
        places.add(ledger.archive())
    assert len(places) == 3
    assert all(Path(place, "plan.json").exists() for place in places)


# A ledger that is cut off in the middle of a write


class Crash(BaseException):
    """What nobody catches: the process is gone."""


OPEN = Path.open


class Cut:
    """Stands in for files of which only so many bytes, in all, are ever written."""

    def __init__(self, left: int) -> None:
        self.left = left

    def open(self, path: Path, mode: str) -> Cut:
        self._stream = OPEN(path, mode)
        return self

    def write(self, data: bytes) -> None:
        self._stream.write(data[: self.left])
        self.left -= len(data)
        if self.left < 0:
            self._stream.close()
            raise Crash

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()


VERDICT = Verdict(range_id(WHOLE), WHOLE, 5, 5, 1.5, "full")
STEPS: list[Callable[[Ledger], object]] = [
    lambda ledger: ledger.write_plan(plan()),
    lambda ledger: ledger.freeze("p1", "docs", split(WHOLE, [7])),
    lambda ledger: ledger.begin_range(KeyRange("docs", None, 7)),
    lambda ledger: record(ledger, receipt(KeyRange("docs", None, 7))),
    lambda ledger: record(ledger, receipt(KeyRange("docs", 7))),
    lambda ledger: ledger.finish(Finished("docs", 5, 5, 1.5, 2.5)),
    lambda ledger: ledger.record_verdict("run1", VERDICT),
    lambda ledger: ledger.set_status("docs", "proving", 1, 2),
]
"""What a job writes, in order."""


def state_of(ledger: Ledger) -> list[object]:
    """How much of each step a reader sees."""
    receipts = [each.covered for each in Receipts(ledger).news()]
    return [
        ledger.plan(),
        ledger.frozen("docs"),
        ledger.names("intents"),
        sorted(map(str, receipts)),
        ledger.finished("docs"),
        ledger.verdicts("run1"),
        {name: told.phase for name, told in ledger.statuses().items()},
    ]


@on_disk
@given(st.integers(0, 4_000))
def test_wherever_a_write_is_cut_off_the_ledger_is_as_after_the_step_before(
    tmp_path_factory: pytest.TempPathFactory, size_bytes: int
) -> None:
    cut, whole = (Ledger(str(tmp_path_factory.mktemp("state")), "job") for _ in range(2))
    files, done = Cut(size_bytes), 0

    def open_cut(path: Path, mode: str) -> Cut:
        return files.open(path, mode)

    with pytest.MonkeyPatch.context() as patched, contextlib.suppress(Crash):
        patched.setattr(Path, "open", open_cut)
        for step in STEPS:
            step(cut)
            done += 1
    for step in STEPS[:done]:
        step(whole)
    assert state_of(cut) == state_of(whole)
    for step in STEPS[done:]:
        step(cut)
        step(whole)
    assert state_of(cut) == state_of(whole)


# When the ledger cannot be written


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


WRITES: dict[str, Callable[[Ledger], object]] = {
    "write_once": lambda ledger: ledger.write_once("intents/a", b"{}"),
    "replace": lambda ledger: ledger.replace("lock.json", b"{}"),
    "begin": lambda ledger: ledger.begin_range(WHOLE),
    "receipts": lambda ledger: record(ledger, receipt(WHOLE)),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_full_disk_is_reported_in_the_systems_words(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, write: Callable[[Ledger], object]
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(LedgerError, match="No space left on device") as caught:
        write(ledger)
    assert ledger.location in str(caught.value)


def test_a_full_disk_leaves_what_was_there_as_it_was(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.replace("lock.json", b"old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(LedgerError):
        ledger.replace("lock.json", b"new")
    assert ledger.read("lock.json") == b"old"


def test_a_full_disk_is_not_filled_further_by_what_could_not_be_written(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(LedgerError):
        ledger.replace("lock.json", b"new")
    assert list((tmp_path / "job").iterdir()) == []


def record_by_twenty(writer: ReceiptWriter, pieces: list[KeyRange]) -> None:
    for number, piece in enumerate(pieces, start=1):
        writer.add(receipt(piece))
        if number % 20 == 0:
            writer.flush()


def test_what_a_disk_that_is_really_full_did_not_take_is_written_once_there_is_room(
    tmp_path: Path,
) -> None:
    with disks.small(tmp_path / "disk", 256 * 1024):
        ledger = Ledger(str(tmp_path / "disk"), "job")
        writer = ReceiptWriter(ledger)
        filler = disks.fill(tmp_path / "disk", leave_bytes=64 * 1024)
        pieces = split(WHOLE, range(2_000))
        with pytest.raises(LedgerError, match="No space left on device"):
            record_by_twenty(writer, pieces)
        added = len(writer._pending) + sum(each.rows for each in Receipts(ledger).news())
        assert 0 < acknowledged(ledger).sum(WHOLE)[0] < added
        filler.unlink()
        writer.flush()
        assert acknowledged(ledger).missing(WHOLE) == [KeyRange("docs", pieces[added - 1].upto)]


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_folder_that_cannot_be_created_is_reported(
    tmp_path: Path, write: Callable[[Ledger], object]
) -> None:
    (tmp_path / "state").write_text("a file where the folder should be")
    with pytest.raises(LedgerError, match="Not a directory"):
        write(Ledger(str(tmp_path / "state"), "job"))


@pytest.mark.parametrize("state", ["{a_file}/state", "ftp://host/state"])
def test_a_place_that_cannot_be_read_is_reported(tmp_path: Path, state: str) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(LedgerError, match=r"ledger: cannot (read|open) "):
        Ledger(state.format(a_file=tmp_path / "a_file"), "job").plan()


def test_a_folder_in_the_place_of_an_object_is_reported(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "job" / "lock.json").mkdir(parents=True)
    with pytest.raises(LedgerError, match=r"ledger: cannot write .*: Is a directory"):
        ledger.replace("lock.json", b"{}")


# The plan


def test_a_plan_comes_back_as_it_was_written(ledger: Ledger) -> None:
    finding = Finding("source-version", "source", "is old.", "Upgrade.", acceptable=True)
    schema = schema_pb2.CollectionSchema(name="docs", description="d").SerializeToString()
    made = plan(schema, findings=(finding,), settings={"sink.Milvus.url": "http://b", "a": None})
    ledger.write_plan(made)
    assert ledger.plan() == made


@pytest.mark.parametrize("schema", [b"\x00\x7f\xff", b"\xac\x02"], ids=["any byte", "length 300"])
def test_a_plan_keeps_the_schema_byte_by_byte(ledger: Ledger, schema: bytes) -> None:
    ledger.write_plan(plan(schema))
    assert ledger.plan() == plan(schema)


def test_the_first_plan_stays(ledger: Ledger) -> None:
    ledger.write_plan(plan(plan_id="first"))
    ledger.write_plan(plan(plan_id="second"))
    assert ledger.plan() == plan(plan_id="first")


@pytest.mark.parametrize("written", ["{}", '{"format": 2}', '{"format": "1"}'])
def test_a_ledger_of_another_format_is_rejected(ledger: Ledger, written: str) -> None:
    ledger.replace("plan.json", written.encode())
    with pytest.raises(JobChanged, match=r"ledger format .*; this version reads 1"):
        ledger.plan()


UNREADABLE: dict[str, Callable[[Ledger], object]] = {
    "plan.json": lambda ledger: ledger.plan(),
    "ranges/docs.json": lambda ledger: ledger.frozen("docs"),
    "finished/docs.json": lambda ledger: ledger.finished("docs"),
    "verdicts/run/docs-1.json": lambda ledger: ledger.verdicts("run"),
    "status/docs.json": lambda ledger: ledger.statuses(),
    "receipts/a-000000.jsonl": lambda ledger: list(Receipts(ledger).news()),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("written", ["{", "[]", '{"format": 1, "plan": {"job_id": 7}}'])
def test_an_object_that_cannot_be_read_is_reported_with_the_remedies(
    ledger: Ledger, name: str, written: str
) -> None:
    ledger.replace(name, written.encode())
    with pytest.raises(LedgerError) as caught:
        UNREADABLE[name](ledger)
    assert str(caught.value).startswith(f"ledger: cannot read {ledger.location}/{name}: ")
    assert "Another version of Kitelift" in str(caught.value)
    assert "--restart" in str(caught.value)


def test_a_ledger_that_cannot_be_read_can_be_archived(ledger: Ledger) -> None:
    ledger.replace("plan.json", b"{")
    assert ledger.has_plan
    ledger.archive()
    assert not ledger.has_plan


# Ranges


def test_ranges_are_frozen_by_the_first_who_cuts(ledger: Ledger) -> None:
    first, second = split(WHOLE, [10]), split(WHOLE, [3, 6])
    assert ledger.freeze("p1", "docs", first) == first
    assert ledger.freeze("p1", "docs", second) == first
    assert ledger.frozen("docs") == first


@on_disk
@given(keys.of_one_kind(lambda kind: st.tuples(st.lists(kind), st.sampled_from(["", "eu"]))))
def test_ranges_come_back_as_they_were_frozen(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[list[Key], str]
) -> None:
    cuts, partition = case
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    pieces = split(KeyRange("docs", partition=partition), cuts)
    assert ledger.freeze("p1", "docs", pieces) == pieces


ANY_RANGE = keys.of_one_kind(
    lambda kind: st.builds(
        KeyRange,
        st.sampled_from(["docs", "docs_2"]),
        st.none() | kind,
        st.none() | kind,
        st.sampled_from(["", "eu"]),
    )
)


@given(ANY_RANGE, ANY_RANGE)
def test_ranges_have_the_same_name_only_if_they_are_the_same(
    one: KeyRange, other: KeyRange
) -> None:
    assert (range_id(one) == range_id(other)) == (one == other)


@pytest.mark.parametrize("name", ["x" * 255, "Docs", "docs of 2024", "世界" * 40, ".docs", "a'b"])
def test_a_collection_may_have_any_name_that_a_milvus_takes(ledger: Ledger, name: str) -> None:
    whole = KeyRange(name)
    assert ledger.freeze("p1", name, [whole]) == [whole]
    ledger.finish(Finished(name, 1, 1, 0.0, 1.0))
    ledger.set_status(name, "copying")
    assert ledger.begin_range(whole)
    ledger.record_verdict("run", Verdict(range_id(whole), whole, 1, 1, 0.1, "full"))
    assert ledger.finished(name) == Finished(name, 1, 1, 0.0, 1.0)
    assert [*ledger.statuses()] == [name]
    assert ledger.begun_collections([name, "docs"]) == {name}
    assert ledger.frozen(name.lower()) == (None if name != name.lower() else [whole])


def test_the_name_of_a_range_is_the_same_for_ever() -> None:
    assert range_id(KeyRange("docs", None, 7)) == "docs-f0f4d28267774f15"
    assert range_id(KeyRange("docs", 'a"b', None, "eu")) == "docs-a0d133483d876f9b"


def test_a_range_is_begun_for_the_first_time_once(ledger: Ledger) -> None:
    assert ledger.begin_range(WHOLE)
    assert not ledger.begin_range(WHOLE)
    assert not Ledger(ledger.state, "job").begin_range(WHOLE)
    assert ledger.begin_range(KeyRange("docs", partition="eu"))


# Finish, verdicts, status


def test_the_last_finish_of_a_collection_counts(ledger: Ledger) -> None:
    for failed in ("index failed", ""):
        ledger.finish(Finished("docs", 5, None, 1.5, 2.5, failed))
    assert ledger.finished("docs") == Finished("docs", 5, None, 1.5, 2.5)


@on_disk
@given(keys.of_one_kind(lambda kind: kind))
def test_a_verdict_comes_back_with_its_keys(
    tmp_path_factory: pytest.TempPathFactory, key: Key
) -> None:
    ledger = Ledger(str(tmp_path_factory.mktemp("state")), "job")
    differences = (Difference("*", key, ("title", "vector")), Difference("#", key))
    verdict = Verdict(range_id(WHOLE), WHOLE, 5, 4, 1.5, "full", differences)
    ledger.record_verdict("run1", verdict)
    assert ledger.verdicts("run1") == [verdict]


def test_each_run_of_the_verification_has_its_own_verdicts(ledger: Ledger) -> None:
    for run_id, found in (("run1", 4), ("run2", 5)):
        ledger.record_verdict(run_id, Verdict(range_id(WHOLE), WHOLE, 5, found, 1.5, "count"))
    assert [verdict.equal for verdict in ledger.verdicts("run1")] == [False]
    assert [verdict.equal for verdict in ledger.verdicts("run2")] == [True]
    assert ledger.verdicts("run3") == []


EQUAL = Verdict("docs-1", WHOLE, 5, 5, 1.5, "full")


@pytest.mark.parametrize(
    ("verdict", "equal"),
    [
        (EQUAL, True),
        (replace(EQUAL, rows_found=6), False),
        (replace(EQUAL, failed="not loaded"), False),
        (replace(EQUAL, differences=(Difference("*", 3),)), False),
    ],
    ids=["as expected", "another count", "could not be compared", "a key differs"],
)
def test_a_verdict_is_equal_only_if_nothing_is_against_it(verdict: Verdict, equal: bool) -> None:
    assert verdict.equal is equal


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        (Difference("-", 7), "- 7"),
        (Difference("+", 'a"b'), "+ 'a\"b'"),
        (Difference("*", 7, ("title", "vector")), "* 7 (title, vector)"),
        (Difference("#", 7), "# 7"),
    ],
)
def test_a_difference_reads_as_sign_key_and_fields(difference: Difference, words: str) -> None:
    assert str(difference) == words


def test_the_last_status_of_each_collection_is_returned(ledger: Ledger) -> None:
    ledger.set_status("docs", "planning", 0, 9)
    ledger.set_status("docs", "loading", 40, 100)
    ledger.set_status("papers", "failed")
    told = ledger.statuses()
    assert {name: (each.phase, each.done) for name, each in told.items()} == {
        "docs": ("loading", 40),
        "papers": ("failed", 0),
    }
