"""A server that wants TLS and a password: what is told to whoever lacks one of them.

Nothing is written then, no token is shown, and no traceback.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from pipeline.preflight import privileges
from tests import certificates, compare, kitelift, servers, zoo
from tests.kitelift import Ended
from tests.servers import Server

pytestmark = [
    pytest.mark.milvus,
    pytest.mark.skipif(not servers.have_milvus(), reason="no wheel of Milvus for this platform"),
]

SECRET = "n0t-t0-be-seen"
COPIES = "copies"
"""The database that is the target."""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, with a collection in one database and another database that is empty."""
    folder = tmp_path_factory.mktemp("guarded")
    made = certificates.make(folder / "certificates")
    with servers.milvus(folder, authorization=True, certificates=made) as server:
        admin = client(server)
        zoo.numbers(admin, "docs")
        admin.create_alias("docs", "papers")
        admin.create_database(COPIES)
        yield server
        admin.close()


def client(server: Server, database: str = "default") -> MilvusClient:
    tls = {"server_pem_path": str(server.certificates.server_pem), "server_name": "localhost"}
    return MilvusClient(server.url, token=server.token, db_name=database, secure=True, **tls)


def job(server: Server, folder: Path, **asked: dict[str, Any]) -> Path:
    """A job from one database of the server to the other; `asked` changes keys of one side."""
    common = {"token": server.token, "ca_pem_path": str(server.certificates.ca_pem)}
    source = common | asked.get("source", {})
    sink = common | {"database": COPIES} | asked.get("sink", {})
    url = source.pop("url", server.url), sink.pop("url", server.url)
    source, sink = ({k: v for k, v in side.items() if v is not None} for side in (source, sink))
    return kitelift.write_job(folder, *url, ["docs"], source=source, sink=sink)


def check_manners(ended: Ended) -> None:
    assert "Traceback" not in ended.text
    assert SECRET not in ended.text
    assert not kitelift.state(ended.folder).exists()


def error_of(ended: Ended) -> str:
    (line,) = (line for line in ended.err.splitlines() if line.startswith("error"))
    return line.removeprefix("error  ")


# What is wrong with the connection or the token; {url} is that of the server

PLAIN = ("If the server uses TLS, write https:// instead of http:// in the url.", "Socket closed. ")
WRONG: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "plain, though it wants TLS": ({"url": "http://{address}", "ca_pem_path": None}, PLAIN),
    "an authority that is not known": (
        {"ca_pem_path": None},
        (
            "the server's certificate is not trusted (unable to get local issuer certificate): ",
            "set `ca_pem_path` to its CA certificate.",
        ),
    ),
    "another name": (
        {"server_name": "milvus.example.com"},
        ("the server's certificate is for another host name",),
    ),
    "a wrong password": (
        {"token": f"root:{SECRET}"},
        ("auth check failure, please check username and password are correct", "Check token"),
    ),
    "no password": ({"token": ""}, ("missing authorization in header", "Check token")),
}


@pytest.mark.parametrize(
    ("kind", "side"),
    [*((kind, "source") for kind in WRONG), ("a wrong password", "target")],
)
def test_what_keeps_a_job_out_is_told(guarded, tmp_path, kind, side):
    asked, words = WRONG[kind]
    asked = asked | (
        {"url": asked["url"].format(address=guarded.address)} if "url" in asked else {}
    )
    block = "sink" if side == "target" else side
    ended = kitelift.run(job(guarded, tmp_path, **{block: asked}))
    line = error_of(ended)
    code = "access" if "token" in asked else "unreachable"
    assert line.startswith(f"[{side}-{code}] {side} {asked.get('url', guarded.url)}: ")
    assert [word for word in words if word not in line] == []
    assert ended.code == 3
    check_manners(ended)


def test_since_when_a_certificate_has_expired_is_told(tmp_path):
    made = certificates.make(tmp_path / "certificates", server=certificates.EXPIRED)
    with servers.milvus(tmp_path / "server", certificates=made) as server:
        ended = kitelift.run(job(server, tmp_path))
    until = f"{made.until:%Y-%m-%d %H:%M} UTC"
    for side in ("source", "target"):
        assert (
            f"error  [{side}-unreachable] {side} {server.url}: the server's certificate has "
            f"expired (it was valid until {until}): install a new one."
        ) in ended.err.splitlines()
    assert ended.code == 3
    check_manners(ended)


# Privileges


@pytest.fixture(scope="module")
def reader(guarded: Server) -> str:
    """The token of a user that may do what everybody may."""
    admin = client(guarded)
    admin.create_user("reader", SECRET)
    admin.close()
    return f"reader:{SECRET}"


