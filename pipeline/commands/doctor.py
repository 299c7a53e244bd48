"""What can be checked before a job: servers, ledger and machine, a line each. Changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from pipeline.commands import speed_test
from pipeline.commands.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.console.formatting import plural, size
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner, survey
from pipeline.planning.survey import ClusterSurvey, Survey
from pipeline.preflight import examination, privileges
from pipeline.reports import job_status
from transforms.errors import JobChanged, LedgerError, MigrationError
from transforms.ledger.ledger import Ledger
from transforms.ledger.store import Store
from transforms.milvus import proxies
from transforms.milvus.access import AccessClient
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.plan import Finding

Severity = Literal["ok", "warning", "error"]
_STYLES: dict[Severity, str] = {"ok": "green", "warning": "yellow", "error": "bold red"}

ROUND_TRIPS = 5
SLOW_S = 0.05
"""A round trip above it shows: each page and each insert waits for one, and so does each range."""

LITTLE_DISK_BYTES, LOW_DISK_BYTES = 100_000_000, 1_000_000_000
"""A ledger takes some 300 bytes a batch; rejected rows are kept whole."""

WORKERS_PER_CORE = 2
"""Workers mostly wait for servers; more than this many only take turns."""


@dataclass(frozen=True)
class DoctorCheck:
    """What one look has shown: about what, the fact, and what to do where it is not well."""

    about: str
    said: str
    remedy: str = ""
    severity: Severity = "ok"


def doctor(config: JobConfig, arguments: Arguments) -> int:
    """Checks all that can be checked and prints it; 3 where something would stop the job.

    With `--prove` it proves the pair of servers instead.
    """
    if arguments.prove:
        from pipeline.commands.pair_proof import prove  # It imports pymilvus' own client.

        return prove.prove(config, arguments)
    checks: list[DoctorCheck] = []
    for check in examine(config, arguments):
        checks.append(check)
        if not arguments.as_json:
            _show(check)
    if arguments.as_json:
        print(json.dumps([asdict(each) for each in checks], indent=1))
    return 3 if any(each.severity == "error" for each in checks) else 0


def examine(config: JobConfig, arguments: Arguments) -> Iterator[DoctorCheck]:
    """Yields a check after the other, the quick ones first."""
    yield from machine(config)
    yield from _ledger(config)
    yield from _cluster(config, arguments)
    found = survey.survey_clusters(config)
    sides = (
        ("source", found.source, config.source_endpoint),
        ("target", found.target, config.target_endpoint),
    )
    for role, side, endpoint in sides:
        yield from _server(role, side, endpoint)
        yield from access(role, config, endpoint, _names(config, found, role))
    yield from _job(config, found)


# -- this machine -------------------------------------------------------------------------------


def machine(config: JobConfig, cores: int | None = None) -> Iterator[DoctorCheck]:
    """Checks what the job runs on."""
    cores = cores or os.cpu_count() or 1
    workers, python = config.env.parallelism, platform.python_version()
    said = f"Python {python}, {plural(cores, 'core')}, {plural(workers, 'worker')}"
    if workers > WORKERS_PER_CORE * cores:
        remedy = f"Set env.parallelism to {WORKERS_PER_CORE * cores} or less."
        yield DoctorCheck("machine", f"{said}: they would wait for each other.", remedy, "warning")
    else:
        yield DoctorCheck("machine", f"{said}.")


# -- the ledger ---------------------------------------------------------------------------------


def _ledger(config: JobConfig) -> Iterator[DoctorCheck]:
    state = config.env.state
    try:
        Store(state, f"doctor-{os.getpid()}").check_access()
        standing = job_status.read(Ledger(state, config.job_id))
    except LedgerError as error:
        said = f"cannot {error.verb} {error.path}: {error.reason}."
        yield DoctorCheck("ledger", said, "Correct env.state, or mend the access to it.", "error")
        return
    except JobChanged as error:
        yield DoctorCheck("ledger", f"{error}", severity="error")
        return
    held = f" by {standing.holder}" if standing.holder else ""
    yield DoctorCheck(
        "ledger", f"{standing.ledger}: can be written; the job is {standing.state}{held}."
    )
    if "://" not in state:
        yield disk(Path(state.removeprefix("file:")))


def disk(folder: Path, free_bytes: int | None = None) -> DoctorCheck:
    """Checks the room where a local ledger lies."""
    there = next(each for each in [folder, *folder.absolute().parents] if each.exists())
    free = shutil.disk_usage(there).free if free_bytes is None else free_bytes
    if free >= LOW_DISK_BYTES:
        return DoctorCheck("disk", f"{size(free)} free for the ledger.")
    remedy = "Make room, or choose another place by env.state."
    severity: Severity = "error" if free < LITTLE_DISK_BYTES else "warning"
    return DoctorCheck("disk", f"only {size(free)} free for the ledger.", remedy, severity)


# -- the cluster --------------------------------------------------------------------------------


def _cluster(config: JobConfig, arguments: Arguments) -> Iterator[DoctorCheck]:
    """Looks at the engine that the command line, with the job file, names."""
    if arguments.runner == "DirectRunner":
        if config.env.flink_master or config.env.spark_master:
            yield DoctorCheck("cluster", "not looked at; with -m cluster the job runs there.")
        return
    from pipeline.engines import cluster_checks, runners

    try:
        engine = runners.create_engine(config, arguments.runner, arguments.beam)
        found = cluster_checks.findings(engine, config) if engine else ()
    except MigrationError as error:
        yield DoctorCheck("cluster", f"{error}", severity="error")
        return
    yield from (_check(each, "cluster") for each in found)
    if engine and not any(each.stops for each in found):
        yield DoctorCheck("cluster", f"{engine.name} is there and can take the job.")


# -- the servers --------------------------------------------------------------------------------


def _server(role: str, side: ClusterSurvey, endpoint: Endpoint) -> Iterator[DoctorCheck]:
    """Tells who answers, and how fast; one that does not is a finding of preflight."""
    yield from _proxy(role, side, endpoint)
    if side.problem:
        return
    number = plural(len(side.names), "collection")
    yield DoctorCheck(role, f"{side.url} is {side.version.product}; {side.database} has {number}.")
    try:
        trip_s = round_trip(endpoint)
    except MigrationError as error:
        yield DoctorCheck(role, f"does not answer every call: {error}.", severity="warning")
        return
    said = f"a round trip takes {1000 * trip_s:.1f} ms"
    if trip_s <= SLOW_S:
        yield DoctorCheck(role, f"{said}.")
    else:
        remedy = "Run Kitelift nearer to it, or raise env.parallelism and batch_size."
        yield DoctorCheck(
            role, f"{said}, and each page and insert waits for one.", remedy, "warning"
        )


def _proxy(role: str, side: ClusterSurvey, endpoint: Endpoint) -> Iterator[DoctorCheck]:
    """Names the HTTP proxy through which gRPC connects to a server, if there is one."""
    proxy = None if endpoint.folder else proxies.used_for(endpoint.address)
    if proxy:
        remedy = f"To connect without it, {proxy.remedy(proxies.host_of(endpoint.address))}."
        severity: Severity = "warning" if side.problem else "ok"
        yield DoctorCheck(role, f"connects through the HTTP proxy {proxy}.", remedy, severity)


def _names(config: JobConfig, found: Survey, role: str) -> list[str]:
    """The collections on one side, as far as they are known."""
    return [name if role == "source" else config.name_of(name) for name in found.chosen]


def access(
    role: str, config: JobConfig, endpoint: Endpoint, names: Iterable[str]
) -> Iterator[DoctorCheck]:
    """Tells what the user's roles lack; an API key names no user, and some servers do not tell."""
    user, colon, _ = endpoint.secret().partition(":")
    if not colon:
        return
    client = AccessClient(endpoint, NO_RETRIES)
    try:
        grants = client.own_grants(user)
    except MigrationError:
        return  # That the server is away, or lets nobody in, preflight says.
    finally:
        client.close()
    if grants is None:
        yield DoctorCheck(role, f"user {user} may do everything.")
    elif missing := privileges.lacking(privileges.needed(config)[role], grants, names):
        said = f"user {user} has no grant of {', '.join(missing)}."
        remedy = "Grant them to a role of this user, unless a privilege group holds them."
        yield DoctorCheck(role, said, remedy, "warning")
    else:
        yield DoctorCheck(role, f"user {user} has every privilege that the job needs.")


