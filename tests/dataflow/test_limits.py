"""Ceilings: a job takes no more of its servers than it may, and hears at once that it may more."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline import cli
from tests.clusters import schema
from tests.dataflow.jobs import Job, keys_of, row, rows, rows_a_page
from tests.fakes.script import REFUSED
from transforms.ledger import worker_limits
from transforms.milvus.rate_limit import RateLimit

pytestmark = pytest.mark.slow

COUNT = 60


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.ledger.worker_limits.LOOK_EVERY_S", 0.1)


@pytest.fixture
def docs(job: Job) -> Job:
    job.source.create(schema("docs"), rows(COUNT))
    return job


def seconds(job: Job) -> float:
    began = time.monotonic()
    assert job.run() == 0
    assert job.target.keys("docs") == job.source.keys("docs")
    return time.monotonic() - began


@pytest.mark.parametrize("parallelism", [1, 4])
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_job_keeps_below_its_ceiling_whatever_the_parallelism(
    docs: Job, side: str, parallelism: int
) -> None:
    docs.env["parallelism"] = parallelism
    keys = docs.from_source if side == "source" else docs.to_sink
    keys["rate_limit_rows"] = 80
    # The proof reads the target as well: 60 rows there and back.
    passed = COUNT if side == "source" else 2 * COUNT
    assert seconds(docs) >= (passed - 10) / 80


def command(docs: Job, *arguments: str) -> int:
    return cli.main([*arguments, f"--config={docs.folder / 'migration.conf'}"])


def while_it_runs(docs: Job, *commands: list[str]) -> None:
    """Runs a job that would take minutes, and commands as soon as it has written something."""
    docs.from_source["rate_limit_rows"] = 1
    codes: list[int] = []

    def change() -> None:
        deadline = time.monotonic() + 20
        while not docs.ledger.names("receipts") and time.monotonic() < deadline:
            time.sleep(0.05)
        codes.extend(command(docs, *each) for each in commands)

    thread = threading.Thread(target=change)
    thread.start()
    assert docs.run() == 0
    thread.join()
    assert codes == [0] * len(commands)


def test_a_ceiling_is_lifted_while_the_job_runs(
    docs: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    while_it_runs(docs, ["limit"], ["status"], ["limit", "--rows=0"])
    said = capsys.readouterr().out.splitlines()
    assert said.count("source: at most 1 rows/s") == 2
    assert "no limit" in said


def test_a_ceiling_of_one_side_leaves_the_other(
    docs: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    while_it_runs(
        docs,
        ["limit", "--rows=5000", "--bytes=10 MB", "--side=target"],
        ["status", "--json"],
        ["limit", "--rows=0", "--side=source"],
    )
    said = capsys.readouterr().out
    assert "source: at most 1 rows/s\ntarget: at most 5,000 rows/s and 10.0 MB/s\n{" in said
    found = json.loads(said[said.index("{\n") : said.index("\n}\n") + 3])
    assert found["limits"]["target"] == {"rows": 5_000, "bytes": 10_000_000}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rows=-1"], "--rows: must be at least 1, not -1"),
        (["--bytes=ten"], "--bytes: must be bytes, or text such as"),
        (["--side=left", "--rows=1"], "--side=left: must be source or target"),
    ],
)
def test_a_limit_that_cannot_be_is_told(
    docs: Job, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    docs.run("plan")
    assert command(docs, "limit", *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_job_that_has_not_begun_has_no_limit_to_change(
    docs: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    docs.run("plan")
    assert command(docs, "limit", "--rows=5") == 3
    assert "If one is starting, try again in a few seconds" in capsys.readouterr().err


def test_a_limit_that_is_set_while_a_job_starts_counts(docs: Job) -> None:
    codes: list[int] = []

    def starting(request: Any) -> bool:
        codes.append(command(docs, "limit", "--rows=4000", "--side=source"))
        return False

    docs.target.fails("CreateCollection", REFUSED, when=starting)
    assert docs.run() == 0
    assert codes == [0]
    assert worker_limits.changed_limits(docs.ledger) == {"source": RateLimit(rows=4_000)}


def test_a_job_that_is_over_takes_no_limit(docs: Job, capsys: pytest.CaptureFixture[str]) -> None:
    docs.run()
    capsys.readouterr()
    assert command(docs, "limit", "--rows=5") == 0
    said = "This job is not running. The next run starts with the limits of the job file.\n"
    assert capsys.readouterr().out == said


# Memory


def test_pages_that_are_wide_all_of_a_sudden_are_asked_for_again_in_parts(job: Job) -> None:
    thin = [with_note(key, 1) for key in range(1_000)]
    wide = [with_note(key, 60_000) for key in range(1_000, 1_150)]
    job.source.create(schema("docs", note=DataType.JSON), [*thin, *wide])
    job.env["memory"] = "8m"  # Pages of 1 MB; and no answer of more than 4.
    job.from_source["batch_size"] = 10_000
    assert job.run() == 0
    assert job.target["docs"].rows() == [*thin, *wide]
    asked = [rows_a_page(each) for each in job.source.asked("Query") if rows_a_page(each)]
    assert max(asked) > 1_000  # As many thin ones as fit; then fewer and fewer,
    assert min(asked) < 30  # down to pages of 1 MB.
    assert max(len(keys_of(each)) for each in job.target.asked("Insert") if wide_ones(each)) <= 8


def with_note(key: int, size_bytes: int) -> dict[str, Any]:
    """A row with a document of such a size; the schema does not say how large it may be."""
    return {**row(key), "note": b"1" * size_bytes}


def wide_ones(request: Any) -> bool:
    return any(key >= 1_000 for key in keys_of(request))


# What a target takes at once


def test_a_target_that_takes_small_inserts_only_is_learned_once_and_everything_arrives(
    job: Job,
) -> None:
    wide = [with_note(key, 10_000) for key in range(2_000)]
    job.source.create(schema("docs", note=DataType.JSON), wide)
    job.target.insert_bytes = 700_000  # A third of what would be sent.
    job.env["parallelism"] = 2
    job.from_source["batch_size"] = job.to_sink["batch_size"] = 10_000
    assert job.run() == 0
    assert job.target["docs"].rows() == wide
    sizes = [each.ByteSize() for each in job.target.asked("Insert")]
    too_large = [size for size in sizes if size > job.target.insert_bytes]
    assert too_large
    assert len(too_large) < len(sizes) / 4
