"""A move in two steps, by way of Parquet files: the same proof, and files that tell what befell them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.jobfile import config
from tests import logs
from tests.clusters import schema
from tests.dataflow.jobs import RANGE_ROWS, row, rows
from tests.fakes.milvus import FakeMilvus
from transforms import split
from transforms.errors import ConfigError
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipts, ReceiptWriter

pytestmark = pytest.mark.slow

COUNT = 40
SERVER = 'Milvus { url = "http://a:19530" }'


@dataclass
class Move:
    """Out of one server into files, and into another server."""

    folder: Path
    files: Path
    source: FakeMilvus
    target: FakeMilvus
    more: str = ""

    def out(self, *arguments: str) -> int:
        return self._run(
            f'Milvus {{ url = "{self.source.url}", batch_size = 7 }}', self._parquet, arguments
        )

    def into(self, *arguments: str) -> int:
        return self._run(self._parquet, f'Milvus {{ url = "{self.target.url}" }}', arguments)

    @property
    def _parquet(self) -> str:
        return f'Parquet {{ path = "{self.files}" }}'

    def _run(self, source: str, sink: str, arguments: tuple[str, ...]) -> int:
        env = f'state = "{self.folder / "state"}", parallelism = 2'
        job = f"env {{ {env} }}\nsource {{ {source} }}\nsink {{ {sink} }}\n{self.more}"
        return cli.main([*(arguments or ("run",)), f"--job={job}", "--quiet"])


@pytest.fixture
def move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Move]:
    with logs.kept(), FakeMilvus() as source, FakeMilvus() as target:
        monkeypatch.setattr(split, "MIN_RANGE_ROWS", RANGE_ROWS)
        yield Move(tmp_path, tmp_path / "files", source, target)


def test_a_collection_goes_out_and_in_and_both_are_proven(
    move: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    made = move.source.create(schema(), rows(COUNT), partitions=("_default", "eu"))
    made.insert([row(key) for key in range(100, 110)], "eu")
    made.aliases.append("papers")
    assert move.out() == 0
    shown = " ".join(capsys.readouterr().out.split())  # Lines are broken where they end.
    assert "Proven: every row that was read is in the target" in shown
    assert f"Copy {move.files} to where the next job reads it" in shown
    assert move.into() == 0
    assert "Proven: every row that was read is in the target" in capsys.readouterr().out
    there = move.target["docs"]
    assert there.rows("_default") == rows(COUNT)
    assert move.target.keys("docs", "eu") == [*range(100, 110)]
    assert there.aliases == ["papers"]
    assert [index.index_name for index in there.indexes] == ["vector"]
    assert there.loaded
    assert move.into("verify") == 0


def test_files_remember_what_the_target_would_have_changed(move: Move) -> None:
    made = move.source.create(schema(auto_id=True, dynamic=True))
    made.insert([{"title": "a", "vector": [1.0, 2.0], "$meta": b'{"x":1}'}])
    made.load()
    assert move.out() == 0
    assert '"partitions"' in (move.files / "docs" / "collection.json").read_text(encoding="utf-8")
    assert move.into() == 0
    [found] = move.target["docs"].rows()
    assert (found["title"], found["$meta"]) == ("a", b'{"x":1}')
    assert found["id"] == made.rows()[0]["id"]


def test_files_may_be_moved_and_need_not_be_written(move: Move) -> None:
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    elsewhere = move.folder / "elsewhere"
    move.files.rename(elsewhere)
    move.files = elsewhere
    for path in (elsewhere / "docs", elsewhere / "docs" / "_default"):
        path.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")}
    assert move.into() == 0
    assert {path: path.stat().st_mtime_ns for path in elsewhere.rglob("*")} == before


def test_a_file_that_was_damaged_on_the_way_is_named(
    move: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    [first, *_] = sorted((move.files / "docs" / "_default").iterdir())
    first.write_bytes(first.read_bytes()[:-9] + b"123456789")
    assert move.into() == 4
    said = capsys.readouterr()
    words = " ".join((said.out + said.err).split())  # Lines are broken where they end.
    assert f"{first.name} is damaged (its content has changed)" in words


def test_what_was_not_written_to_its_end_is_no_source(
    move: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    (move.files / "docs" / "manifest.json").unlink()
    assert move.into() == 3
    assert "[unfinished-files]" in capsys.readouterr().err
    assert move.target.asked("CreateCollection") == []


def test_a_run_that_was_interrupted_goes_on(move: Move) -> None:
    """As if the last receipts had been lost: those rows are written again, and count once."""
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    [job] = (move.folder / "state").iterdir()
    ledger = Ledger(str(job.parent), job.name)
    receipts = sorted(Receipts(ledger).news(), key=lambda receipt: receipt.at)
    for pattern in ("report.*", "finished/*", "verdicts/*/*", "receipts/*"):
        for path in job.glob(pattern):
            path.unlink()
    writer = ReceiptWriter(ledger)
    for receipt in receipts[::2]:
        writer.add(receipt)
    writer.flush()
    assert move.out() == 0
    assert move.into() == 0
    assert move.target["docs"].rows() == rows(COUNT)


def test_files_are_made_equal_again_by_sync(move: Move) -> None:
    made = move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    made.upsert([{**row(3), "title": "new"}, row(1_000)])
    assert move.out("sync") == 0
    assert move.into() == 0
    assert move.target["docs"].rows() == move.source["docs"].rows()


def test_rows_of_another_job_are_not_mixed_with_ours(
    move: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    assert move.out("run", "--state=" + str(move.folder / "other")) == 3
    assert "[target-not-empty]" in capsys.readouterr().err


def test_rows_are_chosen_by_their_keys_alone(
    move: Move, capsys: pytest.CaptureFixture[str]
) -> None:
    move.source.create(schema(), rows(COUNT))
    assert move.out() == 0
    move.more = "transform { RowFilter { expression = \"title like 'a%'\" } }"
    assert move.into() == 3
    assert "[row-filter]" in (said := capsys.readouterr().err)
    assert "Parquet files can be filtered by primary key only: title like 'a%'" in said
    move.more = 'transform { RowFilter { expression = "id > 5" } }'
    assert move.into() == 0
    assert move.target["docs"].rows() == rows(COUNT)[6:]


@pytest.mark.parametrize(
    ("source", "sink", "words"),
    [
        ("Parquet { pth = a }", SERVER, ["source.Parquet.pth: unknown key; did you mean path?"]),
        ("Parquet { }", SERVER, ['source.Parquet.path: missing; write path = "/folder" or a URI']),
        ("Parquet { path = 5 }", SERVER, ["source.Parquet.path: missing"]),
        (
            SERVER,
            "Parquet { path = a, url = b }",
            ["sink.Parquet.url: unknown key; the keys are path"],
        ),
        ("Parquet { path = a, collections = [] }", SERVER, ["source.Parquet.collections: "]),
        (SERVER, 'Parquet { path = "s3://k:s@b/x" }', ["sink.Parquet.path: contains credentials"]),
        (SERVER, 'Parquet { path = "s3://bucket/" }', ["sink.Parquet.path: has no folder"]),
    ],
)
def test_a_wrong_key_is_told_under_its_own_name(source: str, sink: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(f"source {{ {source} }}\nsink {{ {sink} }}", base=Path())
    for word in words:
        assert word in str(caught.value)


def test_a_place_is_a_folder_or_a_uri() -> None:
    job = f"source {{ {SERVER} }}\nsink {{ Parquet {{ path = %s }} }}"
    local = config.parse(job % "files", base=Path())
    assert local.target_endpoint.folder == str(Path("files").absolute())
    remote = config.parse(job % '"s3://bucket/files?region=x"', base=Path())
    assert remote.target_endpoint.folder == "s3://bucket/files?region=x"
