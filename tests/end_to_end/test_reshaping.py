"""A copy that is not to be all as the source is: each way to say so, as docs/fidelity.md has it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pymilvus import DataType, MilvusClient

from tests import compare, docs, kitelift, zoo
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
    differ = {difference.partition(":")[0] for difference in desk.differences("tenants")}
    expected = {"description", "shards", "partition count", "consistency level", "partitions"}
    assert differ == expected
    described = desk.target.describe_collection("tenants")
    assert (described["description"], described["num_shards"]) == ("by the new team", 3)
    assert (described["num_partitions"], described["consistency_level_name"]) == (5, "Strong")


def rows_of(client: MilvusClient, name: str, key: str) -> dict[Any, dict[str, Any]]:
    """All rows by their keys; a column of numbers is a list."""
    found = client.query(name, filter=f'{key} != "-"' if key == "name" else "", limit=16_000)
    return {row[key]: dict(row) for row in found}


def article(row: dict[str, Any]) -> dict[str, Any]:
    title = re.sub(r"^Article (\d+)", r"No. \1", row["title"])
    return {**row, "title": title, "embedding": row["vector"]}


# By the collection: its keys before and after, its new name, its rows, what is gone of a row.
EXPECTED = {
    "articles": ("id", "id", "papers", article, {"vector"}),
    "tenants": (
        "key",
        "key",
        "tenants",
        lambda row: {**row, "region": "eu", "version": 7},
        {"size"},
    ),
    "people": (
        "key",
        "id",
        "people",
        lambda row: {"id": row["key"], "name": row["text"], "face": row["vector"][:4]},
        set(),
    ),
    "events": (
        "key",
        "f_KEY",
        "events_2024",
        lambda row: (
            {f"f_{name.upper()}": value for name, value in row.items()}
            | {"NUMBER_BEFORE": row["number"]}
        ),
        set(),
    ),
}


def expected(source: MilvusClient, name: str) -> dict[Any, dict[str, Any]]:
    """The rows that a collection is to have in the target, by their keys."""
    before, after, _, made, gone = EXPECTED[name]
    rows = map(made, rows_of(source, name, before).values())
    kept = ({key: value for key, value in row.items() if key not in gone} for row in rows)
    chosen = (row for row in kept if name != "articles" or row["meta"]["claps"] >= 50)
    return {row[after]: row for row in chosen}


@pytest.mark.parametrize(
    ("expression", "words"),
    [("nam > 3", "nam not exist"), ("key > > 3", "cannot parse expression")],
)
def test_a_row_filter_is_refused_in_the_words_of_the_server(
    desk: Desk, expression: str, words: str
) -> None:
    zoo.numbers(desk.source, "people", rows=10)
    conf = desk.job("people", transform=f'RowFilter {{ expression = "{expression}" }}')
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert f"rejects the filter `{expression}`: " in refused.err, refused.text
    assert words in refused.err, refused.text
    assert desk.target.list_collections() == []


def test_every_example_of_the_documentation_does_what_it_says(desk: Desk) -> None:
    zoo.articles(desk.source, "articles", rows=1_000)
    zoo.tenants(desk.source, rows=300)
    zoo.numbers(desk.source, "people", rows=300)
    zoo.numbers(desk.source, "events", rows=300)
    conf = desk.job(transform=docs.examples("hocon"))
    with conf.open("a") as file:
        file.write(f"sink.Milvus.{docs.examples('hocon-sink')}")
    text = conf.read_text()
    (desk.folder / "shrink.py").write_text(docs.examples("python"))

    ended = kitelift.run(conf)

    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    for name, (_, key, target, _, _) in EXPECTED.items():
        wanted = expected(desk.source, name)
        assert rows_of(desk.target, target, key) == wanted, name
        assert ended.collection(name)["rows_target"] == len(wanted)
    fields = {each["name"]: each for each in desk.target.describe_collection("papers")["fields"]}
    assert fields["title"]["params"] == {"max_length": 1024}
    assert fields["title"]["description"] == "with its number"

    conf.write_text(text)
    desk.target.delete("papers", ids=[min(expected(desk.source, "articles"))])
    assert kitelift.run(conf, "sync").code == 0
    assert rows_of(desk.target, "papers", "id") == expected(desk.source, "articles")


SINGLE = """
import numpy as np
import pyarrow as pa


def single(rows):
    halves = np.frombuffer(b"".join(rows.column("vector").to_pylist()), np.float16)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(halves.astype(np.float32)), 8)
    return rows.drop_columns(["vector"]).append_column("single", vectors)
"""


def test_another_vector_takes_the_place_of_one_that_the_target_does_not_know(desk: Desk) -> None:
    zoo.half_vectors(desk.source)
    conf = desk.job("half_vectors", transform='Python { function = "halves:single" }')
    (desk.folder / "halves.py").write_text(SINGLE)
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "copied"
    assert "the copy creates no index on single, so it cannot be loaded" in ended.err
    index = MilvusClient.prepare_index_params()
    index.add_index("single", index_type="FLAT", metric_type="L2")
    desk.target.create_index("half_vectors", index)
    assert kitelift.run(conf, "verify").code == 0
    [field] = desk.target.describe_collection("half_vectors")["fields"][1:]
    assert (field["name"], field["type"]) == ("single", DataType.FLOAT_VECTOR)


def test_another_schema_and_index_are_made_on_request(desk: Desk) -> None:
    zoo.numbers(desk.source, "people", rows=80)
    sink = {
        "index": {
            "people.vector": {
                "index_type": "HNSW",
                "metric_type": "COSINE",
                "params": {"M": 16, "efConstruction": 100},
            }
        },
        "partition_key": "number",
        "partition_num": 4,
        "enable_dynamic_field": True,
    }
    conf = desk.job("people", sink=sink)
    ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert [each["code"] for each in ended.report["findings"]] == ["source-version"]
    assert rows_of(desk.target, "people", "key") == rows_of(desk.source, "people", "key")
    described = desk.target.describe_collection("people")
    assert (described["enable_dynamic_field"], described["num_partitions"]) == (True, 4)
    keys = [each["name"] for each in described["fields"] if each.get("is_partition_key")]
    assert keys == ["number"]
    [name] = desk.target.list_indexes("people")
    index = desk.target.describe_index("people", name)
    assert (index["index_type"], index["metric_type"]) == ("HNSW", "COSINE")
    assert index["params"] == {"M": 16, "efConstruction": 100}
    assert [name] == desk.source.list_indexes("people")
    desk.target.upsert("people", [{**rows_of(desk.source, "people", "key")[7], "color": "red"}])
    assert kitelift.run(conf, "verify").code == 4
    assert kitelift.run(conf, "sync").code == 0
    assert rows_of(desk.target, "people", "key") == rows_of(desk.source, "people", "key")
