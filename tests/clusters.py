"""What two clusters have, and what a job asks of them: values for tests without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymilvus.grpc_gen import schema_pb2
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile import config
from pipeline.jobfile.job import JobConfig
from pipeline.planning.cluster_survey import ClusterSurvey
from pipeline.planning.collection_survey import Rows
from pipeline.planning.same_collection import Match
from pipeline.planning.survey import Survey
from transforms.milvus import versions
from transforms.milvus.description import Description, Pairs

SOURCE_URL, TARGET_URL = "http://source:19530", "http://target:19530"


def job(*, env: str = "", source: str = "", sink: str = "", transform: str = "") -> JobConfig:
    """A job with a few keys more than it needs."""
    text = f"""
        env {{ {env} }}
        source {{ Milvus {{ url = "{SOURCE_URL}"\n {source} }} }}
        sink {{ Milvus {{ url = "{TARGET_URL}"\n {sink} }} }}
        transform {{ {transform} }}
    """
    return config.parse(text, base=Path())


def schema(
    name: str = "docs",
    *,
    key: int = DataType.Int64,
    auto_id: bool = False,
    partition_key: str = "",
    dynamic: bool = False,
    **fields: int,
) -> schema_pb2.CollectionSchema:
    """A collection with a key `id`, a `title`, a 2-d `vector`, and `fields` by their types."""
    made = schema_pb2.CollectionSchema(name=name, enable_dynamic_field=dynamic)
    _add(made, "id", key, is_primary_key=True, autoID=auto_id)
    _add(made, "title", DataType.VarChar)
    _add(made, "vector", DataType.FloatVector)
    for each, kind in fields.items():
        _add(made, each, kind)
    for field in made.fields:
        field.is_partition_key = field.name == partition_key
    return made


def described(made: schema_pb2.CollectionSchema | None = None, **changes: Any) -> Description:
    """A loaded collection, as its server describes it."""
    made = made or schema()
    found = Description(
        name=made.name,
        collection_id=447,
        raw_schema=made.SerializeToString(),
        shards=1,
        consistency_level=2,
        partition_count=1,
        partitions=("_default",),
        loaded=True,
    )
    return replace(found, **changes)


def side(
    *collections: Description, rows: Rows | None = None, properties: Pairs = (), **changes: Any
) -> ClusterSurvey:
    """A cluster with these collections, each with `rows`; `properties` are those of its database."""
    found = ClusterSurvey(
        url=SOURCE_URL,
        database="default",
        version=versions.parse("v2.3.7"),
        databases=("default",),
        names=tuple(collection.name for collection in collections),
        described={collection.name: collection for collection in collections},
        rows={collection.name: rows or Rows(5, exact=True) for collection in collections},
    )
    found = replace(found, **changes)
    return replace(found, uses=(found.database,), properties={found.database: properties})


def survey(
    source: ClusterSurvey | None = None,
    target: ClusterSurvey | None = None,
    chosen: tuple[str, ...] | None = None,
    matches: Mapping[str, Match] | None = None,
    beside: frozenset[str] = frozenset(),
) -> Survey:
    """Both clusters; without more, one collection `docs` that is to be copied to an empty one."""
    source = source or side(described())
    target = replace(target or side(), url=TARGET_URL)
    names = tuple(source.names) if chosen is None else chosen
    databases = ((source.database, target.database),)
    return Survey(source, target, names, databases, matches=matches or {}, beside=beside)


def _add(made: schema_pb2.CollectionSchema, name: str, kind: int, **marks: Any) -> None:
    field = made.fields.add(name=name, data_type=kind, **marks)
    if kind == DataType.VarChar:
        field.type_params.add(key="max_length", value="64")
    if kind >= DataType.BinaryVector and kind != DataType.SparseFloatVector:
        field.type_params.add(key="dim", value="2" if kind != DataType.BinaryVector else "8")
