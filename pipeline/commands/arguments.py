"""The command line: commands, options, and what they say about themselves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from transforms.errors import ConfigError

EXIT_CODES = """\
exit codes:
  0  done as asked; the outcome says what was proven
  1  a bug in Kitelift
  2  the job file or the command line is wrong
  3  preflight: the clusters, or an earlier run, do not allow the job
  4  data: ranges failed or are unequal, or an index or alias was refused
  5  interrupted; the same command goes on where it stopped
"""

COMMANDS = {
    "init": "ask both servers and write a job file to begin with",
    "doctor": "check servers, ledger and machine before a job, a line each",
    "run": "copy, and prove it (the default)",
    "plan": "show what run would do and find; writes nothing",
    "verify": "compare source and target, after a run or after another tool",
    "sync": "make the target equal to the source again, by ranges",
    "replay": "send rows again that the target has refused",
    "status": "tell where a job stands",
    "limit": "change how much may pass in a second, while a job runs",
    "cancel": "stop a job that runs on a cluster",
    "worker-pool": "start the workers of a cluster's jobs on this host",
    "completion": "print a script that completes commands and options in a shell",
}

WITHOUT_JOB = ("init", "completion")
"""The commands that need no job file."""

LEDGER_ONLY = ("status", "limit", "cancel")
"""The commands that any host can give which has the job file and reaches the ledger."""

BEGINNING = {
    "--source": "source.Milvus.url",
    "--source_token": "source.Milvus.token",
    "--source_database": "source.Milvus.database",
    "--source_ca": "source.Milvus.ca_pem_path",
    "--target": "sink.Milvus.url",
    "--target_token": "sink.Milvus.token",
    "--target_database": "sink.Milvus.database",
    "--target_ca": "sink.Milvus.ca_pem_path",
}
"""Options of `init`, each with the key of the job file that it becomes."""


LISTEN = "localhost:50000"
"""Where a pool of workers listens: not for other hosts, as whoever reaches it starts programs."""

_MORE = {
    "limit": " --rows=5000 --side=source",
    "init": " \\\n    --source=http://source:19530 --source_token=env:SOURCE_TOKEN \\\n"
    "    --target=http://target:19530 --target_token=env:TARGET_TOKEN",
}
"""What an example of the command has beside the job file."""

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
            "help": "figures for Prometheus, on 127.0.0.1 unless a host is given (off)",
        },
    ),
    (_MOVING, "--detach", _FLAG | {"help": "on a cluster: submit, and do not wait"}),
    (("run",), "--yes", _FLAG | {"help": "drop what the job file says without asking"}),
    (
        ("doctor",),
        "--prove",
        _FLAG | {"help": "copy and compare test collections between both servers, then drop them"},
    ),
    (("doctor",), "--yes", _FLAG | {"help": "with --prove: create and drop without asking"}),
    (
        ("run",),
        "--restart",
        _FLAG | {"help": "set the ledger of an earlier run aside and begin anew"},
    ),
    (("sync",), "--delete", _FLAG | {"help": "delete keys that the source does not have"}),
    (("status",), "--follow", _FLAG | {"help": "show progress until the end"}),
    (("cancel",), "--yes", _FLAG | {"help": "even if the cluster is gone and does not answer"}),
    (("limit",), "--rows", {"default": "", "metavar": "N", "help": "a second; 0 lifts the limit"}),
    (
        ("limit",),
        "--bytes",
        {
            "default": "",
            "metavar": "SIZE",
            "help": 'a second, as 500000 or "10 MB"; 0 lifts it',
        },
    ),
    (("limit",), "--side", {"default": "", "help": "source or target (default: both)"}),
    (("plan", "status", "doctor"), "--json", _FLAG | {"help": "print JSON"}),
    (("plan",), "--ranges", _FLAG | {"help": "cut the key ranges, and list them"}),
    (
        ("plan",),
        "--probe_write",
        _FLAG | {"help": "try writing too, into a scratch collection that is dropped again"},
    ),
    *(
        (("init",), option, {"dest": key, "metavar": "VALUE", "help": f"becomes {key}"})
        for option, key in BEGINNING.items()
    ),
    (
        ("worker-pool",),
        "--listen",
        {"default": LISTEN, "metavar": "HOST:PORT", "help": f"where to listen (default: {LISTEN})"},
    ),
)
"""The options that only some commands have: which, what, and how argparse is told."""

_FLAGS = {option for _, option, settings in _OWN if settings.items() >= _FLAG.items()}
_FLAGS |= {"--quiet", "--verbose", "--version", "-h", "--help"}
"""Options without a value."""


@dataclass(frozen=True)
class Arguments:
    """The command line, checked. `beam` are options for Beam, as written.

    `runner` is one of Beam's names; "" is for the job file to say (``-m cluster``). The job is in
    the file `config`, or behind the URI `config_uri`, or it is the text `job`.
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


