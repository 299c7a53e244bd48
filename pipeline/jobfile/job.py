"""The job: the frozen value that a job file becomes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializeAsAny,
    ValidationInfo,
    field_validator,
)
from pydantic_core import to_jsonable_python

from pipeline.jobfile.block import Block, mark
from pipeline.jobfile.settings import BLOCKS, ClusterSettings, Env, Sink, Source
from pipeline.jobfile.transform import Plugin, TablePathMapper, TableRename
from transforms.milvus.endpoint import PAGE_BYTES, Endpoint

__all__ = [
    "BLOCKS",
    "ClusterSettings",
    "Env",
    "JobConfig",
    "Sink",
    "Source",
    "default_settings",
    "mark",
]

PAGES_HELD = 10
"""Pages' worth of bytes that one worker holds at most: up to four pages, as the answer and as
columns, of which some are on their way in requests; and four requests of a third of a page, as
bytes and in gRPC's own buffers."""

REQUESTS_A_PAGE = 3

# 48 bits keep the jobs of one state folder apart, and a person can still type it.
JOB_ID_DIGITS = 12


SOURCE_DATABASE, TARGET_DATABASE = "source.Milvus.database", "sink.Milvus.database"
TRANSFORM = "transform"
"""Where the settings of a job name its transforms."""


class JobConfig(BaseModel):
    """The whole job, as the user wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: Env
    source: Source
    sink: Sink
    transform: tuple[SerializeAsAny[Plugin], ...] = ()
    notes: tuple[tuple[str, str], ...] = ()
    """What is to be said of keys that are accepted, each with its path."""

    @field_validator("sink")
    @classmethod
    def _database_of_source(cls, sink: Sink, info: ValidationInfo) -> Sink:
        """Gives a sink without `database` the source's, as SeaTunnel and VTS do."""
        if sink.database or "source" not in info.data:
            return sink
        # Files have no databases.
        database = "default" if sink.endpoint.folder else info.data["source"].database
        values = {**dict(sink), "database": database}
        return Sink.model_construct(sink.model_fields_set, **values)

    @property
    def inherits_database(self) -> bool:
        """Whether the sink names no database, so that it has the source's."""
        return "database" not in self.sink.model_fields_set

    def name_of(self, collection: str) -> str:
        """Returns the target's name of a collection of the source."""
        name = self.sink.renamed(collection)
        for transform in self.transforms(collection):
            if isinstance(transform, TableRename | TablePathMapper):
                name = transform.by_rule(name)
        return name

    def transforms(self, collection: str) -> tuple[Plugin, ...]:
        """Returns the transforms of a collection of the source, in the order of the file."""
        database = self.source.database
        return tuple(each for each in self.transform if each.applies_to(database, collection))

    @property
    def source_endpoint(self) -> Endpoint:
        """How to reach the source, and how patiently."""
        return replace(
            self.source.endpoint,
            max_outage_s=self.env.max_outage,
            max_latency_s=self.source.max_latency,
            page_bytes=self.page_bytes,
        )

    @property
    def target_endpoint(self) -> Endpoint:
        """How to reach the target, and how patiently."""
        return replace(
            self.sink.endpoint, max_outage_s=self.env.max_outage, page_bytes=self.page_bytes
        )

    @property
    def page_bytes(self) -> int:
        """The aim of one page, so that what one worker holds fits its part of `env.memory`."""
        part = self.env.memory // self.env.parallelism // PAGES_HELD
        return min(PAGE_BYTES, max(part, 1)) if self.env.memory else PAGE_BYTES

    @property
    def request_bytes(self) -> int:
        """The aim of one insert."""
        return max(1, self.page_bytes // REQUESTS_A_PAGE)

    @property
    def job_id(self) -> str:
        """The job's name, or else a hash of what goes where: the same job finds its ledger."""
        return self.env.job_name or self._hash(self.sink.database)

    @property
    def former_job_id(self) -> str:
        """The id from when a sink without `database` wrote to the database `default`."""
        return self.env.job_name or self._hash(
            "default" if self.inherits_database else self.sink.database
        )

    def _hash(self, target_database: str) -> str:
        source, sink = self.source, self.sink
        written = [source.url, source.database, sink.url, target_database, source.collections]
        return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:JOB_ID_DIGITS]

    def result_settings(self) -> dict[str, Any]:
        """The settings that decide what the target will hold, by path; no token, no speed."""
        found = {
            f"{path}.{key}": value
            for path, block in self._blocks().items()
            for key, value in block.written().items()
            if mark(block.known()[key], "result")
        }
        return found | {TRANSFORM: [each.to_setting() for each in self.transform]}

    def masked(self) -> dict[str, Any]:
        """Every setting by block, for a report; tokens are masked."""
        return {path: block.written() for path, block in self._blocks().items()}

    def non_default_settings(self) -> dict[str, Any]:
        """What the job says otherwise than the defaults, by path; tokens are masked.

        Not where the ledger is: its URI may hold a key.
        """
        defaults = {
            "env": Env(),
            "source.Milvus": Source(url=self.source.url),
            "sink.Milvus": Sink(url=self.sink.url, database=self.source.database),
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
    """The settings that decide what the target will hold, as they are where none is written."""
    found = {
        f"{path}.{key}": to_jsonable_python(field.get_default())
        for path, block in BLOCKS.items()
        for key, field in block.known().items()
        if mark(field, "result") and not field.is_required()
    }
    # Of a ledger without it: a sink without `database` wrote there.
    return found | {TARGET_DATABASE: "default", TRANSFORM: []}
