"""Servers behind an ingress, and managed ones: what they do not pass on is found, and lived with."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from tests import sockets
from tests.clusters import schema
from tests.dataflow.jobs import Job, of, row, rows, writes
from tests.fakes.script import Fault

pytestmark = pytest.mark.slow

UNKNOWN = grpc.StatusCode.UNKNOWN
TOO_LARGE = Fault(UNKNOWN, text="Received http2 header with status: 413")
WRITES = ("Insert", "Upsert")


def larger_than(limit_bytes: int) -> Callable[[Any], bool]:
    return lambda request: request.ByteSize() > limit_bytes


def wide_rows(count: int) -> list[dict[str, Any]]:
    return [{**row(key), "note": b"1" * 10_000} for key in range(count)]


# -- an ingress ------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit_bytes", [1_000_000, 200_000])
def test_an_ingress_that_limits_requests_is_learned_once_and_everything_arrives(
    job: Job, limit_bytes: int
) -> None:
    job.source.create(schema("docs", note=DataType.JSON), wide_rows(1_200))
    for method in WRITES:
        job.target.fails(method, TOO_LARGE, times=None, when=larger_than(limit_bytes))
    job.from_source["batch_size"] = job.to_sink["batch_size"] = 10_000

    assert job.run() == 0

    assert job.target["docs"].rows() == wide_rows(1_200)
    asked = job.target.asked("Insert")
    refused = [each for each in asked if each.ByteSize() > limit_bytes]
    assert refused
    assert len(refused) < len(asked) / 2
    assert not job.target.asked("Upsert")  # Nothing was written of what was refused.


def test_what_an_ingress_refuses_is_not_counted_as_copied(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(30))
    for method in WRITES:
        job.target.fails(method, TOO_LARGE, times=None)

    assert job.run() == 4

    said = " ".join(capsys.readouterr().out.split())
    assert "an ingress or proxy limits the size of a request (HTTP 413)" in said
    assert not job.target.keys("docs")
    assert job.run("status", "--json") == 0
    [standing] = json.loads(capsys.readouterr().out)["collections"]
    assert standing["rows_acknowledged"] == 0


@pytest.mark.parametrize(("code", "status"), [(grpc.StatusCode.UNAVAILABLE, 502), (UNKNOWN, 504)])
def test_a_server_behind_an_ingress_that_is_away_is_waited_for(
    job: Job, code: grpc.StatusCode, status: int
) -> None:
    job.source.create(schema(), rows(30))
    away = Fault(code, text=f"Received http2 header with status: {status}")
    job.source.fails("Query", away, times=3, when=lambda request: "title" in request.output_fields)
    job.target.fails("Insert", away, times=3, when=writes(7))
    assert job.run() == 0
    assert job.target["docs"].rows() == rows(30)


@pytest.mark.parametrize("side", ["source", "target"])
def test_an_ingress_that_passes_no_grpc_on_is_told_with_what_to_do(
    job: Job, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(3))
    with sockets.gateway(404) as url:
        keys = job.from_source if side == "source" else job.to_sink
        keys["url"] = url
        assert job.run() == 3
    said = " ".join(capsys.readouterr().err.split())
    assert f"[{side}-unreachable]" in said
    assert "an ingress or proxy answers and does not forward gRPC (HTTP 404)." in said
    assert "Configure the ingress for gRPC" in said


# -- a proxy of the host ---------------------------------------------------------------------------


def test_doctor_names_the_proxy_of_the_host(
    job: Job, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"127.0.0.1:{sockets.closed_port()}"
    monkeypatch.setenv("http_proxy", f"http://me:s3cret@{address}")
    monkeypatch.delenv("no_proxy", raising=False)
    assert job.run("doctor") == 3
    said = " ".join(capsys.readouterr().out.split())
    named = f"the HTTP proxy {address} (environment variable http_proxy)"
    assert said.count(f"connects through {named}.") == 2
    assert f"no connection through {named}: connection refused." in said
    assert "no server listens" not in said
    assert "s3cret" not in said


# -- calls that are denied -------------------------------------------------------------------------

DENIED = {
    "by a managed service": Fault(UNKNOWN, text="it's a deny api, fullMethod:/milvus.proto/X"),
    "by a role": Fault(grpc.StatusCode.PERMISSION_DENIED, text="no"),
    "as unknown": Fault(grpc.StatusCode.UNIMPLEMENTED, text="unknown method"),
}
OPTIONAL = (
    *("GetReplicas", "ListAliases", "DescribeAlias", "DescribeDatabase", "ListDatabases"),
    *("GetLoadState", "ShowPartitions", "AllocTimestamp", "GetVersion"),
)


@pytest.mark.parametrize("how", DENIED)
def test_optional_calls_that_are_denied_are_left_out_with_a_note(job: Job, how: str) -> None:
    job.source.create(schema(), rows(30))
    for call in OPTIONAL:
        for server in (job.source, job.target):
            server.fails(call, DENIED[how], times=None)

    assert job.run() == 0

    assert job.target["docs"].rows() == rows(30)
    noted = [each for each in job.report["findings"] if each["code"] == "call-denied"]
    assert {each["severity"] for each in noted} == {"info"}
    [source] = [each["what"] for each in noted if each["where"].startswith("source")]
    for call in ("GetReplicas", "GetLoadState", "ShowPartitions", "ListDatabases"):
        assert call in source


def test_a_call_that_an_older_release_does_not_know_is_no_note(job: Job) -> None:
    job.source.create(schema(), rows(3))
    job.source.fails("DescribeDatabase", DENIED["as unknown"], times=None)  # Milvus 2.3.7.
    assert job.run() == 0
    assert not [each for each in job.report["findings"] if each["code"] == "call-denied"]


@pytest.mark.parametrize("call", ["Query", "DescribeCollection", "DescribeIndex"])
def test_a_needed_call_that_is_denied_is_named_at_once_with_its_collection(
    job: Job, call: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(3))
    job.source.fails(call, DENIED["by a managed service"], times=None)
    assert job.run("plan") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("error [") == 1
    assert f"[source-access] source {job.source.url}: {call}: the server denies this call" in said
    assert f"for collection docs. Kitelift needs {call}." in said
    assert len(job.source.asked(call)) == 1


@pytest.mark.parametrize("how", DENIED)
def test_partitions_are_needed_where_there_are_several(
    job: Job, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(3))
    job.source["docs"].partitions.append("more")
    job.source.fails("ShowPartitions", DENIED[how], times=None)
    assert job.run("plan") == 3
    assert "ShowPartitions" in capsys.readouterr().err


def test_a_missing_privilege_is_named_with_its_collection(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema("docs"), rows(3))
    job.source.create(schema("other"), rows(3))
    missing = Fault(
        grpc.StatusCode.PERMISSION_DENIED, text="PrivilegeQuery: permission deny to reader"
    )
    job.source.fails("Query", missing, times=None, when=of("other"))
    assert job.run("plan") == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "Query: user reader lacks the privilege Query for collection other." in said


# -- collections that come and go ------------------------------------------------------------------

GONE = Fault(code=100, text="collection not found[collection=file_7]")
OLD_GONE = Fault(code=65535, text="can't find collection: file_7")


@pytest.mark.parametrize("fault", [GONE, OLD_GONE], ids=["by its code", "by its words"])
@pytest.mark.parametrize("call", ["DescribeCollection", "ShowPartitions", "DescribeIndex", "Query"])
def test_a_collection_that_vanishes_while_all_are_listed_is_left_out(
    job: Job, call: str, fault: Fault
) -> None:
    job.source.create(schema("docs"), rows(3))
    job.source.create(schema("file_7"), rows(3))
    job.source.fails(call, fault, times=None, when=of("file_7"))
    assert job.run() == 0
    assert [each["name"] for each in job.report["collections"]] == ["docs"]
    noted = [each["where"] for each in job.report["findings"] if "vanished" in each["code"]]
    assert noted == ["source collection file_7"]


def test_a_collection_that_was_named_and_vanishes_is_missing(
    job: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema("file_7"), rows(3))
    job.source.fails("DescribeCollection", GONE, times=None)
    job.from_source["collections"] = ["file_7"]
    assert job.run("plan") == 3
    assert "[no-collection]" in capsys.readouterr().err


def test_an_alias_is_looked_up_by_itself(job: Job) -> None:
    """A user with rights on one collection only may ask nothing of the others."""
    job.source.create(schema("docs_v2"), rows(3))
    job.source["docs_v2"].aliases.append("live")
    for name in ("foreign_1", "foreign_2"):
        job.source.create(schema(name), rows(3))
    foreign = Fault(grpc.StatusCode.PERMISSION_DENIED, text="no")
    for call in ("DescribeCollection", "GetLoadState", "ShowPartitions", "Query", "DescribeIndex"):
        job.source.fails(call, foreign, times=None, when=lambda r: "foreign" in r.collection_name)
    job.from_source["collections"] = ["live"]
    assert job.run() == 0
    assert [each["name"] for each in job.report["collections"]] == ["docs_v2"]
    asked = {each.collection_name for each in job.source.asked("DescribeCollection")}
    assert asked == {"live", "docs_v2"}


# -- old servers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_without_count_is_one_finding_that_cannot_be_accepted(
    job: Job, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    job.source.create(schema(), rows(3))
    (job.source if side == "source" else job.target).version = "v2.2.16"
    assert job.run("plan", f"--accept={side}-version") == 3
    lines = [line for line in capsys.readouterr().err.splitlines() if "[" in line]
    [line] = lines
    assert f"error  [{side}-too-old]" in line
    assert "--accept" not in line
