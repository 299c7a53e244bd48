"""How to reach one Milvus."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from transforms.errors import ConfigError

DEFAULT_PORT = 19530


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
    ``env:NAME`` or ``file:/path``. It never shows in a repr. `max_outage_s` is how long the server
    may be away, or refuse for want of capacity, before a call fails.
    """

    url: str
    token: str = field(default="", repr=False)
    database: str = "default"
    tls: Tls = field(default_factory=Tls)
    max_outage_s: float = 900.0

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
            ConfigError: the variable or the file that it refers to is not there, or is empty.
        """
        kind, _, place = self.token.partition(":")
        if kind == "env" and place:
            value = os.environ.get(place, "")
            missing = f"the environment variable {place} is not set"
        elif kind == "file" and place:
            path = Path(place)
            value = path.read_text().strip() if path.is_file() else ""
            missing = f"the file {place} is missing or empty"
        else:
            return self.token
        if not value:
            raise ConfigError([f"token of {self.url}: {missing}"])
        return value
