"""The job: the frozen values that a job file becomes.

Each field is one key; its meaning and default are the reference of which docs/configuration.md is
made. the mark `result` is on those that decide what the target will hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, model_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from pipeline.values import (
    ByName,
    Codes,
    Count,
    CreateIndex,
    DataSaveMode,
    Flag,
    Folder,
    Level,
    LoadCollection,
    Maybe,
    Mode,
    Names,
    Number,
    Pem,
    Renames,
    SchemaSaveMode,
    Span,
    Text,
    Token,
    Url,
    Verify,
)
from transforms.milvus.endpoint import Endpoint, Tls

# 48 bits keep the jobs of one state folder apart, and a person can still type it.
JOB_ID_DIGITS = 12


def _key(
    meaning: str,
    default: Any = ...,
    *,
    name: str | None = None,
    unit: str = "",
    result: bool = False,
) -> Any:
    """One key of the job file; `name` is its name there where Python could not spell it."""
    marks: JsonDict = {"unit": unit, "result": result}
    return Field(default, alias=name, description=meaning, json_schema_extra=marks)


def mark(field: FieldInfo, name: str) -> Any:
    """What `_key` was told about a field."""
    return field.json_schema_extra[name] if isinstance(field.json_schema_extra, dict) else None


class Block(BaseModel):
    """A block of the job file; its fields are the keys it may have."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @classmethod
    def known(cls) -> dict[str, FieldInfo]:
        """The keys it may have, by their names in the job file."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    def written(self) -> dict[str, Any]:
        """Every key with its value, as JSON would have it; a token is masked."""
        return self.model_dump(mode="json", by_alias=True)


class Env(Block):
    """How the job runs."""

    parallelism: Count = _key("How many copy at the same time.", 1, unit="workers")
    job_mode: Mode = _key("Kitelift copies what is there and ends.", "BATCH", name="job.mode")
    job_name: Folder = _key(
        "Names the job and its folder under `state`; left out, it is a hash of both urls, "
        "both databases and the collections.",
        "",
        name="job.name",
    )
    state: Text = _key(
        "Where the job keeps its ledger and reports: a folder or a URI.", "./kitelift-state"
    )
    accept: Codes = _key("Codes of the findings that shall not stop the job.", ())
    verify: Verify = _key(
        "Proof at the end: `full` compares the content of every key range, `sample` of some, "
        "`count` compares numbers of rows, `none` nothing.",
        "full",
    )
    fail_fast: Flag = _key("Stop at the first key range that fails for good.", False)
    max_rejected: Number = _key(
        "Rows that the target may refuse for good; they are kept, and `kitelift replay` sends them "
        "again. One more fails its key range.",
        0,
        unit="rows",
    )
    max_outage: Span = _key(
        "How long a server may be away, or refuse for want of capacity, before a range fails.",
        900.0,
        name="retry.max_outage",
        unit="seconds, or text as `15 min`",
    )


class Cluster(Block):
    """One Milvus, and how to get in."""

    url: Url = _key("Scheme, host and port: `http://host:19530`; `https` for TLS.", result=True)
    token: Token = _key(
        "`user:password` or an API key; or where to find it: `env:NAME`, `file:/path`.",
        SecretStr(""),
    )
    database: Text = _key("The database in it.", "default", result=True)
    server_pem_path: Pem = _key("TLS: the server's certificate, to be trusted.", "")
    ca_pem_path: Pem = _key("TLS: the authority whose certificates are trusted.", "")
    client_pem_path: Pem = _key("TLS: our own certificate, where the server asks for one.", "")
    client_key_path: Pem = _key("TLS: the key of our own certificate.", "")
    server_name: Text = _key("TLS: the name to expect in the server's certificate.", "")

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it."""
        tls = Tls(
            ca_pem_path=self.ca_pem_path or self.server_pem_path,
            client_pem_path=self.client_pem_path,
            client_key_path=self.client_key_path,
            server_name=self.server_name,
        )
        return Endpoint(self.url, self.token.get_secret_value(), self.database, tls)

    @field_serializer("token")
    def _masked(self, token: SecretStr) -> str:
        return "***" if token.get_secret_value() else ""

    @model_validator(mode="after")
    def _tls_fits(self) -> Cluster:
        tls = (
            "server_pem_path",
            "ca_pem_path",
            "client_pem_path",
            "client_key_path",
            "server_name",
        )
        given = [key for key in tls if getattr(self, key)]
        if given and not self.endpoint.secure:
            raise ValueError(f"{given[0]} is for TLS, so the url must begin with https://")
        if self.server_pem_path and self.ca_pem_path:
            raise ValueError("server_pem_path and ca_pem_path both say whom to trust; keep one")
        if bool(self.client_pem_path) != bool(self.client_key_path):
            raise ValueError("client_pem_path and client_key_path are needed together")
        return self


