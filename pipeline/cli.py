"""The entry point: arguments in, exit code out.

Heavy imports (Beam, pymilvus, pyarrow) happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import gc
import io
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import import_module

from pipeline.commands.shared.arguments import LEDGER_ONLY, WITHOUT_JOB, Arguments, parse
from pipeline.console import logs
from transforms import malloc
from transforms.errors import Interrupted, MigrationError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    malloc.tune()
    args = sys.argv[1:] if argv is None else list(argv)
    _escape_unencodable()
    logs.set_up(verbose=False, as_json="--log_format=json" in args)
    _handle_signals()
    try:
        arguments = parse(args)
        logs.set_up(verbose=arguments.verbose, as_json=arguments.log_format == "json")
        return _dispatch(arguments)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _explain(Interrupted("Run the same command again."))
    except Exception as error:  # noqa: BLE001 - last resort: no error is silent
        return _explain(error)


def _dispatch(arguments: Arguments) -> int:
    if arguments.command == "worker-pool":
        from pipeline.engines import worker_pool

        return worker_pool.serve(arguments.listen)
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

    The module is imported only when the command runs: most commands import Beam, and a mistake in
    the job file is reported before that.
    """
    module = f"pipeline.commands.{name}"
    with nullcontext() if "apache_beam" in sys.modules else _exempt_from_collection():
        command: Callable[..., int] = getattr(import_module(module), name)
    return command


@contextmanager
def _exempt_from_collection() -> Iterator[None]:
    """Excludes what the imports in this block create from garbage collection.

    The modules of Beam, pymilvus and pandas define half a million objects that stay until the
    end. To visit them again and again took a fifth of the CPU time of a small job (measured:
    0.7 of 3.3 s).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _escape_unencodable() -> None:
    """Prints characters that a stream's encoding lacks as escapes with their numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _handle_signals() -> None:
    """Makes SIGTERM end a command like Ctrl-C, and SIGINT too if a script's ``&`` disabled it."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)


def _explain(error: Exception) -> int:
    """Prints an error for the user, and returns its exit code."""
    ours = _own_error(error)
    if ours is None:
        trace = traceback.format_exception(error, limit=-8, chain=False)
        logs.say_trace("".join(trace))
        logs.say(
            "this is a bug. Nothing is lost: the ledger records what was copied. "
            "Please report the lines above.",
            "error",
        )
        return 1
    logs.say(str(ours), "error")
    return ours.exit_code


def _own_error(error: BaseException | None) -> MigrationError | None:
    """Returns Kitelift's own error inside an error that Beam raised; None if there is none."""
    seen = set()  # pymilvus raises errors whose cause is the error itself.
    while error is not None and not isinstance(error, MigrationError) and id(error) not in seen:
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return error if isinstance(error, MigrationError) else None