def parse(argv: Sequence[str]) -> Arguments:
    """Reads the command line.

    Raises:
        ConfigError: an unknown command, or a value that cannot be.
    """
    command, rest = _command(list(argv))
    found, beam = _parser(command).parse_known_args(rest)
    _check_options(command, beam)
    return Arguments(
        command=command,
        config=Path(found.config),
        overrides=_overrides(found),
        runner=_runner(found.deploy_mode, found.runner),
        restart=getattr(found, "restart", False),
        delete=getattr(found, "delete", False),
        report=getattr(found, "report", None),
        as_json=getattr(found, "json", False),
        quiet=found.quiet,
        verbose=found.verbose,
        beam=tuple(beam),
        variables=_variables(found.variables or ()),
        yes=getattr(found, "yes", False),
        detach=getattr(found, "detach", False),
        follow=getattr(found, "follow", False),
        log_format=found.log_format,
        metrics=_address(getattr(found, "metrics_port", "")),
        ranges=getattr(found, "ranges", False),
        probe_write=getattr(found, "probe_write", False),
        prove=getattr(found, "prove", False),
        rows=getattr(found, "rows", ""),
        size_bytes=getattr(found, "bytes", ""),
        side=getattr(found, "side", ""),
        listen=getattr(found, "listen", LISTEN),
        config_uri=found.config if "://" in found.config else "",
        job=found.job,
    )


def options_of(command: str) -> list[str]:
    """Returns every option of ours that a command has, as it is written."""
    return _parser(command).option_names


def _overrides(found: argparse.Namespace) -> dict[str, str]:
    """What the command line says of keys of the job file, by their paths."""
    given = {
        "env.accept": ",".join(found.accept) if found.accept else None,
        "env.verify": found.verify,
        "env.state": found.state,
        "env.parallelism": found.parallelism,
        **{key: getattr(found, key, None) for key in BEGINNING.values()},
    }
    return {path: value for path, value in given.items() if value is not None}


def _variables(given: Sequence[str]) -> dict[str, str]:
    """The values of variables by their names; of two for one name the last."""
    found = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not (sign and name.strip()):
            raise ConfigError([f"-i {each if not sign else ''}: must be NAME=VALUE"])
        found[name.strip()] = value
    return found


def _runner(deploy_mode: str | None, runner: str | None) -> str:
    """The runner; "" where the job file names the cluster."""
    direct = runner in (None, "DirectRunner")
    if deploy_mode == "local" and not direct:
        raise ConfigError([f"-m local: --runner={runner} runs on a cluster; keep one of the two"])
    if deploy_mode == "cluster" and runner == "DirectRunner":
        raise ConfigError(["-m cluster: --runner=DirectRunner runs here; keep one of the two"])
    return runner or ("" if deploy_mode == "cluster" else "DirectRunner")


