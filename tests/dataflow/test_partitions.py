"""Only some partitions of a collection: copied, compared, resumed and synced."""

from __future__ import annotations

import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, row, rows

pytestmark = pytest.mark.slow

NEW = range(20, 35)


@pytest.fixture
def chosen(job: Job) -> Job:
    """A job that has copied the partition `new` of three; `gone` is not even loaded."""
    docs = job.source.create(schema(), rows(5))
    docs.partitions += ["old", "new", "gone"]
    docs.insert([row(key) for key in range(5, 20)], "old")
    docs.insert([row(key) for key in NEW], "new")
    docs.insert([row(99)], "gone")
    docs.released.add("gone")
    job.from_source["partitions"] = {"docs": ["new"]}
    assert job.run() == 0
    return job


def test_only_the_chosen_partition_arrives_and_is_proven(chosen: Job) -> None:
    target = chosen.target["docs"]
    assert sorted(target.partitions) == ["_default", "new"]
    assert target.rows("new") == target.rows() == [row(key) for key in NEW]
    found = chosen.collection()
    counts = ("rows_source", "rows_read", "rows_written", "rows_target")
    assert [found[count] for count in counts] == [len(NEW)] * 4
    assert (found["outcome"], found["source_changed"]) == ("proven", "")
    assert found["reshaped"] == ["only partitions: new"]
    assert not {each["fate"] for each in found["carried"]} & {"lost"}


def test_the_other_partitions_are_neither_compared_nor_synced(chosen: Job) -> None:
    chosen.source["docs"].insert([row(50)], "old")
    chosen.source["docs"].insert([row(51)], "new")
    chosen.target["docs"].delete("id in [21]")
    assert chosen.run("verify") == 4
    assert chosen.differences() == ["- 21", "- 51"]
    assert chosen.run("sync") == 0
    assert chosen.target.keys("docs") == [*NEW, 51]


def test_a_choice_is_resumed_and_another_one_is_another_job(
    chosen: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen.crash(lost=1)
    assert chosen.run() == 0
    assert chosen.collection()["outcome"] == "proven"
    chosen.from_source["partitions"] = ["old"]
    assert chosen.run() == 3
    assert "source.Milvus.partitions: was" in capsys.readouterr().err


def test_a_copy_of_some_partitions_is_compared_without_its_ledger(chosen: Job) -> None:
    chosen.env["job.name"] = "another"
    assert chosen.run("verify") == 0
    chosen.target["docs"].delete("id in [22]")
    assert chosen.run("verify") == 4


def test_rows_of_other_partitions_are_not_dropped(
    chosen: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    target = chosen.target["docs"]
    target.partitions.append("theirs")
    target.insert([row(200)], "theirs")
    target.delete("id in [22]")
    target.insert([row(60)], "new")
    chosen.env["job.name"] = "another"
    chosen.from_source["collections"] = ["docs"]
    chosen.to_sink["data_save_mode"] = "DROP_DATA"
    assert chosen.run("run", "--yes") == 3
    assert "would also drop the rows of _default, theirs" in capsys.readouterr().err
    assert chosen.run("sync", "--delete") == 0
    assert chosen.target.keys("docs") == [*NEW, 200]
