"""Findings about running a job on a cluster, before it is submitted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.engines import engine
from pipeline.engines.engine import Engine
from pipeline.jobfile.job import JobConfig
from transforms.finding import Finding
from transforms.milvus.endpoint import is_reference


def findings(on: Engine, config: JobConfig) -> tuple[Finding, ...]:
    """Checks the cluster, and the settings of the job that cannot work there."""
    return (*on.findings(), *_tokens(config), *_places(on, config))


def _tokens(config: JobConfig) -> Iterator[Finding]:
    sides = {"source.Milvus": config.source_endpoint, "sink.Milvus": config.target_endpoint}
    for block, endpoint in sides.items():
        if endpoint.token and not is_reference(endpoint.token):
            yield Finding(
                "token-in-graph",
                f"{block}.token",
                "a literal token is part of the job's graph, where everyone who can see the "
                "cluster's jobs can read it.",
                "Set it as `env:NAME` or `file:/path`. Each worker then reads it locally.",
                severity="warning",
            )


def _places(on: Engine, config: JobConfig) -> Iterator[Finding]:
    """Yields where a folder must be the same on all hosts: that of a ledger, or of files."""
    state = config.env.state
    others = [host for host in on.hosts if not engine.is_this_host(host)]
    yield from _files(config, others)
    if others and "://" not in state and not Path(state.removeprefix("file:")).is_absolute():
        yield Finding(
            "ledger-not-shared",
            f"env.state {state}",
            f"it is a folder of this host, but workers run on {', '.join(others)}.",
            "Set a location that all hosts share: s3://, gs://, or an absolute path in a shared "
            "file system.",
        )


def _files(config: JobConfig, others: list[str]) -> Iterator[Finding]:
    """Yields Parquet folders that may be a different folder on each host."""
    sides = {"source": config.source_endpoint, "sink": config.target_endpoint}
    for side, endpoint in sides.items():
        if others and endpoint.folder and "://" not in endpoint.folder:
            yield Finding(
                "files-not-shared",
                f"{side}.Parquet.path {endpoint.folder}",
                f"it must be the same folder on {', '.join(others)}, where workers run.",
                "Put it on a shared file system, or set an s3:// or gs:// location.",
                severity="warning",
            )
