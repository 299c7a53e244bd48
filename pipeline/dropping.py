"""Drops what a job file says is to be dropped, after asking; nothing else, and never the source."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

from pipeline.jobfile.job import JobConfig
from transforms.errors import PreflightError
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.plan import CollectionPlan, Plan


def confirm(plan: Plan, *, yes: bool) -> None:
    """Makes sure that the user wants what is dropped to be dropped.

    Raises:
        PreflightError: nobody said yes.
    """
    names = [each.target for each in plan.collections if each.replaces]
    if not names or yes:
        return
    what = f"{plan.target_url}: {', '.join(names)}: the rows that are there are dropped"
    if not sys.stdin.isatty():
        raise PreflightError([f"{what}. If that is right, give --yes; nothing was written."])
    if input(f"{what}. Type yes to go on: ").strip().lower() != "yes":
        raise PreflightError(["not confirmed; nothing was written."])


def drop(client: Client, config: JobConfig, plan: Plan, each: CollectionPlan) -> None:
    """Drops a collection of the target that the plan replaces, and its aliases with it.

    Raises:
        PreflightError: it is the source's, by another name of the same server.
    """
    there = client.describe(each.target)
    refuse_source(config, plan, there)
    for alias in _own_aliases(client, there):
        client.drop_alias(alias)
    client.drop_collection(each.target)


def _own_aliases(client: Client, there: Description) -> Iterator[str]:
    """Yields the aliases that surely belong to a collection.

    What a description alone says may be the cache of a proxy: the alias may be another
    collection's by now. It is left alone, and 2.4 and later refuse the drop if it was not.
    """
    listed = client.aliases(there.name)
    if listed is not None:
        yield from listed
        return
    yield from (each for each in there.aliases if client.alias_owner(each) == there.name)


def refuse_source(config: JobConfig, plan: Plan, there: Description) -> None:
    """Makes sure that a collection of the target is none of the source's.

    Raises:
        PreflightError: it is, by another name of the same server.
    """
    sources = {one.source.collection_id for one in plan.collections}
    same = there.collection_id and there.collection_id in sources
    if same or _one_place(config):
        what = f"target collection {there.name} seems to be the source's; it is not dropped"
        raise PreflightError([f"{what}. Use another target, or drop it yourself."])


def _one_place(config: JobConfig) -> bool:
    source, sink = config.source, config.sink
    one_database = source.database == sink.database
    return one_database and bool(_addresses(source.url) & _addresses(sink.url))


def _addresses(url: str) -> set[tuple[str, int]]:
    """Returns the addresses behind a url; every way to say this host is one."""
    parts = urlsplit(url)
    port = parts.port or 19530
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    hosts = {str(each[4][0]) for each in found}
    local = {"::1", "0.0.0.0", "::"} | {host for host in hosts if host.startswith("127.")}
    return {("localhost" if host in local else host, port) for host in hosts}
