"""Preflight: facts of both clusters -> findings, before anything is written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import pytest
from pymilvus.grpc_gen.schema_pb2 import DataType

from pipeline.jobfile import value_types
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner, rbac
from pipeline.planning.collection_survey import Rows
from pipeline.planning.same_collection import Match
from pipeline.planning.survey import Survey
from pipeline.preflight import (
    examination,
    fidelity_checks,
    limit_checks,
    server_checks,
    source_checks,
    target_checks,
    type_checks,
)
from tests.clusters import described, job, schema, side, survey
from transforms.errors import AccessDenied, CallDenied, PrivilegeMissing, Unreachable
from transforms.finding import Finding
from transforms.milvus import gateways
from transforms.milvus.access_control import Access
from transforms.milvus.description import Description, Index
from transforms.milvus.parquet import file_channel
from transforms.milvus.versions import parse


@dataclass
class Case:
    """A survey and the codes of its findings; the first finding contains `words`.

    If the job `resumes`, its plan is made from the same survey.
    """

    survey: Survey
    codes: str = ""
    words: tuple[str, ...] = ()
    job: JobConfig = field(default_factory=job)
    purpose: planner.Purpose = "copy"
    resumes: bool = False


def index(kind: str) -> Index:
    return Index("vector", "vector", (("index_type", kind), ("metric_type", "L2")))


def refused(kind: type[Unreachable | AccessDenied], detail: str) -> Unreachable | AccessDenied:
    return kind("http://source:19530", "GetVersion", detail)


AWAY = refused(Unreachable, "connection refused: no server listens on this port")
NO_ENTRY = refused(AccessDenied, "the server rejects the credentials")
NO_RIGHT = refused(PrivilegeMissing, "this user lacks a privilege")
RATES = (("collection.insertRate.max.mb", "5"), ("mmap.enabled", "true"))
EXTERNAL, APART = schema(), schema()
EXTERNAL.external_source = "s3://bucket/docs"
APART.enable_namespace = True
NULL_VECTOR, HALF, FUTURE = schema(), schema(), schema()
HALF.fields[2].data_type, FUTURE.fields[2].data_type = DataType.Float16Vector, 107
NULL_VECTOR.fields[2].nullable = True
BY_TITLE = Index("title", "by_title", (("index_type", "BITMAP"),))
READERS = Access(users=frozenset({"root", "ann"}), roles=frozenset({"reader"}))
DATABASE = (("timezone", "CET"),)
TOLD = schema()
TOLD.description = "of a blog"
NULLABLE = schema()
NULLABLE.fields[1].nullable = True
SEARCHED = schema(sparse=DataType.SparseFloatVector)
SEARCHED.functions.add(
    name="words", type=1, input_field_names=["title"], output_field_names=["sparse"]
)
SEARCHED.fields[2].data_type = DataType.Double  # so that there is one vector
EMBEDDED = schema(meaning=DataType.FloatVector)
EMBEDDED.functions.add(
    name="embed", type=2, input_field_names=["title"], output_field_names=["meaning"]
)
WIDE = schema(**{f"text_{number}": DataType.VarChar for number in range(61)})
for text in WIDE.fields[3:]:
    text.type_params[0].value = "65535"  # So that a row may be of 4 MB.
SHAPE = described(schema(price=DataType.Double))
MARK = "kitelift_job__nightly__db_2d2__20261130T221500__3f9a1c5e7b20"


def with_parts(dim: int) -> Description:
    """A collection with a struct array of vectors."""
    made = schema()
    parts = made.struct_array_fields.add(name="parts")
    part = parts.fields.add(
        name="part", data_type=DataType.ArrayOfVector, element_type=DataType.FloatVector
    )
    part.type_params.add(key="dim", value=str(dim))
    return described(made)


LONG = schema()
LONG.description = "é" * 513  # 1,026 bytes
MANY = schema(**{f"number_{each}": DataType.Int64 for each in range(70)})
RESERVED = schema(**{"in": DataType.Int64, "text_match": DataType.Int64, "Null": DataType.Int64})
BARE = schema()
del BARE.fields[2]
TEXTS = described(schema(note=DataType.Text))
APART_IN_2_6 = schema(partition_key="$namespace_id", **{"$namespace_id": DataType.VarChar})


def with_vectors(many: int) -> Description:
    return described(schema(**{f"v{each}": DataType.FloatVector for each in range(1, many)}))


def to(version: str, source: Description, **changes: Any) -> Survey:
    """A source collection and an empty target of a version; `of` is the source's version."""
    return survey(
        side(source, version=parse(changes.get("of", version))), side(version=parse(version))
    )


def to_isolated(version: str) -> Survey:
    """An indexed target with partition key isolation and an auto-ID key."""
    there = described(
        schema(auto_id=True, partition_key="title"),
        indexes=(Index("vector", "vector", ()),),
        properties=(("partitionkey.isolation", "true"),),
    )
    return survey(side(there, version=parse(version)), side(there, version=parse(version)))


AUTO = described(schema(auto_id=True))
RELEASED = described(loaded=False, indexes=(Index("vector", "vector", ()),))

