"""Verification: it finds each kind of difference, and names the key with its sign and fields."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, of, row, rows
from tests.fakes.memory import Collection
from tests.fakes.script import REFUSED

pytestmark = pytest.mark.slow

COUNT = 40


def replaced(key: int | str, **values: Any) -> Callable[[Collection], None]:
    return lambda target: target.upsert([row(key) | values])


def removed(key: int | str) -> Callable[[Collection], None]:
    literal = key if isinstance(key, int) else f'"{key}"'
    return lambda target: target.delete(f"id == {literal}") and None


def inserted(*keys: int | str) -> Callable[[Collection], None]:
    return lambda target: target.insert([row(key) for key in keys])


def everything(target: Collection) -> None:
    for damage in (replaced(15, title="x"), removed(14), inserted(16, 100), removed(35)):
        damage(target)


def moved(target: Collection) -> None:
    removed(7)(target)
    target.insert([row(7)], "eu")


def text_keys(target: Collection) -> None:
    replaced('say "b"', title="")(target)
    removed("世界")(target)


# Collections that are not as the others: what they are made of.
OTHERS: dict[str, dict[str, Any]] = {
    "texts": {
        "schema": schema(key=DataType.VarChar),
        "rows": [row(key) for key in ("a", 'say "b"', "c\\d", "世界")],
    },
    "partitions": {"partitions": ("_default", "eu")},
}

# What happens to a target, and what the report says about it.
DAMAGES: dict[str, tuple[Callable[[Collection], None], list[str]]] = {
    "texts": (text_keys, ['* say "b" title', "- 世界"]),
    "partitions": (moved, ["- 7", "+ 7"]),
    "text": (replaced(15, title="changed"), ["* 15 title"]),
    "vector": (replaced(15, vector=[3.75, 1.0000001]), ["* 15 vector"]),
    "two_fields": (replaced(15, title="", vector=[0.0, 0.0]), ["* 15 title vector"]),
    "missing": (removed(15), ["- 15"]),
    "missing_first": (removed(0), ["- 0"]),
    "extra": (inserted(100), ["+ 100"]),
    "extra_below": (inserted(-(2**63) + 1), ["+ -9223372036854775807"]),
    "doubled": (inserted(15), ["# 15"]),
    "doubled_often": (inserted(15, 15, 15, 16), ["# 15", "# 16"]),
    "everything": (everything, ["- 14", "* 15 title", "# 16", "- 35", "+ 100"]),
    "emptied": (
        lambda target: target.delete("id < 10") and None,
        [f"- {key}" for key in range(10)],
    ),
}
UNSEEN_BY_COUNTING = {"text", "vector", "two_fields", "everything"}
"""In the last one as many rows are missing as there are too many, in each range."""


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A job whose targets were damaged after it had ended."""
    with between_fakes(tmp_path_factory.mktemp("damaged")) as job:
        for name in (*DAMAGES, "untouched"):
            made = {"schema": schema(), "rows": rows(COUNT)} | OTHERS.get(name, {})
            made["schema"].name = name
            job.source.create(**made)
        assert job.run() == 0
        for name, (damage, _) in DAMAGES.items():
            damage(job.target[name])
        yield job


@pytest.fixture(scope="module")
def found(damaged: Job) -> dict[str, Any]:
    """What verify reported."""
    assert damaged.run("verify") == 4
    return damaged.report


def named(report: dict[str, Any], name: str) -> list[str]:
    """Signs, keys and fields that a report names of a collection."""
    return [
        " ".join([each["sign"], str(each["key"]), *each["fields"]])
        for each in report["differences"]
        if each["collection"] == name
    ]


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in report["collections"]}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_difference_is_named_by_its_sign_key_and_fields(found: dict[str, Any], name: str) -> None:
    assert named(found, name) == DAMAGES[name][1]


def test_each_difference_is_a_row_of_differences_parquet(
    damaged: Job, found: dict[str, Any]
) -> None:
    table = pq.read_table(io.BytesIO(damaged.ledger.read("differences.parquet") or b""))
    assert table.schema.names == ["sign", "collection", "key", "field"]
    rows = {tuple(row.values()) for row in table.to_pylist()}
    assert rows == {
        (each["sign"], each["collection"], str(each["key"]), field)
        for each in found["differences"]
        for field in each["fields"] or [None]
    }
    assert {("*", "two_fields", "15", "title"), ("*", "two_fields", "15", "vector")} <= rows


