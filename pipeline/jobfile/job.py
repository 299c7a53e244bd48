"""The job: the frozen value of a validated job file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)
from pydantic_core import to_jsonable_python

from pipeline.jobfile.block import Block, mark
from pipeline.jobfile.plugin import Plugin
from pipeline.jobfile.settings import BLOCKS, Env, Sink, Source
from pipeline.jobfile.transform import TablePathMapper, TableRename
from transforms.milvus import qualified_names
from transforms.milvus.endpoint import PAGE_BYTES, Endpoint

if TYPE_CHECKING:  # They import pymilvus, and the job file is read before that.
    from transforms.milvus.description import Pairs
    from transforms.plan import Plan

PAGES_PER_WORKER = 10
"""Memory of one worker, at most, in pages: up to four pages, each as a response and as columns; and
four requests of a third of a page, each as bytes and in gRPC's buffers."""

REQUESTS_PER_PAGE = 3

# 48 bits distinguish the jobs in one state folder, and are short enough to type.
JOB_ID_DIGITS = 12


SOURCE_DATABASE, TARGET_DATABASE = "source.Milvus.database", "sink.Milvus.database"
TRANSFORM = "transform"
"""The path of the transforms in a job's settings."""


class JobConfig(BaseModel):
    """The whole job, as the user wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: Env
    source: Source
    sink: Sink
    transform: tuple[SerializeAsAny[Plugin], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """Paths of accepted keys with a note on each."""

    @field_validator("sink")
    @classmethod
    def _database_of_source(cls, sink: Sink, info: ValidationInfo) -> Sink:
        """Sets a sink without `database` to the source's, as SeaTunnel and VTS do."""
        if sink.database or "source" not in info.data:
            return sink
        database = info.data["source"].endpoint.database
        if sink.endpoint.folder:
            database = "default"  # Files have no databases.
        elif database != qualified_names.ALL:
            database = sink.renamed_database(database)
        values = {**dict(sink), "database": database}
        return Sink.model_construct(sink.model_fields_set, **values)

    @property
    def inherits_database(self) -> bool:
        """Whether the sink sets no database and so uses the source's."""
        return "database" not in self.sink.model_fields_set

    @property
    def qualifies(self) -> bool:
        """Whether the job copies several databases, so that names are `database.collection`."""
        return self.source_endpoint.database == qualified_names.ALL

    def name_of(self, collection: str) -> str:
        """Returns the name in the target of a collection of the source."""
        # milvus-lite allows dots in names: without databases, they mean nothing.
        names = qualified_names.spellings(collection) if self.qualifies else (collection,)
        name = self.sink.renamed(*names)
        for transform in self.transforms(collection):
            if isinstance(transform, TableRename | TablePathMapper):
                name = transform.by_rule(name)
        if not self.qualifies:
            return name
        database, _ = qualified_names.split(collection)
        return qualified_names.join(self.sink.renamed_database(database), name)

    def databases(self, plan: Plan) -> Pairs:
        """Returns the databases of a plan, with their names in the target."""
        return plan.databases or ((self.source_endpoint.database, self.sink.database),)

    def beside(self, collection: str, name: str) -> str:
        """Returns the job's name for a collection, or alias, in the database of a collection."""
        return qualified_names.beside(collection, name) if self.qualifies else name

    def transforms(self, collection: str) -> tuple[Plugin, ...]:
        """Returns the transforms of a collection of the source, in the order of the file."""
        database = "" if self.qualifies else self.source_endpoint.database
        name = qualified_names.join(database, collection)
        return tuple(plugin for plugin in self.transform if plugin.applies_to(name))

    @property
    def source_endpoint(self) -> Endpoint:
        """How to connect to the source, with its time limits and page size."""
        return replace(
            self.source.endpoint,
            max_outage_s=self.env.max_outage,
            max_latency_s=self.source.max_latency,
            page_bytes=self.page_bytes,
        )

    @property
    def target_endpoint(self) -> Endpoint:
        """How to connect to the target, with its time limit and page size."""
        return replace(
            self.sink.endpoint, max_outage_s=self.env.max_outage, page_bytes=self.page_bytes
        )

    @property
    def page_bytes(self) -> int:
        """Target size of one page in bytes; a worker then fits its share of `env.memory`."""
        share = self.env.memory // self.env.parallelism // PAGES_PER_WORKER
        return min(PAGE_BYTES, max(share, 1)) if self.env.memory else PAGE_BYTES

    @property
    def request_bytes(self) -> int:
        """Target size of one insert in bytes."""
        return max(1, self.page_bytes // REQUESTS_PER_PAGE)

    @property
    def job_id(self) -> str:
        """The job's name, or a hash of urls, databases and collections; it names the ledger."""
        return self.env.job_name or self._hash(self.sink.database)

    @property
    def former_job_id(self) -> str:
        """The id in earlier versions, where a sink without `database` wrote to `default`."""
        return self.env.job_name or self._hash(
            "default" if self.inherits_database else self.sink.database
        )

    def _hash(self, target_database: str) -> str:
        source, sink = self.source, self.sink
        written = [source.url, source.database, sink.url, target_database, source.collections]
        return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:JOB_ID_DIGITS]

    def result_settings(self) -> dict[str, Any]:
        """Returns the settings that decide what the target contains, by path.

        They include no token and no setting of speed.
        """
        settings = {
            f"{path}.{key}": value
            for path, block in self._blocks().items()
            for key, value in block.written().items()
            if mark(block.known()[key], "result")
        }
        return settings | {TRANSFORM: [plugin.to_setting() for plugin in self.transform]}

    def masked(self) -> dict[str, Any]:
        """Returns every setting by block, for a report; tokens are masked."""
        return {path: block.written() for path, block in self._blocks().items()}

    def non_default_settings(self) -> dict[str, Any]:
        """Returns the settings that differ from the defaults, by path; tokens are masked.

        It leaves out `env.state`, because a URI may contain a key.
        """
        defaults = {
            "env": Env(),
            "source.Milvus": Source(url=self.source.url),
            "sink.Milvus": Sink(url=self.sink.url, database=self.source_endpoint.database),
        }
        return {
            f"{path}.{key}": value
            for path, written in self.masked().items()
            for key, value in written.items()
            if key == "url" or value != defaults[path].written()[key]
            if (path, key) != ("env", "state")
        }

    def _blocks(self) -> dict[str, Block]:
        return dict(zip(BLOCKS, (self.env, self.source, self.sink), strict=True))


def default_settings() -> dict[str, Any]:
    """Returns the defaults of the settings that decide what the target contains, by path."""
    settings = {
        f"{path}.{key}": to_jsonable_python(field.get_default())
        for path, block in BLOCKS.items()
        for key, field in block.known().items()
        if mark(field, "result") and not field.is_required()
    }
    # For ledgers without this setting: then, a sink without `database` wrote to `default`.
    return settings | {TARGET_DATABASE: "default", TRANSFORM: []}
