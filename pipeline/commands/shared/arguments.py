"""The command line: commands, options, and their help lines."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from pipeline.commands.shared import common_options, help_text
from transforms.errors import ConfigError

EXIT_CODES = """\
exit codes:
  0  done as requested; the outcome says what was proven
  1  a bug in Kitelift
  2  the job file or the command line is wrong
  3  preflight: a check of the servers, or of a previous run, stopped the job
  4  data: ranges failed or differ, or the target refused an index or alias
  5  interrupted; run the same command again to resume
"""

COMMANDS = {
    "init": "generate a job file from both servers, or from another tool's job file",
    "doctor": "check servers, ledger and host, one line per check",
    "run": "copy and prove (the default)",
    "plan": "show findings, plan and estimated time; write nothing",
    "verify": "compare source and target, after a run or after another tool",
    "sync": "make the target equal to the source again",
    "replay": "resend rows that the target rejected",
    "status": "show the progress of a job",
    "limit": "change the throughput limit of a running job",
    "cancel": "stop a job that runs on a cluster",
    "worker-pool": "start workers on this host for the jobs of a cluster",
    "completion": "print a shell completion script",
}

WITHOUT_JOB = ("init", "completion")
"""The commands that need no job file."""

LEDGER_ONLY = ("status", "limit", "cancel")
"""The commands that only need the job file and the ledger; no server is called."""

INIT_KEYS = {
    "--source": "source.Milvus.url",
    "--source_token": "source.Milvus.token",
    "--source_database": "source.Milvus.database",
    "--source_ca": "source.Milvus.ca_pem_path",
    "--target": "sink.Milvus.url",
    "--target_token": "sink.Milvus.token",
    "--target_database": "sink.Milvus.database",
    "--target_ca": "sink.Milvus.ca_pem_path",
}
"""Options of `init`, and the job-file key that each one sets."""


LISTEN = "localhost:50000"
"""Where a worker pool listens: not for other hosts, since whoever reaches it can start programs."""

_MOVING = ("run", "verify", "sync", "replay")
_FLAG: dict[str, Any] = {"action": "store_true"}

_OWN: tuple[tuple[Sequence[str], str, dict[str, Any]], ...] = (
    (_MOVING, "--report", {"type": Path, "metavar": "FILE", "help": "copy report.json to FILE"}),
    (
        _MOVING,
        "--metrics_port",
        {
            "default": "",
            "metavar": "[HOST:]PORT",
            "help": "serve Prometheus metrics (default: off; default HOST: 127.0.0.1)",
        },
    ),
    (_MOVING, "--detach", _FLAG | {"help": "on a cluster: submit the job and do not wait"}),
    (("run",), "--yes", _FLAG | {"help": "drop what the job file says to drop; do not ask"}),
    (
        ("doctor",),
        "--prove",
        _FLAG | {"help": "copy test collections between both servers, compare and drop them"},
    ),
    (("doctor",), "--yes", _FLAG | {"help": "with --prove: create and drop; do not ask"}),
    (
        ("run",),
        "--restart",
        _FLAG | {"help": "archive the previous run's ledger and start over"},
    ),
    (("sync",), "--delete", _FLAG | {"help": "delete keys that the source does not have"}),
    (("status",), "--follow", _FLAG | {"help": "show progress until the job ends"}),
    (("cancel",), "--yes", _FLAG | {"help": "release the job even if the cluster does not answer"}),
    (
        ("limit",),
        "--rows",
        {"default": "", "metavar": "N", "help": "rows per second; 0 removes the limit"},
    ),
    (
        ("limit",),
        "--bytes",
        {
            "default": "",
            "metavar": "SIZE",
            "help": 'bytes per second, such as 500000 or "10 MB"; 0 removes the limit',
        },
    ),
    (
        ("limit",),
        "--side",
        {"default": "", "metavar": "SIDE", "help": "source or target (default: both)"},
    ),
    (("plan", "status", "doctor"), "--json", _FLAG | {"help": "print JSON"}),
    (("plan",), "--ranges", _FLAG | {"help": "cut the key ranges and list them"}),
    (
        ("plan",),
        "--probe_write",
        _FLAG | {"help": "include a write speed test, in a scratch collection that is dropped"},
    ),
    (
        ("init",),
        "--from",
        {
            "dest": "convert_from",
            "default": "",
            "metavar": "FILE",
            "help": "convert a job file of SeaTunnel, VTS or milvus-migration; call no server",
        },
    ),
    *(
        (("init",), option, {"dest": key, "metavar": "VALUE", "help": f"set {key}"})
        for option, key in INIT_KEYS.items()
    ),
    (
        ("worker-pool",),
        "--listen",
        {
            "default": LISTEN,
            "metavar": "HOST:PORT",
            "help": f"address to listen on (default: {LISTEN})",
        },
    ),
)
"""The options that only some commands have: the commands, the option, its settings for argparse."""

_FLAGS = {option for _, option, settings in _OWN if settings.items() >= _FLAG.items()}
_FLAGS |= {"--quiet", "--verbose", "--version", "-h", "--help"}
"""Options without a value."""


@dataclass(frozen=True)
class Arguments:
    """The command line, checked. `beam` has the options for Beam, as written.

    `runner` is a name of Beam's; "" means that the job file says it (``-m cluster``). The job is in
    the file `config`, at the URI `config_uri`, or it is the text `job`.
    """

    command: str
    config: Path
    overrides: dict[str, str]
    runner: str
    restart: bool
    delete: bool
    report: Path | None
    as_json: bool
    quiet: bool
    verbose: bool
    beam: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)
    yes: bool = False
    detach: bool = False
    follow: bool = False
    log_format: str = "text"
    metrics: str = ""
    ranges: bool = False
    probe_write: bool = False
    prove: bool = False
    rows: str = ""
    size_bytes: str = ""
    side: str = ""
    listen: str = LISTEN
    config_uri: str = ""
    job: str = ""
    convert_from: str = ""


def parse(argv: Sequence[str]) -> Arguments:
    """Reads the command line.

    Raises:
        ConfigError: an unknown command or option, or an invalid value.
    """
    command, rest = _command(list(argv))
    parsed, beam = _parser(command, overview=len(rest) == len(argv)).parse_known_args(rest)
    _check_options(command, beam)
    return Arguments(
        command=command,
        config=Path(parsed.config),
        overrides=_overrides(parsed),
        runner=_runner(parsed.deploy_mode, parsed.runner),
        restart=getattr(parsed, "restart", False),
        delete=getattr(parsed, "delete", False),
        report=getattr(parsed, "report", None),
        as_json=getattr(parsed, "json", False),
        quiet=parsed.quiet,
        verbose=parsed.verbose,
        beam=tuple(beam),
        variables=_variables(parsed.variables or ()),
        yes=getattr(parsed, "yes", False),
        detach=getattr(parsed, "detach", False),
        follow=getattr(parsed, "follow", False),
        log_format=parsed.log_format,
        metrics=_address(getattr(parsed, "metrics_port", "")),
        ranges=getattr(parsed, "ranges", False),
        probe_write=getattr(parsed, "probe_write", False),
        prove=getattr(parsed, "prove", False),
        rows=getattr(parsed, "rows", ""),
        size_bytes=getattr(parsed, "bytes", ""),
        side=getattr(parsed, "side", ""),
        listen=getattr(parsed, "listen", LISTEN),
        config_uri=parsed.config if "://" in parsed.config else "",
        job=parsed.job,
        convert_from=getattr(parsed, "convert_from", ""),
    )


def options_of(command: str) -> list[str]:
    """Returns every option of a command that is not Beam's, as it is written."""
    return _parser(command).option_names


