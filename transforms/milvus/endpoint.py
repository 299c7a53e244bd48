"""The address of one Milvus and how to log in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from transforms.errors import ConfigError
from transforms.milvus.rate_limit import RateLimit

DEFAULT_PORT = 19530

FILES = "parquet:"
"""The prefix of a path or URI of Parquet files, in place of a server's url."""

PAGE_BYTES = 12 * 1024 * 1024
"""The target size of a page. Answers above 64 MB fail on 2.3.5; up to 4 pages are in memory."""


def is_reference(token: str) -> bool:
    """Returns whether a token is a reference to the real one.

    >>> is_reference("env:SOURCE_TOKEN"), is_reference("root:Milvus")
    (True, False)
    """
    kind, _, place = token.partition(":")
    return kind in ("env", "file", "gcp-secret") and bool(place)


@dataclass(frozen=True)
class Tls:
    """Paths to PEM files; "" is not set. `server_name` overrides the name that is checked."""

    ca_pem_path: str = ""
    client_pem_path: str = ""
    client_key_path: str = ""
    server_name: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One database of one Milvus, or all of them, and how to log in there.

    `token` is "user:password", an API key, or a reference that is resolved on the host that uses
    it: ``env:NAME``, ``file:/path`` or ``gcp-secret:projects/P/secrets/S/versions/V``. It is never
    in a repr. With the database `*`, collections are named `database.collection`. `max_outage_s` is
    how long the server may be unreachable, or short of capacity, before a call fails. `rate_limit`
    is the throughput limit. If a page takes longer than `max_latency_s`, pages become smaller; 0 is
    no limit. `page_bytes` is the target size of a page.
    """

    url: str
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Tls = field(default_factory=Tls)
    max_outage_s: float = 900.0
    rate_limit: RateLimit = field(default_factory=RateLimit)
    max_latency_s: float = 0.0
    page_bytes: int = PAGE_BYTES

    @property
    def folder(self) -> str:
        """The location of the Parquet files; "" for a server."""
        return self.url.removeprefix(FILES) if self.url.startswith(FILES) else ""

    @property
    def secure(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme in ("https", "tls")

    @property
    def address(self) -> str:
        """The ``host:port`` that a channel connects to."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        default = 443 if self.secure else DEFAULT_PORT
        return (
            f"[{host}]:{parts.port or default}"
            if ":" in host
            else f"{host}:{parts.port or default}"
        )

    def secret(self) -> str:
        """Returns the token; resolves a reference.

        Raises:
            ConfigError: what it refers to does not exist, is empty, or cannot be read.
        """
        kind, _, place = self.token.partition(":")
        if kind == "env" and place:
            value = os.environ.get(place, "")
            missing = f"the environment variable {place} is not set"
        elif kind == "file" and place:
            path = Path(place)
            # Windows editors start a file with a byte order mark.
            value = path.read_text(encoding="utf-8-sig").strip() if path.is_file() else ""
            missing = f"the file {place} is missing or empty"
        elif kind == "gcp-secret" and place:
            value = gcp_secret(place)
            missing = f"the secret {place} is empty"
        else:
            return self.token
        if not value:
            raise ConfigError([f"token of {self.url}: {missing}"])
        return value


@cache
def gcp_secret(name: str) -> str:
    """Reads a secret from Google Secret Manager, once per process.

    Raises:
        ConfigError: it cannot be read, or the client library is not installed.
    """
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import secretmanager
    except ImportError:
        missing = 'gcp-secret: requires additional libraries: pip install "kitelift[gcp]"'
        raise ConfigError([missing]) from None
    try:
        answer = secretmanager.SecretManagerServiceClient().access_secret_version(name=name)
    except (GoogleAPIError, GoogleAuthError) as error:
        raise ConfigError([f"gcp-secret:{name}: {error}"]) from error
    return str(answer.payload.data.decode("utf-8-sig")).strip()