def test_the_privilege_that_is_missing_is_named(guarded, reader, tmp_path):
    conf = job(guarded, tmp_path, source={"token": reader})
    ended = kitelift.run(conf)
    assert error_of(ended) == (
        f"[source-access] source {guarded.url}: Query: user reader lacks the privilege Query for "
        "collection docs. Grant it to a role of this user. `kitelift doctor` lists all missing "
        "privileges."
    )
    check_manners(ended)
    told = kitelift.run(conf, "doctor")
    missing = ", ".join(privileges.SOURCE)
    assert f"warning source   user reader has no grant for {missing}. Grant them" in told.out
    assert "ok      target   user root has all privileges." in told.out
    check_manners(told)


def test_the_privileges_that_the_documentation_lists_are_enough(guarded, tmp_path):
    sides = {"source": ("default", privileges.SOURCE), "target": (COPIES, privileges.TARGET)}
    with contextlib.ExitStack() as users:
        for side, (database, names) in sides.items():
            users.enter_context(_user(guarded, side, database, names))
        tokens = {
            "source": {"token": f"the_source:{SECRET}"},
            "sink": {"token": f"the_target:{SECRET}"},
        }
        conf = job(guarded, tmp_path, **tokens)
        told, ended = kitelift.run(conf, "doctor"), kitelift.run(conf)

    assert told.out.count("has every privilege that the job needs.") == 2
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    copies = client(guarded, COPIES)
    assert compare.differences(client(guarded), copies, "docs") == []
    zoo.drop_all(copies)


@contextlib.contextmanager
def _user(server: Server, side: str, database: str, names: Iterable[str]) -> Iterator[None]:
    """A user with these privileges in one database."""
    user, role = f"the_{side}", f"of_{side}"
    admin = client(server, database)
    admin.create_user(user, SECRET)
    admin.create_role(role)
    admin.grant_role(user, role)
    grants = [("Global" if name in GLOBAL else "Collection", name, "*") for name in names]
    for grant in grants:
        admin.grant_privilege(role, *grant, db_name=database)
    yield
    for grant in grants:
        admin.revoke_privilege(role, *grant, db_name=database)
    admin.drop_role(role)
    admin.drop_user(user)
    admin.close()


GLOBAL = {"CreateCollection", "CreateAlias"}
"""Privileges that are no collection's."""


# Tokens


@pytest.mark.parametrize("form", ["literal", "reference"])
def test_a_password_is_used_and_kept_nowhere(guarded, tmp_path, monkeypatch, form):
    tokens = {
        "literal": (guarded.token, guarded.token),
        "reference": ("env:TOKEN", f"file:{tmp_path}/token"),
    }
    monkeypatch.setenv("TOKEN", guarded.token)
    (tmp_path / "token").write_text(guarded.token)
    source, sink = tokens[form]
    copies = {"database": form, "create_database": True}
    ended = kitelift.run(
        job(guarded, tmp_path, source={"token": source}, sink={"token": sink, **copies}),
        "--verbose",
    )
    assert ended.code == 0, ended.text
    assert ended.report["outcome"] == "proven"
    kept = [path for path in kitelift.state(tmp_path).rglob("*") if path.is_file()]
    assert kept
    for text in (ended.text, *(path.read_text() for path in kept)):
        assert guarded.token not in text
        assert base64.b64encode(guarded.token.encode()).decode() not in text


# Users and roles


def test_roles_may_do_in_the_target_what_they_may_do_in_the_source(guarded, tmp_path):
    """One server: the role is there already, and has its rights in the source's database only."""
    admin, copies = client(guarded), client(guarded, COPIES)
    admin.create_user("ann", "Passw0rd1")
    admin.create_role("reader")
    admin.grant_role("ann", "reader")
    rights = {("Collection", "docs", "Search"), ("Collection", "*", "Query")}
    for kind, name, privilege in rights:
        admin.grant_privilege("reader", kind, privilege, name)
    admin.grant_privilege("reader", "Collection", "Search", "another")
    ended = kitelift.run(job(guarded, tmp_path, sink={"rbac": True}))
    assert ended.code == 0, ended.text
    found = {
        (each["object_type"], each["object_name"], each["privilege"])
        for each in copies.describe_role("reader")["privileges"]
    }
    assert found == rights
    [said] = (each["what"] for each in ended.report["findings"] if each["code"] == "rbac")
    assert said.startswith("Kitelift will add 2 grants: ")
    copies.drop_alias("papers")
    copies.drop_collection("docs")