def _overrides(parsed: argparse.Namespace) -> dict[str, str]:
    """Returns the job-file keys that the command line overrides, with their values."""
    overrides = {
        "env.accept": ",".join(parsed.accept) if parsed.accept else None,
        "env.verify": parsed.verify,
        "env.state": parsed.state,
        "env.parallelism": parsed.parallelism,
        **{key: getattr(parsed, key, None) for key in INIT_KEYS.values()},
    }
    return {path: value for path, value in overrides.items() if value is not None}


def _variables(assignments: Sequence[str]) -> dict[str, str]:
    """Returns the values of variables by name; if a name occurs twice, the last one wins."""
    variables = {}
    for assignment in assignments:
        name, sign, value = assignment.partition("=")
        if not (sign and name.strip()):
            raise ConfigError([f"-i {assignment if not sign else ''}: must be NAME=VALUE"])
        variables[name.strip()] = value
    return variables


def _runner(deploy_mode: str | None, runner: str | None) -> str:
    """Returns the runner; "" if the job file names the cluster."""
    direct = runner in (None, "DirectRunner")
    if deploy_mode == "local" and not direct:
        raise ConfigError([f"-m local: --runner={runner} runs on a cluster; remove one of the two"])
    if deploy_mode == "cluster" and runner == "DirectRunner":
        raise ConfigError(["-m cluster: --runner=DirectRunner runs here; remove one of the two"])
    return runner or ("" if deploy_mode == "cluster" else "DirectRunner")