CASES = {
    "no findings": Case(survey()),
    # reaching them
    "source is away": Case(
        survey(side(problem=AWAY)),
        "source-unreachable",
        ("source http://source:19530", "connection refused", "Check `source.Milvus.url`"),
    ),
    "target is away": Case(
        survey(target=side(problem=AWAY)),
        "target-unreachable",
        ("target http://target:19530", "connection refused", "Check `sink.Milvus.url`"),
    ),
    "memory for no row": Case(
        survey(),
        "memory",
        ("docs", "too small with 4 workers", "a row needs at least 16 B", "1.92 kB or more"),
        job(env="memory = 1000, parallelism = 4"),
    ),
    "memory for a row without its text": Case(
        survey(),
        "wide-rows",
        (
            "docs",
            "a row has 80 B. With 4 workers, `env.memory` has room for 16 B",
            "9.60 kB or more, if",
        ),
        job(env="memory = 1920, parallelism = 4"),
    ),
    "memory for a row": Case(survey(), job=job(env="memory = 9600, parallelism = 4")),
    "memory for all that helps": Case(
        survey(side(described(WIDE))), job=job(env='memory = "2g", parallelism = 4')
    ),
    "memory left out": Case(survey(side(described(WIDE)))),
    "both are away": Case(
        survey(side(problem=AWAY), side(problem=AWAY)), "source-unreachable target-unreachable"
    ),
    "source wants TLS": Case(
        survey(side(problem=refused(Unreachable, "Socket closed"))),
        "source-unreachable",
        ("Socket closed", "write https:// instead of http://"),
    ),
    "source refuses the token": Case(
        survey(side(problem=NO_ENTRY)), "source-access", ("token", "source.Milvus")
    ),
    "target refuses the token": Case(
        survey(target=side(problem=NO_ENTRY)), "target-access", ("token", "sink.Milvus")
    ),
    "target lacks a privilege": Case(
        survey(target=side(problem=NO_RIGHT)), "target-access", ("lacks a privilege", "Grant it")
    ),
    "source denies a call that is needed": Case(
        survey(side(problem=CallDenied("http://source:19530", "Query", "it's a deny api"))),
        "source-access",
        ("Query: it's a deny api", "Ask the provider"),
    ),
    "target denies calls that are not needed": Case(
        survey(target=side(denied=("GetReplicas", "ListAliases"))),
        "call-denied",
        ("denies GetReplicas, ListAliases", "the number of replicas, the aliases"),
    ),
    "an ingress passes no gRPC on": Case(
        survey(target=side(problem=refused(Unreachable, f"{gateways.NOT_GRPC} (HTTP 404)"))),
        "target-unreachable",
        ("an ingress or proxy answers", "Configure the ingress for gRPC"),
    ),
    "a collection is dropped during the survey": Case(
        survey(side(described(), vanished=("file_7",))),
        "collection-vanished",
        ("source collection file_7", "The job leaves it out"),
    ),
    "a named collection is dropped during the survey": Case(
        survey(side(vanished=("file_7",)), chosen=()),
        "no-collection",
        ("file_7",),
        job(source='collections = ["file_7"]'),
    ),
    # versions
    "source without count(*)": Case(
        survey(side(described(), version=parse("v2.2.16"))),
        "source-too-old",
        ("Kitelift cannot read Milvus 2.2.16. It supports 2.3.0 and later", "2.3.7 or later"),
    ),
    "target without count(*)": Case(
        survey(target=side(version=parse("v2.2.16"))),
        "target-too-old",
        ("Kitelift cannot write to Milvus 2.2.16",),
    ),
    "source at the gate": Case(survey(side(described(), version=parse("2.3.7")))),
    "source below the gate": Case(
        survey(side(described(), version=parse("v2.3.5-lite"))),
        "source-version",
        ("Milvus 2.3.5 is older than 2.3.7", "--accept=source-version"),
    ),
    "target older than source": Case(
        survey(side(described(), version=parse("2.5.0")), side(version=parse("2.4.17"))),
        "target-version",
        ("Milvus 2.4.17 is older than the source's 2.5.0", "--accept=target-version"),
    ),
    "target newer than source": Case(survey(target=side(version=parse("2.6.5")))),
    "milvus-lite has its own version numbers": Case(
        survey(side(described(), version=parse("milvus_lite-3.2.2")), side(version=parse("2.6.5"))),
        "text-length",
    ),
    "older milvus-lite than the source": Case(
        survey(
            side(described(), version=parse("milvus_lite-3.2.2")),
            side(version=parse("milvus_lite-3.2.1")),
        ),
        "target-version",
    ),
    "head of the line counts as newest": Case(
        survey(side(described(), version=parse("2.6.5")), side(version=parse("2.6-20260404")))
    ),
    "source reports no version": Case(
        survey(side(described(), version=parse("master-1"))),
        "source-version-unknown",
        ("'master-1'", "only what all supported Milvus versions accept"),
    ),
    "target reports no version": Case(
        survey(target=side(version=parse(""))), "target-version-unknown", ("No action needed",)
    ),
    # databases and collections
    "source has no such database": Case(
        survey(side(databases=("default", "shop"), database="shp"), chosen=()),
        "source-database",
        ("'shp'", "Existing databases: default, shop.", "source.Milvus.database"),
    ),
    "target has no such database": Case(
        survey(target=side(databases=("default",), database="shop")),
        "target-database",
        ("'shop'", "`sink.Milvus.database` is not set", "create_database = true"),
    ),
    "target has no database of the name given": Case(
        survey(target=side(databases=("default",), database="shop")),
        "target-database",
        ("'shop'", "Correct `sink.Milvus.database`"),
        job=job(sink="database = shop"),
    ),
    "target's database will be created": Case(
        survey(target=side(databases=("default",), database="shop")),
        job=job(sink="create_database = true"),
    ),
    "collection with a similar name": Case(
        survey(side(described()), chosen=()),
        "no-collection",
        ("collection 'doc' does not exist", "Did you mean docs?"),
        job=job(source='collections = ["doc"]'),
    ),
    "collection of which only the case is wrong": Case(
        survey(side(described(name="Articles")), chosen=()),
        "no-collection",
        ("collection 'ARTICLES' does not exist", "Did you mean Articles?"),
        job=job(source='collections = ["ARTICLES"]'),
    ),
    "collection with no similar name": Case(
        survey(side(*(described(name=f"c{n}") for n in range(12))), chosen=()),
        "no-collection",
        ("Existing collections: c0, c1,", "c9 and 2 more."),
        job=job(source='collections = ["orders"]'),
    ),
    "collection in an empty database": Case(
        survey(side(), chosen=()),
        "no-collection",
        ("The database has no collections.",),
        job=job(source='collections = ["docs"]'),
    ),
    "collection named by its alias": Case(
        survey(side(described(aliases=("papers",)))), job=job(source='collections = ["papers"]')
    ),
    "no collection is loaded": Case(
        survey(side(described(loaded=False)), chosen=()),
        "no-collection",
        ("no collection in database 'default' is loaded", "auto_load = true"),
    ),
    "collection is not loaded": Case(
        survey(side(RELEASED)),
        "not-loaded",
        ("source collection docs", "auto_load = true"),
    ),
    "collection will be loaded": Case(survey(side(RELEASED)), job=job(source="auto_load = true")),
    "collection cannot be loaded": Case(
        survey(side(described(loaded=False))),
        "not-indexed",
        ("source collection docs", "vector field `vector` has no index", "Create the index"),
        job=job(source="auto_load = true"),
    ),
    "collection cannot be counted": Case(
        survey(side(described(), rows=Rows(5, exact=False, count_error="no available shard"))),
        "not-countable",
        ("source collection docs", "no available shard", "Release the collection"),
    ),
    "load state is unknown": Case(survey(side(described(loaded=None)))),
    "incomplete files": Case(
        survey(side(described(loaded=None), version=parse(file_channel.VERSION))),
        "unfinished-files",
        ("source http://source:19530/docs", "the files are incomplete", "Rerun that job"),
    ),
    "files are not compared by their version": Case(
        survey(
            side(described(), version=parse(file_channel.VERSION)), side(version=parse("v2.3.7"))
        ),
    ),
    "rows that expire": Case(
        survey(
            side(
                described(properties=(("collection.ttl.seconds", "3600"),)),
                rows=Rows(5, exact=True),
            )
        ),
        "rows-expire",
        ("its rows expire 1 h 00 min after they are written",),
    ),
    "rows with a key that is never returned": Case(
        survey(side(described(), rows=Rows(5, exact=True, unreadable=2))),
        "unreadable-key",
        ("2 rows have the key 9223372036854775807", "--accept=unreadable-key"),
    ),
    "key that the target never returns": Case(
        survey(
            side(described(), rows=Rows(5, exact=True, largest_key=1)),
            side(version=parse("v2.6.7")),
        ),
        "unreadable-key-in-target",
        ("1 row has the key 9223372036854775807", "2.6.8 or later", "RowFilter"),
    ),
    "key that the target returns": Case(
        survey(
            side(described(), rows=Rows(5, exact=True, largest_key=1)),
            side(version=parse("2.6.19")),
        ),
    ),
    "key that no filter can name": Case(
        survey(side(described(), rows=Rows(5, exact=True, key_error="cannot parse: in ==\n  ^^"))),
        "key-name",
        (
            "source collection docs",
            "cannot use the name of its primary key",
            '"cannot parse: in == ^^".',
        ),
    ),
    # what the target supports
    "unsupported type": Case(
        survey(side(described(schema(when=DataType.Date)))),
        "unsupported-type",
        ("source field docs.when", "Kitelift cannot copy type Date."),
    ),
    "type that the target does not know": Case(
        survey(side(described(schema(words=DataType.SparseFloatVector)))),
        "target-type target-type",  # and two vectors
        ("docs.words", "SparseFloatVector needs Milvus 2.4.0", "the target is 2.3.7"),
    ),
    "alias that another collection has in the target": Case(
        survey(
            side(described(aliases=("papers",))), side(owners={"papers": "docs_2", "docs": "docs"})
        ),
        "lost:docs.aliases.papers",
        (
            "alias (aliases.papers): it is an alias of docs_2 in the target",
            "--accept=lost:docs.aliases",
        ),
    ),
    "alias that is the name of a collection in the target": Case(
        survey(side(described(aliases=("papers",))), side(owners={"papers": "papers"})),
        "lost:docs.aliases.papers",
        ("it is the name of a collection in the target",),
    ),
    "alias that the target has already": Case(
        survey(side(described(aliases=("papers",))), side(owners={"papers": "docs"})),
    ),
    "name that is an alias in the target": Case(
        survey(side(described()), side(owners={"docs": "docs_2"})),
        "rename-clash",
        ("docs is an alias of docs_2 in the target", "Drop alias docs"),
    ),
    "only vector of a type that the target does not know": Case(
        survey(side(described(HALF))),
        "target-type",
        ("docs.vector", "or convert it to another vector with `transform.Python`."),
    ),
    "field of a type that the target does not know": Case(
        survey(side(described(schema(at=DataType.Timestamptz)))),
        "target-type",
        ("docs.at", "or drop the field with `transform.Filter`."),
    ),
    "only vector of a type of the future": Case(
        survey(side(described(FUTURE))),
        "unsupported-type",
        ("docs.vector", "vector cannot be dropped: Milvus needs at least one vector field"),
    ),
    "type that the target knows": Case(
        survey(
            side(described(schema(words=DataType.SparseFloatVector))),
            side(version=parse("2.4.0")),
        )
    ),
    "type that milvus-lite knows in its own way": Case(
        survey(
            side(described(schema(words=DataType.SparseFloatVector))),
            side(version=parse("milvus_lite-3.2.2")),
        )
    ),
    "target contains rows": Case(
        survey(target=side(described(), rows=Rows(1_234, exact=True))),
        "target-not-empty",
        ("target collection docs", "1,234 rows that this job did not write"),
    ),
    "target exists and is empty": Case(
        survey(target=side(described(), rows=Rows(0, exact=True))),
    ),
    "target contains rows that are kept": Case(
        survey(target=side(described(), rows=Rows(9, exact=True))),
        job=job(sink="data_save_mode = APPEND_DATA"),
    ),
    "rows are kept in a collection with another schema": Case(
        survey(target=side(SHAPE, rows=Rows(9, exact=True))),
        "target-schema",
        ("field price is not in the source", "RECREATE_SCHEMA"),
        job=job(sink="data_save_mode = APPEND_DATA"),
    ),
    "target has a struct array with other sub-fields": Case(
        survey(
            side(with_parts(4), version=parse("3.0.0")),
            side(with_parts(8), rows=Rows(0, exact=True), version=parse("3.0.0")),
        ),
        "target-schema",
        ("field parts has another type",),
    ),
    "target's rows will be dropped": Case(
        survey(target=side(described(collection_id=448), rows=Rows(9, exact=True))),
        "drop",
        ("target collection docs", "Kitelift deletes all of its rows. It contains 9 rows."),
        job=job(source='collections = ["docs"]', sink="data_save_mode = DROP_DATA"),
    ),
    "rows that are not counted will be dropped": Case(
        survey(target=side(described(collection_id=448), rows=Rows(0, exact=False))),
        "drop",
        ("It contains at least 0 rows (not counted, because it is not loaded).",),
        job=job(source='collections = ["docs"]', sink="data_save_mode = DROP_DATA"),
    ),
    "an alias of the original beside the copy": Case(
        survey(
            side(described(aliases=("live",))),
            side(described(aliases=("live",)), owners={"live": "docs"}),
            beside=frozenset({"docs"}),
        ),
        "alias-stays",
        ("alias live stays with source collection docs", "alter alias live to docs_v2"),
        job=job(sink="collection_rename { docs = docs_v2 }"),
    ),
    "vectors that are not in memory": Case(
        survey(side(described(indexes=(index("IVF_SQ8"),)))),
        "vectors-in-storage",
        ("the index of `vector` (IVF_SQ8)", "queryNode.cache.warmup = sync"),
    ),
    "vectors in memory": Case(survey(side(described(indexes=(index("SCANN"),))))),
    "another job writes to the target": Case(
        survey(target=side(described(marks=(MARK,)), rows=Rows(0, exact=True))),
        "target-in-use",
        (
            "target collection docs: another unfinished job writes to it",
            "job `nightly` on host db-2, since 2026-11-30 22:15:00 UTC.",
        ),
    ),
    "another job writes to the target of a sync": Case(
        survey(target=side(described(marks=(MARK,)))),
        "target-in-use",
        purpose="sync",
    ),
    "another job writes to a target that is only compared": Case(
        survey(target=side(described(marks=(MARK,)))), purpose="compare"
    ),
    "target may be the source": Case(
        survey(
            target=side(described(), rows=Rows(0, exact=True)),
            matches={"docs": Match(False, "they are alike")},
        ),
        "same-collection",
        ("it may be the source collection itself: they are alike.", "--accept=same-collection"),
    ),
    "target to drop is another collection of the source": Case(
        survey(
            side(described(), described(schema("papers"), collection_id=449)),
            side(described(schema("papers"), collection_id=449)),
            chosen=("docs", "papers"),
            matches={"papers": Match(True, "both have the collection id 449")},
        ),
        "same-collection",
        ("papers", "it is another source collection of this job: both have the collection id 449"),
        job=job(
            source='collections = ["docs", "papers"]',
            sink="schema_save_mode = RECREATE_SCHEMA, collection_rename { docs = papers, papers = p }",
        ),
    ),
    "nothing to drop": Case(
        survey(target=side(described(collection_id=448), rows=Rows(0, exact=True))),
        job=job(sink="data_save_mode = DROP_DATA"),
    ),
    "target will be recreated": Case(
        survey(target=side(replace(SHAPE, collection_id=448))),
        "drop",
        ("Kitelift drops and recreates it. It contains 5 rows.",),
        job=job(source='collections = ["docs"]', sink="schema_save_mode = RECREATE_SCHEMA"),
    ),
    "collection to drop is not named": Case(
        survey(target=side(described(collection_id=448))),
        "drop-unnamed drop",
        ("Name docs in `source.Milvus.collections`",),
        job=job(sink="schema_save_mode = RECREATE_SCHEMA"),
    ),
    "target to drop is the source": Case(
        survey(target=side(described()), matches={"docs": Match(True, "they are one")}),
        "same-collection",
        ("it is the source collection itself: they are one.", "collection_rename"),
        job=job(source='collections = ["docs"]', sink="schema_save_mode = RECREATE_SCHEMA"),
    ),
    "the source is compared with itself": Case(
        survey(target=side(described()), matches={"docs": Match(True, "they are one")}),
        "same-collection",
        purpose="compare",
    ),
    "the source is synced with itself": Case(
        survey(target=side(described()), matches={"docs": Match(True, "they are one")}),
        "same-collection",
        purpose="sync",
    ),
    "the source is verified against itself": Case(
        survey(target=side(described()), matches={"docs": Match(True, "they are one")}),
        "same-collection target-not-indexed",
        purpose="verify",
        resumes=True,
    ),
    "target must exist": Case(
        survey(),
        "no-target",
        ("schema_save_mode is ERROR_WHEN_SCHEMA_NOT_EXIST", "CREATE_SCHEMA_WHEN_NOT_EXIST"),
        job=job(sink="schema_save_mode = ERROR_WHEN_SCHEMA_NOT_EXIST"),
    ),
    "target must be used as it is": Case(
        survey(), "no-target", job=job(sink="schema_save_mode = IGNORE")
    ),
    "two collections of one name": Case(
        survey(side(described(), described(schema("papers")))),
        "rename-clash",
        ("docs and papers would both be named papers", "collection_rename"),
        job=job(sink="collection_rename { docs = papers }"),
    ),
    "a collection of the name of its alias": Case(
        survey(side(described(aliases=("papers",)))),
        "rename-clash",
        ("papers would be the name of a collection and an alias of docs",),
        job=job(sink="collection_rename { docs = papers }"),
    ),
    "a renamed collection that is not copied": Case(
        survey(),
        "rename-unknown",
        ("sets a name or description for dogs", "Did you mean docs?"),
        job=job(sink="collection_rename { dogs = cats }"),
    ),
    "a pattern of names that is of no collection": Case(
        survey(),
        "rename-unknown",
        ("sets a name or description for old_*", "Correct the name"),
        job=job(sink='collection_rename { "old_*" = "new_*", "d*" = "D*" }'),
    ),
    "two collections that patterns give one name": Case(
        survey(side(described(), described(schema("old_docs")))),
        "rename-clash",
        ("docs and old_docs would both be named docs",),
        job=job(sink='collection_rename { "old_*" = "*" }'),
    ),
    "the new name is taken": Case(
        survey(target=side(described(schema("papers")), rows=Rows(1, exact=True))),
        "target-not-empty",
        ("target collection papers",),
        job=job(sink="collection_rename { docs = papers }"),
    ),
    "the old name is taken": Case(
        survey(target=side(described(), rows=Rows(1, exact=True))),
        job=job(sink="collection_rename { docs = papers }"),
    ),
    "a number of partitions without a partition key": Case(
        survey(), "partition-number", ("no partition key",), job=job(sink="partition_num = 7")
    ),
    "target lacks a field": Case(
        survey(side(SHAPE), side(described(), rows=Rows(0, exact=True))),
        "target-schema",
        ("its schema differs from the source", "field price is missing"),
    ),
    "target has a field more": Case(
        survey(target=side(SHAPE, rows=Rows(0, exact=True))),
        "target-schema",
        ("field price is not in the source",),
    ),
    "target has a field of another type": Case(
        survey(
            side(described(schema(price=DataType.Float))), side(SHAPE, rows=Rows(0, exact=True))
        ),
        "target-schema",
        ("field price has another type",),
    ),
    "target has another partition key": Case(
        survey(
            side(described(schema(partition_key="title"))),
            side(described(), rows=Rows(0, exact=True)),
        ),
        "target-schema",
        ("it has another partition key",),
    ),
    "nothing to compare with": Case(
        survey(),
        "no-target",
        ("it does not exist", "Copy it with `kitelift run`"),
        purpose="compare",
    ),
    "target to compare with is not loaded": Case(
        survey(target=side(described(loaded=False))),
        "target-not-loaded",
        ("Load it",),
        purpose="compare",
    ),
    "target to sync has another schema": Case(
        survey(target=side(SHAPE)),
        "target-schema",
        ("rerun `kitelift sync`, which recreates it",),
        purpose="sync",
    ),
    "target was copied and no longer exists": Case(
        survey(),
        "no-target",
        ("it no longer exists", "run --restart"),
        purpose="verify",
        resumes=True,
    ),
    "target was copied without its indexes": Case(
        survey(target=side(described())),
        "target-not-indexed",
        ("no index on vector", "rerun `kitelift verify`"),
        purpose="verify",
        resumes=True,
    ),
    "target is left without indexes": Case(
        survey(),
        "not-proven",
        ("create_index = false", "kitelift verify"),
        job=job(sink="create_index = false"),
    ),
    "target is left without indexes, and not to be proven": Case(
        survey(), job=job(env="verify = none", sink="create_index = false")
    ),
    # what the target does not store
    "field that may be null, for a target before 2.5": Case(
        survey(side(described(NULLABLE)), side(version=parse("2.4.5"))),
        "lost:docs.fields.title.nullable",
        ("nullable field of title", "needs Milvus 2.5.0", "--accept=lost:docs.fields.title.null"),
    ),
    "field that may be null, for a target that has it": Case(
        survey(side(described(NULLABLE)), side(version=parse("2.5.0"))),
    ),
    "field that may be null, for a target that does not say what it is": Case(
        survey(side(described(NULLABLE)), side(version=parse(""))), "target-version-unknown"
    ),
    "description, for milvus-lite": Case(
        survey(side(described(TOLD)), side(version=parse("milvus_lite-3.2.2"))),
        "lost:docs.description",
        (
            "description of the collection",
            "the target, Milvus 3.2.2 (milvus-lite), does not store it",
        ),
    ),
    "function that makes a field, for a target before 2.5": Case(
        survey(side(described(SEARCHED)), side(version=parse("2.4.5"))),
        "target-type",
        ("BM25 function (functions.bm25.words)", "needs Milvus 2.5.0"),
    ),
    "limits of rates": Case(
        survey(side(described(properties=RATES))),
        "rate-limits",
        ("collection.insertRate.max.mb", "copy_rate_limits = true"),
    ),
    "limits of rates that are asked for": Case(
        survey(side(described(properties=RATES))), job=job(sink="copy_rate_limits = true")
    ),
    "rows that are not in Milvus": Case(
        survey(side(described(EXTERNAL))),
        "external-collection",
        ("source collection docs", "in files outside Milvus, in s3://bucket/docs"),
    ),
    "rows in namespaces": Case(
        survey(side(described(APART))),
        "namespaces",
        ("its rows belong to namespaces, which Kitelift cannot copy",),
    ),
    "type of the future": Case(
        survey(side(described(schema(soul=999)))),
        "unsupported-type",
        ("source field docs.soul", "Kitelift cannot copy type number 999."),
    ),
    "type that milvus-lite does not know": Case(
        survey(
            side(described(schema(tiny=DataType.Int8Vector))),
            side(version=parse("milvus_lite-3.2.2")),
        ),
        "target-type",
        ("docs.tiny", "the target, 3.2.2 (milvus-lite), does not know type Int8Vector."),
    ),
    "null vector in milvus-lite": Case(
        survey(
            side(described(NULL_VECTOR), version=parse("milvus_lite-3.2.2")),
            side(version=parse("2.6.17")),
        ),
        "null-vectors text-length",
        ("source field docs.vector", "stores a null vector as zeros"),
    ),
    "texts of milvus-lite": Case(
        survey(side(described(), version=parse("milvus_lite-3.2.2")), side(version=parse("2.6.5"))),
        "text-length",
        (
            "max_length of title counts characters in milvus-lite and bytes in Milvus",
            "raise max_length",
        ),
    ),
    "texts of milvus-lite that have room": Case(
        survey(side(described(), version=parse("milvus_lite-3.2.2")), side(version=parse("2.6.5"))),
        job=job(sink="field_schema = [{ field_name = title, max_length = 256 }]"),
    ),
    "index that the target does not build": Case(
        survey(side(described(indexes=(BY_TITLE,)))),
        "lost:docs.indexes.by_title",
        ("index (indexes.by_title): it needs Milvus 2.4.9",),
    ),
    "index that milvus-lite does not build": Case(
        survey(side(described(indexes=(BY_TITLE,))), side(version=parse("milvus_lite-3.2.2"))),
        "lost:docs.indexes.by_title",
    ),
    "index that is not wanted": Case(
        survey(side(described(indexes=(BY_TITLE,)))),
        "not-proven",
        job=job(sink="create_index = false"),
    ),
    "target that loses a feature is not dropped before": Case(
        survey(
            side(described(NULLABLE)),
            side(described(collection_id=448), version=parse("2.4.5"), rows=Rows(9, exact=True)),
        ),
        "lost:docs.fields.title.nullable drop",
        job=job(source='collections = ["docs"]', sink="schema_save_mode = RECREATE_SCHEMA"),
    ),
    # limits and names of the target's release
    "description that is too long": Case(
        to("2.6.19", described(LONG)),
        "over-limit",
        (
            "target collection docs: it has 1,026 bytes in the description; Milvus 2.6.19 allows 1,024.",
            "`proxy.maxCollectionDescriptionLength`",
            "--accept=over-limit",
        ),
    ),
    "description that is too long only for later releases": Case(to("2.6.18", described(LONG))),
    "description that is too long, for milvus-lite": Case(
        to("milvus_lite-3.2.2", described(LONG)), "lost:docs.description"
    ),
    "description that is given": Case(
        to("2.6.19", described(LONG)), job=job(sink="collection_description { docs = short }")
    ),
    "collection that is there already": Case(
        survey(
            side(described(LONG), version=parse("2.6.19")),
            side(described(), version=parse("2.6.19"), rows=Rows(0, exact=True)),
        ),
    ),
    "partitions that an older release allows": Case(
        to("2.4.5", described(partitions=tuple(f"p{each}" for each in range(1025)))),
    ),
    "too many partitions": Case(
        to("2.4.8", described(partitions=tuple(f"p{each}" for each in range(1025)))),
        "over-limit",
        ("1,025 partitions; Milvus 2.4.8 allows 1,024.", "rootCoord.maxPartitionNum"),
    ),
    "too many partitions by key": Case(
        to("2.5.27", described(schema(partition_key="title"), partition_count=2000)),
        "over-limit",
        ("2,000 partitions", "sink.Milvus.partition_num"),
    ),
    "four vectors": Case(to("2.5.27", with_vectors(4))),
    "too many vectors": Case(
        to("2.6.16", with_vectors(5)),
        "over-limit",
        ("5 vector fields; Milvus 2.6.16 allows 4.",),
    ),
    "ten vectors": Case(to("2.6.17", with_vectors(10))),
    "many fields": Case(to("3.0.0", described(MANY))),
    "too many fields": Case(
        to("2.6.19", described(MANY)), "over-limit", ("73 fields; Milvus 2.6.19 allows 64.",)
    ),
    "too many shards": Case(survey(), "over-limit", ("17 shards",), job=job(sink="shard_num = 17")),
    "reserved name": Case(
        to("2.4.12", described(RESERVED)),
        "reserved-name",
        ("target field docs.in", "reserves the name `in`", "transform.FieldRename"),
    ),
    "name that an older release takes": Case(to("2.4.11", described(RESERVED))),
    "names that the next lines reserve": Case(
        to("3.0.0", described(RESERVED)), "reserved-name reserved-name reserved-name"
    ),
    "reserved name that is changed": Case(
        to("2.4.12", described(RESERVED)),
        job=job(transform="FieldRename { specific = [{ field_name = in, target_name = inside }] }"),
    ),
    "no vector": Case(
        to("2.4.3", described(BARE)), "no-vector", ("without a vector field", "transform.Python")
    ),
    "no vector, for a release that takes it": Case(to("2.4.1", described(BARE))),
    "no vector, for a server that does not say what it is": Case(
        survey(side(described(BARE)), side(version=parse(""))), "target-version-unknown"
    ),
    "Text for 3.0": Case(
        to("3.0.0", TEXTS),
        "text-storage",
        ("`note`: type Text.", "`common.storage.useLoonFFI = true`"),
    ),
    "Text for 2.6": Case(
        survey(side(TEXTS, version=parse("2.6.19")), side(version=parse("2.6.19"))),
        "target-type",
        ("type Text needs Milvus 3.0.0; the target is 2.6.19",),
    ),
    "Text of 2.6": Case(
        to("3.0.0", TEXTS, of="2.6.19"),
        "unsupported-type text-storage",
        ("source field docs.note", "Kitelift cannot copy type Text from Milvus 2.6.19."),
    ),
    "namespaces of 2.6": Case(
        to("2.6.19", described(APART_IN_2_6, partition_count=16)),
        "namespaces",
        ("source collection docs", "its rows belong to namespaces, which Kitelift cannot copy"),
    ),
    "Geometry for the line that got it later": Case(
        to("2.6.2", described(schema(place=DataType.Geometry)), of="2.5.27"),
        "target-type",
        ("type Geometry needs Milvus 2.5.18 or 2.6.3; the target is 2.6.2",),
    ),
    "Geometry for the older line that got it": Case(
        to("2.5.18", described(schema(place=DataType.Geometry))),
    ),
    "struct array, for a server that takes it without a word": Case(
        to("2.5.27", with_parts(4)), "target-type"
    ),
    # users and roles
    "roles will be added": Case(
        survey(side(described(), access=READERS), side(access=Access(users=frozenset({"root"})))),
        "rbac-users rbac",  # a role
        ("these users do not exist in the target: ann", "Create them in the target"),
        job=job(sink="rbac = true"),
    ),
    "roles cannot be seen": Case(
        survey(side(described(), access=Access(problem="SelectRole: denied"))),
        "source-rbac",
        ("SelectRole: denied", "source.Milvus"),
        job=job(sink="rbac = true"),
    ),
    "roles cannot be created": Case(
        survey(target=side(access=Access(problem="SelectRole: denied"))),
        "target-rbac",
        ("SelectRole: denied", "sink.Milvus"),
        job=job(sink="rbac = true"),
    ),
    # the database
    "properties of the source's cluster only": Case(
        survey(side(described(properties=(("collection.resource_groups", "fast"),)))),
        "of-one-cluster",
        (
            "collection docs",
            "apply only to the source's cluster are not copied: collection.resource_groups.",
        ),
    ),
    "database with other properties": Case(
        survey(side(described(), properties=DATABASE), side(properties=(("timezone", "UTC"),))),
        "database-differs",
        (
            "target database default",
            "timezone is UTC in the target and CET in the source",
            "does not change an existing",
        ),
    ),
    "database that will be created": Case(
        survey(
            side(described(), properties=(*DATABASE, ("database.diskQuota.mb", "5"))),
            side(databases=(), database="shop"),
        ),
        "rate-limits",
        ("target database shop", "database.diskQuota.mb"),
        job=job(sink="create_database = true"),
    ),
    # the job file
    "a key has no effect": Case(
        survey(side(described())),
        "job-file",
        ("env.checkpoint.interval", "has no effect: a job resumes from its own ledger."),
        job=job(env="checkpoint.interval = 10000"),
    ),
    # ids
    "new ids are requested": Case(
        survey(side(described(schema(auto_id=True)))),
        "new-ids",
        ("collection docs", "can compare the rows only in total"),
        job=job(sink="enable_auto_id = true"),
    ),
    "automatic ids are kept": Case(
        survey(side(described(schema(auto_id=True)))),
        "plain-key",
        ("a regular key, not an auto-ID key", "enable_auto_id = true"),
    ),
    "automatic ids are kept by a property": Case(
        survey(side(described(schema(auto_id=True))), side(version=parse("2.6.3"))),
        "while-writing",
        (
            "collection docs",
            "while the job writes, Kitelift sets `allow_insert_auto_id` to true in the target.",
        ),
    ),
    "automatic ids are kept in an indexed collection with isolated keys": Case(
        to_isolated("2.6.12"),
        "while-writing",
        ("was not set before, it becomes false: Milvus 2.6.12 cannot remove a property",),
        purpose="sync",
    ),
    "automatic ids are kept if the property can be removed": Case(
        to_isolated("2.6.13"),
        "while-writing",
        ("in the target. It restores the previous setting afterwards.",),
        purpose="sync",
    ),
    "automatic ids are kept in milvus-lite": Case(
        survey(side(described(schema(auto_id=True))), side(version=parse("milvus_lite-3.2.2"))),
        "plain-key",
    ),
    "target generates keys and accepts none": Case(
        survey(target=side(described(schema(auto_id=True)), rows=Rows(0, exact=True))),
        "target-auto-id",
        (
            "target collection docs",
            "Milvus 2.3.7 does not accept the source's ids",
            "enable_auto_id = true",
        ),
    ),
    "target to sync generates keys and accepts none": Case(
        survey(target=side(described(schema(auto_id=True)), rows=Rows(5, exact=True))),
        "target-auto-id",
        (
            "target collection docs",
            "another name in `sink.Milvus.collection_rename` to copy into a new collection",
        ),
        purpose="sync",
    ),
    "target generates keys and accepts explicit ones": Case(
        survey(
            target=side(
                described(schema(auto_id=True)), rows=Rows(0, exact=True), version=parse("2.5.19")
            )
        ),
        "while-writing",
    ),
    "target does not generate keys": Case(
        survey(target=side(described(), rows=Rows(0, exact=True))),
        "target-auto-id new-ids",
        ("it has no auto-ID key",),
        job=job(sink="enable_auto_id = true"),
    ),
    # function outputs
    "embeddings, for a target that accepts them": Case(
        survey(side(described(EMBEDDED)), side(version=parse("2.6.3"))),
        "while-writing",
        ("sets `collection.function.allowInsertNonBM25FunctionOutputs` to true",),
    ),
    "embeddings, for a target that can do without their provider": Case(
        survey(side(described(EMBEDDED)), side(version=parse("2.6.8"))),
        "while-writing",
        ("allowInsertNonBM25FunctionOutputs` and `disable_func_runtime_check` to true",),
    ),
    "embeddings, for an existing target": Case(
        survey(
            side(described(EMBEDDED)),
            side(described(EMBEDDED), version=parse("2.6.8"), rows=Rows(0, exact=True)),
        ),
        "while-writing",
        ("sets `collection.function.allowInsertNonBM25FunctionOutputs` to true in the target",),
    ),
    "embeddings, for a target that computes its own": Case(
        survey(side(described(EMBEDDED)), side(version=parse("2.6.2"))),
        "function-outputs",
        (
            "a function computes `meaning`. Milvus 2.6.2 does not accept its outputs",
            '= "recompute"',
        ),
    ),
    "embeddings that the target will compute": Case(
        survey(side(described(EMBEDDED)), side(version=parse("2.6.2"))),
        "recomputed",
        ("the target's function recomputes `meaning`. Kitelift does not compare the values",),
        job=job(sink="function_outputs = recompute"),
    ),
    "embeddings, for a target that does not know functions": Case(
        survey(side(described(EMBEDDED)), side(version=parse("2.5.0"))),
        "lost:docs.functions.other.embed",
    ),
    # what is in memory
    "a field is not loaded": Case(
        survey(side(described(), rows=Rows(5, exact=True, unloaded=("vector",)))),
        "partly-loaded",
        ("source collection docs", "it is loaded without field `vector`", "with all of its fields"),
    ),
    "partitions are not loaded": Case(
        survey(side(described(), rows=Rows(5, exact=True, released=("old", "older")))),
        "partly-loaded",
        (
            "source collection docs",
            "loaded without 2 partitions (old, older)",
            "load the whole collection",
        ),
    ),
    # several at once
    "the most severe comes first": Case(
        survey(
            side(replace(RELEASED, raw_schema=AUTO.raw_schema), version=parse("")),
        ),
        "not-loaded source-version-unknown plain-key",
    ),
}

