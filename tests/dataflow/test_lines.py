"""Every shape of a job, once against each release line as source and as target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, row, rows
from transforms.read import ReadFromMilvus

COUNT = 40
DUPLICATES = 3

PAIRS = [
    ("v2.3.22", "v2.4.24"),
    ("v2.4.24", "v2.5.27"),
    ("v2.5.27", "v2.5.27"),
    ("v2.3.5", "2.6.19"),
    ("2.6.19", "v2.3.5"),
    ("2.6.19", "2.6.3"),
    ("2.6.3", "v3.0.0"),
    ("v3.0.0", "2.6.19"),
]


@pytest.fixture(params=PAIRS, ids=[" to ".join(pair) for pair in PAIRS])
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Job]:
    """A job between two lines; the source has rows under one key, and more than one shard's order."""
    source, target = request.param
    with between_fakes(tmp_path, source_version=source, target_version=target) as made:
        made.env["accept"] = ["source-version", "target-version"]
        made.source.create(schema(), rows(COUNT)).insert(rows(DUPLICATES))
        yield made


def test_a_copy_is_proven_and_has_all_keys(job: Job) -> None:
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(COUNT)]
    assert (job.report["outcome"], job.collection()["repeats"]) == ("proven", DUPLICATES)


def test_a_copy_that_was_killed_is_completed_and_proven_again(job: Job) -> None:
    assert job.run() == 0
    job.crash(lost=5)
    assert job.run() == 0
    assert job.target.keys("docs") == [*range(COUNT)]
    assert job.report["outcome"] == "proven"


def test_verify_finds_what_is_missing_and_sync_repairs_it(job: Job) -> None:
    assert job.run() == 0
    job.target["docs"].delete("id == 7")
    job.target["docs"].insert([row(1_000)])
    assert job.run("verify") == 4
    assert job.differences() == ["- 7", "+ 1000"]
    job.source["docs"].insert([row(2_000)])
    assert job.run("sync", "--delete") == 0
    assert job.target.keys("docs") == [*range(COUNT), 2_000]
    assert job.report["outcome"] == "proven"


def test_a_reshaped_copy_is_proven(job: Job) -> None:
    job.transform = 'RowFilter { expression = "id < 20" }, FieldRename { prefix = f_ }'
    assert job.run() == 0
    assert [each["f_id"] for each in job.target["docs"].rows()] == [*range(20)]
    assert (job.report["outcome"], job.collection()["rows_source"]) == ("proven", 20 + DUPLICATES)


def test_a_pipeline_of_one_s_own_reads_each_key_once(job: Job, tmp_path: Path) -> None:
    read = ReadFromMilvus(job.source.url, "docs", columns=["id"], workers=1)
    with beam.Pipeline() as pipeline:
        _ = pipeline | read | beam.Map(lambda rows: _keep(rows, tmp_path))
    found = [key for path in tmp_path.glob("*.arrow") for key in _kept(path)]
    assert sorted(found) == [*range(COUNT)]


def _keep(rows: pa.RecordBatch, folder: Path) -> None:
    keys = rows.column("id")
    with pa.OSFile(str(folder / f"{keys[0]}.arrow"), "wb") as file:
        writer = pa.ipc.new_file(file, rows.schema)
        writer.write_batch(rows)
        writer.close()


def _kept(path: Path) -> list[int]:
    with pa.memory_map(str(path)) as file:
        return list(pa.ipc.open_file(file).read_all().column("id").to_pylist())