def _address(text: str) -> str:
    """Checks ``PORT`` or ``HOST:PORT``; an IPv6 host is written in brackets."""
    port = text.rpartition(":")[2]
    if text and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError([f"--metrics_port={text}: must be PORT or HOST:PORT"])
    return text


def _command(argv: list[str]) -> tuple[str, list[str]]:
    """Splits off the command: the first argument, or the last one, after options."""
    for place in (0, len(argv) - 1):
        if argv and argv[place] in COMMANDS and not _is_value(argv, place):
            return argv[place], argv[:place] + argv[place + 1 :]
    if not argv or argv[0].startswith("-"):
        return "run", argv
    near = get_close_matches(argv[0], COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(COMMANDS)}"
    raise ConfigError([f"{argv[0]}: no such command; {hint}"])


def _is_value(argv: list[str], place: int) -> bool:
    """Whether an argument belongs to the option before it, as in ``--state plan``."""
    before = argv[place - 1] if place else ""
    return before.startswith("-") and "=" not in before and before not in _FLAGS


def _parser(command: str, *, overview: bool = False) -> _Parser:
    """Returns the parser of a command; with `overview`, its help lists all commands."""
    usage = f"kitelift {'[COMMAND]' if overview else command} [OPTIONS]"
    beam = " [BEAM OPTIONS]" if common_options.takes_beam_options(command) else ""
    parser = _Parser(
        prog=f"kitelift {command}",
        usage=f"{usage}{beam}",
        description=help_text.describe(command, COMMANDS, overview=overview),
        epilog=f"{help_text.example(command)}\n{EXIT_CODES}",
        formatter_class=help_text.Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    own = parser.add_argument_group(f"options of {command}")
    for commands, option, settings in _OWN:
        if command in commands:
            own.add_argument(option, **settings)
    common_options.add(parser, command)
    return parser


class _Parser(argparse.ArgumentParser):
    @property
    def option_names(self) -> list[str]:
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help lists the options)"])


def _check_options(command: str, beam: Sequence[str]) -> None:
    """Refuses options that neither Kitelift nor Beam has; suggests Kitelift's own names first."""
    if not beam:
        return
    if not beam[0].startswith("-"):
        raise ConfigError([f"{beam[0]}: unexpected; options begin with --"])
    from pipeline.engines import beam_options

    ours, known = _parser(command).option_names, beam_options.names()
    for argument in beam:
        name = argument.partition("=")[0]
        near = get_close_matches(name, ours, n=1, cutoff=0.75)
        if name.startswith("--") and near and name not in known:
            raise ConfigError([f"{name}: no such option; did you mean {near[0]}?"])
    beam_options.check(beam)
