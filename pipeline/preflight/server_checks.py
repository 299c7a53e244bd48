"""Survey -> Findings about the servers themselves: whether they answer, and what they allow."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.jobfile.job import JobConfig
from pipeline.planning.survey import OLDEST_READABLE, Survey
from transforms.errors import AccessDenied, PrivilegeMissing, ServerError
from transforms.milvus import gateways
from transforms.milvus.faults import is_denial
from transforms.milvus.versions import Version, release
from transforms.plan import Finding, Plan

OLDEST_SOURCE = release("2.3.7")
"""Older servers page wrongly or crash on some queries (the vendors' own images have this gate)."""


def problems(survey: Survey) -> Iterator[Finding]:
    """Yields what kept the survey from asking further."""
    for role, side in (("source", survey.source), ("target", survey.target)):
        where = f"{role} {side.url}"
        if side.problem:
            yield _problem(role, side.url, side.problem)
        elif side.is_too_old:
            yield _too_old(role, where, side.version)


def _problem(role: str, url: str, problem: ServerError) -> Finding:
    where = f"{role} {url}"
    if is_denial(problem) and not isinstance(problem, AccessDenied):
        remedy = "Kitelift needs this call: ask the provider of the server to allow it."
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    if isinstance(problem, PrivilegeMissing):
        remedy = "Grant it to a role of this user; `kitelift doctor` lists all that lack."
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    if isinstance(problem, AccessDenied):
        remedy = f"Check token and database under {_block(role)}.Milvus, and what this user may do."
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    remedy = _remedy(role, url, problem.detail)
    return Finding(f"{role}-unreachable", where, f"{problem.detail}.", remedy)


def _remedy(role: str, url: str, detail: str) -> str:
    if "certificate" in detail or "through the HTTP proxy" in detail:
        return ""  # The words about it end with what to do.
    if gateways.NOT_GRPC in detail:
        return gateways.INGRESS_REMEDY
    if "socket closed" in detail.lower():
        return _CLOSED[url.partition(":")[0] in ("https", "tls")]
    return f"Check {_block(role)}.Milvus.url, and that the server is up."


def _too_old(role: str, where: str, version: Version) -> Finding:
    verb = "read" if role == "source" else "written"
    return Finding(
        f"{role}-too-old",
        where,
        f"Milvus {version} cannot be {verb}: servers are supported from {OLDEST_READABLE} on, the "
        "first release with count(*).",
        f"Upgrade it to Milvus {OLDEST_SOURCE} or later.",
    )


# A server that does not like how it is spoken to closes the connection without a word.
_CLOSED = {
    False: "A server that wants TLS does so: try https:// instead of http://.",
    True: "A server that wants a certificate of ours does so: give client_pem_path and "
    "client_key_path.",
}


def _block(role: str) -> str:
    return "source" if role == "source" else "sink"


_TOLD = {
    "AllocTimestamp": "a timestamp at which all replicas are read",
    "Connect": "the version",
    "DescribeAlias": "which collection an alias belongs to",
    "DescribeDatabase": "the properties of the database",
    "GetLoadState": "the load state (a query shows it)",
    "GetReplicas": "the number of replicas",
    "GetVersion": "the version",
    "ListAliases": "the aliases (those in descriptions are copied)",
    "ListDatabases": "the other databases",
    "ShowPartitions": "the names of partitions",
}
"""The optional calls, and what they tell."""


def denied_calls(config: JobConfig, survey: Survey, _: Plan | None) -> Iterator[Finding]:
    """Names the optional calls that a server denies, and what is not known without them."""
    for role, side in (("source", survey.source), ("target", survey.target)):
        if side.denied:
            told = dict.fromkeys(_TOLD.get(call, call) for call in side.denied)
            yield Finding(
                "call-denied",
                f"{role} {side.url}",
                f"the server denies {', '.join(side.denied)}. Kitelift continues without "
                f"{', '.join(told)}.",
                "Nothing is needed, unless that is to be copied: then allow the calls.",
                severity="info",
            )