class Source(Cluster):
    """The Milvus that is read."""

    collections: Names = _key(
        "The collections to copy; left out, every loaded one.", None, result=True
    )
    batch_size: Count = _key(
        "The largest page that is asked for; fewer where rows are large.", 10_000, unit="rows"
    )
    auto_load: Flag = _key("Load what is not loaded, and release it again at the end.", False)


class Sink(Cluster):
    """The Milvus that is written."""

    batch_size: Count = _key("The largest insert; fewer where rows are large.", 1_000, unit="rows")
    enable_auto_id: Flag = _key(
        "Let the target make new keys; `false` keeps the source's.", False, result=True
    )
    enable_upsert: Flag = _key(
        "In doubt, write rows again by upsert; `false` deletes their keys and inserts.", True
    )
    create_database: Flag = _key("Create the target's database where it is missing.", False)
    copy_rate_limits: Flag = _key(
        "Copy the properties that limit rates and sizes of a collection.", False, result=True
    )
    create_index: CreateIndex = _key(
        "Create the source's indexes in the target: after the rows, or `before` them.",
        True,
        result=True,
    )
    load_collection: LoadCollection = _key(
        "Load the collections at the end; `as_source`: those that the source has loaded.",
        "as_source",
        result=True,
    )
    schema_save_mode: SchemaSaveMode = _key(
        "The target's collection is made where it is missing; or must be there "
        "(`ERROR_WHEN_SCHEMA_NOT_EXIST`); or is dropped and made anew (`RECREATE_SCHEMA`); or must "
        "be there and is taken as it is (`IGNORE`).",
        "CREATE_SCHEMA_WHEN_NOT_EXIST",
        result=True,
    )
    data_save_mode: DataSaveMode = _key(
        "Rows in the target stop the job; or stay, and those with a key of the source are replaced "
        "(`APPEND_DATA`); or are dropped, and the collection stays as it is (`DROP_DATA`).",
        "ERROR_WHEN_DATA_EXISTS",
        result=True,
    )
    collection_rename: Renames = _key(
        'The target\'s names by the source\'s: `{ docs = articles, "old_*" = "new_*" }`.',
        {},
        result=True,
    )
    collection_description: ByName = _key(
        "Descriptions of collections in the target, by their names in the source.", {}, result=True
    )
    shard_num: Maybe = _key("Shards; left out, as the source has.", None, result=True)
    partition_num: Maybe = _key(
        "Partitions that a partition key spreads rows over; left out, as the source has.",
        None,
        result=True,
    )
    consistency_level: Level = _key("Left out, as the source has.", None, result=True)

    def name_of(self, collection: str) -> str:
        """Returns the target's name of a collection of the source; a name goes before a pattern."""
        if collection in self.collection_rename:
            return self.collection_rename[collection]
        for old, new in self.collection_rename.items():
            pattern = "(.*)".join(map(re.escape, old.split("*")))
            if "*" in old and (found := re.fullmatch(pattern, collection)):
                return new.replace("*", found[1])
        return collection


BLOCKS: dict[str, type[Block]] = {"env": Env, "source.Milvus": Source, "sink.Milvus": Sink}


class JobConfig(BaseModel):
    """The whole job, as the user wrote it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    env: Env
    source: Source
    sink: Sink

    @property
    def source_endpoint(self) -> Endpoint:
        """How to reach the source, and how patiently."""
        return replace(self.source.endpoint, max_outage_s=self.env.max_outage)

    @property
    def target_endpoint(self) -> Endpoint:
        """How to reach the target, and how patiently."""
        return replace(self.sink.endpoint, max_outage_s=self.env.max_outage)

    @property
    def job_id(self) -> str:
        """The job's name, or else a hash of what goes where: the same job finds its ledger."""
        if self.env.job_name:
            return self.env.job_name
        source, sink = self.source, self.sink
        written = [source.url, source.database, sink.url, sink.database, source.collections]
        return hashlib.sha256(json.dumps(written).encode()).hexdigest()[:JOB_ID_DIGITS]

    def result_settings(self) -> dict[str, Any]:
        """The settings that decide what the target will hold, by path; no token, no speed."""
        return {
            f"{path}.{key}": value
            for path, block in self._blocks().items()
            for key, value in block.written().items()
            if mark(block.known()[key], "result")
        }

    def masked(self) -> dict[str, Any]:
        """Every setting by block, for a report; tokens are masked."""
        return {path: block.written() for path, block in self._blocks().items()}

    def _blocks(self) -> dict[str, Block]:
        return dict(zip(BLOCKS, (self.env, self.source, self.sink), strict=True))


def default_settings() -> dict[str, Any]:
    """The settings that decide what the target will hold, as they are where none is written."""
    return {
        f"{path}.{key}": field.get_default()
        for path, block in BLOCKS.items()
        for key, field in block.known().items()
        if mark(field, "result") and not field.is_required()
    }
