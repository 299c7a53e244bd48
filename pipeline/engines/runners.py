"""Where a job runs: in this process, or on an engine of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from pipeline.engines import options as beam_options
from transforms.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.jobfile.job import JobConfig

RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")


def create_engine(config: JobConfig, runner: str, beam_arguments: Sequence[str]) -> Engine | None:
    """Returns the engine that a job runs on; None for this process.

    Raises:
        ConfigError: no such runner, no address of the cluster, or a wrong option.
    """
    from pipeline.engines import dataflow, flink, spark

    env, runner = config.env, runner or _configured(config)
    if runner == "FlinkRunner":
        rest, master = _taken(beam_arguments, "flink_master")
        return flink.Flink(master or env.flink_master, rest, parallelism=env.parallelism)
    if runner == "SparkRunner":
        rest, master = _taken(beam_arguments, "spark_master_url")
        return spark.Spark(master or env.spark_master, rest, parallelism=env.parallelism)
    if runner == "DataflowRunner":
        return dataflow.Dataflow(config, beam_arguments)
    if runner != "DirectRunner":
        raise ConfigError([f"--runner={runner}: there are {', '.join(RUNNERS)}"])
    beam_options.check(beam_arguments)
    return None


def _configured(config: JobConfig) -> str:
    """The runner of ``-m cluster``."""
    named = {"FlinkRunner": config.env.flink_master, "SparkRunner": config.env.spark_master}
    given = [runner for runner, master in named.items() if master]
    if len(given) != 1:
        has = "both are set; keep one" if given else "neither is set"
        raise ConfigError(
            [f"-m cluster: runs where env.flink.master or env.spark.master says, and {has}"]
        )
    return given[0]


def _taken(arguments: Sequence[str], name: str) -> tuple[list[str], str]:
    """Takes ``--name=value``, or ``--name value``, out of the arguments."""
    rest, value, words = [], "", iter(arguments)
    for word in words:
        given, equals, after = word.partition("=")
        if given == f"--{name}":
            value = after if equals else next(words, "")
        else:
            rest.append(word)
    return rest, value


def create_pipeline(arguments: Sequence[str], *, workers: int) -> beam.Pipeline:
    """Returns an empty pipeline that runs in this process."""
    options = beam_options.read(arguments)
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = workers
    direct.direct_running_mode = "in_memory"
    # Beam's own "DirectRunner" is a switch: it tries to download Prism, which ignores the number
    # of workers, and may run a pipeline twice. With in_memory, N workers are N threads, which is
    # what work that waits for servers needs; multi_threading loses data (Beam 2.77, measured).
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    runner = fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))
    made = beam.Pipeline(runner=runner, options=options)
    # A folder for transforms in other languages, of which there are none: an interrupted run would
    # leave it behind.
    Path(made.local_tempdir).rmdir()
    return made
