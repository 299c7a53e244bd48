"""The entry point: arguments in, exit code out.

Heavy imports (Beam, pymilvus, pyarrow) happen inside the commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Sequence

from pipeline.arguments import Arguments, parse
from transforms.errors import Interrupted, MigrationError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    _log(verbose=False)
    _hear_sigterm()
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        _log(verbose=arguments.verbose)
        return _dispatch(arguments)
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return _explain(Interrupted("Run the same command again."))
    except Exception as error:  # noqa: BLE001 - the last resort: nothing ends in silence
        return _explain(error)


def _dispatch(arguments: Arguments) -> int:
    from pipeline import config, jobs

    job = config.load(arguments.config, overrides=arguments.overrides)
    command = {
        "run": jobs.run,
        "plan": jobs.plan,
        "verify": jobs.verify,
        "sync": jobs.sync,
        "replay": jobs.replay,
        "status": jobs.status,
    }[arguments.command]
    return command(job, arguments)


def _log(*, verbose: bool) -> None:
    """Logs our own words to stderr; of libraries only errors, since they repeat what we say."""
    # gRPC's C core writes to stderr by itself, once for each connection that fails.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%Y-%m-%d %H:%M:%S",
        level=logging.ERROR,
        stream=sys.stderr,
        force=True,
    )
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)
    for name in ("pipeline", "transforms"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.WARNING)


def _hear_sigterm() -> None:
    """Lets SIGTERM end a command as Ctrl-C does, which is as an interrupted one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _explain(error: Exception) -> int:
    """Prints an error as a user is to see it, and returns its exit code."""
    ours = _ours(error)
    if ours is None:
        traceback.print_exception(error, limit=-8, chain=False)
        print(
            "kitelift: this is a bug. Nothing is lost: what was copied is recorded. "
            "Please report the lines above.",
            file=sys.stderr,
        )
        return 1
    for line in str(ours).splitlines():
        print(f"kitelift: {line}", file=sys.stderr)
    return ours.exit_code


def _ours(error: BaseException | None) -> MigrationError | None:
    """Finds our own error in what Beam made of it."""
    while error is not None and not isinstance(error, MigrationError):
        error = error.__cause__ or error.__context__
    return error
