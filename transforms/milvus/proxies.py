"""The HTTP proxy that gRPC reads from the environment of a process.

gRPC core reads, in this order, ``grpc_proxy``, ``https_proxy`` and ``http_proxy``, in lower case
only, and then ``no_grpc_proxy`` or else ``no_proxy``. The proxy is used for every address,
127.0.0.1 included, and for ``http://`` as for ``https://``.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


@dataclass(frozen=True)
class HttpProxy:
    """A proxy, the environment variable that names it, and the one that lists exempt hosts.

    `address` contains no credentials.
    """

    address: str
    variable: str
    exceptions: str = "no_proxy"

    def __str__(self) -> str:
        return f"{self.address} (environment variable {self.variable})"

    def remedy(self, host: str) -> str:
        """Returns how to connect to a host without the proxy, as an imperative."""
        return f"add {host} to the environment variable {self.exceptions}, or unset {self.variable}"


def used_for(address: str, environment: Mapping[str, str] | None = None) -> HttpProxy | None:
    """Returns the proxy through which gRPC connects to a ``host:port``; None if it uses none."""
    environment = os.environ if environment is None else environment
    variable = next((name for name in VARIABLES if environment.get(name)), "")
    if not variable:
        return None
    parts = urlsplit(environment[variable])
    if parts.scheme != "http" or not parts.hostname:
        return None  # gRPC ignores it and logs that.
    exceptions = next((name for name in EXCEPTIONS if environment.get(name)), "no_proxy")
    if _is_exempt(host_of(address), environment.get(exceptions, "")):
        return None
    return HttpProxy(parts.netloc.rpartition("@")[2], variable, exceptions)


def host_of(address: str) -> str:
    """Returns the host of ``host:port`` or ``[host]:port``.

    >>> host_of("milvus:19530"), host_of("[::1]:19530")
    ('milvus', '::1')
    """
    return address.rpartition(":")[0].strip("[]")


def _is_exempt(host: str, entries: str) -> bool:
    """Returns whether a list contains a host: a suffix of its name, or a block of addresses."""
    for entry in filter(None, map(str.strip, entries.split(","))):
        if host.lower().endswith(entry.lower()):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue  # The host, or the entry, is a name.
    return False