WARNINGS = {"source-version-unknown", "target-version-unknown", "new-ids", "drop", "not-proven"} | {
    "recomputed",
    "database-differs",
    "rows-expire",
    "null-vectors",
    "rbac-users",
    "text-storage",
    "wide-rows",
    "alias-stays",
}
NOTES = {
    "call-denied",
    "vectors-in-storage",
    "collection-vanished",
    "plain-key",
    "job-file",
    "rate-limits",
    "while-writing",
    "of-one-cluster",
    "rbac",
    "text-length",
}


def examine(case: Case) -> tuple[Finding, ...]:
    plan = planner.build_plan(case.job, case.survey, (), plan_id="p1", made_at=1.5)
    return examination.examine(case.job, case.survey, plan if case.resumes else None, case.purpose)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_case_has_these_findings(case: Case) -> None:
    assert " ".join(finding.code for finding in examine(case)) == case.codes


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_finding_contains_place_fact_and_remedy(case: Case) -> None:
    said = "".join(str(finding) for finding in examine(case)[:1])
    for words in case.words:
        assert words in said


def kind(code: str) -> str:
    return code.partition(":")[0]


def every_finding() -> Iterator[Finding]:
    for case in CASES.values():
        yield from examine(case)


def test_a_finding_that_stops_the_job_has_a_remedy() -> None:
    for finding in every_finding():
        assert finding.remedy or not finding.stops


