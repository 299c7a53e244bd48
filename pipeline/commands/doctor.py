"""`kitelift doctor`: checks servers, ledger and host, one line per check. Changes nothing."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import statistics
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.text import Text

from pipeline.commands.shared import speed_test
from pipeline.commands.shared.arguments import Arguments
from pipeline.console import finding_lines
from pipeline.console.formatting import plural, size
from pipeline.jobfile.job import JobConfig
from pipeline.planning import planner
from pipeline.planning.cluster_survey import ClusterSurvey
from pipeline.planning.survey import Survey, survey_clusters
from pipeline.preflight import examination, privileges
from pipeline.reports import job_status
from pipeline.target import job_marks
from transforms.errors import JobChanged, LedgerError, MigrationError
from transforms.finding import Finding
from transforms.ledger.ledger import Ledger
from transforms.ledger.store import Store
from transforms.milvus import proxies
from transforms.milvus.access_control import AccessClient
from transforms.milvus.channel import NO_RETRIES
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.qualified_names import ALL

Severity = Literal["ok", "warning", "error"]
_STYLES: dict[Severity, str] = {"ok": "green", "warning": "yellow", "error": "bold red"}

ROUND_TRIPS = 5
SLOW_S = 0.05
"""A longer round trip slows a job: each page, each insert and each key range waits for one."""

LITTLE_DISK_BYTES, LOW_DISK_BYTES = 100_000_000, 1_000_000_000
"""A ledger takes about 300 bytes per batch; rejected rows are stored whole."""

WORKERS_PER_CORE = 2
"""Workers mostly wait for servers; with more workers than this, they wait for each other."""


@dataclass(frozen=True)
class DoctorCheck:
    """The result of one check: what it is about, the fact, and the remedy if there is a problem."""

    about: str
    said: str
    remedy: str = ""
    severity: Severity = "ok"


def doctor(config: JobConfig, arguments: Arguments) -> int:
    """Runs and prints all checks; returns 3 if something would stop the job, else 0.

    With `--prove`, it proves the pair of servers instead.
    """
    if arguments.prove:
        from pipeline.commands.pair_proof import prove  # Imports pymilvus' own client.

        return prove.prove(config, arguments)
    checks: list[DoctorCheck] = []
    for check in examine(config, arguments):
        checks.append(check)
        if not arguments.as_json:
            _show(check)
    if arguments.as_json:
        print(json.dumps([asdict(check) for check in checks], indent=1))
    return 3 if any(check.severity == "error" for check in checks) else 0


def examine(config: JobConfig, arguments: Arguments) -> Iterator[DoctorCheck]:
    """Yields the checks, the quick ones first."""
    yield from check_host(config.env.parallelism)
    yield from _ledger(config.env.state, config.job_id)
    yield from _cluster(config, arguments)
    survey = survey_clusters(config)
    sides = (
        ("source", survey.source, config.source_endpoint),
        ("target", survey.target, config.target_endpoint),
    )
    for role, side, endpoint in sides:
        yield from _server(role, side, endpoint)
        names = _names(config, survey, role)
        yield from check_privileges(role, config, endpoint, names, side.existing_databases)
    yield from _job(config, survey)


# -- this host ----------------------------------------------------------------------------------


def check_host(workers: int, cores: int | None = None) -> Iterator[DoctorCheck]:
    """Checks the host that runs the job: Python, cores and workers."""
    cores = cores or os.cpu_count() or 1
    said = (
        f"Python {platform.python_version()}, {plural(cores, 'core')}, {plural(workers, 'worker')}"
    )
    if workers > WORKERS_PER_CORE * cores:
        remedy = f"Set `env.parallelism` to {WORKERS_PER_CORE * cores} or less."
        yield DoctorCheck("host", f"{said}: too many workers per core.", remedy, "warning")
    else:
        yield DoctorCheck("host", f"{said}.")


# -- the ledger ---------------------------------------------------------------------------------


def _ledger(state: str, job_id: str) -> Iterator[DoctorCheck]:
    try:
        Store(state, f"doctor-{os.getpid()}").check_access()
        status = job_status.read(Ledger(state, job_id))
    except LedgerError as error:
        said = f"cannot {error.verb} {error.path}: {error.reason}."
        yield DoctorCheck(
            "ledger", said, "Correct `env.state`, or grant write access to it.", "error"
        )
        return
    except JobChanged as error:
        yield DoctorCheck("ledger", f"{error}", severity="error")
        return
    holder = f" by {status.holder}" if status.holder else ""
    yield DoctorCheck("ledger", f"{status.ledger}: writable; the job is {status.state}{holder}.")
    if "://" not in state:
        yield check_disk(Path(state.removeprefix("file:")))


def check_disk(folder: Path, free_bytes: int | None = None) -> DoctorCheck:
    """Checks the free disk space for a local ledger."""
    existing = next(path for path in [folder, *folder.absolute().parents] if path.exists())
    free = shutil.disk_usage(existing).free if free_bytes is None else free_bytes
    if free >= LOW_DISK_BYTES:
        return DoctorCheck("disk", f"{size(free)} free for the ledger.")
    remedy = "Free some disk space, or set `env.state` to another location."
    severity: Severity = "error" if free < LITTLE_DISK_BYTES else "warning"
    return DoctorCheck("disk", f"only {size(free)} free for the ledger.", remedy, severity)


# -- the cluster --------------------------------------------------------------------------------


def _cluster(config: JobConfig, arguments: Arguments) -> Iterator[DoctorCheck]:
    """Checks the engine that the command line, or the job file, names."""
    if arguments.runner == "DirectRunner":
        if config.env.flink_master or config.env.spark_master:
            yield DoctorCheck("cluster", "not checked; with -m cluster, the job runs there.")
        return
    from pipeline.engines import cluster_checks, engine_choice

    try:
        engine = engine_choice.create_engine(config, arguments.runner, arguments.beam)
        findings = cluster_checks.findings(engine, config) if engine else ()
    except MigrationError as error:
        yield DoctorCheck("cluster", f"{error}", severity="error")
        return
    yield from (_check(finding, "cluster") for finding in findings)
    if engine and not any(finding.stops for finding in findings):
        yield DoctorCheck("cluster", f"{engine.name} answers and can run the job.")


# -- the servers --------------------------------------------------------------------------------


def _server(role: str, side: ClusterSurvey, endpoint: Endpoint) -> Iterator[DoctorCheck]:
    """Checks version and latency; a server that does not answer is a finding of preflight."""
    yield from _proxy(role, side, endpoint)
    if side.problem:
        return
    number = plural(len(side.names), "collection")
    where = side.database
    if where == ALL:
        where = plural(len(side.existing_databases), "database")
    verb = "has" if len(side.existing_databases) < 2 else "have"
    yield DoctorCheck(role, f"{side.url} is {side.version.product}; {where} {verb} {number}.")
    try:
        trip_s = measure_round_trip(endpoint)
    except MigrationError as error:
        yield DoctorCheck(role, f"does not answer every call: {error}.", severity="warning")
        return
    said = f"a round trip takes {1000 * trip_s:.1f} ms"
    if trip_s <= SLOW_S:
        yield DoctorCheck(role, f"{said}.")
    else:
        remedy = "Run Kitelift closer to this server, or raise `env.parallelism` and `batch_size`."
        yield DoctorCheck(
            role, f"{said}, and each page and insert waits for one.", remedy, "warning"
        )


def _proxy(role: str, side: ClusterSurvey, endpoint: Endpoint) -> Iterator[DoctorCheck]:
    """Reports the HTTP proxy that gRPC uses for a server, if there is one."""
    proxy = None if endpoint.folder else proxies.used_for(endpoint.address)
    if proxy:
        remedy = f"To connect without it, {proxy.remedy(proxies.host_of(endpoint.address))}."
        severity: Severity = "warning" if side.problem else "ok"
        yield DoctorCheck(role, f"connects through the HTTP proxy {proxy}.", remedy, severity)


def _names(config: JobConfig, survey: Survey, role: str) -> list[str]:
    """Returns the names that the chosen collections have on one side."""
    return [name if role == "source" else config.name_of(name) for name in survey.chosen]


def check_privileges(
    role: str,
    config: JobConfig,
    endpoint: Endpoint,
    names: Iterable[str],
    databases: Collection[str],
) -> Iterator[DoctorCheck]:
    """Reports missing privileges; nothing for an API key, or if the server does not list grants."""
    user, colon, _ = endpoint.secret().partition(":")
    if not colon:
        return
    client = AccessClient(endpoint, NO_RETRIES)
    try:
        grants = client.own_grants(user, databases)
    except MigrationError:
        return  # Preflight reports a server that does not answer or denies access.
    finally:
        client.close()
    if grants is None:
        yield DoctorCheck(role, f"user {user} has all privileges.")
    elif missing := privileges.lacking(privileges.needed(config)[role], grants, names):
        said = f"user {user} has no grant for {', '.join(missing)}."
        remedy = "Grant them to a role of this user, unless one of its privilege groups has them."
        yield DoctorCheck(role, said, remedy, "warning")
    else:
        yield DoctorCheck(role, f"user {user} has every privilege that the job needs.")


def measure_round_trip(endpoint: Endpoint) -> float:
    """Returns the time of a small call in seconds: the median of `ROUND_TRIPS` calls."""
    client = Client(endpoint, NO_RETRIES)

    def timed() -> float:
        began = time.perf_counter()
        client.databases()
        return time.perf_counter() - began

    try:
        timed()  # The first call also connects.
        return statistics.median(timed() for _ in range(ROUND_TRIPS))
    finally:
        client.close()


# -- the job ------------------------------------------------------------------------------------


def _job(config: JobConfig, survey: Survey) -> Iterator[DoctorCheck]:
    """Reports the findings of preflight; without errors, also the size and the estimated time."""
    existing, ledger = None, Ledger(config.env.state, config.job_id)
    with contextlib.suppress(MigrationError):  # The check of the ledger has reported it.
        existing = ledger.plan()
        survey = job_marks.without_own_marks(survey, ledger)
    findings = examination.examine(config, survey, existing)
    yield from map(_check, findings)
    if any(finding.stops for finding in findings):
        return
    rows = sum(survey.source.rows[name].count for name in survey.chosen)
    chosen = plural(len(survey.chosen), "collection")
    yield DoctorCheck("job", f"{chosen}, {plural(rows, 'row')}: ready to run.")
    plan = planner.build_plan(config, survey, findings, plan_id="doctor", made_at=time.time())
    estimate = speed_test.estimate_job(config, plan, {})
    severity: Severity = "warning" if estimate.problems else "ok"
    for line in estimate.lines():
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
