"""Selects where a job runs: in this process, or on an engine of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from pipeline.engines import beam_options
from transforms.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.engines.engine import Engine
    from pipeline.jobfile.job import JobConfig

RUNNERS = ("DirectRunner", "FlinkRunner", "SparkRunner", "DataflowRunner")


def create_engine(config: JobConfig, runner: str, beam_arguments: Sequence[str]) -> Engine | None:
    """Returns the engine that a job runs on; None for this process.

    Raises:
        ConfigError: the runner is unknown, the cluster's address is missing, or an option is wrong.
    """
    from pipeline.engines import dataflow, flink, spark

    env, runner = config.env, runner or _configured(config)
    if runner == "FlinkRunner":
        rest, master = _pop_option(beam_arguments, "flink_master")
        return flink.Flink(master or env.flink_master, rest, parallelism=env.parallelism)
    if runner == "SparkRunner":
        rest, master = _pop_option(beam_arguments, "spark_master_url")
        return spark.Spark(master or env.spark_master, rest, parallelism=env.parallelism)
    if runner == "DataflowRunner":
        return dataflow.Dataflow(config, beam_arguments)
    if runner != "DirectRunner":
        raise ConfigError([f"--runner={runner}: must be one of {', '.join(RUNNERS)}"])
    beam_options.check(beam_arguments)
    return None


def _configured(config: JobConfig) -> str:
    """Returns the runner of ``-m cluster``."""
    masters = {"FlinkRunner": config.env.flink_master, "SparkRunner": config.env.spark_master}
    runners = [runner for runner, master in masters.items() if master]
    if len(runners) != 1:
        problem = "both are set; keep one" if runners else "neither is set; set one"
        raise ConfigError(
            [f"-m cluster: needs env.flink.master or env.spark.master, but {problem}"]
        )
    return runners[0]


def _pop_option(arguments: Sequence[str], name: str) -> tuple[list[str], str]:
    """Returns the arguments without ``--name=value`` or ``--name value``, and the value."""
    rest, value, words = [], "", iter(arguments)
    for word in words:
        option, equals, after = word.partition("=")
        if option == f"--{name}":
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
    # Beam's "DirectRunner" selects another runner: it tries to download Prism, which ignores the
    # number of workers, and may run a pipeline twice. With in_memory, N workers are N threads,
    # which suits work that waits for servers; multi_threading loses data (Beam 2.77, measured).
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    runner = fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))
    pipeline = beam.Pipeline(runner=runner, options=options)
    # This folder is for transforms in other languages. The job has none, and an interrupted run
    # would not remove it.
    Path(pipeline.local_tempdir).rmdir()
    return pipeline
