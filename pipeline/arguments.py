"""The command line: commands, options, and what they say about themselves."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

from transforms.errors import ConfigError

EXIT_CODES = """\
exit codes:
  0  done as asked; the outcome says what was proven
  1  a bug in Kitelift
  2  the job file or the command line is wrong
  3  preflight: the clusters, or an earlier run, do not allow the job
  4  data: ranges failed or are unequal; the report names them
  5  interrupted; the same command goes on where it stopped
"""

COMMANDS = {
    "run": "copy, and prove it (the default)",
    "plan": "show what run would do and find; writes nothing",
    "verify": "compare source and target, after a run or after another tool",
    "sync": "make the target equal to the source again, by ranges",
    "replay": "send rows again that the target has refused",
    "status": "tell where a job stands",
}


_FLAGS = frozenset(
    ["--quiet", "--verbose", "--restart", "--delete", "--json", "--yes", "-h", "--help"]
)
"""Options without a value."""


@dataclass(frozen=True)
class Arguments:
    """The command line, checked. `beam` are options for Beam, as written."""

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
    yes: bool = False


def parse(argv: Sequence[str]) -> Arguments:
    """Reads the command line.

    Raises:
        ConfigError: an unknown command, or a value that cannot be.
    """
    command, rest = _command(list(argv))
    found, beam = _parser(command).parse_known_args(rest)
    stray = [argument for argument in beam[:1] if not argument.startswith("-")]
    if stray:
        raise ConfigError([f"{stray[0]}: unexpected; options begin with --"])
    if beam:
        _check_options(command, beam)
    if found.deploy_mode == "cluster":
        raise ConfigError(["-m cluster: this version runs locally only (-m local)"])
    overrides = {
        path: value
        for path, value in {
            "env.accept": ",".join(found.accept) if found.accept else None,
            "env.verify": found.verify,
            "env.state": found.state,
            "env.parallelism": found.parallelism,
        }.items()
        if value is not None
    }
    return Arguments(
        command=command,
        config=found.config,
        overrides=overrides,
        runner=found.runner,
        restart=getattr(found, "restart", False),
        delete=getattr(found, "delete", False),
        report=getattr(found, "report", None),
        as_json=getattr(found, "json", False),
        quiet=found.quiet,
        verbose=found.verbose,
        beam=tuple(beam),
        yes=getattr(found, "yes", False),
    )


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
    commands = "\n".join(f"  {name:8}{what}" for name, what in COMMANDS.items())
    example = f"example:\n  python -m pipeline {command} --config=migration.conf\n\n"
    parser = _Parser(
        prog=f"kitelift {command}",
        usage=f"kitelift [{'|'.join(COMMANDS)}] [--config=FILE] [options] [Beam's own options]",
        description=f"Moves Milvus collections and proves that every row arrived.\n\n"
        f"commands:\n{commands}\n\nThis is the help of: {command} ({COMMANDS[command]}).",
        epilog=example + EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _common_options(parser)
    if command in ("run", "verify", "sync", "replay"):
        parser.add_argument("--report", type=Path, metavar="FILE", help="copy report.json to FILE")
    if command == "run":
        parser.add_argument(
            "--yes", action="store_true", help="drop what the job file says without asking"
        )
        parser.add_argument(
            "--restart",
            action="store_true",
            help="set the ledger of an earlier run aside and begin anew",
        )
    if command == "sync":
        parser.add_argument(
            "--delete", action="store_true", help="delete keys that the source does not have"
        )
    if command in ("plan", "status"):
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path("migration.conf"),
        metavar="FILE",
        help="the job file (default: ./migration.conf)",
    )
    parser.add_argument("--runner", default="DirectRunner", help="Beam's runner (DirectRunner)")
    parser.add_argument(
        "-m",
        "--master",
        "--deploy-mode",
        dest="deploy_mode",
        choices=("local", "cluster"),
        help="where to run, as seatunnel.sh has it",
    )
    parser.add_argument(
        "--accept",
        action="append",
        metavar="CODE",
        help="go on in spite of a finding, by its code (env.accept)",
    )
    parser.add_argument("--verify", metavar="HOW", help="full, count or none (env.verify)")
    parser.add_argument("--state", metavar="URI", help="where ledgers are kept (env.state)")
    parser.add_argument("--parallelism", metavar="N", help="workers (env.parallelism)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--verbose", action="store_true", help="log more")


class _Parser(argparse.ArgumentParser):
    @property
    def option_names(self) -> list[str]:
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        raise ConfigError([f"{message} (--help lists the options)"])


def _check_options(command: str, beam: Sequence[str]) -> None:
    """Refuses what neither we nor Beam know; our own names are suggested first."""
    ours = _parser(command).option_names
    for argument in beam:
        name = argument.partition("=")[0]
        near = get_close_matches(name, ours, n=1, cutoff=0.75)
        if name.startswith("--") and near:
            raise ConfigError([f"{name}: no such option; did you mean {near[0]}?"])
    from pipeline import runners

    runners.check(beam)
