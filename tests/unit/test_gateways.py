"""Answers of an ingress or a managed service in front of a Milvus, and their errors."""

from __future__ import annotations

import grpc
import pytest
from pymilvus.grpc_gen import milvus_pb2

from tests import sockets
from tests.fakes.milvus import FakeMilvus
from tests.fakes.script import Fault
from transforms import errors
from transforms.errors import ServerError
from transforms.milvus import gateways
from transforms.milvus.channel import NO_RETRIES, Channel
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.faults import fault_in, shortage, surely_not_done

NOT_GRPC = "an ingress or proxy answers and does not forward gRPC"


def answer_of(url: str) -> ServerError:
    channel = Channel(Endpoint(url), NO_RETRIES)
    with pytest.raises(ServerError) as caught:
        channel.send("Insert", milvus_pb2.InsertRequest(num_rows=1).SerializeToString())
    channel.close()
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind", "words", "sure"),
    [
        (413, errors.TooLarge, "limits the size of a request (HTTP 413)", True),
        (429, errors.Busy, "rate limit of an ingress or proxy (HTTP 429)", True),
        (401, errors.AccessDenied, "an ingress or proxy rejects the call (HTTP 401)", True),
        (403, errors.AccessDenied, "an ingress or proxy rejects the call (HTTP 403)", True),
        (404, errors.Unreachable, f"{NOT_GRPC} (HTTP 404)", False),
        (415, errors.Unreachable, f"{NOT_GRPC} (HTTP 415)", False),
        (301, errors.Unreachable, f"{NOT_GRPC} (HTTP 301)", False),
        (200, errors.Unreachable, NOT_GRPC, False),
        (502, errors.Unreachable, "cannot reach the server (HTTP 502)", False),
        (503, errors.Unreachable, "cannot reach the server (HTTP 503)", False),
        (504, errors.Unreachable, "cannot reach the server (HTTP 504)", False),
    ],
)
def test_an_http_status_becomes_the_right_error(
    status: int, kind: type[ServerError], words: str, sure: bool
) -> None:
    with sockets.gateway(status) as url:
        error = answer_of(url)
    assert type(error) is kind
    assert words in error.detail
    assert surely_not_done(error) is sure


def test_a_json_api_is_not_a_milvus() -> None:
    with sockets.gateway(200, "application/json", b'{"code": 404}') as url:
        assert NOT_GRPC in answer_of(url).detail


def test_too_many_requests_slow_down() -> None:
    with sockets.gateway(429) as url:
        error = answer_of(url)
    assert isinstance(error, errors.Busy)
    assert shortage(error) == "rate limit"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Received http2 header with status: 413", errors.TooLarge),
        (
            (
                "unexpected HTTP status code received from server: 413 (Request Entity Too Large); "
                'transport: received unexpected content-type "text/html"'
            ),
            errors.TooLarge,
        ),
        ("413 Request Entity Too Large", errors.TooLarge),
        ("Payload Too Large", errors.TooLarge),
        ("unexpected HTTP status code received from server: 404 (Not Found)", errors.Unreachable),
        ('transport: received unexpected content-type "application/json"', errors.Unreachable),
        ("unexpected HTTP status code received from server: 502 (Bad Gateway)", errors.Unreachable),
        ("it's a deny api, fullMethod:/milvus.proto.milvus.X/GetReplicas", errors.CallDenied),
    ],
)
@pytest.mark.parametrize(
    "status", [grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL]
)
def test_the_text_decides_whatever_the_code(
    text: str, kind: type[ServerError], status: grpc.StatusCode
) -> None:
    with FakeMilvus() as server:
        server.fails("Insert", Fault(status, text=text))
        assert type(answer_of(server.url)) is kind


@pytest.mark.parametrize("text", ["Socket closed", "panic: status 413 rows", "RST_STREAM"])
def test_other_texts_are_not_from_a_gateway(text: str) -> None:
    assert gateways.meaning(text) is None


def test_a_denial_in_a_status_is_final() -> None:
    answer = milvus_pb2.QueryResults()
    answer.status.code, answer.status.reason = 65535, "it's a deny api"
    assert type(fault_in("http://a", "Query", answer.SerializeToString())) is errors.CallDenied