def _address(text: str) -> str:
    """``PORT`` or ``HOST:PORT``; the host of an IPv6 address stands in brackets."""
    port = text.rpartition(":")[2]
    if text and not (port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError([f"--metrics_port={text}: must be a port, or HOST:PORT"])
    return text


def _command(argv: list[str]) -> tuple[str, list[str]]:
    """Takes the command out of the arguments: the first word, or the last one after options."""
    for place in (0, len(argv) - 1):
        if argv and argv[place] in COMMANDS and not _is_value(argv, place):
            return argv[place], argv[:place] + argv[place + 1 :]
    if not argv or argv[0].startswith("-"):
        return "run", argv
    near = get_close_matches(argv[0], COMMANDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(COMMANDS)}"
    raise ConfigError([f"{argv[0]}: no such command; {hint}"])


def _is_value(argv: list[str], place: int) -> bool:
    """Whether an argument belongs to the option before it, as in ``--state plan``."""
    before = argv[place - 1] if place else ""
    return before.startswith("-") and "=" not in before and before not in _FLAGS


def _parser(command: str) -> _Parser:
    commands = "\n".join(f"  {name:12}{what}" for name, what in COMMANDS.items())
    line = f"python -m pipeline {command} --config=migration.conf{_MORE.get(command, '')}"
    example = f"example:\n  {line}\n\n"
    parser = _Parser(
        prog=f"kitelift {command}",
        usage="kitelift [COMMAND] [--config=FILE] [options] [Beam's own options]",
        description=f"Moves Milvus collections and proves that every row arrived.\n\n"
        f"commands:\n{commands}\n\nThis is the help of: {command} ({COMMANDS[command]}).",
        epilog=example + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _job_options(parser)
    _common_options(parser)
    _own_options(parser, command)
    parser.add_argument(
        "--version", action=_PrintVersion, nargs=0, help="print what is installed, and exit"
    )
    return parser


def _own_options(parser: argparse.ArgumentParser, command: str) -> None:
    """Adds what only some commands have."""
    for commands, option, settings in _OWN:
        if command in commands:
            parser.add_argument(option, **settings)


def _job_options(parser: argparse.ArgumentParser) -> None:
    """Adds what says where the job file is, and what its variables are."""
    parser.add_argument(
        "-c",
        "--config",
        default="migration.conf",
        metavar="FILE",
        help="the job file (default: ./migration.conf); also as gs:// or s3://",
    )
    parser.add_argument("--job", default="", metavar="TEXT", help="the job itself, without a file")
    parser.add_argument(
        "-i",
        "--variable",
        dest="variables",
        action="append",
        metavar="NAME=VALUE",
        help="set ${NAME} in the job file; once for each variable",
    )


def _common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runner",
        help="DirectRunner (the default), or FlinkRunner, SparkRunner, DataflowRunner",
    )
    parser.add_argument(
        "-m",
        "--master",
        "--deploy-mode",
        dest="deploy_mode",
        choices=("local", "cluster"),
        help="local (the default), or cluster: where env.flink.master or env.spark.master says",
    )
    parser.add_argument(
        "--accept",
        action="append",
        metavar="CODE",
        help="go on in spite of a finding, by its code (env.accept)",
    )
    parser.add_argument("--verify", metavar="HOW", help="full, sample, count or none (env.verify)")
    parser.add_argument("--state", metavar="URI", help="where ledgers are kept (env.state)")
    parser.add_argument("--parallelism", metavar="N", help="workers (env.parallelism)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--verbose", action="store_true", help="log more")
    parser.add_argument(
        "--log_format",
        default="text",
        choices=("text", "json"),
        help="what stderr has: words (the default), or lines of JSON",
    )


class _PrintVersion(argparse.Action):
    """As argparse's own, which wants its words before anybody has asked for them."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from pipeline.console import version

        print(version.words())
        parser.exit()


class _Parser(argparse.ArgumentParser):
    @property
    def option_names(self) -> list[str]:
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help lists the options)"])


def _check_options(command: str, beam: Sequence[str]) -> None:
    """Refuses what neither we nor Beam know; our own names are suggested first."""
    if not beam:
        return
    if not beam[0].startswith("-"):
        raise ConfigError([f"{beam[0]}: unexpected; options begin with --"])
    from pipeline.engines import options

    ours, known = _parser(command).option_names, options.names()
    for argument in beam:
        name = argument.partition("=")[0]
        near = get_close_matches(name, ours, n=1, cutoff=0.75)
        if name.startswith("--") and near and name not in known:
            raise ConfigError([f"{name}: no such option; did you mean {near[0]}?"])
    options.check(beam)
