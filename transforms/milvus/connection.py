"""A gRPC connection to one Milvus: options, certificates, and the metadata of each call."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import grpc

from transforms.milvus import qualified_names
from transforms.milvus.endpoint import Endpoint

_OPTIONS = [
    # A Milvus proxy receives up to 64 MB; requests are cut to much less.
    ("grpc.max_send_message_length", -1),
    # Otherwise channels to one address share one connection and its flow-control window.
    ("grpc.use_local_subchannel_pool", 1),
    # milvus-lite answers pings every 10 s with GOAWAY too_many_pings.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # After an outage of minutes, reconnect within seconds.
    ("grpc.max_reconnect_backoff_ms", 5_000),
]

ANSWER_PAGES = 4
"""An answer larger than this many pages is too large."""

SMALLEST_AIM_BYTES = 1024 * 1024
"""The smallest page size that counts here: answers other than pages fit in `ANSWER_PAGES` of it."""


def database_pairs(database: str) -> list[tuple[str, str]]:
    """Returns the pair that names the database of a call; none if it names none."""
    return [("dbname", database)] if database else []


def metadata(endpoint: Endpoint) -> list[tuple[str, str]]:
    """Returns the pairs that name the database and authenticate the caller."""
    pairs = database_pairs("" if endpoint.database == qualified_names.ALL else endpoint.database)
    secret = endpoint.secret()
    if secret:
        pairs.append(("authorization", base64.b64encode(secret.encode()).decode()))
    return pairs


def connect(endpoint: Endpoint) -> grpc.Channel:
    """Returns a channel; nothing is sent yet."""
    # Servers send up to 256 MB. If rows suddenly become wide, Kitelift requests the page again with
    # fewer rows instead of keeping so much in memory.
    largest = ANSWER_PAGES * max(endpoint.page_bytes, SMALLEST_AIM_BYTES)
    options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.max_receive_message_length", largest)]
    if not endpoint.secure:
        return grpc.insecure_channel(endpoint.address, options=options)
    tls = endpoint.tls
    if tls.server_name:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca_pem_path),
        private_key=_pem(tls.client_key_path),
        certificate_chain=_pem(tls.client_pem_path),
    )
    return grpc.secure_channel(endpoint.address, credentials, options=options)


def _pem(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None
