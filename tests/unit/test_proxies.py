"""The HTTP proxy of the environment: read as gRPC reads it, and named in errors."""

from __future__ import annotations

import pytest
from pymilvus.grpc_gen import milvus_pb2

from tests import sockets
from transforms.errors import Unreachable
from transforms.milvus import proxies
from transforms.milvus.channel import NO_RETRIES, Channel
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.proxies import HttpProxy

PROXY = "http://10.0.0.9:3128"


@pytest.fixture(autouse=True)
def no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*proxies.VARIABLES, *proxies.EXCEPTIONS):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("environment", "variable"),
    [
        ({"http_proxy": PROXY}, "http_proxy"),
        ({"https_proxy": PROXY}, "https_proxy"),
        ({"http_proxy": PROXY, "https_proxy": PROXY}, "https_proxy"),
        ({"http_proxy": PROXY, "https_proxy": PROXY, "grpc_proxy": PROXY}, "grpc_proxy"),
        ({"http_proxy": PROXY, "no_proxy": "other, example.com"}, "http_proxy"),
        ({"http_proxy": PROXY, "no_proxy": "milvus", "no_grpc_proxy": "other"}, "http_proxy"),
        ({"http_proxy": "", "grpc_proxy": ""}, None),
        ({"HTTP_PROXY": PROXY}, None),  # gRPC reads lower case only.
        ({"http_proxy": "socks5://10.0.0.9:1080"}, None),
        ({"http_proxy": PROXY, "no_proxy": "other, milvus"}, None),
        ({"http_proxy": PROXY, "no_proxy": "VUS"}, None),  # The end of the name.
        ({"http_proxy": PROXY, "no_grpc_proxy": "milvus"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_variable_is_the_one_that_grpc_uses(
    environment: dict[str, str], variable: str | None
) -> None:
    proxy = proxies.used_for("milvus:19530", environment)
    assert (proxy and proxy.variable) == variable


@pytest.mark.parametrize(
    ("address", "exempt"),
    [("10.1.2.3:19530", True), ("10.2.2.3:19530", False), ("[fd00::1]:19530", True)],
)
def test_addresses_are_exempt_by_block(address: str, exempt: bool) -> None:
    environment = {"http_proxy": PROXY, "no_proxy": "10.1.0.0/16,fd00::/8"}
    assert (proxies.used_for(address, environment) is None) is exempt


def test_the_secrets_of_a_proxy_are_never_shown() -> None:
    proxy = proxies.used_for("milvus:19530", {"http_proxy": "http://me:s3cret@10.0.0.9:3128"})
    assert proxy == HttpProxy("10.0.0.9:3128", "http_proxy")
    assert "s3cret" not in f"{proxy!r} {proxy} {proxy.remedy('milvus')}"


@pytest.mark.parametrize("variable", proxies.VARIABLES)
def test_an_error_at_a_proxy_names_the_proxy_and_how_to_avoid_it(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = sockets.closed_port()
    monkeypatch.setenv(variable, f"http://me:s3cret@127.0.0.1:{port}")
    channel = Channel(Endpoint("http://127.0.0.1:19530"), NO_RETRIES)
    with pytest.raises(Unreachable) as caught:
        channel.ask("Connect", milvus_pb2.ConnectRequest(), milvus_pb2.ConnectResponse)
    channel.close()
    assert caught.value.detail == (
        f"no connection through the HTTP proxy 127.0.0.1:{port} (environment variable {variable}): "
        f"connection refused. To connect without it, add 127.0.0.1 to the environment variable "
        f"no_proxy, or unset {variable}"
    )
