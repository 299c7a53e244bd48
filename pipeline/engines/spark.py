"""Spark: checks before a job, and its submission.

Beam's job server, a Java program that is also Spark's driver, submits the job. It is either running
already (--job_endpoint), or this process starts it and ends it.
"""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SparkRunnerOptions,
)
from apache_beam.runners.portability.job_server import JobServer, StopOnExitJobServer
from apache_beam.runners.portability.spark_runner import SparkJarJobServer, SparkRunner

from pipeline.engines import beam_job_service, beam_options, processes
from pipeline.engines.engine import WORKER_START_OPTIONS, Submission, is_this_host
from transforms.errors import ConfigError, EngineError
from transforms.finding import Finding

TIMEOUT_S = 10.0

# Packages that spark-submit opens for a driver on Java 17, and `java -jar` does not.
_OPENS = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio"),
    *("java.util", "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)


class Spark:
    """A Spark cluster, and the options of a job there."""

    name = "Spark"
    probed = True

    def __init__(self, master: str, arguments: Sequence[str], *, parallelism: int) -> None:
        """Reads the options; `master` is ``spark://host:port``.

        Raises:
            ConfigError: an option is wrong, or the address is missing.
        """
        address = re.fullmatch(r"spark://(\[[^]]+\]|[^:/,]+):(\d+)", master)
        if not address:
            raise ConfigError(["--spark_master_url: must be spark://HOST:PORT"])
        self.master, self._host, self._port = master, address[1].strip("[]"), int(address[2])
        self.workers = parallelism
        self._given = tuple(arguments)
        options = beam_options.read(arguments)
        portable = options.view_as(PortableOptions)
        self._spark = options.view_as(SparkRunnerOptions)
        self._java = options.view_as(JobServerOptions).job_server_java_launcher
        self._endpoint = str(portable.job_endpoint or "")
        self._environment = str(portable.environment_type or "")
        self._jar = ""
        self._job_port = _free_port()
        self._runner = _SparkRunner()
        self.hosts: tuple[str, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether workers are threads of this process."""
        return self._environment == "LOOPBACK"

    def findings(self) -> list[Finding]:
        """Checks that the master can be reached, and that a job server can be started."""
        where = f"Spark {self.master}"
        try:
            socket.create_connection((self._host, self._port), TIMEOUT_S).close()
        except OSError as error:
            remedy = "Check `--spark_master_url` (`env.spark.master`) and whether the master is up."
            return [Finding("engine-unreachable", where, f"no connection: {error}.", remedy)]
        if not self._environment:
            if not is_this_host(self._host):
                what = "no option sets how workers start."
                return [Finding("engine-environment", where, what, WORKER_START_OPTIONS)]
            self._environment = "LOOPBACK"
        if not self._endpoint:
            if shutil.which(self._java) is None:
                what = f"Beam's job server for Spark needs Java, and {self._java} was not found."
                remedy = "Install Java 11 or 17, or set `--job_endpoint` to a running job server."
                return [Finding("engine-java", "this host", what, remedy)]
            artifact = "beam-runners-spark-3-job-server"
            given = self._spark.spark_job_server_jar
            self._jar = beam_job_service.jar(given, artifact, "spark_job_server_jar")
        return []

    def pipeline(self, label: str) -> beam.Pipeline:
        """Returns an empty pipeline."""
        flags = [
            f"--job_name={label}",
            f"--sdk_worker_parallelism={self.workers}",
            *(f"--job_server_jvm_property={pair}" for pair in self._properties()),
            *self._given,
            f"--spark_master_url={self.master}",
            f"--environment_type={self._environment}",
            "--experiments=disable_logging_submission_environment",  # It takes seconds.
        ]
        if self._jar:
            flags += [f"--spark_job_server_jar={self._jar}", f"--job_port={self._job_port}"]
        return beam.Pipeline(runner=self._runner, options=beam_options.read(flags))

    def submit(self, pipeline: beam.Pipeline) -> Submission:
        """Submits a pipeline and returns at once."""
        try:
            result = pipeline.run()
        except (RuntimeError, OSError) as error:
            raise EngineError(
                f"Spark {self.master}", beam_job_service.shortened(str(error))
            ) from error
        endpoint = self._endpoint or f"localhost:{self._job_port}"
        stays = bool(self._endpoint) and not self.inside
        return beam_job_service.submission("Spark", endpoint, result, stays=stays)

    def close(self) -> None:
        """Ends the job server, and with it the driver of a running job."""
        if self._runner.server:
            self._runner.server.stop()

    def _properties(self) -> list[str]:
        """Returns the options of the JVM in which the driver runs."""
        opens = [f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in _OPENS]
        # Without it Spark uses 2 for any cluster, because it counts before an executor registers.
        return [
            *opens,
            f"-Dspark.default.parallelism={self.workers}",
            f"-Dspark.cores.max={self.workers}",
        ]


class _SparkRunner(SparkRunner):
    """Beam's runner, with one job server for all pipelines of this process."""

    def __init__(self) -> None:
        super().__init__()
        self.server: JobServer | None = None

    def default_job_server(self, options: PipelineOptions) -> JobServer:
        self.server = self.server or StopOnExitJobServer(_Server(options))
        return self.server


class _Server(SparkJarJobServer):
    """Beam's job server, which ends with this process, even after a SIGKILL."""

    def subprocess_cmd_and_endpoint(self) -> tuple[list[str], str]:
        command, endpoint = super().subprocess_cmd_and_endpoint()
        return processes.tie_to_parent([str(word) for word in command]), endpoint


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("localhost", 0))
        return int(bound.getsockname()[1])
