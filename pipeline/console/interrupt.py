"""Runs work that SIGINT and SIGTERM end within seconds."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from transforms.errors import Interrupted

_closers: list[Callable[[], None]] = []


@contextmanager
def close_before_exit(close: Callable[[], None]) -> Iterator[None]:
    """Registers `close` to run when an interrupt ends the process: no context is unwound then."""
    _closers.append(close)
    try:
        yield
    finally:
        _closers.remove(close)


def until_interrupted(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Runs `work` in a thread, so that SIGINT and SIGTERM are handled at once, by `stop`.

    A second signal ends the process. An error of `work` is raised.
    """
    outcome: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - the main thread raises it
            outcome.append(error)

    interrupted = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if interrupted.is_set():
            exit_process(Interrupted.exit_code)
        interrupted.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker = threading.Thread(target=guarded, name="pipeline", daemon=True)
        worker.start()
        while worker.is_alive() and not interrupted.is_set():
            worker.join(0.1)
        if interrupted.is_set() and worker.is_alive():
            close()
            stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if outcome:
        raise outcome[0]


def close() -> None:
    """Runs what `close_before_exit` has registered, in any thread."""
    for closer in [*_closers]:
        closer()


def exit_process(code: int) -> NoReturn:
    """Ends the process at once, with all its threads."""
    close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