def test_what_is_unequal_fails_and_the_rest_stays_proven(found: dict[str, Any]) -> None:
    assert outcomes(found) == {"untouched": "proven", **dict.fromkeys(DAMAGES, "failed")}


def test_the_proof_reads_nothing_of_the_source_but_ranges_that_are_unequal(
    damaged: Job, found: dict[str, Any]
) -> None:
    pages = [each for each in damaged.source.asked("Query") if "title" in each.output_fields]
    assert not [page for page in pages if of("untouched")(page)]
    text = [page for page in pages if of("text")(page)]
    assert {each.expr for each in text if " in " not in each.expr} <= {
        "id > 9 and id <= 19",
        *(f"id > {key} and id <= 19" for key in range(10, 20)),
    }


def test_counting_finds_ranges_with_more_or_fewer_rows_and_nothing_else(
    damaged: Job, found: dict[str, Any]
) -> None:
    damaged.env["verify"] = "count"
    assert damaged.run("verify") == 4
    del damaged.env["verify"]
    unseen = {name for name, outcome in outcomes(damaged.report).items() if outcome == "counted"}
    assert unseen == {*UNSEEN_BY_COUNTING, "untouched"}
    for name in DAMAGES.keys() - UNSEEN_BY_COUNTING:
        assert sorted(named(damaged.report, name)) == sorted(DAMAGES[name][1])


def test_what_is_repaired_is_proven_again(damaged: Job, found: dict[str, Any]) -> None:
    for name in DAMAGES:
        source, target = damaged.source[name], damaged.target[name]
        target.delete("")
        for partition in source.partitions:
            target.insert(source.rows(partition), partition)
    assert damaged.run("verify") == 0
    assert damaged.report["outcome"] == "proven"
    assert damaged.report["differences"] == []
    assert damaged.ledger.read("differences.parquet") is None


def test_a_target_that_cannot_be_read_is_no_proof(damaged: Job, found: dict[str, Any]) -> None:
    pages = lambda query: of("untouched")(query) and "title" in query.output_fields  # noqa: E731
    damaged.target.fails("Query", REFUSED, times=None, when=pages)
    assert damaged.run("verify") == 4
    damaged.target.heal()
    assert outcomes(damaged.report)["untouched"] == "failed"
    assert "the server does not like it" in str(damaged.report)


def test_what_verify_does_not_see_of_the_source_is_said(job: Job) -> None:
    made = job.source.create(schema(), rows(10))
    job.run()
    made.upsert([row(5) | {"title": "changed"}])
    assert job.run("verify") == 0
    [step] = job.report["next"]
    assert step.startswith("The target equals the source as of 20")
    assert "To find and copy later writes, run `kitelift sync`." in step
    made.insert([row(500)])
    assert job.run("verify") == 0
    assert "since the copy: 10 then, 11 now" in job.collection()["source_changed"]
    assert "docs changed since" in str(job.report["next"])


def test_with_new_ids_a_difference_is_found_in_sum_and_no_key_is_named(job: Job) -> None:
    job.source.create(schema(), rows(10))
    job.to_sink["enable_auto_id"] = True
    job.run()
    [first, *_] = job.target["docs"].rows()
    job.target["docs"].delete(f"id == {first['id']}")
    job.target["docs"].insert([{"title": "other", "vector": [0.0, 0.0]}])
    assert job.run("verify") == 4
    assert job.report["differences"] == []
    assert "Kitelift cannot name the keys" in str(job.report["failures"])


def test_a_source_that_changed_during_the_copy_is_distinguished_from_a_bad_copy(job: Job) -> None:
    made = job.source.create(schema(), rows(10))
    changed = row(5) | {"title": "changed"}

    def change(request: Any) -> bool:
        made.upsert([changed])
        job.target["docs"].upsert([changed])
        return False

    job.target.fails("Flush", REFUSED, when=change)
    assert job.run() == 4
    assert job.report["differences"] == []
    assert "the source changed during the copy" in str(job.report["failures"])