def test_each_code_has_one_severity() -> None:
    for finding in every_finding():
        expected = "warning" if finding.code in WARNINGS else "error"
        assert finding.severity == ("info" if finding.code in NOTES else expected), finding.code


def test_the_acceptable_codes_are_the_documented_ones() -> None:
    found = {kind(each.code) for each in every_finding() if each.acceptable}
    assert found == {kind(code) for code in value_types.ACCEPTABLE} - NOTICED_BY_THE_COPY
    assert all(not each.acceptable for each in every_finding() if each.severity != "error")


def test_every_code_has_a_case_here() -> None:
    modules = (
        *(examination, server_checks, source_checks, target_checks, type_checks),
        *(fidelity_checks, limit_checks, rbac),
    )
    text = "".join(map(inspect.getsource, modules))
    plain = set(re.findall(r'Finding\(\s*"([a-z-]+)"', text))
    of_sides = re.findall(r'f"\{role\}(-[a-z-]+)"', text)
    expected = (
        {"lost"} | plain | {f"{role}{code}" for role in ("source", "target") for code in of_sides}
    )
    assert {kind(finding.code) for finding in every_finding()} == expected


# accept

NOTICED_BY_THE_COPY = {"unreadable-rows", "vanished-rows"}
"""The dataflow tests cover these."""

