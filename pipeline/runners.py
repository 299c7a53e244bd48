"""Beam's runners: their options and their quirks."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, SetupOptions
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.portable_runner import JobServiceHandle

from transforms.errors import ConfigError

RUNNERS = ("DirectRunner",)


def pipeline(runner: str, arguments: Sequence[str], *, workers: int) -> beam.Pipeline:
    """Returns an empty pipeline for a runner, with Beam's own options.

    Raises:
        ConfigError: an option that Beam does not know, or a runner that this version has not.
    """
    if runner not in RUNNERS:
        raise ConfigError([f"--runner={runner}: this version runs with {', '.join(RUNNERS)} only"])
    check(arguments)
    options = PipelineOptions(list(arguments))
    options.view_as(SetupOptions).save_main_session = False
    direct = options.view_as(DirectOptions)
    direct.direct_num_workers = workers
    direct.direct_running_mode = "in_memory"
    return beam.Pipeline(runner=_direct_runner(options), options=options)


def _direct_runner(options: PipelineOptions) -> fn_runner.FnApiRunner:
    """Builds the local runner itself.

    Beam's own "DirectRunner" is a switch: it tries to download Prism, which ignores the number of
    workers, and may run a pipeline twice. With in_memory, N workers are N threads, which is what
    work that waits for servers needs; multi_threading loses data (Beam 2.77, measured).
    """
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded)
    return fn_runner.FnApiRunner(provision_info=fn_runner.ExtendedProvisionInfo(provision))


def check(arguments: Sequence[str]) -> None:
    """Refuses options that Beam does not know: it would drop them with a warning.

    Raises:
        ConfigError: all of them at once.
    """
    known = _option_names()
    problems = []
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name}: neither Kitelift nor Beam has this option{hint}")
    if problems:
        raise ConfigError(problems)


def _option_names() -> set[str]:
    parser = _Names()
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001 - Beam has no public list of its options
    return parser.names


class _Names:
    """Stands in for an argument parser and collects the names of options."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_argument(self, *names: str, **_: object) -> None:
        self.names.update(names)

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_: object) -> _Names:
        return self

    add_argument_group = add_mutually_exclusive_group
