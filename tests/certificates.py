"""Makes the certificates of a test server: one CA, a server's and a client's."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Span = tuple[datetime.timedelta, datetime.timedelta]

DAY, HOUR = datetime.timedelta(days=1), datetime.timedelta(hours=1)
GOOD: Span = (-DAY, DAY)
EXPIRED: Span = (-DAY, -HOUR)
EARLY: Span = (HOUR, DAY)


@dataclass(frozen=True)
class Certificates:
    """PEM files; `mutual` asks clients for a certificate too."""

    ca_pem: Path
    server_pem: Path
    server_key: Path
    client_pem: Path
    client_key: Path
    mutual: bool = False

    @property
    def expired(self) -> bool:
        """Whether the server's is good no more."""
        return self.until < datetime.datetime.now(datetime.UTC)

    @property
    def until(self) -> datetime.datetime:
        """When the server's expires."""
        return x509.load_pem_x509_certificate(self.server_pem.read_bytes()).not_valid_after_utc

    @property
    def since(self) -> datetime.datetime:
        """When the server's begins to be good."""
        return x509.load_pem_x509_certificate(self.server_pem.read_bytes()).not_valid_before_utc

    def of_server(self) -> grpc.ServerCredentials:
        """The credentials of the server."""
        pair = (self.server_key.read_bytes(), self.server_pem.read_bytes())
        return grpc.ssl_server_credentials(
            [pair], self.ca_pem.read_bytes(), require_client_auth=self.mutual
        )

    def credentials(self) -> grpc.ChannelCredentials:
        """The credentials of a client that this server lets in."""
        return grpc.ssl_channel_credentials(
            self.ca_pem.read_bytes(), self.client_key.read_bytes(), self.client_pem.read_bytes()
        )


def make(
    folder: Path, *, mutual: bool = False, server: Span = GOOD, authority: Span = GOOD
) -> Certificates:
    """Writes new certificates for ``localhost`` and 127.0.0.1 into a folder.

    `server` and `authority` are when, from now, the server's and its signer's are good.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _sign("Kitelift test CA", ca_key.public_key(), ca_key, authority, is_authority=True)
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name, span in (("server", server), ("client", GOOD)):
        key = ec.generate_private_key(ec.SECP256R1())
        leaf = _sign(name, key.public_key(), ca_key, span)
        (folder / f"{name}.pem").write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(_private(key))
    return Certificates(
        ca_pem=folder.absolute() / "ca.pem",
        server_pem=folder.absolute() / "server.pem",
        server_key=folder.absolute() / "server.key",
        client_pem=folder.absolute() / "client.pem",
        client_key=folder.absolute() / "client.key",
        mutual=mutual,
    )


def _sign(
    name: str,
    key: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePrivateKey,
    span: Span,
    *,
    is_authority: bool = False,
) -> x509.Certificate:
    now = datetime.datetime.now(datetime.UTC)
    since, until = span
    loopback = ipaddress.ip_address("127.0.0.1")
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name("Kitelift test CA"))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + since)
        .not_valid_after(now + until)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(loopback)]),
            critical=False,
        )
        .sign(signer, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
