"""Jobs on servers that fail: for a while, which costs time, or for good, which costs one range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import grpc
import pytest

from tests import disks
from tests.clusters import schema
from tests.dataflow.jobs import (
    REQUEST_ROWS,
    Job,
    between_fakes,
    of,
    reads,
    row,
    rows,
    rows_a_page,
    was_read,
    writes,
    written,
)
from tests.fakes.script import AWAY, LOST_ANSWER, PASSING, RATE_LIMIT, REFUSED, Fault
from transforms.errors import LedgerError
from transforms.ledger.ledger import Ledger

pytestmark = pytest.mark.slow

RESET = Fault(grpc.StatusCode.INTERNAL, text="RST_STREAM", done=True)
TOO_LARGE = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, text="message larger than max (9 vs. 4)")
PANIC = Fault(code=65535, text="panic")
FOR_EVER = None

COUNT = 40
RANGE = {*range(10, 20)}
"""The keys of the range that holds key 15."""


# For a while


def lost(job: Job, name: str) -> None:
    for key, fault in ((5, LOST_ANSWER), (15, AWAY), (35, RESET)):
        job.target.fails("Insert", fault, when=writes(key, name))


def lost_again(job: Job, name: str) -> None:
    job.target.fails("Insert", LOST_ANSWER, when=writes(5, name))
    job.target.fails("Upsert", LOST_ANSWER, times=3, when=of(name))


def limited(job: Job, name: str) -> None:
    old = replace(RATE_LIMIT, code=0, legacy=49)
    for fault in (RATE_LIMIT, old):
        job.target.fails("Insert", fault, times=4, when=of(name))


def weak(job: Job, name: str) -> None:
    for key, fault in ((5, AWAY), (15, RATE_LIMIT), (35, PANIC)):
        job.source.fails("Query", fault, times=2, when=reads(key, name))


def wide(job: Job, name: str) -> None:
    def page(query: Any) -> bool:
        return of(name)(query) and rows_a_page(query) in (3, 4)

    def insert(request: Any) -> bool:
        return of(name)(request) and request.num_rows > 1

    job.source.fails("Query", TOO_LARGE, times=FOR_EVER, when=page)
    job.target.fails("Insert", TOO_LARGE, times=FOR_EVER, when=insert)


def wide_first(job: Job, name: str) -> None:
    """The page of 1,000 rows, from which their width is learned, is too large already."""
    job.source.fails(
        "Query", TOO_LARGE, times=1, when=lambda page: of(name)(page) and rows_a_page(page) > 500
    )


def unknown(job: Job, name: str) -> None:
    for key, done in ((5, True), (15, False)):
        job.target.fails("Insert", replace(PANIC, done=done), when=writes(key, name))


TROUBLES: dict[str, Callable[[Job, str], None]] = {
    "lost": lost,
    "lost_again": lost_again,
    "unknown": unknown,
    "wide_first": wide_first,
    "limited": limited,
    "weak": weak,
    "wide": wide,
}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job that has met all of `TROUBLES`, each while copying the collection of that name."""
    with between_fakes(tmp_path_factory.mktemp("troubled")) as job:
        for name, trouble in TROUBLES.items():
            job.source.create(schema(name), rows(COUNT))
            trouble(job, name)
        assert job.run() == 0
        yield job


@pytest.mark.parametrize("name", TROUBLES)
def test_whatever_happens_for_a_while_each_row_arrives_once(troubled: Job, name: str) -> None:
    assert troubled.target[name].rows() == rows(COUNT)
    assert troubled.collection(name)["outcome"] == "proven"


@pytest.mark.parametrize(("name", "keys"), [("lost", {5, 15, 35}), ("unknown", {5, 15})])
def test_a_write_that_may_have_arrived_is_repeated_by_key(
    troubled: Job, name: str, keys: set[int]
) -> None:
    again = written(troubled.target, "Upsert", name)
    assert keys <= {*again}
    assert len(again) <= len(keys) * REQUEST_ROWS


def test_the_report_says_how_often_each_side_was_asked_again_and_why(troubled: Job) -> None:
    calls = {(each["side"], each["reason"]): each["calls"] for each in troubled.report["retries"]}
    assert calls == {
        ("source", "not answered"): 2,
        ("source", "rate limit"): 2,
        ("source", "no reason given"): 2,
        ("target", "not answered"): 6,
        ("target", "broken off"): 1,
        ("target", "rate limit"): 8,
        ("target", "no reason given"): 2,
    }


def test_an_upsert_is_repeated_until_it_is_answered(troubled: Job) -> None:
    upserts = [each for each in troubled.target.asked("Upsert") if of("lost_again")(each)]
    assert len(upserts) == 4


@pytest.mark.parametrize("name", ["limited", "weak", "wide", "wide_first"])
def test_what_was_surely_not_written_is_inserted(troubled: Job, name: str) -> None:
    assert written(troubled.target, "Upsert", name) == []


