"""Makes in the clusters what the Plan says, before rows move. Done twice, it changes nothing."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from pipeline import dropping
from pipeline.job import JobConfig
from transforms.errors import Refused
from transforms.finish import FLUSH_TIMEOUT_S, LOAD_TIMEOUT_S, begin_indexes
from transforms.milvus.client import Client
from transforms.milvus.description import Description
from transforms.milvus.endpoint import Endpoint
from transforms.plan import CollectionPlan, Plan

logger = logging.getLogger(__name__)


def load_sources(config: JobConfig, plan: Plan) -> Plan:
    """Loads the source collections that are to be loaded for this job; returns the exact counts."""
    client = Client(config.source_endpoint)
    try:
        return replace(plan, collections=tuple(_loaded(client, each) for each in plan.collections))
    finally:
        client.close()


def _loaded(client: Client, plan: CollectionPlan) -> CollectionPlan:
    if not plan.release_source:
        return plan
    logger.info("loading source collection %s", plan.name)
    client.load(plan.name, timeout_s=LOAD_TIMEOUT_S)
    return replace(plan, rows=client.count(plan.name))


def load_targets(config: JobConfig, plan: Plan) -> None:
    """Loads the target collections that were not left loaded, so that they can be compared."""
    client = Client(config.target_endpoint)
    try:
        for each in plan.collections:
            if client.loaded(each.target) is False:
                client.load(each.target, timeout_s=LOAD_TIMEOUT_S)
    finally:
        client.close()


def release_sources(config: JobConfig, plan: Plan) -> None:
    """Releases the source collections that were loaded only for this job."""
    _release(config.source_endpoint, [p.name for p in plan.collections if p.release_source])


def conclude(config: JobConfig, plan: Plan) -> None:
    """Releases what was loaded only for this job: the source to read it, the target to prove it."""
    release_sources(config, plan)
    _release(config.target_endpoint, [p.target for p in plan.collections if not p.load])


def _release(endpoint: Endpoint, names: list[str]) -> None:
    if not names:
        return
    client = Client(endpoint)
    try:
        for name in names:
            client.release(name)
    finally:
        client.close()


@dataclass(frozen=True)
class Made:
    """What the target made of each collection of a plan; `new` are those that were not there."""

    described: dict[str, Description]
    new: tuple[str, ...]


def make_targets(config: JobConfig, plan: Plan, *, drop: bool = False) -> Made:
    """Makes the database, collections and partitions that are missing, and describes the result.

    With `drop`, what the plan replaces is dropped first: once for a job, before its first row.
    """
    _make_database(config)
    client = Client(config.target_endpoint)
    try:
        there = set(client.collections())
        for each in plan.collections:
            if drop and each.replaces and each.target in there:
                dropping.drop(client, config, each)
                there.remove(each.target)
        new = [each for each in plan.collections if each.target not in there]
        for each in new:
            client.create_collection(each.target, each.wanted)
        for each in plan.collections:
            _make_partitions(client, each)
            if config.sink.create_index == "before":
                begin_indexes(client, each)
        described = {each.name: client.describe(each.target) for each in plan.collections}
        return Made(described, tuple(each.target for each in new))
    finally:
        client.close()


def unmake_targets(config: JobConfig, made: Made) -> None:
    """Drops the collections that were made just now, if nobody has put rows into them."""
    client = Client(config.target_endpoint)
    try:
        for name in made.new:
            client.flush(name, timeout_s=FLUSH_TIMEOUT_S)
            if not client.stored_rows(name):
                client.drop_collection(name)
    finally:
        client.close()


def _make_database(config: JobConfig) -> None:
    if not config.sink.create_database:
        return
    database = config.sink.database
    client = Client(replace(config.target_endpoint, database="default"))
    try:
        if database not in client.databases():
            client.create_database(database)
    finally:
        client.close()


def _make_partitions(client: Client, plan: CollectionPlan) -> None:
    if plan.source.partition_key:
        return  # The server makes them, as many as the collection was created with.
    there = set(client.partitions(plan.target))
    for partition in plan.source.partitions:
        if partition not in there:
            try:
                client.create_partition(plan.target, partition)
            except Refused:
                if partition not in client.partitions(plan.target):
                    raise
