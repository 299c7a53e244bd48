"""The options that all commands accept; the help of a command shows those that matter to it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

_AddOption = Callable[..., Any]

_HIDES_JOB_OPTIONS = ("worker-pool", "completion")
_WITH_RUNNER = ("run", "doctor", "plan", "verify", "sync", "replay")


def add(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds every common option; hides those without an effect from the help of the command."""
    job = parser.add_argument_group("job file and keys to override")
    _add_job_options(_adder(job, visible=command not in _HIDES_JOB_OPTIONS))
    runner = parser.add_argument_group("where the job runs")
    _add_runner_options(_adder(runner, visible=takes_beam_options(command)))
    _add_output_options(parser.add_argument_group("output").add_argument)


def takes_beam_options(command: str) -> bool:
    """Whether options of Beam have an effect."""
    return command in _WITH_RUNNER


def _adder(group: argparse._ArgumentGroup, *, visible: bool) -> _AddOption:
    """Returns the group's `add_argument`; if not `visible`, one that leaves out the help."""

    def add_hidden(*names: str, **settings: Any) -> argparse.Action:
        return group.add_argument(*names, **settings | {"help": argparse.SUPPRESS})

    return group.add_argument if visible else add_hidden


def _add_job_options(add_option: _AddOption) -> None:
    add_option(
        "-c",
        "--config",
        default="migration.conf",
        metavar="FILE",
        help="path or URI (default: ./migration.conf)",
    )
    add_option("--job", default="", metavar="TEXT", help="content of a job file, not its path")
    add_option(
        "-i",
        "--variable",
        dest="variables",
        action="append",
        metavar="NAME=VALUE",
        help="set ${NAME} in the job file, whatever the environment has (repeatable)",
    )
    add_option(
        "--accept",
        action="append",
        metavar="CODE",
        help="accept a finding (env.accept; repeatable)",
    )
    add_option("--verify", metavar="METHOD", help="full, sample, count or none (env.verify)")
    add_option("--state", metavar="URI", help="where ledgers are stored (env.state)")
    add_option("--parallelism", metavar="N", help="number of parallel workers (env.parallelism)")


def _add_runner_options(add_option: _AddOption) -> None:
    add_option(
        "-m",
        "--master",
        "--deploy-mode",
        dest="deploy_mode",
        choices=("local", "cluster"),
        metavar="WHERE",
        help="local (default), or cluster: env.flink.master or env.spark.master",
    )
    add_option(
        "--runner",
        metavar="NAME",
        help="DirectRunner (default), FlinkRunner, SparkRunner or DataflowRunner",
    )


def _add_output_options(add_option: _AddOption) -> None:
    add_option("--quiet", action="store_true", help="do not show progress")
    add_option("--verbose", action="store_true", help="log more details; show each finding")
    add_option(
        "--log_format",
        default="text",
        choices=("text", "json"),
        metavar="FORMAT",
        help="format of stderr: text (default) or json",
    )
    add_option("-h", "--help", action="help", help="show this help and exit")
    add_option("--version", action=_PrintVersion, nargs=0, help="show installed versions and exit")


class _PrintVersion(argparse.Action):
    """Like argparse's own action, but builds the text only when it is printed."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pipeline.console import version

        print(version.describe_installation())
        parser.exit()
