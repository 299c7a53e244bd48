"""What the certificate says that a server shows, whether or not it is to be trusted."""

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
    """From when until when a certificate is good."""

    since: datetime
    until: datetime

    def words(self) -> str:
        """Says why it is not good now."""
        now = datetime.now(UTC)
        if now > self.until:
            return f"it was good until {_minute(self.until)}"
        if now < self.since:
            return f"it is good from {_minute(self.since)} on"
        return "not its own, but that of its signer"


def validity(endpoint: Endpoint) -> Validity | None:
    """Asks a server for its certificate; None if it shows none."""
    host, _, port = endpoint.address.rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), TIMEOUT_S) as plain,
            _context().wrap_socket(
                plain, server_hostname=endpoint.tls.server_name or host
            ) as secure,
        ):
            shown = x509.load_der_x509_certificate(secure.getpeercert(binary_form=True) or b"")
    except (OSError, ValueError):
        return None
    return Validity(shown.not_valid_before_utc, shown.not_valid_after_utc)


def _context() -> ssl.SSLContext:
    """Trusts everybody: nothing is told to the server, and only its certificate is looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
