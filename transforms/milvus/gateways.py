"""Answers that come from an ingress, a load balancer or a managed service in front of a Milvus.

These speak HTTP. gRPC turns their answer into one of its own codes, whose usual meaning is then
wrong: 404 arrives as UNIMPLEMENTED, 413 as UNKNOWN, 502 as UNAVAILABLE (gRPC core,
``grpc_http2_status_to_grpc_status``; measured with grpcio 1.85).
"""

from __future__ import annotations

import re

from transforms.errors import AccessDenied, Busy, CallDenied, ServerError, TooLarge, Unreachable

NOT_GRPC = "an ingress or proxy answers and does not forward gRPC"
"""The beginning of the message; preflight looks for it to add `INGRESS_REMEDY`."""

INGRESS_REMEDY = (
    "Configure the ingress for gRPC (nginx: grpc_pass, or the annotation "
    'nginx.ingress.kubernetes.io/backend-protocol: "GRPC"), or connect to the port of Milvus '
    "directly."
)

_STATUS = re.compile(r"\bhttp2? (?:header with )?status(?: code)?[^\d]{0,40}?(\d{3})\b")

_TOO_LARGE = ("request entity too large", "payload too large", "content too large")

_NO_GRPC = (
    "unexpected content-type",
    "invalid content-type",
    # An answer that ends without gRPC's trailers, such as a web page with status 200.
    "data frame with end_stream flag received",
)

_DENIED = ("deny api",)

_AWAY = frozenset([408, *range(500, 600)])


def meaning(details: str) -> tuple[type[ServerError], str] | None:
    """Returns the error and the message for a gateway's answer; None if it is not from a gateway.

    >>> meaning("Received http2 header with status: 413")[0].__name__
    'TooLarge'
    >>> meaning("Socket closed") is None
    True
    """
    lowered = details.lower()
    if is_denial(lowered):
        return CallDenied, f"the server denies this call ({details})"
    if any(text in lowered for text in _TOO_LARGE):
        return _of_status(413)
    if status := _STATUS.search(lowered):
        return _of_status(int(status[1]))
    if any(text in lowered for text in _NO_GRPC):
        return Unreachable, f"{NOT_GRPC} ({details})"
    return None


def is_denial(lowered: str) -> bool:
    """Returns whether a lower-case text says that a service does not offer a call."""
    return any(text in lowered for text in _DENIED)


def _of_status(status: int) -> tuple[type[ServerError], str]:
    if status == 413:
        return TooLarge, "an ingress or proxy limits the size of a request (HTTP 413)"
    if status == 429:
        # "rate limit" makes Kitelift back off, and means that nothing was written.
        return Busy, "rate limit of an ingress or proxy (HTTP 429)"
    if status in (401, 403, 407):
        return AccessDenied, f"an ingress or proxy rejects the call (HTTP {status})"
    if status in _AWAY:
        # It is unknown what the server did before its answer was lost.
        return Unreachable, f"an ingress or proxy cannot reach the server (HTTP {status})"
    return Unreachable, f"{NOT_GRPC} (HTTP {status})"
