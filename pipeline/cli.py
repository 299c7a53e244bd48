"""The entry point: arguments in, exit code out.

Heavy imports (Beam, pymilvus, pyarrow) happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import io
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.commands.arguments import LEDGER_ONLY, Arguments, parse
from pipeline.console import logs
from transforms import malloc
from transforms.errors import Interrupted, MigrationError

if TYPE_CHECKING:
    from pipeline.jobfile.job import JobConfig


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
    if arguments.command == "init":
        from pipeline.commands import init

        return init.init(arguments)
    if arguments.command == "completion":
        from pipeline.commands import completion

        return completion.completion(arguments)
    if arguments.command == "worker-pool":
        from pipeline.engines import pool

        return pool.serve(arguments.listen)
    from pipeline.jobfile import config

    job = config.load(
        arguments.config_uri or arguments.config,
        text=arguments.job,
        overrides=arguments.overrides,
        variables=arguments.variables,
        ledger_only=arguments.command in LEDGER_ONLY,
    )
    if not (arguments.config_uri or arguments.job or "env.state" in arguments.overrides):
        job = config.beside(job, arguments.config.parent)
    return _do(job, arguments)


def _do(job: JobConfig, arguments: Arguments) -> int:
    if arguments.command == "doctor":
        from pipeline.commands import doctor

        return doctor.doctor(job, arguments)
    if arguments.command == "limit":
        from pipeline.commands import limit

        return limit.limit(job, arguments)
    from pipeline.commands import (
        jobs,  # It imports Beam, which a mistake in the job file need not wait for.
    )

    command = {
        "run": jobs.run,
        "plan": jobs.plan,
        "verify": jobs.verify,
        "sync": jobs.sync,
        "replay": jobs.replay,
        "status": jobs.status,
        "cancel": jobs.cancel,
    }[arguments.command]
    return command(job, arguments)


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