PLAIN = [code for code in value_types.ACCEPTABLE if ":" not in code]
ACCEPTABLE = [*(code for code in PLAIN if code not in NOTICED_BY_THE_COPY), "lost:docs.description"]


@pytest.mark.parametrize("code", ["lost:other.*", "lost:docs.ttl"])
def test_only_lost_codes_can_be_accepted_by_a_pattern(code: str) -> None:
    for case in (CASES["target contains rows"], CASES["description, for milvus-lite"]):
        accepting = job(env=f'accept = ["{code}"]')
        [finding] = examination.examine(accepting, case.survey, None)
        assert finding.stops


@pytest.mark.parametrize("code", [*ACCEPTABLE, "lost:*", "lost:docs.*"])
def test_an_accepted_finding_is_reported_and_does_not_stop_the_job(code: str) -> None:
    case = next(each for each in CASES.values() if fnmatchcase(each.codes, code))
    [before] = examine(case)
    assert before.stops
    accepting = job(env=f'accept = ["{code}"]')
    [after] = examination.examine(accepting, case.survey, None)
    assert (after.code, after.accepted, after.stops) == (before.code, True, False)


def test_an_accepted_code_accepts_no_other_code() -> None:
    case = CASES["source below the gate"]
    accepting = job(env='accept = ["target-version"]')
    [finding] = examination.examine(accepting, case.survey, None)
    assert finding.stops


# A resumed job


def test_rows_that_this_job_wrote_do_not_stop_it() -> None:
    case = CASES["target contains rows"]
    plan = planner.build_plan(case.job, survey(), (), plan_id="p1", made_at=1.5)
    assert examination.examine(case.job, case.survey, plan) == ()
