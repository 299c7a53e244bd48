"""What of a job does not suit a cluster: findings before it is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.engines import engine
from pipeline.engines.engine import Engine
from pipeline.jobfile.job import JobConfig
from transforms.milvus.endpoint import is_reference
from transforms.plan import Finding


def findings(on: Engine, config: JobConfig) -> tuple[Finding, ...]:
    """Looks at a cluster before a job, and at what of the job does not suit a cluster."""
    return (*on.findings(), *_tokens(config), *_places(on, config))


def _tokens(config: JobConfig) -> Iterator[Finding]:
    sides = {"source.Milvus": config.source_endpoint, "sink.Milvus": config.target_endpoint}
    for block, endpoint in sides.items():
        if endpoint.token and not is_reference(endpoint.token):
            yield Finding(
                "token-in-graph",
                f"{block}.token",
                "a literal token travels to the workers in the job's graph, where whoever may see "
                "the cluster's jobs can find it.",
                "Give it as env:NAME or file:/path, which each worker resolves by itself.",
                severity="warning",
            )


def _places(on: Engine, config: JobConfig) -> Iterator[Finding]:
    """A folder that each host has for itself is no place for a ledger."""
    state = config.env.state
    others = [host for host in on.hosts if not engine.is_this_host(host)]
    yield from _files(config, others)
    if others and "://" not in state and not Path(state.removeprefix("file:")).is_absolute():
        yield Finding(
            "ledger-not-shared",
            f"env.state {state}",
            f"it is a folder of this host, and workers run on {', '.join(others)}.",
            "Give it a place that all hosts share: s3://, gs://, or the absolute path of a "
            "shared file system.",
        )


def _files(config: JobConfig, others: list[str]) -> Iterator[Finding]:
    """Parquet files in a folder that each host may have for itself."""
    sides = {"source": config.source_endpoint, "sink": config.target_endpoint}
    for side, endpoint in sides.items():
        if others and endpoint.folder and "://" not in endpoint.folder:
            yield Finding(
                "files-not-shared",
                f"{side}.Parquet.path {endpoint.folder}",
                f"it must be the same folder on {', '.join(others)}, where workers run.",
                "Make sure that it is on a shared file system, or give s3:// or gs://.",
                severity="warning",
            )
