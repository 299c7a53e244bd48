"""A target that holds rows already: they stay, or they go, as the job file says."""

from __future__ import annotations

import pytest
from pymilvus import MilvusClient

from tests import compare, kitelift, zoo
from tests.end_to_end.conftest import Desk


def rows_of(client: MilvusClient, name: str) -> dict:
    return compare.Reader(client, name).rows(None)


def test_rows_of_others_stay_and_ours_are_proven_among_them(desk: Desk) -> None:
    zoo.numbers(desk.source, "docs", rows=3_000)
    zoo.numbers(desk.target, "docs", rows=4_000, seed=7)  # the same keys, other rows, and more
    theirs = rows_of(desk.target, "docs")
    conf = desk.job("docs", sink={"data_save_mode": "APPEND_DATA"}, env={"parallelism": 2})
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.collection("docs")["outcome"] == "proven"

    ours, found = rows_of(desk.source, "docs"), rows_of(desk.target, "docs")
    assert len(found) == 4_000
    for key, row in found.items():
        expected = ours.get(key) or theirs[key]
        assert compare.exact(row) == compare.exact(expected)

    desk.target.delete("docs", ids=[7, 3_500])
    tampered = kitelift.run(conf, "verify")
    assert tampered.code == 4, tampered.text
    named = [(each["sign"], each["key"]) for each in tampered.report["differences"]]
    assert named == [("-", 7)]


@pytest.mark.parametrize(
    "mode", [{"data_save_mode": "DROP_DATA"}, {"schema_save_mode": "RECREATE_SCHEMA"}]
)
def test_rows_are_dropped_once_somebody_says_yes(desk: Desk, mode: dict[str, str]) -> None:
    zoo.numbers(desk.source, "docs", rows=50)
    zoo.numbers(desk.source, "other", rows=10)
    zoo.numbers(desk.target, "docs", rows=300, seed=7)
    zoo.numbers(desk.target, "other", rows=20, seed=7)
    desk.target.create_alias("docs", "papers")
    before = desk.target_holds()
    conf = desk.job("docs", sink=mode)
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert "--yes" in refused.text
    assert desk.target_holds() == before

    ended = kitelift.run(conf, "--yes")
    assert ended.code == 0, ended.text
    assert rows_of(desk.source, "docs").keys() == rows_of(desk.target, "docs").keys()
    alias_stays = mode == {"data_save_mode": "DROP_DATA"}
    assert desk.target.describe_collection("docs")["aliases"] == ["papers"] * alias_stays
    assert desk.target_holds()["other"] == before["other"]
