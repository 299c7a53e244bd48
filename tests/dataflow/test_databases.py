"""A job that copies several databases: one plan, one report, one exit code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from pipeline import cli
from pipeline.jobfile import config
from tests.clusters import schema
from tests.dataflow.jobs import Job, between_fakes, changing, row, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Fault

pytestmark = pytest.mark.slow

DOCS = {"sales.docs": [*range(12)], "shop.docs": [*range(100, 125)], "default.notes": [1, 2, 3]}
"""The keys of each collection; two databases have a collection of the same name."""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A source with three databases, and an empty target."""
    with between_fakes(tmp_path, source_version="v2.4.5", target_version="v2.4.5") as made:
        made.source.databases += ["sales", "shop"]
        made.source.properties["sales"] = {"database.replica.number": "1", "owner": "ann"}
        for name, keys in DOCS.items():
            database, _, local = name.partition(".")
            made.source.create(schema(local), map(row, keys), database=database)
        for name in ("sales.docs", "shop.docs"):
            made.source[name].aliases.append("live")
        made.from_source |= {"database": "*"}
        made.to_sink |= {"create_database": True}
        yield made
        assert made.source.strays == made.target.strays == []


def stored(server: FakeMilvus, *names: str) -> dict[str, list[Any]]:
    """The keys of collections, by their qualified names."""
    return {name: server.keys(name) for name in names or DOCS}


def outcomes(job: Job) -> dict[str, str]:
    return {each["name"]: each["outcome"] for each in job.report["collections"]}


def codes(job: Job) -> set[str]:
    return {each["code"] for each in job.report["findings"]}


def test_every_database_is_copied_with_its_properties_and_aliases(job: Job) -> None:
    same_keys = [row(key) | {"title": "another"} for key in DOCS["sales.docs"]]
    job.source["shop.docs"].insert(same_keys)
    assert job.run() == 0
    for name in DOCS:
        assert job.target[name].rows() == job.source[name].rows()
    assert job.target.properties["sales"] == {"database.replica.number": "1", "owner": "ann"}
    assert job.target["sales.docs"].aliases == job.target["shop.docs"].aliases == ["live"]
    assert outcomes(job) == dict.fromkeys(DOCS, "proven")
    assert job.report["source"]["database"] == "default, sales, shop"


