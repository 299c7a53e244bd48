"""A copy that is not to be all as the source is: each way to say so, as docs/fidelity.md has it."""

from __future__ import annotations

from tests import compare, kitelift, zoo
from tests.end_to_end.conftest import Desk


def differences(desk: Desk, source: str, target: str) -> list[str]:
    return compare.differences(desk.source, desk.target, source, target_name=target)


def test_collections_are_renamed_one_by_one_and_by_pattern(desk: Desk) -> None:
    for name in ("docs", "old_first", "old_second"):
        zoo.numbers(desk.source, name, rows=300)
    renames = {"docs": "articles", "old_*": "new_*"}
    conf = desk.job(sink={"collection_rename": renames})
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    targets = {"docs": "articles", "old_first": "new_first", "old_second": "new_second"}
    assert sorted(desk.target.list_collections()) == sorted(targets.values())
    for source, target in targets.items():
        assert differences(desk, source, target) == []
    assert kitelift.run(conf, "verify").code == 0
    desk.target.delete("articles", ids=[7])
    assert kitelift.run(conf, "sync").code == 0
    assert differences(desk, "docs", "articles") == []


def test_settings_of_the_collection_are_changed_on_request(desk: Desk) -> None:
    zoo.tenants(desk.source)
    changes = {
        "collection_description": {"tenants": "by the new team"},
        "shard_num": 3,
        "partition_num": 5,
        "consistency_level": "Strong",
        "create_index": "before",
    }
    ended = kitelift.run(desk.job("tenants", sink=changes))
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    differ = {each.partition(":")[0] for each in desk.differences("tenants")}
    expected = {"description", "shards", "partition count", "consistency level", "partitions"}
    assert differ == expected
    described = desk.target.describe_collection("tenants")
    assert (described["description"], described["num_shards"]) == ("by the new team", 3)
    assert (described["num_partitions"], described["consistency_level_name"]) == (5, "Strong")
