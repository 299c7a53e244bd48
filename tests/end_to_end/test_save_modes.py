"""A target that holds rows already: they stay, or they go, as the job file says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient

from tests import compare, kitelift, zoo
from tests.end_to_end.conftest import Desk, open_desk
from tests.servers import Server


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


def test_nothing_is_dropped_for_what_the_target_does_not_make(desk: Desk) -> None:
    zoo.numbers(desk.source, "docs", rows=10)
    zoo.numbers(desk.target, "docs", rows=20, seed=7)
    before = desk.target_holds()
    sink = {"schema_save_mode": "RECREATE_SCHEMA", "shard_num": 100}
    found = kitelift.run(desk.job("docs", sink=sink), "--yes")
    assert (found.code, "[over-limit]" in found.text) == (3, True), found.text
    refused = kitelift.run(desk.job("docs", sink=sink), "--yes", "--accept=over-limit")
    assert refused.code == 3, refused.text
    assert "docs: CreateCollection: maximum shards's number should be limited to 16" in refused.text
    assert "nothing was dropped, no row was written." in " ".join(refused.text.split())
    assert desk.target_holds() == before


# All modes, with a target that is not there, empty, filled by others, or of another schema

STATES = ("absent", "empty", "filled", "unlike")
TABLE = {
    "CREATE_SCHEMA_WHEN_NOT_EXIST ERROR_WHEN_DATA_EXISTS": "made used refused refused",
    "CREATE_SCHEMA_WHEN_NOT_EXIST APPEND_DATA": "made used among refused",
    "CREATE_SCHEMA_WHEN_NOT_EXIST DROP_DATA": "made used emptied refused",
    "ERROR_WHEN_SCHEMA_NOT_EXIST ERROR_WHEN_DATA_EXISTS": "refused used refused refused",
    "ERROR_WHEN_SCHEMA_NOT_EXIST APPEND_DATA": "refused used among refused",
    "ERROR_WHEN_SCHEMA_NOT_EXIST DROP_DATA": "refused used emptied refused",
    "IGNORE ERROR_WHEN_DATA_EXISTS": "refused used refused refused",
    "IGNORE APPEND_DATA": "refused used among refused",
    "IGNORE DROP_DATA": "refused used emptied refused",
    "RECREATE_SCHEMA ERROR_WHEN_DATA_EXISTS": "made anew anew anew",
    "RECREATE_SCHEMA APPEND_DATA": "made anew anew anew",
    "RECREATE_SCHEMA DROP_DATA": "made anew anew anew",
}
OURS, OTHERS = set(range(30)), set(range(1_000, 1_005))


def stock(client: MilvusClient, name: str, keys: set[int], dim: int = 4, ttl: str = "") -> None:
    schema = MilvusClient.create_schema()
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dim)
    properties = {"collection.ttl.seconds": ttl} if ttl else {}
    client.create_collection(name, schema=schema, properties=properties)
    if keys:
        client.insert(name, [{"id": key, "vector": [key / 4] * dim} for key in keys])
    index = MilvusClient.prepare_index_params()
    index.add_index("vector", "FLAT", metric_type="L2")
    client.create_index(name, index)
    client.load_collection(name)


@pytest.fixture
def shelf(two_lites: tuple[Server, Server], tmp_path: Path) -> Iterator[Desk]:
    """A desk with a collection for each state of the target."""
    with open_desk(tmp_path, *two_lites, "shelf") as desk:
        for name in STATES:
            stock(desk.source, name, OURS)
        stock(desk.target, "empty", set(), ttl="8640000")
        stock(desk.target, "filled", OTHERS, ttl="8640000")
        stock(desk.target, "unlike", set(), dim=8)
        yield desk


def became(desk: Desk, name: str, before: dict[str, tuple[int, int]]) -> str:
    """What a job has made of a collection of the target."""
    there = desk.target_holds()
    if there.get(name) == before.get(name):
        return "refused"
    keys = set(compare.Reader(desk.target, name).rows(None))
    if name in before and keys == OURS | OTHERS:
        return "among"
    if keys != OURS:
        return f"filled with {sorted(keys)}"
    if name not in before:
        return "made"
    if "collection.ttl.seconds" not in desk.target.describe_collection(name)["properties"]:
        return "anew"
    return "emptied" if before[name][1] else "used"


@pytest.mark.slow
@pytest.mark.milvus
@pytest.mark.parametrize("modes", TABLE)
def test_each_mode_does_what_it_says(shelf: Desk, modes: str) -> None:
    schema_mode, data_mode = modes.split()
    sink = {"schema_save_mode": schema_mode, "data_save_mode": data_mode}
    wanted = dict(zip(STATES, TABLE[modes].split(), strict=True))
    before = shelf.target_holds()
    refused = [name for name, fate in wanted.items() if fate == "refused"]
    if refused:
        ended = kitelift.run(shelf.job(*STATES, sink=sink), "--yes")
        assert ended.code == 3, ended.text
        errors = [line for line in ended.err.splitlines() if line.startswith("error")]
        named = [state for state in STATES if any(f" {state}: " in line for line in errors)]
        assert named == refused
        assert shelf.target_holds() == before
    allowed = [name for name in STATES if name not in refused]
    ended = kitelift.run(shelf.job(*allowed, sink=sink), "--yes")
    assert ended.code == 0, ended.text
    assert {name: became(shelf, name, before) for name in STATES} == wanted
