"""Checks the command-line options for Beam and its engines, and returns them as Beam's values."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeVar

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions

from transforms.errors import ConfigError

_View = TypeVar("_View", bound=PipelineOptions)

# Options of the Java side, which Beam for Python passes on without knowing them.
JAVA = frozenset(
    f"--{name}"
    for name in (
        "disable_metrics",
        "execution_mode_for_batch",
        "execution_retry_delay",
        "finish_bundle_before_checkpointing",
        "max_bundle_size",
        "max_bundle_time_mills",
        "number_of_execution_retries",
        "object_reuse",
        "operator_chaining",
        "use_data_stream_for_batch",
    )
)


def read(arguments: Sequence[str]) -> PipelineOptions:
    """Returns Beam's options.

    Raises:
        ConfigError: lists all options that neither Beam nor an engine has.
    """
    check(arguments)
    options = _Options(list(arguments))
    options.view_as(SetupOptions).save_main_session = False
    return options


class _Options(PipelineOptions):
    """Beam's options, with one view per class of options.

    Beam asks for a view four times per step of a graph, and parses all arguments for each. That
    took a tenth of the CPU time of a small job. All views share their values, so one is enough.
    """

    def view_as(self, cls: type[_View]) -> _View:
        views: dict[type, PipelineOptions] = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        view: _View = views[cls]
        return view


def check(arguments: Sequence[str]) -> None:
    """Checks that Beam knows all options: it would drop others with a warning.

    Raises:
        ConfigError: lists all unknown options.
    """
    known = names()
    problems = []
    for argument in arguments:
        name = argument.partition("=")[0]
        if name.startswith("--") and name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            problems.append(f"{name}: neither Kitelift nor Beam has this option{hint}")
    if problems:
        raise ConfigError(problems)


def names() -> set[str]:
    """Returns every option of Beam and its engines, with its dashes."""
    parser = _OptionNames()
    for options in PipelineOptions.__subclasses__():
        options._add_argparse_args(parser)  # noqa: SLF001 - Beam has no public list of its options
    return parser.names | JAVA


class _OptionNames:
    """Replaces an argument parser, and collects the names of options."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def add_argument(self, *names: str, **_: object) -> None:
        self.names.update(names)

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_: object) -> _OptionNames:
        return self

    add_argument_group = add_mutually_exclusive_group
