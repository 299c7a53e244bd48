"""The entry point: arguments in, exit code out.

Heavy imports (Beam, pymilvus, pyarrow) happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import io
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from importlib import import_module

from pipeline.commands.arguments import LEDGER_ONLY, WITHOUT_JOB, Arguments, parse
from pipeline.console import logs
from transforms import malloc
from transforms.errors import Interrupted, MigrationError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    malloc.tune()
    words = sys.argv[1:] if argv is None else list(argv)
    _spell_out()
    logs.set_up(verbose=False, as_json="--log_format=json" in words)
    _hear_signals()
    try:
        arguments = parse(words)
        logs.set_up(verbose=arguments.verbose, as_json=arguments.log_format == "json")
        return _dispatch(arguments)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _explain(Interrupted("Run the same command again."))
    except Exception as error:  # noqa: BLE001 - the last resort: nothing ends in silence
        return _explain(error)


def _dispatch(arguments: Arguments) -> int:
    if arguments.command == "worker-pool":
        from pipeline.engines import pool

        return pool.serve(arguments.listen)
    if arguments.command in WITHOUT_JOB:
        return int(function_of(arguments.command)(arguments))
    from pipeline.jobfile import config

    job = config.load(
        arguments.config_uri or arguments.config,
        text=arguments.job,
        overrides=arguments.overrides,
        variables=arguments.variables,
        ledger_only=arguments.command in LEDGER_ONLY,
    )
    if not (arguments.config_uri or arguments.job or "env.state" in arguments.overrides):
        job = config.with_resolved_state(job, arguments.config.parent)
    return int(function_of(arguments.command)(job, arguments))


def function_of(name: str) -> Callable[..., int]:
    """Returns the function of a command: `pipeline.commands.NAME.NAME`.

    Imported not before it is called: most commands need Beam, and a mistake in the job file need
    not wait for it.
    """
    command: Callable[..., int] = getattr(import_module(f"pipeline.commands.{name}"), name)
    return command


def _spell_out() -> None:
    """Lets text through that a stream's encoding does not have: its characters by their numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _hear_signals() -> None:
    """Lets SIGTERM end a command as Ctrl-C does; and SIGINT too where a script's & has muted it."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def _explain(error: Exception) -> int:
    """Prints an error as a user is to see it, and returns its exit code."""
    ours = _ours(error)
    if ours is None:
        trace = traceback.format_exception(error, limit=-8, chain=False)
        logs.say_trace("".join(trace))
        logs.say(
            "this is a bug. Nothing is lost: what was copied is recorded. "
            "Please report the lines above.",
            "error",
        )
        return 1
    logs.say(str(ours), "error")
    return ours.exit_code


def _ours(error: BaseException | None) -> MigrationError | None:
    """Finds our own error in what Beam made of it."""
    seen = set()  # pymilvus raises errors from themselves.
    while error is not None and not isinstance(error, MigrationError) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return error if isinstance(error, MigrationError) else None
