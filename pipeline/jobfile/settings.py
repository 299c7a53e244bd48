"""The settings of a job file, block by block.

Each field is one key. docs/configuration.md is generated from the descriptions and defaults.
`result` marks the keys that decide what the target contains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import SecretStr, field_serializer, model_validator

from pipeline.jobfile.block import Block
from pipeline.jobfile.block import key as _key
from pipeline.jobfile.field_schema import FieldSettings
from pipeline.jobfile.index_requests import IndexRequests
from pipeline.jobfile.partitions import Partitions
from pipeline.jobfile.patterns import matching
from pipeline.jobfile.target_functions import TargetFunctions
from pipeline.jobfile.value_types import (
    ByName,
    ByteSize,
    Codes,
    Count,
    CreateIndex,
    Databases,
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
)
from transforms.milvus import qualified_names
from transforms.milvus.endpoint import Endpoint, Tls
from transforms.milvus.rate_limit import RateLimit


class Env(Block):
    """How the job runs."""

    parallelism: Count = _key("Number of parallel workers.", 1, unit="workers")
    job_mode: Mode = _key(
        "The only mode: Kitelift copies the rows that exist, then ends.", "BATCH", name="job.mode"
    )
    job_name: FolderName = _key(
        "Name of the job and of its folder under `state`. Default: a hash of both urls, both "
        "databases and the collections.",
        "",
        name="job.name",
    )
    state: LedgerUri = _key(
        "Where the job stores its ledger and reports: a folder, relative to the folder of the job "
        "file, or a URI.",
        "./kitelift-state",
    )
    accept: Codes = _key(
        "Codes of findings that do not stop the job: [list](#codes-for-envaccept).", ()
    )
    verify: VerifySetting = _key(
        "Proof at the end. `full` compares the content of all key ranges, `sample` that of some "
        "key ranges. `count` compares row counts. `none` compares nothing.",
        "full",
    )
    fail_fast: Flag = _key("Stop the job at the first key range that fails permanently.", False)
    max_rejected: WholeNumber = _key(
        "How many rows the target may reject permanently. Kitelift stores them, and "
        "`kitelift replay` resends them. One more rejected row fails its key range.",
        0,
        unit="rows",
    )
    max_outage: Duration = _key(
        "How long a server may be unreachable or overloaded before a key range fails.",
        900.0,
        name="retry.max_outage",
        unit="seconds, or text such as `15 min`",
    )
    worker_timeout: Duration = _key(
        "On a cluster: how long Kitelift waits for the first worker to start, for example while "
        "the hosts pull an image.",
        600.0,
        unit="seconds, or text such as `15 min`",
    )
    memory: ByteSize = _key(
        "Memory for rows in transit in one process, shared by its workers: pages read from the "
        "source and requests to the target. Default: 120 MB per worker.",
        0,
        unit='bytes, or text such as `"2g"`',
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
    """One Milvus, and how to connect to it."""

    url: Url = _key("Scheme, host and port: `http://host:19530`; `https` for TLS.", result=True)
    token: Token = _key(
        "`user:password` or an API key, or a reference to one: `env:NAME`, `file:/path`, "
        "`gcp-secret:projects/P/secrets/S/versions/latest`.",
        SecretStr(""),
    )
    database: Databases = _key(
        'The database to read from. Several: `"*"` for all, or names and patterns, `["sales", '
        '"shop_*", "!*_tmp"]`; see [operations.md](operations.md#several-databases).',
        "default",
        result=True,
    )
    server_pem_path: Pem = _key("TLS: the server's certificate to trust.", "")
    ca_pem_path: Pem = _key("TLS: the certificate of the authority (CA) to trust.", "")
    client_pem_path: Pem = _key(
        "TLS: the client certificate, if the server requires one (mutual TLS).", ""
    )
    client_key_path: Pem = _key("TLS: the private key of the client certificate.", "")
    server_name: Text = _key("TLS: the host name to expect in the server's certificate.", "")
    rate_limit_rows: WholeNumber = _key(
        "Throughput limit for copy and proof together, whatever the parallelism; 0 is no limit. "
        "`kitelift limit` changes it in a running job.",
        0,
        unit="rows per second",
    )
    rate_limit_bytes: ByteSize = _key(
        "The same limit in bytes.", 0, unit='bytes per second, or text such as `"10 MB"`'
    )

    @property
    def endpoint(self) -> Endpoint:
        """The address, the credentials and the throughput limit."""
        tls = Tls(
            ca_pem_path=self.ca_pem_path or self.server_pem_path,
            client_pem_path=self.client_pem_path,
            client_key_path=self.client_key_path,
            server_name=self.server_name,
        )
        rate_limit = RateLimit(self.rate_limit_rows, self.rate_limit_bytes)
        token = self.token.get_secret_value()
        database = self.database if isinstance(self.database, str) else qualified_names.ALL
        return Endpoint(self.url, token, database, tls, rate_limit=rate_limit)

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
        tls_keys = [key for key in tls if getattr(self, key)]
        if tls_keys and not self.endpoint.secure:
            raise ValueError(f"{tls_keys[0]} requires TLS; change the url to https://")
        if self.server_pem_path and self.ca_pem_path:
            raise ValueError(
                "server_pem_path and ca_pem_path both set the certificate to trust; remove one"
            )
        if bool(self.client_pem_path) != bool(self.client_key_path):
            raise ValueError("client_pem_path and client_key_path must be set together")
        return self


class Source(ClusterSettings):
    """The Milvus to read from."""

    collections: NameList = _key(
        'The collections to copy: names, aliases and patterns, `["docs", "log_*", "!*_tmp"]`. '
        "Default: every loaded collection.",
        None,
        result=True,
    )
    partitions: Partitions = _key(
        'Copy only these partitions: `["new"]` for every collection, or `{ docs = ["new"] }` for '
        "some. Default: all.",
        {},
        result=True,
    )
    batch_size: Count = _key(
        "Maximum rows per page. Pages are smaller if rows are large. Milvus returns at most 16,384 "
        "rows at once.",
        16_384,
        unit="rows",
    )
    auto_load: Flag = _key(
        "Load collections that are not loaded, and release them at the end.", False
    )
    max_latency: Duration = _key(
        "If a page takes longer than this, request smaller pages, then pause between them. This "
        "protects other users of the source. 0 is no limit.",
        0.0,
        unit="seconds, or text such as `500 ms`",
    )


class Sink(ClusterSettings):
    """The Milvus to write to."""

    database: Text = _key(
        "The database to write to. Default: the name of the source's database.", "", result=True
    )
    database_rename: Renames = _key(
        'Names of databases in the target by names in the source: `{ sales = sales_eu, "*" = '
        '"new_*" }`. Only without `sink.Milvus.database`.',
        {},
        result=True,
    )
    batch_size: Count = _key(
        "Maximum rows per insert. Inserts are smaller if rows are large. SeaTunnel's default is "
        "`1000`, which is slower if rows are small.",
        16_384,
        unit="rows",
    )
    enable_auto_id: Flag = _key(
        "Let the target generate new primary keys; `false` keeps the source's keys.",
        False,
        result=True,
    )
    enable_upsert: Flag = _key(
        "How to rewrite rows when it is unknown whether a write arrived: upsert (`true`), or "
        "delete by key and insert (`false`).",
        True,
    )
    rows: Flag = _key(
        "`false` copies everything but the rows; the source need not be loaded.",
        True,
        result=True,
    )
    create_database: Flag = _key("Create the target's databases that do not exist.", False)
    function_outputs: FunctionOutputs = _key(
        "Outputs of functions other than BM25: `copy` them, or let the target `recompute` them "
        "from the copied texts.",
        "copy",
        result=True,
    )
    rbac: Flag = _key(
        "Add the source's privilege groups, roles, grants and memberships to the target. Users are "
        "only listed, because Milvus returns no passwords.",
        False,
        result=True,
    )
    copy_rate_limits: Flag = _key(
        "Copy the collection properties that limit rates and sizes.", False, result=True
    )
    create_index: CreateIndex = _key(
        "Create the source's indexes in the target: after the rows (`true`), or `before` them. "
        "`AUTOINDEX` creates an AUTOINDEX on every vector field instead.",
        True,
        result=True,
    )
    index: IndexRequests = _key(
        'Other indexes in the target: `{ "docs.vector" { index_type = HNSW }, "*" = AUTOINDEX }`; '
        "see [reshaping.md](reshaping.md#indexes-index).",
        {},
        result=True,
    )
    load_collection: LoadCollection = _key(
        "Load the target's collections at the end; `as_source` loads those that are loaded in the "
        "source.",
        "as_source",
        result=True,
    )
    schema_save_mode: SchemaSaveMode = _key(
        "`CREATE_SCHEMA_WHEN_NOT_EXIST` creates a missing collection in the target. "
        "`ERROR_WHEN_SCHEMA_NOT_EXIST` requires an existing collection with the source's schema. "
        "`IGNORE` requires one and uses it as it is. `RECREATE_SCHEMA` drops it and creates it "
        "again.",
        "CREATE_SCHEMA_WHEN_NOT_EXIST",
        result=True,
    )
    data_save_mode: DataSaveMode = _key(
        "If the target's collection has rows: `ERROR_WHEN_DATA_EXISTS` stops the job. "
        "`APPEND_DATA` keeps them and replaces those with a key of the source. `DROP_DATA` drops "
        "them and keeps the collection's settings.",
        "ERROR_WHEN_DATA_EXISTS",
        result=True,
    )
    collection_rename: Renames = _key(
        'Names in the target by names in the source: `{ docs = articles, "old_*" = "new_*" }`.',
        {},
        result=True,
    )
    collection_description: ByName = _key(
        "Descriptions in the target by collection names in the source.", {}, result=True
    )
    shard_num: Maybe = _key(
        "Number of shards. Default: the same as in the source.", None, result=True
    )
    enable_dynamic_field: MaybeFlag = _key(
        "Whether collections have a dynamic field. `false` drops its keys, which must be accepted. "
        "Default: the same as in the source.",
        None,
        result=True,
    )
    partition_key: Text = _key(
        "The partition key field, by its name in the target: an Int64 or VarChar field. Default: "
        "the same as in the source.",
        "",
        result=True,
    )
    partition_num: Maybe = _key(
        "Number of partitions of a collection with a partition key. Default: the same as in the "
        "source; 16 if the source has no partition key.",
        None,
        result=True,
    )
    consistency_level: Level = _key(
        "Consistency level. Default: the same as in the source.", None, result=True
    )
    field_schema: FieldSettings = _key(
        "Field settings in the target: `[{ field_name = title, max_length = 512 }]`; see "
        "[reshaping.md](reshaping.md#settings-of-fields-field_schema).",
        (),
        result=True,
    )
    functions: TargetFunctions = _key(
        "BM25 functions to add to the target: `[{ name, input_field, output_field }]`; see "
        "[reshaping.md](reshaping.md#bm25-functions-functions).",
        (),
        result=True,
    )

    @model_validator(mode="after")
    def _indexes_are_created(self) -> Sink:
        if self.index and not self.create_index:
            raise ValueError("index has no effect with create_index = false; remove one of them")
        return self

    def renamed(self, *names: str) -> str:
        """Returns the name from `collection_rename` for a collection of these names, or the last.

        An exact name has priority over a pattern, and the first of the names over the others.
        """
        return _renamed(self.collection_rename, names)

    def renamed_database(self, database: str) -> str:
        """Returns the name from `database_rename`; an exact name has priority over a pattern."""
        return _renamed(self.database_rename, (database,))


def _renamed(renames: Mapping[str, str], spellings: Sequence[str]) -> str:
    for name in spellings:
        if name in renames:
            return renames[name]
    for old, new in renames.items():
        for name in spellings:
            if "*" in old and (match := matching(old, name)):
                return new.replace("*", match[1])
    return spellings[-1]


BLOCKS: dict[str, type[Block]] = {"env": Env, "source.Milvus": Source, "sink.Milvus": Sink}
