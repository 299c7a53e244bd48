"""Collections are copied from one real Milvus to another, and read there without Kitelift."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pymilvus import DataType, MilvusClient

from tests import compare, kitelift, raw, sockets, zoo
from tests.end_to_end.conftest import Desk, open_desk
from tests.kitelift import Ended
from tests.servers import Server
from tests.zoo import Census

GOLDEN = Path(__file__).parents[1] / "golden" / "migration.conf"

NOT_EMPTY = "error  [target-not-empty] target collection docs: it contains 30 rows that this job did not write. If another job has copied it, leave it out of `source.Milvus.collections`. Otherwise drop or rename it, or set another `sink.Milvus.database`. Or set `sink.Milvus.data_save_mode` to APPEND_DATA or DROP_DATA."


# One run that copies the whole zoo


@dataclass(frozen=True)
class Copied:
    """The zoo, and the run that copied it."""

    desk: Desk
    census: dict[str, Census]
    before: dict[str, dict[str, object]]
    conf: Path
    ended: Ended


@pytest.fixture(scope="module")
def copied(
    tmp_path_factory: pytest.TempPathFactory, source: Server, target: Server
) -> Iterator[Copied]:
    with open_desk(tmp_path_factory.mktemp("zoo"), source, target, "zoo") as desk:
        census = zoo.fill(desk.source, zoo.ZOO)
        before = {name: compare.Reader(desk.source, name).shape() for name in census}
        conf = desk.job(*census, env={"parallelism": 4})
        yield Copied(desk, census, before, conf, kitelift.run(conf))


NAMES = [specimen.__name__ for specimen in zoo.ZOO if specimen is not zoo.articles]
ALL = ["medium_articles", *NAMES]


def test_the_run_ends_well(copied):
    assert copied.ended.code == 0, copied.ended.text
    assert "Traceback" not in copied.ended.text


@pytest.mark.parametrize("name", ALL)
def test_the_copy_is_what_the_source_is(copied, name):
    assert copied.desk.differences(name) == []


@pytest.mark.parametrize("name", ALL)
def test_the_source_stays_as_it_was(copied, name):
    assert compare.Reader(copied.desk.source, name).shape() == copied.before[name]


def test_the_target_has_nothing_that_was_not_asked_for(copied):
    assert sorted(copied.desk.target.list_collections()) == sorted(ALL)


@pytest.mark.parametrize("name", ALL)
def test_the_report_accounts_for_every_row(copied, name):
    census, reported = copied.census[name], copied.ended.collection(name)
    figures = {
        "target": name,
        "rows_source": census.rows,
        "keys": census.keys,
        "repeats": census.repeats,
        "rows_read": census.keys,
        "rows_written": census.keys,
        "rows_target": census.keys,
        "outcome": "proven",
    }
    assert {field: reported[field] for field in figures} == figures
    assert (reported["bytes"] > 0) == (census.rows > 0)
    assert reported["seconds"] >= 0


def test_the_report_speaks_for_the_whole_job(copied):
    report = copied.ended.report
    assert report["outcome"] == "proven"
    assert [entry["name"] for entry in report["collections"]] == list(copied.census)
    accepted = [finding["code"] for finding in report["findings"] if finding["accepted"]]
    assert accepted == ["source-version"]


def test_the_closing_table_has_the_figures_of_each_collection(copied):
    words = re.sub(r"\s+", " ", copied.ended.out)
    for census in copied.census.values():
        row = [census.name, f"{census.rows:,}", *[f"{census.keys:,}"] * 4]
        assert " ".join(row) in words


def test_the_longest_names_and_words_of_expressions_are_names(desk):
    census = zoo.odd_names(desk.source)
    ended = kitelift.run(desk.job())
    assert ended.code == 0, ended.text
    assert ended.collection(census.name)["outcome"] == "proven"
    assert desk.differences(census.name) == []


def test_an_alias_that_another_collection_has_in_the_target_stays_there(desk):
    for client, name in ((desk.source, "blue_2"), (desk.target, "blue_1")):
        zoo.numbers(client, name, rows=10)
        client.create_alias(name, "blue")
    refused = kitelift.run(desk.job())
    assert refused.code == 3
    assert "[lost:blue_2.aliases.blue]" in refused.err
    assert "it is an alias of blue_1 in the target. Kitelift leaves it alone." in refused.err
    ended = kitelift.run(desk.job(), "--accept=lost:blue_2.aliases.blue")
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert desk.target.describe_collection("blue")["collection_name"] == "blue_1"


def test_repeated_keys_are_told_apart_from_lost_rows(copied):
    assert "repeated: 21,968 = 20,000 keys + 1,968 duplicates" in copied.ended.out


def test_a_second_run_has_nothing_to_do_and_touches_nothing(copied):
    before = copied.desk.target_holds()
    again = kitelift.run(copied.conf)
    assert again.code == 0, again.text
    assert again.out.startswith("Nothing to do: this job ended as proven on ")
    assert copied.desk.target_holds() == before


def test_status_tells_how_the_job_ended(copied):
    told = kitelift.run(copied.conf, "status")
    assert told.code == 0
    assert re.match(r"job [0-9a-f]{12}: done\n", told.out)
    assert "\n  tenants: proven 3,000/3,000 rows (100 %)\n" in told.out


def test_verify_proves_the_finished_job_again(copied):
    proven = kitelift.run(copied.conf, "verify")
    assert proven.code == 0, proven.text
    assert proven.report["outcome"] == "proven"


# The job file as users have it


def test_the_job_file_of_today_runs_unchanged(tmp_path, pair, source_client, target_client):
    source, target = pair
    zoo.articles(source_client, rows=3_000)
    text = GOLDEN.read_text()
    text = text.replace("http://10.0.0.1:19530", source.url)
    text = text.replace("http://target.example.com:19530", target.url)
    ended = kitelift.run(kitelift.write(tmp_path, text), "--accept=source-version")
    assert ended.code == 0, ended.text
    assert "Pass123" not in ended.text
    assert compare.differences(source_client, target_client, "medium_articles") == []


def test_the_command_of_seatunnel_runs_migration_conf_here(desk):
    zoo.numbers(desk.source, "docs")
    conf = desk.job("docs", env={"execution.parallelism": 2})
    ended = kitelift.Running(conf, "-m", "local").wait()
    assert ended.code == 0, ended.text
    assert desk.differences("docs") == []


def test_without_names_every_loaded_collection_is_copied(desk):
    zoo.numbers(desk.source, "first")
    zoo.numbers(desk.source, "second")
    zoo.released(desk.source)
    ended = kitelift.run(desk.job())
    assert ended.code == 0, ended.text
    assert sorted(desk.target.list_collections()) == ["first", "second"]
    assert desk.differences("first") + desk.differences("second") == []


def test_state_and_report_are_kept_where_the_user_says(desk):
    zoo.numbers(desk.source, "docs")
    conf = desk.job("docs", env={"state": "elsewhere/ledgers"})
    ended = kitelift.run(conf, "--report=for-the-script.json")
    assert ended.code == 0, ended.text
    kept = next((desk.folder / "elsewhere/ledgers").rglob("report.json"))
    assert (desk.folder / "for-the-script.json").read_bytes() == kept.read_bytes()
    assert not kitelift.state(desk.folder).exists()


def test_json_keeps_every_byte(desk):
    documents = [b'{"a": 1.0, "a":2}', b'{ "b" : 1e2 }', b'{"c":12345678901234567890123}']
    dynamic = [b'{"x": 1.0, "x":2, "id": 5}', b"{}", b'{"document": "of the same name"}']
    schema = MilvusClient.create_schema(enable_dynamic_field=True)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("document", DataType.JSON)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
    desk.source.create_collection("docs", schema=schema)
    raw.insert(
        desk.source_url,
        desk.database,
        "docs",
        raw.longs("id", range(3)),
        raw.json("document", documents),
        raw.json("$meta", dynamic),
        raw.floats("vector", dim=2, values=[0.5] * 6),
    )
    zoo.serve(desk.source, "docs", ("vector", "FLAT", "L2", {}))
    ended = kitelift.run(desk.job("docs"))
    assert ended.code == 0, ended.text
    for field, written in {"document": documents, "$meta": dynamic}.items():
        assert raw.read_json(desk.target_url, desk.database, "docs", field) == written


# How much is proven, and by how many workers


@pytest.mark.parametrize(
    ("verify", "parallelism", "outcome"),
    [("full", 1, "proven"), ("count", 4, "counted"), ("none", 2, "copied")],
)
def test_the_outcome_says_what_was_proven(desk, verify, parallelism, outcome):
    zoo.numbers(desk.source, "docs", rows=5_000)
    ended = kitelift.run(desk.job("docs", env={"verify": verify, "parallelism": parallelism}))
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == outcome
    assert ended.collection("docs")["outcome"] == outcome
    assert desk.differences("docs") == []


# Before the first row


def test_plan_shows_what_run_would_do_and_writes_nothing(desk):
    zoo.tenants(desk.source)
    planned = kitelift.run(desk.job("tenants"), "plan")
    assert planned.code == 0, planned.text
    line = "tenants: 3,000 rows, 4 fields, 2 indexes, 7 partitions by tenant"
    assert line in planned.out
    assert desk.target.list_collections() == []
    assert not kitelift.state(desk.folder).exists()


def test_a_collection_that_holds_rows_of_others_is_left_alone(desk):
    zoo.numbers(desk.source, "docs", rows=50)
    zoo.numbers(desk.target, "docs", rows=30)
    before = desk.target_holds()
    refused = kitelift.run(desk.job("docs"))
    assert refused.code == 3
    assert NOT_EMPTY in refused.err.splitlines()
    assert desk.target_holds() == before


def test_an_empty_collection_of_the_same_schema_is_filled(desk):
    zoo.numbers(desk.source, "docs", rows=50)
    zoo.numbers(desk.target, "docs", rows=0)
    ended = kitelift.run(desk.job("docs"))
    assert ended.code == 0, ended.text
    assert desk.differences("docs") == []


def test_a_key_that_no_server_can_read_stops_the_run_unless_accepted(desk):
    zoo.last_integer(desk.source)
    conf = desk.job("last_integer")
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert "[unreadable-key]" in refused.text
    assert desk.target.list_collections() == []

    accepted = kitelift.run(conf, "--accept=unreadable-key,source-version")
    assert accepted.code == 0, accepted.text
    assert accepted.collection("last_integer")["rows_source"] == 100
    assert accepted.collection("last_integer")["rows_target"] == 99
    assert desk.differences("last_integer") == []


# Keys that the server made


def test_automatic_keys_are_kept(desk):
    zoo.automatic_keys(desk.source)
    ended = kitelift.run(desk.job("automatic_keys"))
    assert ended.code == 0, ended.text
    assert desk.differences("automatic_keys") == [
        "field id: auto_id: True in the source, nothing in the target"
    ]


def test_new_automatic_keys_are_made_on_request(desk):
    zoo.automatic_keys(desk.source)
    ended = kitelift.run(desk.job("automatic_keys", sink={"enable_auto_id": True}))
    assert ended.code == 0, ended.text
    kept = {row["text"]: row["vector"] for row in desk.source.query("automatic_keys", "id > 0")}
    moved = {row["text"]: row["vector"] for row in desk.target.query("automatic_keys", "id > 0")}
    assert len(moved) == 500
    assert moved == kept
    assert desk.count("automatic_keys") == 500


# A run that was killed, and one that was tampered with


def test_a_run_that_is_killed_and_interrupted_doubles_no_row(desk, target):
    zoo.articles(desk.source, rows=20_000)  # 12.8 MB
    with sockets.Relay(target.port) as relay:
        conf = desk.job("medium_articles", env={"parallelism": 2}, sink={"url": relay.url})
        for sent_bytes in (300_000, 4_000_000, 4_000_000):
            running = kitelift.start(conf)
            assert relay.wait_for(sent_bytes), running.kill().text
            assert running.kill().code == -signal.SIGKILL
        running = kitelift.start(conf)
        assert relay.wait_for(100_000), running.kill().text
        interrupted = running.interrupt()
        assert interrupted.code == 5, interrupted.text
        assert "kitelift: interrupted. Run the same command again: it resumes" in interrupted.err
        ended = kitelift.run(conf)
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    assert desk.count("medium_articles") == 20_000
    assert desk.differences("medium_articles") == []


def test_verify_names_the_keys_that_were_tampered_with(desk):
    zoo.numbers(desk.source, "docs", rows=5_000)
    conf = desk.job("docs")
    assert kitelift.run(conf).code == 0
    deleted, changed, doubled = (dict(desk.target.get("docs", ids=[key])[0]) for key in (7, 8, 9))
    desk.target.delete("docs", ids=[7])
    desk.target.upsert("docs", [changed | {"number": -1}])
    desk.target.insert("docs", [doubled, deleted | {"key": 77_777}])

    found = kitelift.run(conf, "verify")
    assert found.code == 4, found.text
    for named in ("- 7", "* 8", "# 9", "+ 77777"):
        assert named in found.text
    assert found.report["outcome"] == "failed"
    assert desk.target_holds()["docs"][1] == 5_001, "verify changes nothing"


def test_a_job_whose_target_was_dropped_does_not_pass_for_done(desk):
    zoo.numbers(desk.source, "docs", rows=30)
    conf = desk.job("docs")
    assert kitelift.run(conf).code == 0
    desk.target.drop_collection("docs")
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert "kitelift: target collection docs: no longer exists" in refused.err.splitlines()
    again = kitelift.run(conf, "--restart")
    assert again.code == 0, again.text
    assert desk.differences("docs") == []


def test_a_target_without_indexes_is_proven_once_somebody_has_made_them(desk):
    zoo.numbers(desk.source, "docs", rows=30)
    conf = desk.job("docs", sink={"create_index": False})
    bare = kitelift.run(conf)
    assert (bare.code, bare.report["outcome"]) == (0, "copied"), bare.text
    refused = kitelift.run(conf, "verify")
    assert refused.code == 3
    assert "[target-not-indexed] target collection docs: no index on vector" in refused.err
    index = desk.target.prepare_index_params("vector", index_type="FLAT", metric_type="L2")
    desk.target.create_index("docs", index)
    proven = kitelift.run(conf, "verify")
    assert (proven.code, proven.report["outcome"]) == (0, "proven"), proven.text


def test_a_job_whose_ledger_is_gone_finds_rows_of_others(desk):
    zoo.numbers(desk.source, "docs", rows=30)
    conf = desk.job("docs")
    assert kitelift.run(conf).code == 0
    shutil.rmtree(kitelift.state(desk.folder))
    refused = kitelift.run(conf)
    assert refused.code == 3
    assert NOT_EMPTY in refused.err.splitlines()
