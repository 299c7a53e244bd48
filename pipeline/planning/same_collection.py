"""Finds out whether a collection of the target is the source collection itself, under any url.

Two checks decide. The first compares the collections: their ids, or name and database if a server
has no ids (milvus-lite 3.2.2). The second compares the servers, because a cluster cloned from a
disk snapshot has the same ids. Nothing is written.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pipeline.jobfile.job import JobConfig
from pipeline.planning.cluster_survey import ClusterSurvey
from transforms.errors import ServerError
from transforms.milvus import qualified_names
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint

CODE = "same-collection"
"""The code of the finding."""

ROUNDS = 8
"""Timestamps taken from each side."""

CLOSE_STEPS = 4
"""The number of timestamps in the same clock window as the one before that proves one server. Two
clusters reach it only if their windows, of 50 ms, begin in the same millisecond."""

_LOGICAL_BITS = 18


@dataclass(frozen=True)
class Servers:
    """Whether two urls lead to one server, and the reason.

    `near` is set if the addresses suggest one server, but nothing proves it.
    """

    answer: Literal["same", "different", "unknown"]
    why: str = ""
    near: bool = False


@dataclass(frozen=True)
class Match:
    """A target collection that is (`certain`), or may be, a collection of the source."""

    certain: bool
    why: str


def find_matches(
    config: JobConfig, source: ClusterSurvey, target: ClusterSurvey, chosen: Collection[str]
) -> dict[str, Match]:
    """Returns the target collections that are, or may be, among those to copy; by name."""
    servers = cache(lambda: compare_servers(config.source_endpoint, config.target_endpoint))
    matches = {}
    for name in {config.name_of(old) for old in chosen} & {*chosen}:
        if (right := target.described.get(name)) is not None:
            left = source.described[name]
            if match := match_collection(config, left, right, servers, databases=source.databases):
                matches[name] = match
    return matches


def find_beside(
    config: JobConfig, source: ClusterSurvey, target: ClusterSurvey, chosen: Collection[str]
) -> frozenset[str]:
    """Returns the collections with aliases that are copied under another name to their database."""
    owners = {*target.owners.values()}
    names = {name for name in chosen if name in owners and config.name_of(name) != name}
    if config.qualifies:
        databases = qualified_names.databases_of
        names = {name for name in names if databases([name]) == databases([config.name_of(name)])}
    if not names or source.database != target.database:
        return frozenset()
    servers = compare_servers(config.source_endpoint, config.target_endpoint)
    return frozenset(names if servers.answer == "same" else ())


def match_collection(
    config: JobConfig,
    left: Description,
    right: Description,
    servers: Callable[[], Servers],
    *,
    databases: Collection[str] = (),
) -> Match | None:
    """Compares two collections of one name; `databases` are those that the source lists."""
    why = _same_collection(config, left, right, databases)
    if not why:
        return None
    compared = servers()
    if compared.answer == "same":
        return Match(certain=True, why=f"{why}, and {compared.why}")
    has_ids = bool(left.collection_id and right.collection_id)
    if compared.answer == "different" or not (has_ids or compared.near):
        return None
    if _created_apart(config, left.name):
        return None
    return Match(certain=False, why=f"{why}, and {compared.why}")


def _same_collection(
    config: JobConfig, left: Description, right: Description, databases: Collection[str]
) -> str:
    """Returns why two collections of one name seem to be one; "" if they are not."""
    if left.collection_id and right.collection_id:
        same_id = left.collection_id == right.collection_id
        return f"both have the collection id {left.collection_id}" if same_id else ""
    if config.qualifies:
        return f"both are {left.name}"
    names = config.source_endpoint.database, config.sink.database
    # Databases that a server does not list may be one: some servers ignore the name.
    if names[0] != names[1] and {*names} <= {*databases}:
        return ""
    return f"both are {left.name} in database {names[1]}"


def _created_apart(config: JobConfig, name: str) -> bool:
    """Whether the servers report different creation times for a collection."""
    times = []
    for endpoint in (config.source_endpoint, config.target_endpoint):
        client = Client(endpoint, NO_RETRIES)
        try:
            times.append(client.created(name))
        except ServerError:
            return False
        finally:
            client.close()
    return all(times) and times[0] != times[1]


# -- servers --------------------------------------------------------------------------------------


def compare_servers(source: Endpoint, target: Endpoint) -> Servers:
    """Finds out whether two urls lead to one server."""
    if source.folder or target.folder:
        same = bool(source.folder) and _folder(source) == _folder(target)
        return Servers("same", "both are in one folder") if same else Servers("different")
    left, right = _address(source), _address(target)
    shared = _resolved(left) & _resolved(right)
    if left == right or any(ipaddress.ip_address(host).is_loopback for host, _ in shared):
        return Servers("same", f"both urls lead to {right[0]}:{right[1]}")
    answer = _compare_clocks(source, target)
    if answer == "same":
        return Servers(answer, "timestamps from both urls come from one clock")
    if answer == "different":
        return Servers(answer)
    if shared:
        host, port = min(shared)
        return Servers("unknown", f"both urls resolve to {host}:{port}", near=True)
    if _is_local(left) and _is_local(right) and left[1] == right[1]:
        return Servers("unknown", f"both urls lead to port {left[1]} of this host", near=True)
    return Servers("unknown", "Kitelift cannot find out whether both urls lead to one server")


def _compare_clocks(source: Endpoint, target: Endpoint) -> Literal["same", "different", "unknown"]:
    """Takes timestamps from both servers in turn.

    Each timestamp of one server is above all earlier ones, and those of 50 ms come from one window
    (2.3.7 to 3.0, read in their source; 2.3.5, measured).
    """
    clients = Client(source, NO_RETRIES), Client(target, NO_RETRIES)
    last = close = 0
    try:
        for client in clients * ROUNDS:
            now = client.timestamp()
            if not now:
                return "unknown"
            if now <= last:
                return "different"
            close += now >> _LOGICAL_BITS == last >> _LOGICAL_BITS
            last = now
    except ServerError:
        return "unknown"
    finally:
        for client in clients:
            client.close()
    return "same" if close >= CLOSE_STEPS else "unknown"


def _folder(endpoint: Endpoint) -> str:
    local = "://" not in endpoint.folder
    return str(Path(endpoint.folder).resolve()) if local else endpoint.folder.rstrip("/")


def _address(endpoint: Endpoint) -> tuple[str, int]:
    parts = urlsplit(f"//{endpoint.address}")
    return (parts.hostname or "").rstrip("."), parts.port or 0


def _resolved(address: tuple[str, int]) -> set[tuple[str, int]]:
    """Returns the IP addresses of a host, with its port; none if its name cannot be resolved."""
    host, port = address
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {(_plain_ip(str(sockaddr[0])), port) for *_, sockaddr in infos}


def _plain_ip(text: str) -> str:
    """Returns an IP address in one spelling; the unspecified address becomes loopback.

    >>> _plain_ip("::ffff:10.0.0.1"), _plain_ip("0.0.0.0")
    ('10.0.0.1', '127.0.0.1')
    """
    ip = ipaddress.ip_address(text.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if ip.is_unspecified:
        return "127.0.0.1" if ip.version == 4 else "::1"
    return str(ip)


def _is_local(address: tuple[str, int]) -> bool:
    """Whether a host is this one: only its own addresses can be bound."""
    for host, _ in _resolved(address):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))
        except OSError:
            continue
        return True
    return False
