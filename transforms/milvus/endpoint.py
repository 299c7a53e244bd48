"""How to reach one Milvus."""

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
"""Before a path or a URI in place of a server's url."""

PAGE_BYTES = 12 * 1024 * 1024
"""Aim of one page: answers above 64 MB fail on 2.3.5, and up to four pages are held at a time."""


def is_reference(token: str) -> bool:
    """Whether a token only says where the real one is.

    >>> is_reference("env:SOURCE_TOKEN"), is_reference("root:Milvus")
    (True, False)
    """
    kind, _, place = token.partition(":")
    return kind in ("env", "file", "gcp-secret") and bool(place)


@dataclass(frozen=True)
class Tls:
    """Paths to PEM files; "" is not given. `server_name` overrides the name that is checked."""

    ca_pem_path: str = ""
    client_pem_path: str = ""
    client_key_path: str = ""
    server_name: str = ""


@dataclass(frozen=True)
class Endpoint:
    """One database of one Milvus, and how to log in there.

    `token` is "user:password", an API key, or a reference that is resolved where it is used:
    ``env:NAME``, ``file:/path`` or ``gcp-secret:projects/P/secrets/S/versions/V``. It never shows
    in a repr. `max_outage_s` is how long the server may be away, or refuse for want of capacity,
    before a call fails. Not more than `ceiling` is to pass, and less where a page takes longer than
    `max_latency_s`; 0 is no limit. `page_bytes` is the aim of one page.
    """

    url: str
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Tls = field(default_factory=Tls)
    max_outage_s: float = 900.0
    ceiling: RateLimit = field(default_factory=RateLimit)
    max_latency_s: float = 0.0
    page_bytes: int = PAGE_BYTES

    @property
    def folder(self) -> str:
        """Where the Parquet files are that stand in for a server; "" for a server."""
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
        """Resolves the token.

        Raises:
            ConfigError: what it refers to is not there, or is empty, or cannot be read.
        """
        kind, _, place = self.token.partition(":")
        if kind == "env" and place:
            value = os.environ.get(place, "")
            missing = f"the environment variable {place} is not set"
        elif kind == "file" and place:
            path = Path(place)
            # Windows editors begin a file with a byte order mark.
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
    """Reads a secret of Google's Secret Manager, once in a process.

    Raises:
        ConfigError: it cannot be read, or the client library is not there.
    """
    try:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from google.cloud import secretmanager
    except ImportError:
        needed = 'gcp-secret: requires additional libraries: pip install "kitelift[gcp]"'
        raise ConfigError([needed]) from None
    try:
        answer = secretmanager.SecretManagerServiceClient().access_secret_version(name=name)
    except (GoogleAPIError, GoogleAuthError) as error:
        raise ConfigError([f"gcp-secret:{name}: {error}"]) from error
    return str(answer.payload.data.decode("utf-8-sig")).strip()
