"""Flink: its REST API, checks before a job, and its submission.

The jar with Beam's runner is sent with the job (Beam's "uber jar"). So only REST is needed, and no
Java on this host. Cluster and jar may differ in their minor version (1.19 on 1.20, tried).
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    PipelineOptions,
    PortableOptions,
)
from apache_beam.runners.portability.flink_runner import FlinkRunner
from apache_beam.version import __version__ as BEAM_VERSION  # noqa: N812 - it is a constant

from pipeline.engines import beam_job_service, beam_options
from pipeline.engines.engine import WORKER_START_OPTIONS, Submission, SubmissionState, is_this_host
from transforms.errors import ConfigError, EngineError
from transforms.finding import Finding

TIMEOUT_S = 10.0
"""Timeout of one REST call; the JobManager is idle when it is called."""

_STATES: dict[str, SubmissionState] = {
    "FINISHED": "done",
    "FAILED": "failed",
    "CANCELED": "cancelled",
}


class Rest:
    """The REST interface of a JobManager."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, method: str = "GET") -> Any:
        """Returns the answer as JSON; None if the server answers 404.

        Raises:
            EngineError: no answer, an answer that is not JSON, or an invalid URL.
        """
        try:
            request = urllib.request.Request(f"{self.url}/v1/{path}", method=method)
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                return json.loads(answer.read() or b"{}")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise EngineError(f"Flink {self.url}", f"{path}: HTTP {error.code}") from error
        except (OSError, ValueError, http.client.InvalidURL) as error:
            reason = getattr(error, "reason", error)
            raise EngineError(f"Flink {self.url}", f"does not answer: {reason}") from error
        except http.client.HTTPException as error:
            raise EngineError(f"Flink {self.url}", "its answer is not HTTP") from error


@dataclass(frozen=True)
class FlinkRemote:
    """One job in a Flink cluster."""

    url: str
    id: str

    def state(self) -> SubmissionState:
        """Returns its state; restarting and cancelling count as running."""
        job = Rest(self.url).ask(f"jobs/{self.id}")
        return "gone" if job is None else _STATES.get(job["state"], "running")

    def failure(self) -> str:
        """Returns the stack trace of the newest failure."""
        answer = Rest(self.url).ask(f"jobs/{self.id}/exceptions") or {}
        history = answer.get("exceptionHistory", {}).get("entries", [])
        return str(history[0]["stacktrace"] if history else answer.get("root-exception") or "")

    def cancel(self) -> None:
        """Stops it."""
        Rest(self.url).ask(f"jobs/{self.id}?mode=cancel", "PATCH")


