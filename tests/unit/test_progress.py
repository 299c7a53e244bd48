"""Progress: what the display shows of a growing ledger, on a terminal and in a file."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from pipeline.console import interrupt
from pipeline.display import progress
from pipeline.display.job_progress import JobProgress, Meter, Phase, View
from pipeline.display.live_display import Frame, Moving
from pipeline.display.log_lines import Lines
from pipeline.planning.planner import Purpose
from tests import ledgers
from tests.ledgers import BEGAN, RUN, Job
from transforms.ledger.ledger import Ledger
from transforms.milvus.retry_statistics import Cause, Lately, Retried, Slowdown
from transforms.ranges import KeyRange

Golden = Callable[[str, str], None]


def progress_of(job: Job, *, proves: bool = True, purpose: Purpose = "copy") -> JobProgress:
    return JobProgress(job.ledger, job.plan, RUN, proves=proves, purpose=purpose)


def framed(view: View, *, width: int, height: int) -> str:
    out = StringIO()
    console = Console(file=out, width=width, height=height, highlight=False)
    console.print(Frame(view, elapsed_s=62))
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


@pytest.fixture
def docs(tmp_path: Path) -> Job:
    return ledgers.job(tmp_path, ledgers.collection("docs", 4_000))


# -- phases ---------------------------------------------------------------------------------------


def test_a_job_that_has_not_started_is_waiting(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path / "not" / "there", ledgers.collection("docs", 4_000))

    (shown,) = progress_of(job).look(BEGAN).collections

    assert (shown.phase, shown.rows, shown.left_s) == ("waiting", 0, None)


@pytest.mark.parametrize("name", ["docs", "Docs", "Docs of 2024", "d" * 255])
def test_a_collection_goes_through_its_phases(tmp_path: Path, name: str) -> None:
    docs = ledgers.job(tmp_path, ledgers.collection(name, 4_000))
    job_progress = progress_of(docs)
    phases: list[Phase] = []

    def look() -> None:
        (shown,) = job_progress.look(time.time()).collections
        phases.append(shown.phase)

    look()
    docs.ledger.set_status(name, "planning", 0, 4_000)
    look()
    first, second = docs.cut(name, 2_000)
    look()
    docs.copy(first, 2_000, at=5)
    look()
    docs.copy(second, 2_000, at=6)
    look()
    for phase in ("flushing", "indexing", "loading"):
        docs.ledger.set_status(name, phase, 1, 2)
        look()
    docs.finish(name, target=4_000, at=time.time() - BEGAN)
    look()
    docs.judge(first, 2_000)
    look()
    docs.judge(second, 2_000)
    look()

    assert phases == [
        *("waiting", "planning", "queued", "copying", "copied"),
        *("flushing", "indexing", "loading"),
        *("proving", "proving", "done"),
    ]


def test_without_proof_a_finished_collection_is_done(docs: Job) -> None:
    job_progress = progress_of(docs, proves=False)
    job_progress.look(BEGAN)

    docs.finish("docs", target=4_000)

    assert job_progress.look(BEGAN).collections[0].phase == "done"


def test_a_collection_that_cannot_be_loaded_is_not_shown_as_proving(docs: Job) -> None:
    job_progress = progress_of(docs)
    job_progress.look(BEGAN)

    docs.finish("docs", target=None)

    assert job_progress.look(BEGAN).collections[0].phase == "done"


@pytest.mark.parametrize("how", ["told", "recorded"])
def test_a_collection_that_cannot_be_completed_has_failed(docs: Job, how: str) -> None:
    job_progress = progress_of(docs)
    job_progress.look(BEGAN)

    if how == "told":
        docs.ledger.set_status("docs", "failed")
    else:
        docs.finish("docs", failed="no memory for the index")

    [progress] = job_progress.look(BEGAN).collections
    reason = "no memory for the index" if how == "recorded" else ""
    assert (progress.phase, progress.failure) == ("failed", reason)


def test_a_run_that_only_compares_copies_nothing(docs: Job) -> None:
    pieces = docs.cut("docs", 2_000)
    for piece in pieces:
        docs.copy(piece, 2_000, at=5)
    job_progress = progress_of(docs, purpose="verify")
    seen = []
    for piece in (None, *pieces):
        if piece:
            docs.judge(piece, 2_000)
        view = job_progress.look(BEGAN)
        seen.append(
            [
                (collection.phase, collection.done, collection.total)
                for collection in (*view.collections, view.total)
            ]
        )

    assert seen == [
        [("waiting", 0, 0), ("proving", 0, 2)],
        [("proving", 1, 2), ("proving", 1, 2)],
        [("done", 2, 2), ("done", 2, 2)],
    ]


@pytest.mark.parametrize("purpose", ["sync", "compare"])
def test_a_run_that_reads_both_sides_shows_reading(docs: Job, purpose: Purpose) -> None:
    job_progress, out = progress_of(docs, purpose=purpose), StringIO()
    lines = Lines(out)
    lines.show(job_progress.look(BEGAN))
    for at, piece in zip((5, 10), docs.cut("docs", 2_000), strict=True):
        docs.copy(piece, 2_000, at=at)
        lines.show(job_progress.look(BEGAN + at))

    assert [line[20:] for line in out.getvalue().splitlines()] == [
        "docs: reading 4,000 rows",
        "docs: read 4,000 rows",
    ]


def test_the_status_of_an_earlier_run_does_not_count(docs: Job) -> None:
    (planned,) = docs.cut("docs")
    docs.copy(planned, 4_000, at=5)
    docs.ledger.set_status("docs", "failed")
    docs.finish("docs", target=4_000)

    assert progress_of(docs).look(BEGAN).collections[0].phase == "copied"


def test_with_new_ids_partitions_are_proven(tmp_path: Path) -> None:
    collection = ledgers.collection("docs", 4_000, new_ids=True, partitions=("even", "odd"))
    job = ledgers.job(tmp_path, collection)
    job.cut("docs", 1_000, 2_000)
    job.judge(KeyRange("docs", partition="even"), 2_000)

    (shown,) = progress_of(job).look(BEGAN).collections

    assert (shown.done, shown.total) == (1, 2)


# -- rows and speed -------------------------------------------------------------------------------


def test_an_interval_that_was_acknowledged_twice_counts_once(docs: Job) -> None:
    (planned,) = docs.cut("docs")
    docs.copy(planned, 4_000, at=5)
    docs.copy(planned, 4_000, at=6)

    assert progress_of(docs).look(BEGAN).total.rows == 4_000


def test_duplicate_keys_are_done_when_their_range_is(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 21_968))
    (planned,) = job.cut("docs")
    job.copy(planned, 20_000, at=5, counted=21_968)

    (shown,) = progress_of(job).look(BEGAN).collections

    assert (shown.phase, shown.share, shown.rows) == ("copied", 1.0, 20_000)


def test_the_end_of_a_range_counts_no_row_that_was_not_acknowledged(docs: Job) -> None:
    """A range of which only the empty tail was written, whose receipt has the count."""
    (planned,) = docs.cut("docs")
    tail, begin = replace(planned, after=4_000), replace(planned, upto=4_000)
    docs.copy(planned, 0, at=5, covered=tail, counted=4_000)
    job_progress = progress_of(docs)
    assert job_progress.look(BEGAN).total.done == 0

    docs.copy(planned, 3_000, at=6, covered=begin, counted=None)
    assert job_progress.look(BEGAN + 1).total.done == 4_000


def test_speed_and_time_left_count_only_new_rows(docs: Job) -> None:
    first, second, _ = docs.cut("docs", 1_000, 2_000)
    docs.copy(first, 1_000, at=0)
    job_progress = progress_of(docs)
    job_progress.look(BEGAN)

    docs.copy(second, 1_000, at=5)
    (shown,) = job_progress.look(BEGAN + 5).collections

    assert shown.rows == 2_000
    assert shown.rows_per_second == 200
    assert shown.bytes_per_second == 200 * ledgers.BYTES_A_ROW
    assert shown.left_s == 10


def test_a_stalled_job_has_no_speed_and_no_time_left(docs: Job) -> None:
    first, second, _ = docs.cut("docs", 1_000, 2_000)
    job_progress = progress_of(docs)
    job_progress.look(BEGAN)
    docs.copy(first, 1_000, at=1)
    docs.copy(second, 1_000, at=1)
    job_progress.look(BEGAN + 1)

    for second_later in range(2, 20):
        view = job_progress.look(BEGAN + second_later)

    assert (view.total.rows_per_second, view.total.left_s) == (0.0, None)


def test_a_meter_forgets_what_is_older_than_its_window() -> None:
    meter = Meter(window_s=10)
    for second in range(100):
        meter.add(second, 50 if second < 50 else second * 7)

    assert meter.speed == 7


# -- lines ----------------------------------------------------------------------------------------


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    return time.tzset


def written(tmp_path: Path, *, as_json: bool = False) -> str:
    """The lines about a job of two collections, with a look every two seconds."""
    job = ledgers.job(
        tmp_path, ledgers.collection("docs", 40_000), ledgers.collection("notes", 1_000)
    )
    job_progress, out = progress_of(job), StringIO()
    lines = Lines(out, as_json=as_json)

    def look(at: float) -> None:
        lines.show(job_progress.look(BEGAN + at))

    look(0)
    job.ledger.set_status("docs", "planning", 0, 40_000)
    look(2)
    (notes,) = job.cut("notes")
    pieces = job.cut("docs", *range(5_000, 40_000, 5_000))
    job.retry(target={"rate limit": Retried(12, 30.0)})
    job.slow(target=Lately(4.0, {"rate limit": 6.0}))
    for index, piece in enumerate(pieces):
        job.copy(piece, 5_000, at=4 + 2 * index)
        look(4 + 2 * index)
    job.slow(target=Lately(600.0))
    job.copy(notes, 1_000, at=20)
    look(20)
    for done in (10_000, 40_000):
        job.ledger.set_status("docs", "indexing", done, 40_000)
        job.ledger.set_status("notes", "loading", 50, 100)
        look(22 + done / 5_000)
    job.finish("docs", target=40_000, at=time.time() - BEGAN)
    job.finish("notes", target=1_000, at=time.time() - BEGAN)
    look(32)
    job.judge(notes, 1_000)
    for index, piece in enumerate(pieces):
        job.judge(piece, 5_000)
        look(34 + 2 * index)
    return out.getvalue()


@pytest.mark.usefixtures("utc")
def test_the_lines_of_a_job_are_as_in_the_golden_file(tmp_path: Path, golden: Golden) -> None:
    golden("progress.log", written(tmp_path))


def test_duplicate_keys_are_not_counted_as_copied(tmp_path: Path) -> None:
    job = ledgers.job(tmp_path, ledgers.collection("docs", 21_968))
    job_progress, out = progress_of(job), StringIO()
    lines = Lines(out)
    job.copy(*job.cut("docs"), 20_000, at=5, counted=21_968)

    lines.show(job_progress.look(BEGAN + 5))

    assert out.getvalue().endswith("docs: copied\n")


def test_a_phase_is_logged_when_it_begins_and_then_every_10_s(docs: Job) -> None:
    job_progress, out = progress_of(docs), StringIO()
    lines = Lines(out)
    lines.show(job_progress.look(BEGAN))
    docs.ledger.set_status("docs", "flushing")

    said = []
    for later in (10, 20):
        lines.show(job_progress.look(BEGAN + later))
        said.append(out.getvalue().count("docs: flushing\n"))

    assert said == [1, 2]


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("rate limit", "target is rate-limiting; running at 40 % of full speed"),
        ("quota", "target reports that a quota is used up; running at 40 % of full speed"),
        ("overloaded", "target is overloaded; running at 40 % of full speed"),
        ("not ready", "target is not ready; running at 40 % of full speed"),
        ("not answered", "target does not answer; running at 40 % of full speed"),
        ("broken off", "target drops connections; running at 40 % of full speed"),
        (
            "no reason given",
            "target returns errors without a reason; running at 40 % of full speed",
        ),
        ("answered late", "target answers slower than max_latency; running at 40 % of full speed"),
    ],
)
def test_the_cause_of_a_slowdown_is_named(busy: View, cause: Cause, words: str) -> None:
    slow, out = replace(busy, slowdowns={"target": Slowdown(cause, 0.4)}), StringIO()
    lines = Lines(out)
    for later in (0, 10):
        lines.show(replace(slow, at=BEGAN + later))

    assert framed(slow, width=80, height=24).splitlines()[-2] == words
    assert out.getvalue().endswith(f"; {words}\n")


@pytest.mark.usefixtures("utc")
def test_lines_can_be_json_with_the_same_words(tmp_path: Path) -> None:
    words = [line[20:] for line in written(tmp_path / "words").splitlines()]
    facts = [json.loads(line) for line in written(tmp_path / "json", as_json=True).splitlines()]

    assert [fact["message"] for fact in facts] == words
    assert facts[0]["at"] == BEGAN + 2
    assert facts[0]["progress"][0]["name"] == "docs"
    assert facts[2]["slowdowns"] == {"target": {"cause": "rate limit", "share": 0.4}}
    assert facts[2]["sent_again"] == 12


# -- the live display -----------------------------------------------------------------------------


@pytest.fixture
def busy(tmp_path: Path) -> View:
    """Five collections, each in another phase."""
    job = ledgers.job(
        tmp_path,
        ledgers.collection("medium_articles", 100_000),
        ledgers.collection("a_collection_with_quite_a_long_name", 500_000_000),
        ledgers.collection("events", 21_968),
        ledgers.collection("notes", 3_000),
        ledgers.collection("late", 3_000),
    )
    job_progress = progress_of(job)
    job_progress.look(BEGAN)
    job.complete("notes")
    pieces = job.cut("a_collection_with_quite_a_long_name", *range(1, 10))
    for piece in pieces[:6]:
        job.copy(piece, 50_000_000, at=5)
    for name in ("medium_articles", "events"):
        job.copy(*job.cut(name), job.plan[name].rows, at=6)
    job.ledger.set_status("medium_articles", "indexing", 45_000, 100_000)
    job.ledger.set_status("events", "loading", 70, 100)
    job.retry(source={"not answered": Retried(2, 0.3)}, target={"rate limit": Retried(40, 9.0)})
    job.slow(target=Lately(4.0, {"rate limit": 6.0}))
    return job_progress.look(BEGAN + 60)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_a_frame_is_as_in_the_golden_file(
    busy: View, golden: Golden, width: int, height: int
) -> None:
    golden(f"progress-{width}.txt", framed(busy, width=width, height=height))


@pytest.mark.parametrize("width", [40, 80, 139, 140, 200])
@pytest.mark.parametrize("height", [8, 24])
def test_a_frame_fits_the_terminal(busy: View, width: int, height: int) -> None:
    lines = framed(busy, width=width, height=height).splitlines()

    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width


def test_of_many_collections_the_active_ones_are_shown(tmp_path: Path) -> None:
    names = [f"tenant_{number:03d}" for number in range(100)]
    job = ledgers.job(tmp_path, *(ledgers.collection(name, 2_000) for name in names))
    job_progress = progress_of(job)
    job_progress.look(BEGAN)
    for name in names[:3]:
        job.complete(name)
    for name in names[3:7]:
        first, _ = job.cut(name, 1_000)
        job.copy(first, 1_000, at=5)

    lines = framed(job_progress.look(BEGAN + 5), width=80, height=24).splitlines()

    assert [name for name in names if any(name in line for line in lines)] == names[3:7]
    assert lines[-2] == "1:02  3 done, 4 copying, 93 waiting"


def test_the_live_display_does_not_cut_log_lines(busy: View) -> None:
    terminal = StringIO()
    console = Console(file=terminal, force_terminal=True, width=80, height=24)
    handler = logging.StreamHandler(terminal)
    logger = logging.getLogger("tests.display")
    logger.setLevel(logging.WARNING)  # Whatever was set before.
    logging.getLogger().addHandler(handler)
    display = Moving(console)
    try:
        display.show(busy)
        logger.warning("the target answers slowly")
        display.close()
    finally:
        logging.getLogger().removeHandler(handler)

    assert handler.stream is terminal
    assert "\x1b[2Kthe target answers slowly\n" in terminal.getvalue()


def test_an_interrupt_removes_the_live_display(docs: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("TERM", "xterm")
    terminal = StringIO()

    with progress.show_progress(docs.ledger, docs.plan, RUN, stream=terminal):
        while "waiting" not in terminal.getvalue():
            time.sleep(0.01)
        interrupt.close()
        shown = terminal.getvalue()

    erased = shown.rpartition("1 waiting")[2]
    assert erased.count("\x1b[1A\x1b[2K") == 3  # The collection, the sums, the cursor's line.
    assert terminal.getvalue() == shown


# -- show_progress --------------------------------------------------------------------------------


def test_without_a_terminal_progress_is_lines(docs: Job) -> None:
    out = StringIO()

    with progress.show_progress(docs.ledger, docs.plan, RUN, stream=out):
        (planned,) = docs.cut("docs")
        docs.copy(planned, 4_000, at=5)

    assert out.getvalue().endswith("docs: copied 4,000 rows\n")


def test_a_quiet_run_shows_nothing(docs: Job) -> None:
    out = StringIO()

    with progress.show_progress(docs.ledger, docs.plan, RUN, quiet=True, stream=out):
        docs.cut("docs")

    assert out.getvalue() == ""


def test_an_error_of_the_display_does_not_end_the_job(
    docs: Job, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(self: Ledger) -> None:
        raise OSError("the state folder is on fire")

    monkeypatch.setattr(Ledger, "statuses", broken)
    monkeypatch.setattr(progress, "DRAW_EVERY_S", 0.01)

    with progress.show_progress(docs.ledger, docs.plan, RUN, stream=StringIO()):
        time.sleep(0.2)

    assert caplog.text.count("the state folder is on fire") == 1


def test_an_error_of_the_job_passes_through(docs: Job) -> None:
    with (
        pytest.raises(ValueError, match="bad"),
        progress.show_progress(docs.ledger, docs.plan, RUN, stream=StringIO()),
    ):
        raise ValueError("bad")


@pytest.mark.parametrize("half", [b"", b'{"collection": "docs"', b"[1, 2"])
def test_a_half_written_entry_is_ignored(docs: Job, half: bytes) -> None:
    docs.cut("docs")
    folder = Path(docs.ledger.location) / "status"
    folder.mkdir(exist_ok=True)
    (folder / "docs.json").write_bytes(half)

    with progress.show_progress(docs.ledger, docs.plan, RUN, stream=StringIO()):
        pass

    assert [file.name for file in folder.iterdir()] == ["docs.json"]
