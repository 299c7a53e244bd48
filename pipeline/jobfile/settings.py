"""The settings of a job file, block by block.

Each field is one key; its meaning and default are the reference of which docs/configuration.md is
made. The mark `result` is on those that decide what the target will hold.
"""

from __future__ import annotations

from pydantic import SecretStr, field_serializer, model_validator

from pipeline.jobfile.block import Block
from pipeline.jobfile.block import key as _key
from pipeline.jobfile.field_schema import FieldSettings
from pipeline.jobfile.values import (
    ByName,
    ByteSize,
    Codes,
    Count,
    CreateIndex,
    DataSaveMode,
    Duration,
    Flag,
    FolderName,
    FunctionOutputs,
    LedgerUri,
    Level,
    LoadCollection,
    Maybe,
    MaybeFlag,
    Mode,
    NameList,
    Pem,
    Renames,
    SchemaSaveMode,
    Text,
    Token,
    Url,
    VerifySetting,
    WholeNumber,
    matching,
)
from transforms.milvus.endpoint import Endpoint, Tls
from transforms.milvus.rate_limit import RateLimit


class Env(Block):
    """How the job runs."""

    parallelism: Count = _key("How many copy at the same time.", 1, unit="workers")
    job_mode: Mode = _key("Kitelift copies what is there and ends.", "BATCH", name="job.mode")
    job_name: FolderName = _key(
        "Names the job and its folder under `state`; left out, it is a hash of both urls, "
        "both databases and the collections.",
        "",
        name="job.name",
    )
    state: LedgerUri = _key(
        "Where the job keeps its ledger and reports: a folder, relative to that of the job file, "
        "or a URI.",
        "./kitelift-state",
    )
    accept: Codes = _key("Codes of the findings that shall not stop the job.", ())
    verify: VerifySetting = _key(
        "Proof at the end: `full` compares the content of every key range, `sample` of some, "
        "`count` compares numbers of rows, `none` nothing.",
        "full",
    )
    fail_fast: Flag = _key("Stop at the first key range that fails for good.", False)
    max_rejected: WholeNumber = _key(
        "Rows that the target may refuse for good; they are kept, and `kitelift replay` sends them "
        "again. One more fails its key range.",
        0,
        unit="rows",
    )
    max_outage: Duration = _key(
        "How long a server may be away, or refuse for want of capacity, before a range fails.",
        900.0,
        name="retry.max_outage",
        unit="seconds, or text as `15 min`",
    )
    memory: ByteSize = _key(
        "How much the rows on their way may take in one process, shared by its workers: pages that "
        "are read, and requests that are written. Left out, 120 MB for each worker.",
        0,
        unit='bytes, or text as `"2g"`',
    )
    flink_master: Text = _key(
        "For `-m cluster`: the REST address of a Flink cluster's JobManager, `HOST:8081`.",
        "",
        name="flink.master",
    )
    spark_master: Text = _key(
        "For `-m cluster`: the master of a Spark cluster, `spark://HOST:7077`.",
        "",
        name="spark.master",
    )