def test_a_finished_job_has_a_status_and_copies_nothing_again(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.run() == 0
    capsys.readouterr()
    assert job.run("status") == 0
    said = capsys.readouterr().out
    assert all(name in said for name in DOCS)
    assert job.run() == 0
    assert changing(job.target) == set()


def test_a_killed_job_resumes_in_each_database(job: Job) -> None:
    assert job.run() == 0
    lost = job.crash(of="shop.docs", lost=2)
    job.target["shop.docs"].delete(f"id in {sorted(lost)[:1]}")
    assert job.run() == 0
    assert stored(job.target) == DOCS
    assert outcomes(job) == dict.fromkeys(DOCS, "proven")
    assert not [each for each in job.target.asked("Insert", "Upsert") if each.db_name != "shop"]


def test_verify_names_the_database_of_a_difference(job: Job) -> None:
    assert job.run() == 0
    job.target["shop.docs"].delete("id in [101]")
    assert job.run("verify") == 4
    assert outcomes(job) == {
        "sales.docs": "proven",
        "shop.docs": "failed",
        "default.notes": "proven",
    }
    assert [(each["collection"], each["key"]) for each in job.report["differences"]] == [
        ("shop.docs", 101)
    ]


def test_sync_changes_only_the_database_that_differs(job: Job) -> None:
    assert job.run() == 0
    job.source["sales.docs"].insert([row(77)])
    job.source["shop.docs"].delete("id in [100]")
    assert job.run("sync", "--delete") == 0
    assert job.target.keys("sales.docs") == [*range(12), 77]
    assert job.target.keys("shop.docs") == [*range(101, 125)]


def test_databases_can_be_renamed(job: Job) -> None:
    job.to_sink["database_rename"] = {"sales": "verkauf", "sh*": "new_sh*"}
    assert job.run() == 0
    assert stored(job.target, "verkauf.docs", "new_shop.docs", "default.notes") == {
        "verkauf.docs": DOCS["sales.docs"],
        "new_shop.docs": DOCS["shop.docs"],
        "default.notes": DOCS["default.notes"],
    }
    assert job.target["verkauf.docs"].aliases == ["live"]
    assert job.target.properties["verkauf"]["owner"] == "ann"
    assert outcomes(job) == dict.fromkeys(DOCS, "proven")
    job.crash(of="sales.docs", lost=1)
    assert job.run() == 0


SELECTIONS = {
    "all but one": ({"database": ["*", "!shop"]}, {"sales.docs", "default.notes"}),
    "a pattern": ({"database": "s*"}, {"sales.docs", "shop.docs"}),
    "names": ({"database": ["shop", "default"]}, {"shop.docs", "default.notes"}),
    "a name in every database": ({"collections": ["docs"]}, {"sales.docs", "shop.docs"}),
    "a name in one database": ({"collections": ["sales.docs"]}, {"sales.docs"}),
    "an alias in every database": ({"collections": ["live"]}, {"sales.docs", "shop.docs"}),
    "an alias in one database": ({"collections": ["shop.live"]}, {"shop.docs"}),
    "all but an alias": ({"collections": ["live", "!shop.live"]}, {"sales.docs"}),
    "a pattern of names": ({"collections": ["do*", "!shop.*"]}, {"sales.docs"}),
    "every collection of a database": ({"collections": ["sh*.*"]}, {"shop.docs"}),
    "all but a name": ({"collections": ["!docs"]}, {"default.notes"}),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_databases_and_collections_are_selected(
    job: Job, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, chosen = SELECTIONS[case]
    job.from_source |= keys
    assert job.run("plan") == 0
    said = capsys.readouterr().out
    assert {name for name in DOCS if f"  {name}: {len(DOCS[name])} rows" in said} == chosen


def test_a_name_may_be_a_collection_in_one_database_and_an_alias_in_another(job: Job) -> None:
    job.source["default.notes"].aliases.append("docs")
    job.from_source["collections"] = ["docs"]
    assert job.run() == 0
    assert stored(job.target) == DOCS
    assert outcomes(job) == dict.fromkeys(DOCS, "proven")


def test_settings_of_one_collection_do_not_apply_to_its_namesake(job: Job) -> None:
    job.to_sink["collection_rename"] = {"sales.docs": "papers"}
    job.to_sink["collection_description"] = {"shop.docs": "of the shop"}
    job.to_sink["field_schema"] = [
        {"field_name": "title", "max_length": 512, "collections": ["shop.docs"]}
    ]
    job.transform = 'RowFilter { expression = "id < 3", collections = ["sales.docs"] }'
    assert job.run() == 0
    assert stored(job.target, "sales.papers", "shop.docs") == {
        "sales.papers": [0, 1, 2],
        "shop.docs": DOCS["shop.docs"],
    }
    made = job.target["shop.docs"].schema
    assert (made.name, made.description) == ("docs", "of the shop")
    lengths = [
        next(pair.value for pair in field.type_params if pair.key == "max_length")
        for name in ("shop.docs", "sales.papers")
        for field in job.target[name].schema.fields
        if field.name == "title"
    ]
    assert lengths == ["512", "64"]


PROBLEMS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "a database that does not exist": (
        {"database": ["sales", "shopp"]},
        {},
        ("[source-database]", "'shopp' does not exist. Existing databases: default, sales, shop."),
    ),
    "a pattern without a database": (
        {"database": ["sales", "x_*"]},
        {},
        ("[source-database]", "no database matches 'x_*'", "`source.Milvus.database`"),
    ),
    "a collection that does not exist": (
        {"collections": ["sales.docs", "shop.notes"]},
        {},
        ("[no-collection]", "collection 'shop.notes' does not exist"),
    ),
    "databases that the target lacks": (
        {},
        {"create_database": False},
        ("[target-database]", "databases sales, shop do not exist", "create_database = true"),
    ),
    "two databases of one name": (
        {},
        {"database_rename": {"sales": "one", "shop": "one"}},
        ("[rename-clash]", "databases sales and shop would both be named one"),
    ),
    "a name for a database that is not copied": (
        {},
        {"database_rename": {"sale": "one"}},
        ("[rename-unknown]", "renames database sale"),
    ),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_a_problem_names_the_databases(
    job: Job, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, sink, words = PROBLEMS[case]
    job.from_source |= source
    job.to_sink |= sink
    assert job.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert [word for word in words if word not in said] == []
    assert changing(job.target) == set()


def test_a_finding_names_database_and_collection(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.target.databases.append("shop")
    job.target.create(schema(), rows(2), database="shop")
    assert job.run() == 3
    assert "target collection shop.docs: it contains 2 rows" in " ".join(
        capsys.readouterr().err.split()
    )


def test_what_a_refused_job_has_created_is_dropped_in_each_database(job: Job) -> None:
    job.target.fails(
        "CreateCollection", REFUSED, times=None, when=lambda request: request.db_name == "shop"
    )
    assert job.run() == 3
    assert job.target.databases == ["default"]
    assert not job.target._collections


@pytest.mark.parametrize("mode", ["DROP_DATA", "RECREATE_SCHEMA"])
def test_only_the_named_collection_is_dropped(job: Job, mode: str) -> None:
    job.target.databases += ["sales", "shop"]
    for database in ("sales", "shop"):
        job.target.create(schema(), rows(2), database=database)
    job.target["shop.docs"].aliases.append("live")
    job.from_source["collections"] = ["shop.docs"]
    job.to_sink["data_save_mode" if mode == "DROP_DATA" else "schema_save_mode"] = mode
    assert job.run("run", "--yes") == 0
    assert stored(job.target, "shop.docs", "sales.docs") == {
        "shop.docs": DOCS["shop.docs"],
        "sales.docs": [0, 1],
    }
    assert job.target["shop.docs"].aliases == ["live"]


def test_rejected_rows_are_replayed_into_their_database(job: Job) -> None:
    job.env["max_rejected"] = 5
    refused = {"Insert": None, "Upsert": None}
    for method in refused:
        job.target.fails(
            method,
            Fault(code=1100, text="no such key here"),
            times=None,
            when=lambda request: request.db_name == "shop" and 103 in keys_of_request(request),
        )
    assert job.run() == 4
    assert job.collection("shop.docs")["rejected"] == 1
    job.target.heal()
    assert job.run("replay") == 0
    assert stored(job.target) == DOCS


def keys_of_request(request: Any) -> list[int]:
    [keys] = [each for each in request.fields_data if each.field_name == "id"]
    return list(keys.scalars.long_data.data)


def test_a_server_that_does_not_list_databases_is_refused(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    denied = Fault(
        grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeListDatabases: permission deny"
    )
    job.source.fails("ListDatabases", denied, times=None)
    assert job.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "[source-access]" in said
    assert "set `source.Milvus.database` to its name" in said


def test_a_named_collection_is_loaded_and_released_in_its_database(job: Job) -> None:
    job.source["shop.docs"].loaded = False
    job.from_source |= {"auto_load": True, "collections": ["shop.docs"]}
    assert job.run() == 0
    assert job.target.databases == ["default", "shop"]
    assert stored(job.target, "shop.docs") == {"shop.docs": DOCS["shop.docs"]}
    assert not job.source["shop.docs"].loaded
    assert job.source["sales.docs"].loaded


def test_grants_of_every_copied_database_are_added_once(tmp_path: Path) -> None:
    with between_fakes(tmp_path, source_version="v2.6.3", target_version="v2.6.3") as job:
        job.source.databases += ["sales", "shop", "other"]
        for database in ("sales", "shop"):
            job.source.create(schema(), rows(3), database=database)
        job.source.roles["reader"] = set()
        job.source.grants |= {
            ("reader", "Search", "Collection", "docs", "sales"),
            ("reader", "Query", "Collection", "docs", "shop"),
            ("reader", "Search", "Collection", "docs", "other"),
            ("reader", "Insert", "Collection", "*", "shop"),
            ("reader", "ListDatabases", "Global", "*", "*"),
        }
        job.from_source["database"] = ["sales", "shop"]
        job.to_sink |= {"create_database": True, "rbac": True, "database_rename": {"shop": "store"}}
        job.to_sink["collection_rename"] = {"shop.docs": "papers"}
        assert job.run() == 0
        assert job.target.grants == {
            ("reader", "Search", "Collection", "docs", "sales"),
            ("reader", "Query", "Collection", "papers", "store"),
            ("reader", "Insert", "Collection", "*", "store"),
            ("reader", "ListDatabases", "Global", "*", "*"),
        }


def test_one_database_is_renamed_too(tmp_path: Path) -> None:
    with between_fakes(tmp_path) as job:
        job.source.databases.append("sales")
        job.source.create(schema(), rows(3), database="sales")
        job.from_source["database"] = "sales"
        job.to_sink |= {"database_rename": {"sales": "verkauf"}, "create_database": True}
        assert job.run() == 0
        assert job.target.keys("verkauf.docs") == [0, 1, 2]
        assert set(outcomes(job)) == {"docs"}


def test_init_and_doctor_show_several_databases(
    job: Job, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "init.conf"
    urls = [f"--source={job.source.url}", f"--target={job.target.url}"]
    assert cli.main(["init", f"--config={path}", *urls, "--source_database=*"]) == 0
    text = path.read_text()
    assert '"sales.docs",   # 12 rows' in text
    assert "create_database = true            # sales, shop do not exist yet" in text
    assert config.load(path).qualifies
    capsys.readouterr()
    assert job.run("doctor") == 0
    assert "3 databases have 3 collections" in capsys.readouterr().out
