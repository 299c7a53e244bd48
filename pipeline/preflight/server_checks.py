"""Survey -> Findings about the servers: whether they answer, and which calls they allow."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.planning.cluster_survey import OLDEST_READABLE
from pipeline.planning.job_view import JobView
from pipeline.planning.survey import Survey
from transforms.errors import AccessDenied, PrivilegeMissing, ServerError
from transforms.finding import Finding
from transforms.milvus import gateways
from transforms.milvus.faults import is_denial
from transforms.milvus.versions import Version, release

OLDEST_SOURCE = release("2.3.7")
"""Older servers page wrongly or crash on some queries (the vendors' own images have this gate)."""


def problems(survey: Survey) -> Iterator[Finding]:
    """Yields the findings that ended the survey early."""
    for role, side in (("source", survey.source), ("target", survey.target)):
        where = f"{role} {side.url}"
        if side.problem:
            yield _problem(role, side.url, side.problem)
        elif side.is_too_old:
            yield _too_old(role, where, side.version)


def _problem(role: str, url: str, problem: ServerError) -> Finding:
    where = f"{role} {url}"
    denied = is_denial(problem) or isinstance(problem, PrivilegeMissing)
    if problem.call == "ListDatabases" and denied:
        what = f"{problem.call}: {problem.detail}. The job selects databases from this list."
        remedy = (
            "Allow the call, or grant ListDatabases to a role of this user. Or copy one database "
            "per job: set `source.Milvus.database` to its name."
        )
        return Finding(f"{role}-access", where, what, remedy)
    if is_denial(problem) and not isinstance(problem, AccessDenied):
        remedy = f"Kitelift needs {problem.call}. Ask the provider of the server to allow it."
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    if isinstance(problem, PrivilegeMissing):
        remedy = "Grant it to a role of this user. `kitelift doctor` lists all missing privileges."
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    if isinstance(problem, AccessDenied):
        remedy = (
            f"Check token and database under `{_block(role)}.Milvus`, and the privileges of this "
            "user."
        )
        return Finding(f"{role}-access", where, f"{problem.call}: {problem.detail}.", remedy)
    remedy = _remedy(role, url, problem.detail)
    return Finding(f"{role}-unreachable", where, f"{problem.detail}.", remedy)


def _remedy(role: str, url: str, detail: str) -> str:
    if "certificate" in detail or "through the HTTP proxy" in detail:
        return ""  # The detail ends with the remedy.
    if gateways.NOT_GRPC in detail:
        return gateways.INGRESS_REMEDY
    if "socket closed" in detail.lower():
        return _CLOSED[url.partition(":")[0] in ("https", "tls")]
    return f"Check `{_block(role)}.Milvus.url`, and check that the server is up."


def _too_old(role: str, where: str, version: Version) -> Finding:
    verb = "read" if role == "source" else "write to"
    return Finding(
        f"{role}-too-old",
        where,
        f"Kitelift cannot {verb} Milvus {version}. It supports {OLDEST_READABLE} and later, the "
        "releases with count(*).",
        f"Upgrade the {role} to Milvus {OLDEST_SOURCE} or later.",
    )


# By whether the url is one of TLS: a server that expects something else closes the connection.
_CLOSED = {
    False: "If the server uses TLS, write https:// instead of http:// in the url.",
    True: "If the server requires a client certificate, set `client_pem_path` and "
    "`client_key_path`.",
}


def _block(role: str) -> str:
    return "source" if role == "source" else "sink"


_LEARNED = {
    "AllocTimestamp": "a timestamp for the reads of all replicas",
    "Connect": "the version",
    "DescribeAlias": "which collection an alias belongs to",
    "DescribeDatabase": "the properties of the database",
    "GetLoadState": "the load state (Kitelift learns it from a query)",
    "GetReplicas": "the number of replicas",
    "GetVersion": "the version",
    "ListAliases": "the aliases (Kitelift copies those in descriptions)",
    "ListDatabases": "the other databases",
    "ShowPartitions": "the partition names",
}
"""The optional calls, and what Kitelift learns from each."""


def denied_calls(job: JobView) -> Iterator[Finding]:
    """Yields the optional calls that a server denies, and what is unknown without them."""
    for role, side in (("source", job.source), ("target", job.target)):
        if side.denied:
            unknown = dict.fromkeys(_LEARNED.get(call, call) for call in side.denied)
            yield Finding(
                "call-denied",
                f"{role} {side.url}",
                f"the server denies {', '.join(side.denied)}. Kitelift continues without "
                f"this information: {', '.join(unknown)}.",
                "No action needed. To copy this too, allow these calls.",
                severity="info",
            )