class Flink:
    """A Flink cluster, and the options of a job there."""

    name = "Flink"
    probed = True

    def __init__(self, master: str, arguments: Sequence[str], *, parallelism: int) -> None:
        """Reads the options; `master` is ``host:port`` of the JobManager's REST, or its URL.

        Raises:
            ConfigError: an option is wrong, or the address is missing.
        """
        self.url = _url(master)
        self.workers = parallelism
        self._rest = Rest(self.url)
        self._given = tuple(arguments)
        options = beam_options.read(arguments)
        self._portable = options.view_as(PortableOptions)
        self._flink = options.view_as(FlinkRunnerOptions)
        self._environment = str(self._portable.environment_type or "")
        self._endpoint = str(self._portable.job_endpoint or "")
        self._flags: list[str] = []
        self.hosts: tuple[str, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether workers are threads of this process."""
        return self._environment == "LOOPBACK"

    def findings(self) -> list[Finding]:
        """Checks the cluster; sets how workers start there, and how many a host has."""
        try:
            config, overview = self._rest.ask("config"), self._rest.ask("overview")
            managers = (self._rest.ask("taskmanagers") or {}).get("taskmanagers", [])
        except EngineError as error:
            return [self._unreachable(f"{error.what}.")]
        if config is None or overview is None or "flink-version" not in config:
            return [self._unreachable("the server at this address is not a JobManager of Flink.")]
        # One process per slot: slots in one process would share its interpreter lock.
        slots = max([int(manager["slotsNumber"]) for manager in managers], default=1)
        self._flags.append(f"--sdk_worker_parallelism={slots}")
        findings = [*self._slots(overview), *self._worker_start(managers)]
        return findings if self._endpoint else [*findings, *self._jar(config["flink-version"])]

    def pipeline(self, label: str) -> beam.Pipeline:
        """Returns an empty pipeline."""
        flags = [
            f"--job_name={label}",
            # Stages run one after the other and exchange data on disk: if a host is lost, only
            # its part is repeated.
            "--execution_mode_for_batch=BATCH_FORCED",
            *self._flags,
            *self._given,
            f"--flink_master={self.url}",
            f"--environment_type={self._environment}",
            "--experiments=disable_logging_submission_environment",  # It takes seconds.
        ]
        options = beam_options.read(
            flags if self._endpoint else [*flags, "--flink_submit_uber_jar"]
        )
        options.view_as(FlinkRunnerOptions).parallelism = self.workers
        self._runner = _FlinkRunner()
        return beam.Pipeline(runner=self._runner, options=options)

    def submit(self, pipeline: beam.Pipeline) -> Submission:
        """Submits a pipeline and returns at once."""
        try:
            result = pipeline.run()
        except RuntimeError as error:  # Beam raises no other type for the cluster's errors.
            raise EngineError(
                f"Flink {self.url}", beam_job_service.shortened(str(error))
            ) from error
        finally:
            self._runner.clear()
        if self._endpoint:
            return beam_job_service.submission("Flink", self._endpoint, result)
        number = self._runner.number
        page = f"{self.url}/#/job/running/{number}/overview"
        return Submission("Flink", "flink", self.url, number, page, stays=not self.inside)

    def close(self) -> None:
        """Does nothing: no other process runs."""

    # -- checks -----------------------------------------------------------------------------------

    def _unreachable(self, what: str) -> Finding:
        remedy = (
            "Set `--flink_master` (`env.flink.master`) to the address of the JobManager's web page "
            "(HOST:8081), and check that the cluster is up."
        )
        return Finding("engine-unreachable", f"Flink {self.url}", what, remedy)

    def _slots(self, overview: dict[str, Any]) -> Iterator[Finding]:
        total, free = int(overview["slots-total"]), int(overview["slots-available"])
        if free >= self.workers:
            return
        slots = f"{free} of {total} task slots are free"
        yield Finding(
            "engine-slots",
            f"Flink {self.url}",
            f"{slots}, but `env.parallelism` is {self.workers}: the job would wait for more slots.",
            "Lower `env.parallelism`, start more TaskManagers, or wait until slots are free.",
        )

    def _worker_start(self, managers: list[dict[str, Any]]) -> Iterator[Finding]:
        self.hosts = tuple(sorted({_host(str(manager["path"])) for manager in managers}))
        here = all(map(is_this_host, self.hosts))
        alone = len(managers) == 1 and here
        where = "on this host" if here else f"on {', '.join(self.hosts)}"
        cluster = f"{len(managers)} TaskManagers {where}"
        if not self._environment and alone:
            self._environment = "LOOPBACK"
        elif not self._environment:
            what = f"{cluster}, and no option sets how their workers start."
            yield Finding("engine-environment", f"Flink {self.url}", what, WORKER_START_OPTIONS)
        elif self.inside and not alone:
            what = f"{cluster}, but LOOPBACK serves only one TaskManager, on this host."
            yield Finding("engine-environment", f"Flink {self.url}", what, WORKER_START_OPTIONS)

    def _jar(self, version: str) -> Iterator[Finding]:
        minor = ".".join(version.split(".")[:2])
        given, known = self._flink.flink_job_server_jar, self._flink.PUBLISHED_FLINK_VERSIONS
        if not given and minor not in known:
            what = f"it is {version}, but Beam {BEAM_VERSION} has runners for {', '.join(known)}."
            remedy = "Use one of those versions, or set a runner with `--flink_job_server_jar=JAR`."
            yield Finding("engine-version", f"Flink {self.url}", what, remedy)
            return
        artifact = f"beam-runners-flink-{minor}-job-server"
        jar = beam_job_service.jar(given, artifact, "flink_job_server_jar")
        self._flags.append(f"--flink_job_server_jar={jar}")
        fits = _fits(Path(jar))
        if fits and fits != minor:
            yield Finding(
                "engine-version",
                f"Flink {self.url}",
                f"it is {version}, but the runner in {jar} is for Flink {fits}.",
                f"Use {artifact}-{BEAM_VERSION}.jar.",
                severity="error" if fits.split(".")[0] != minor.split(".")[0] else "warning",
            )


class _FlinkRunner(FlinkRunner):
    """Beam's runner, which keeps its job server, to read the job's id and to clean up."""

    _server: Any = None

    def default_job_server(self, options: PipelineOptions) -> Any:
        self._server = super().default_job_server(options)
        return self._server

    @property
    def number(self) -> str:
        """The id of the job in Flink; Beam only logs it."""
        [job] = self._server._jobs.values()  # noqa: SLF001
        return str(job._flink_job_id)  # noqa: SLF001

    def clear(self) -> None:
        """Removes the copies of the jar that Beam leaves on this host and on the cluster.

        A running job has its own copy.
        """
        if self._server is None:
            return
        for job in self._server._jobs.values():  # noqa: SLF001
            job.delete_jar()
            Path(job._jar).unlink(missing_ok=True)  # noqa: SLF001
        shutil.rmtree(self._server._temp_dir, ignore_errors=True)  # noqa: SLF001


def _url(master: str) -> str:
    if not master or master.startswith("["):
        raise ConfigError(
            ["--flink_master: missing; set it to HOST:8081, the address of the JobManager's REST"]
        )
    return (master if "://" in master else f"http://{master}").rstrip("/")


def _host(path: str) -> str:
    """Returns the host in an address of Flink's actors.

    >>> _host("pekko.tcp://flink@10.0.0.7:41233/user/rpc/taskmanager_0")
    '10.0.0.7'
    """
    match = re.search(r"@\[?([^/]*?)\]?:\d+/", path)
    return match[1] if match else "localhost"


def _fits(jar: Path) -> str:
    """Returns the minor version of Flink that a runner's jar is for, by its manifest or name."""
    try:
        with zipfile.ZipFile(jar) as archive:
            manifest = archive.read("META-INF/MANIFEST.MF").decode()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError([f"--flink_job_server_jar={jar}: not a jar ({error})"]) from error
    stated = re.search(r"^Flink-Version: (\S+)", manifest, re.MULTILINE)
    named = re.search(r"flink-(\d+\.\d+)", jar.name)
    match = stated or named
    return match[1] if match else ""