def round_trip(endpoint: Endpoint) -> float:
    """Returns how long a small call takes, in seconds: the median of some."""
    client = Client(endpoint, NO_RETRIES)

    def timed() -> float:
        began = time.perf_counter()
        client.databases()
        return time.perf_counter() - began

    try:
        timed()  # The first one connects.
        return statistics.median(timed() for _ in range(ROUND_TRIPS))
    finally:
        client.close()


# -- the job ------------------------------------------------------------------------------------


def _job(config: JobConfig, found: Survey) -> Iterator[DoctorCheck]:
    """What preflight would say, and what it has nothing to say about."""
    existing = None
    with contextlib.suppress(MigrationError):  # Said already, about the ledger.
        existing = Ledger(config.env.state, config.job_id).plan()
    findings = examination.examine(config, found, existing)
    yield from map(_check, findings)
    if any(finding.stops for finding in findings):
        return
    rows = sum(found.source.rows[name].count for name in found.chosen)
    chosen = plural(len(found.chosen), "collection")
    yield DoctorCheck("job", f"{chosen}, {plural(rows, 'row')}: nothing is in the way.")
    made = planner.build_plan(config, found, findings, plan_id="doctor", made_at=time.time())
    guess = speed_test.estimate_job(config, made, {})
    severity: Severity = "warning" if guess.problems else "ok"
    for line in guess.lines():
        yield DoctorCheck("speed", f"{line}.", severity=severity)


def _check(finding: Finding, about: str = "job") -> DoctorCheck:
    severity: Severity = "error" if finding.stops else "warning"
    if finding.severity == "info":
        severity = "ok"
    said = f"[{finding.code}] {finding.where}: {finding.what}"
    return DoctorCheck(
        about=about,
        said=f"{said} (accepted)" if finding.accepted else said,
        remedy="" if finding.accepted else finding.remedy,
        severity=severity,
    )


def _show(check: DoctorCheck) -> None:
    head = Text(f"{check.severity:<8}", style=_STYLES[check.severity])
    head.append(f"{check.about:<8} ", style="default")
    body = Text(check.said)
    if check.remedy:
        body.append(f" {check.remedy}", style="bold")
    finding_lines.print_wrapped(Console(highlight=False), head, body)
