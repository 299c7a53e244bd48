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
from tests.dataflow.jobs import Job, row, rows, writes
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
    assert "an ingress answers there that does not pass gRPC on (HTTP 404)." in said
    assert "Set the ingress to gRPC" in said


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
    assert "nothing listens there" not in said
    assert "s3cret" not in said