class ClusterSettings(Block):
    """One Milvus, and how to get in."""

    url: Url = _key("Scheme, host and port: `http://host:19530`; `https` for TLS.", result=True)
    token: Token = _key(
        "`user:password` or an API key; or where to find it: `env:NAME`, "
        "`file:/path`, `gcp-secret:projects/P/secrets/S/versions/latest`.",
        SecretStr(""),
    )
    database: Text = _key("The database in it.", "default", result=True)
    server_pem_path: Pem = _key("TLS: the server's certificate, to be trusted.", "")
    ca_pem_path: Pem = _key("TLS: the authority whose certificates are trusted.", "")
    client_pem_path: Pem = _key("TLS: our own certificate, where the server asks for one.", "")
    client_key_path: Pem = _key("TLS: the key of our own certificate.", "")
    server_name: Text = _key("TLS: the name to expect in the server's certificate.", "")
    rate_limit_rows: WholeNumber = _key(
        "The most that may pass in a second, for copy and proof together and whatever the "
        "parallelism; 0 is no limit. `kitelift limit` changes it while a job runs.",
        0,
        unit="rows a second",
    )
    rate_limit_bytes: ByteSize = _key(
        "The same, in bytes.", 0, unit='bytes a second, or text as `"10 MB"`'
    )

    @property
    def endpoint(self) -> Endpoint:
        """How to reach it."""
        tls = Tls(
            ca_pem_path=self.ca_pem_path or self.server_pem_path,
            client_pem_path=self.client_pem_path,
            client_key_path=self.client_key_path,
            server_name=self.server_name,
        )
        ceiling = RateLimit(self.rate_limit_rows, self.rate_limit_bytes)
        token = self.token.get_secret_value()
        return Endpoint(self.url, token, self.database, tls, ceiling=ceiling)

    @field_serializer("token")
    def _masked(self, token: SecretStr) -> str:
        return "***" if token.get_secret_value() else ""

    @model_validator(mode="after")
    def _tls_fits(self) -> ClusterSettings:
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


class Source(ClusterSettings):
    """The Milvus that is read."""

    collections: NameList = _key(
        'The collections to copy, by names, aliases and patterns: `["docs", "log_*", "!*_tmp"]`; '
        "left out, every loaded one.",
        None,
        result=True,
    )
    batch_size: Count = _key(
        "The largest page that is asked for; fewer where rows are large. No server gives more.",
        16_384,
        unit="rows",
    )
    auto_load: Flag = _key("Load what is not loaded, and release it again at the end.", False)
    max_latency: Duration = _key(
        "Ask for less, and then more seldom, while a page takes longer than this: those who use "
        "the source wait as long; 0 is no limit.",
        0.0,
        unit="seconds, or text as `500 ms`",
    )


class Sink(ClusterSettings):
    """The Milvus that is written."""

    database: Text = _key(
        "The database to write to; left out, the name of the source's database.", "", result=True
    )
    batch_size: Count = _key(
        "The largest insert; fewer where rows are large. SeaTunnel's default is `1000`, which is "
        "slower where rows are small.",
        16_384,
        unit="rows",
    )
    enable_auto_id: Flag = _key(
        "Let the target make new keys; `false` keeps the source's.", False, result=True
    )
    enable_upsert: Flag = _key(
        "In doubt, write rows again by upsert; `false` deletes their keys and inserts.", True
    )
    create_database: Flag = _key("Create the target's database where it is missing.", False)
    function_outputs: FunctionOutputs = _key(
        "What functions have made, but for BM25: `copy` it, or let the target's own `recompute` "
        "it from the copied texts.",
        "copy",
        result=True,
    )
    rbac: Flag = _key(
        "Add the source's privilege groups, roles, grants and memberships to the target; users are "
        "listed, for no server tells a password.",
        False,
        result=True,
    )
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
    enable_dynamic_field: MaybeFlag = _key(
        "Whether collections have a dynamic field; it is taken from the source, and one that "
        "differs stops the job.",
        None,
    )
    partition_key: Text = _key(
        "The partition key; it is taken from the source, and one that differs stops the job.", ""
    )
    partition_num: Maybe = _key(
        "Partitions that a partition key spreads rows over; left out, as the source has.",
        None,
        result=True,
    )
    consistency_level: Level = _key("Left out, as the source has.", None, result=True)
    field_schema: FieldSettings = _key(
        "Settings of fields in the target: `[{ field_name = title, max_length = 512 }]`; see "
        "docs/reshaping.md.",
        (),
        result=True,
    )

    def renamed(self, collection: str) -> str:
        """Returns the name that `collection_rename` gives; a name goes before a pattern."""
        if collection in self.collection_rename:
            return self.collection_rename[collection]
        for old, new in self.collection_rename.items():
            if "*" in old and (found := matching(old, collection)):
                return new.replace("*", found[1])
        return collection


BLOCKS: dict[str, type[Block]] = {"env": Env, "source.Milvus": Source, "sink.Milvus": Sink}