STATUSES = [
    *(grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.INTERNAL),
    *(grpc.StatusCode.UNKNOWN, grpc.StatusCode.ABORTED, grpc.StatusCode.CANCELLED),
    grpc.StatusCode.RESOURCE_EXHAUSTED,
]
TRY_AGAIN = {
    **{f"code_{code}": fault for code, fault in PASSING.items()},
    **{status.name.lower(): Fault(status, text="not now", done=True) for status in STATUSES},
}
"""Each code of Milvus and of gRPC that asks for another try."""


@pytest.fixture(scope="module")
def passing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job of a collection for each of `TRY_AGAIN`, which a page and a write of it have met."""
    with between_fakes(tmp_path_factory.mktemp("passing")) as job:
        for name, fault in TRY_AGAIN.items():
            job.source.create(schema(name), rows(20))
            job.source.fails("Query", fault, when=reads(15, name))
            job.target.fails("Insert", fault, when=writes(5, name))
        assert job.run() == 0
        yield job


@pytest.mark.parametrize("name", TRY_AGAIN)
def test_each_row_arrives_once_whatever_code_asks_for_another_try(passing: Job, name: str) -> None:
    assert passing.target[name].rows() == rows(20)
    assert passing.collection(name)["outcome"] == "proven"
    by_key = {*written(passing.target, "Upsert", name)}
    assert (5 in by_key) is TRY_AGAIN[name].done


def test_every_one_of_these_codes_was_met_once_on_either_side(passing: Job) -> None:
    calls = {"source": 0, "target": 0}
    for each in passing.report["retries"]:
        calls[each["side"]] += each["calls"]
    assert calls == dict.fromkeys(calls, len(TRY_AGAIN))


def test_without_upsert_the_keys_are_deleted_and_inserted_again_and_again(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.to_sink["enable_upsert"] = False
    for key, times in ((5, 1), (15, 1), (35, 3)):
        job.target.fails("Insert", LOST_ANSWER, times=times, when=writes(key))
    assert job.run() == 0
    assert job.target.keys("docs") == list(range(COUNT))
    assert (len(job.target.asked("Upsert")), len(job.target.asked("Delete"))) == (0, 5)


def test_new_ids_that_may_stand_twice_are_counted(job: Job) -> None:
    job.source.create(schema("lost"), rows(COUNT))
    job.source.create(schema("away"), rows(COUNT))
    job.to_sink["enable_auto_id"] = True
    job.target.fails("Insert", LOST_ANSWER, when=of("lost"))
    job.target.fails("Insert", AWAY, times=12, when=of("away"))
    job.run()
    doubled = len(job.target.keys("lost")) - COUNT
    assert doubled > 0
    assert job.collection("lost")["doubled"] == doubled
    # It may have arrived, for all that is known.
    assert len(job.target.keys("away")) == COUNT
    assert job.collection("away")["doubled"] > 0


# For good


def refused(job: Job, name: str) -> None:
    job.target.fails("Insert", REFUSED, times=FOR_EVER, when=writes(15, name))


def unreadable(job: Job, name: str) -> None:
    job.source.fails("Query", REFUSED, times=FOR_EVER, when=reads(15, name))


def huge_row(job: Job, name: str) -> None:
    job.target.fails("Insert", TOO_LARGE, times=FOR_EVER, when=writes(15, name))


def no_index(job: Job, name: str) -> None:
    job.target.fails("CreateIndex", REFUSED, times=FOR_EVER, when=of(name))


def uncut(job: Job, name: str) -> None:
    job.source.fails(
        "Query",
        REFUSED,
        times=FOR_EVER,
        when=lambda query: of(name)(query) and query.output_fields == ["id"],
    )


BREAKS: dict[str, tuple[Callable[[Job, str], None], str]] = {
    "refused": (refused, "the server does not like it"),
    "unreadable": (unreadable, "the server does not like it"),
    "huge_row": (huge_row, "rejects 1 row of huge_row(9..19]: key 15: "),
    "no_index": (no_index, "the server does not like it"),
    "uncut": (uncut, "it was not split into key ranges"),
}
BROKEN_RANGES = ["refused", "unreadable", "huge_row"]


@dataclass
class Twice:
    """A job that was run on broken servers, and again when they were mended."""

    job: Job
    arrived: dict[str, set[Any]]
    report: dict[str, Any]

    def first(self, name: str) -> dict[str, Any]:
        """What the first report said of a collection."""
        [found] = [each for each in self.report["collections"] if each["name"] == name]
        return dict(found)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twice]:
    with between_fakes(tmp_path_factory.mktemp("twice")) as job:
        for name in (*BREAKS, "good"):
            job.source.create(schema(name), rows(COUNT))
        for name, (break_it, _) in BREAKS.items():
            break_it(job, name)
        assert job.run() == 4
        arrived = {name: {*job.target.keys(name)} for name in (*BREAKS, "good")}
        made = Twice(job, arrived, job.report)
        for server in (job.source, job.target):
            server.heal()
        assert job.run() == 0
        yield made


@pytest.mark.parametrize("name", BROKEN_RANGES)
def test_a_range_that_fails_for_good_does_not_stop_the_others(twice: Twice, name: str) -> None:
    missing = {*range(COUNT)} - twice.arrived[name]
    assert {15} <= missing <= RANGE
    ranges = twice.first(name)["ranges"]
    assert (ranges["failed"], ranges["total"]) == (1, 4)


def test_a_collection_that_fails_does_not_stop_the_others(twice: Twice) -> None:
    outcomes = {each["name"]: each["outcome"] for each in twice.report["collections"]}
    failed = dict.fromkeys(BREAKS, "failed")
    assert outcomes == failed | {"good": "proven", "no_index": "copied"}


@pytest.mark.parametrize("name", BROKEN_RANGES)
def test_the_report_names_the_range_with_the_reason(twice: Twice, name: str) -> None:
    [failure] = [each for each in twice.report["failures"] if each["collection"] == name]
    assert failure["range"] == f"{name}(9..19]"
    assert BREAKS[name][1] in failure["reason"]


def test_the_report_says_why_a_collection_could_not_be_completed(twice: Twice) -> None:
    assert BREAKS["uncut"][1] in str(twice.first("uncut")["problems"])


def test_the_report_says_why_there_is_no_index(twice: Twice) -> None:
    [found] = [each for each in twice.report["findings"] if each["severity"] == "error"]
    assert found["code"].startswith("lost:no_index.indexes.")
    assert BREAKS["no_index"][1] in str(found)


def test_the_report_says_how_to_continue(twice: Twice) -> None:
    assert "rerun the same command" in twice.report["next"][0]


@pytest.mark.parametrize("name", BREAKS)
def test_the_next_run_completes_what_failed(twice: Twice, name: str) -> None:
    assert twice.job.target[name].rows() == rows(COUNT)
    assert twice.job.collection(name)["outcome"] == "proven"


@pytest.mark.parametrize("name", ["good", "no_index", *BROKEN_RANGES])
def test_the_next_run_reads_only_the_ranges_that_failed(twice: Twice, name: str) -> None:
    read = was_read(twice.job.source, range(COUNT), name)
    assert read <= (RANGE if name in BROKEN_RANGES else set())


@pytest.mark.parametrize("name", ["good", "no_index", *BROKEN_RANGES])
def test_the_next_run_writes_only_what_is_missing_and_by_key_since_it_may_have_arrived(
    twice: Twice, name: str
) -> None:
    target = twice.job.target
    missing = {*range(COUNT)} - twice.arrived[name]
    assert written(target, "Insert", name) == []
    assert missing <= {*written(target, "Upsert", name)} <= (RANGE if missing else set())


def test_a_server_that_stays_away_longer_than_an_outage_may_last_fails_its_ranges(
    job: Job,
) -> None:
    job.source.create(schema(), rows(COUNT))
    job.env["retry.max_outage"] = "200 ms"
    job.target.fails("Insert", AWAY, times=FOR_EVER)
    job.target.fails("Upsert", AWAY, times=FOR_EVER)
    assert job.run() == 4
    assert job.collection()["ranges"]["failed"] == 4
    assert "failed to connect to all addresses" in job.report["failures"][0]["reason"]
    [retry] = job.report["retries"]
    assert (retry["side"], retry["reason"]) == ("target", "not answered")
    assert retry["calls"] >= 4
    job.target.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(COUNT)


def test_with_fail_fast_the_first_range_that_fails_ends_the_job(job: Job) -> None:
    job.source.create(schema(), rows(COUNT))
    job.env["fail_fast"] = True
    job.target.fails("Insert", REFUSED, times=FOR_EVER, when=writes(5))
    assert job.run() == 4
    assert len(job.target.keys("docs")) < COUNT - 10
    job.target.heal()
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(COUNT)


def test_a_full_disk_ends_the_job_and_the_next_run_goes_on(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise LedgerError("/state/job/intents", "No space left on device")

    job.source.create(schema(), rows(COUNT))
    with monkeypatch.context() as broken:
        broken.setattr(Ledger, "begin_range", full)
        assert job.run() == 4
    assert "No space left on device" in capsys.readouterr().err
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(COUNT)


def test_a_disk_that_is_really_full_half_way_loses_nothing(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    made = job.source.create(schema(), rows(COUNT))
    state = job.folder / "state"

    def fill(request: Any) -> bool:
        if len(job.target.keys("docs")) >= COUNT // 2:
            disks.fill(state)
        return False

    with disks.small(state, 1024 * 1024):
        job.target.fails("Insert", REFUSED, when=fill)
        assert job.run() == 4
        said = capsys.readouterr().err
        assert "ledger: cannot write" in said
        assert "No space left on device" in said
        assert "Traceback" not in said
        (state / "filler").unlink()
        job.target.heal()
        assert job.run() == 0
        assert job.target["docs"].rows() == made.rows()
        assert job.report["outcome"] == "proven"


def test_a_source_that_grows_while_it_is_copied_is_told(job: Job) -> None:
    made = job.source.create(schema(), rows(COUNT))

    def grow(request: Any) -> bool:
        if len(made.rows()) == COUNT:
            made.insert([row(1_000)])
        return False

    job.target.fails("Insert", REFUSED, when=grow)
    job.run()
    assert "source changed during the copy" in job.collection()["source_changed"]
