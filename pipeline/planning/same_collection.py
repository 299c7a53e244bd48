"""Finds out whether a collection of the target is the source's own, however the urls are spelt.

Two signs decide. The first is the collection: its id, or its name and database where a server gives
no ids (milvus-lite 3.2.2). The second is the server, because a cluster cloned from a disk snapshot
has the same ids. Nothing is written.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from pipeline.jobfile.job import JobConfig
from transforms.errors import ServerError
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint

if TYPE_CHECKING:
    from pipeline.planning.survey import ClusterSurvey

CODE = "same-collection"
"""The code of the finding."""

ROUNDS = 8
"""Timestamps taken from each side."""

CLOSE_STEPS = 4
"""Timestamps in the same clock window as the one before, from which two urls are one server. Two
clusters reach that only if their windows, of 50 ms, begin in the same millisecond."""

_LOGICAL_BITS = 18


@dataclass(frozen=True)
class Servers:
    """Whether two urls lead to one server, and what says so.

    `near` is whether the addresses suggest one server where nothing proves it.
    """

    answer: Literal["same", "different", "unknown"]
    why: str = ""
    near: bool = False


@dataclass(frozen=True)
class Match:
    """A collection of the target that is (`certain`), or may be, a collection of the source."""

    certain: bool
    why: str


def find_matches(
    config: JobConfig, source: ClusterSurvey, target: ClusterSurvey, chosen: Collection[str]
) -> dict[str, Match]:
    """Returns the collections of the target that are, or may be, among those to copy; by name."""
    servers = cache(lambda: compare_servers(config.source_endpoint, config.target_endpoint))
    found = {}
    for name in {config.name_of(each) for each in chosen} & {*chosen}:
        if (there := target.described.get(name)) is not None:
            here = source.described[name]
            if made := match_collection(config, here, there, servers, databases=source.databases):
                found[name] = made
    return found


def find_beside(
    config: JobConfig, source: ClusterSurvey, target: ClusterSurvey, chosen: Collection[str]
) -> frozenset[str]:
    """Returns the collections with aliases that get another name in their own database."""
    there = {*target.owners.values()}
    names = {each for each in chosen if each in there and config.name_of(each) != each}
    if not names or source.database != target.database:
        return frozenset()
    servers = compare_servers(config.source_endpoint, config.target_endpoint)
    return frozenset(names if servers.answer == "same" else ())


def match_collection(
    config: JobConfig,
    here: Description,
    there: Description,
    servers: Callable[[], Servers],
    *,
    databases: Collection[str] = (),
) -> Match | None:
    """Compares two collections of one name; `databases` are those that the source lists."""
    sign = _alike(config, here, there, databases)
    if not sign:
        return None
    found = servers()
    if found.answer == "same":
        return Match(certain=True, why=f"{sign}, and {found.why}")
    has_ids = bool(here.collection_id and there.collection_id)
    if found.answer == "different" or not (has_ids or found.near):
        return None
    if _created_apart(config, here.name):
        return None
    return Match(certain=False, why=f"{sign}, and {found.why}")


def _alike(
    config: JobConfig, here: Description, there: Description, databases: Collection[str]
) -> str:
    """Returns the first sign that two collections of one name are one; "" if they are not."""
    if here.collection_id and there.collection_id:
        same_id = here.collection_id == there.collection_id
        return f"both have the collection id {here.collection_id}" if same_id else ""
    names = config.source.database, config.sink.database
    # Databases that a server does not list may be one: some servers ignore the name.
    if names[0] != names[1] and {*names} <= {*databases}:
        return ""
    return f"both are {here.name} in database {names[1]}"


def _created_apart(config: JobConfig, name: str) -> bool:
    """Whether the servers say that they created a collection at different times."""
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
        return Servers(answer, "timestamps taken from both urls in turn come from one clock")
    if answer == "different":
        return Servers(answer)
    if shared:
        host, port = min(shared)
        return Servers("unknown", f"both urls resolve to {host}:{port}", near=True)
    if _is_local(left) and _is_local(right) and left[1] == right[1]:
        return Servers("unknown", f"both urls lead to port {left[1]} of this host", near=True)
    return Servers("unknown", "the servers do not tell whether they are one")


def _compare_clocks(source: Endpoint, target: Endpoint) -> Literal["same", "different", "unknown"]:
    """Takes timestamps from both servers in turn.

    One server never hands out a timestamp that is not above all before it, and hands out those of
    50 ms from one window (2.3.7 to 3.0, read in their source; 2.3.5, measured).
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
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {(_plain_ip(str(each[4][0])), port) for each in found}


def _plain_ip(text: str) -> str:
    """Returns an IP address in one spelling; the address that means any of this host is loopback.

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
            with socket.socket(family, socket.SOCK_DGRAM) as tried:
                tried.bind((host, 0))
        except OSError:
            continue
        return True
    return False
