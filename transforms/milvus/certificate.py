"""Reads the dates of a server's certificate, whether or not it is trusted."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from transforms.milvus.endpoint import Endpoint

TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Validity:
    """The period in which a certificate is valid."""

    since: datetime
    until: datetime

    def words(self) -> str:
        """Returns why the certificate is not valid now."""
        now = datetime.now(UTC)
        if now > self.until:
            return f"it was valid until {_minute(self.until)}"
        if now < self.since:
            return f"it becomes valid at {_minute(self.since)}"
        return "not this certificate itself, but that of its CA"


def validity(endpoint: Endpoint) -> Validity | None:
    """Returns the dates of a server's certificate; None if the server sends none."""
    host, _, port = endpoint.address.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
            _context().wrap_socket(
                plain, server_hostname=endpoint.tls.server_name or host
            ) as secure,
        ):
            certificate = x509.load_der_x509_certificate(
                secure.getpeercert(binary_form=True) or b""
            )
    except (OSError, ValueError):
        return None
    return Validity(certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def _context() -> ssl.SSLContext:
    """Trusts every server: only the certificate is read, and nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _minute(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
