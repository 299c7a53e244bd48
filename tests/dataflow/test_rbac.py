"""Users and roles: what the target lacks is added, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.clusters import schema
from tests.dataflow.jobs import Job, changing, rows
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import REFUSED, Fault

pytestmark = pytest.mark.slow

READERS = {
    ("reader", "Search", "Collection", "docs", "default"),
    ("reader", "Query", "Collection", "*", "default"),
    ("reader", "ListDatabases", "Global", "*", "*"),
    ("reader", "looks", "Global", "docs", "default"),
}
OF_OTHERS = {
    ("reader", "Search", "Collection", "others", "default"),
    ("reader", "Search", "Collection", "docs", "another"),
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    """A source with a role of two users, one of whom the target has."""
    with FakeMilvus("v2.6.3") as source, FakeMilvus("v2.6.3") as target:
        source.create(schema(), rows(10))
        source.users |= {"ann", "bob"}
        source.roles["reader"] = {"ann", "bob"}
        source.about["reader"] = "looks and does not touch"
        source.groups["looks"] = {"Query", "Search"}
        source.grants |= READERS | OF_OTHERS
        target.users |= {"ann", "joe"}
        target.roles["owner"] = {"joe"}
        yield Job(tmp_path, source, target, to_sink={"rbac": True})


def findings(job: Job) -> list[str]:
    return [each["code"] for each in job.report["findings"]]


def test_roles_groups_grants_and_memberships_are_added(job: Job) -> None:
    assert job.run() == 0
    assert job.target.roles == {
        "admin": {"root"},
        "public": set(),
        "owner": {"joe"},
        "reader": {"ann"},
    }
    assert job.target.about == {"reader": "looks and does not touch"}
    assert job.target.groups == {"looks": {"Query", "Search"}}
    assert job.target.grants == READERS
    assert job.target.users == {"root", "ann", "joe"}


def test_the_findings_name_what_is_added_and_the_missing_users(job: Job) -> None:
    assert job.run() == 0
    assert [each["what"] for each in job.report["findings"]] == [
        (
            "these users do not exist in the target: bob. Kitelift cannot copy users, because servers do "
            "not return passwords."
        ),
        "Kitelift will add 1 privilege group: looks.",
        "Kitelift will add 1 role: reader.",
        (
            "Kitelift will add 4 grants: ListDatabases on Global * (*) for reader, "
            "Query on Collection * (default) for reader, "
            "Search on Collection docs (default) for reader, looks on Global docs (default) for reader."
        ),
        "Kitelift will add 1 membership: ann in reader.",
    ]


def test_a_second_run_changes_nothing(job: Job) -> None:
    assert job.run() == 0
    before = job.target.roles, job.target.groups, job.target.grants
    assert job.run() == 0
    assert (job.target.roles, job.target.groups, job.target.grants) == before
    assert changing(job.target) == set()


def test_a_user_created_later_gets_the_roles_of_the_source(job: Job) -> None:
    assert job.run() == 0
    job.target.users.add("bob")
    assert job.run() == 0
    assert job.target.roles["reader"] == {"ann", "bob"}


def test_a_plan_adds_nothing(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    assert job.run("plan") == 0
    assert "Kitelift will add 4 grants" in capsys.readouterr().err
    assert changing(job.target) == set()


def test_grants_use_the_names_of_the_target(job: Job) -> None:
    job.to_sink |= {"database": "shop", "create_database": True, "collection_rename": {"docs": "d"}}
    assert job.run() == 0
    assert job.target.grants == {
        ("reader", "Search", "Collection", "d", "shop"),
        ("reader", "Query", "Collection", "*", "shop"),
        ("reader", "ListDatabases", "Global", "*", "*"),
        ("reader", "looks", "Global", "d", "shop"),
    }


def test_a_privilege_that_the_target_does_not_know_stops_the_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.target.unknown = {"ListDatabases"}
    assert job.run() == 3
    said = capsys.readouterr().err
    assert "[lost:rbac.reader]" in said
    assert "not found the privilege name[ListDatabases]" in said
    assert "Insert" not in changing(job.target)
    # What had been added before is removed again.
    assert job.target.roles == {"admin": {"root"}, "public": set(), "owner": {"joe"}}
    assert (job.target.groups, job.target.grants) == ({}, set())
    assert job.run("run", "--accept=lost:rbac.reader") == 0
    assert "reader" in job.target.roles
    assert "lost:rbac.reader" in findings(job)


@pytest.mark.parametrize(("role", "block"), [("source", "source"), ("target", "sink")])
def test_a_user_who_may_not_list_roles_stops_the_job(
    job: Job, capsys: pytest.CaptureFixture[str], role: str, block: str
) -> None:
    denied = Fault(
        grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeSelectOwnership: permission deny"
    )
    getattr(job, role).fails("SelectRole", denied, times=None)
    assert job.run() == 3
    said = capsys.readouterr().err
    assert f"[{role}-rbac]" in said
    assert f"Set `{block}.Milvus.token` for a user" in said
    assert "Insert" not in changing(job.target)


def test_a_user_who_may_not_grant_stops_the_job(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    denied = Fault(grpc.StatusCode.PERMISSION_DENIED, text="ManageOwnership: permission deny")
    job.target.fails("OperatePrivilege", denied, times=None)
    job.target.groups["looks"] = {"Query"}
    assert job.run() == 3
    assert "reader" not in job.target.roles
    assert job.target.groups == {"looks": {"Query"}}
    said = capsys.readouterr().err
    assert "[lost:rbac.reader]" in said
    assert "lacks" in said


def test_a_server_without_roles_stops_the_job(job: Job, capsys: pytest.CaptureFixture[str]) -> None:
    job.target.fails("ListCredUsers", REFUSED, times=None)
    assert job.run() == 3
    assert "[target-rbac]" in capsys.readouterr().err


def test_roles_are_not_read_without_the_setting(job: Job) -> None:
    job.to_sink["rbac"] = False
    assert job.run() == 0
    assert job.target.grants == set()
    assert not job.source.asked("SelectRole", "SelectGrant", "ListCredUsers")
