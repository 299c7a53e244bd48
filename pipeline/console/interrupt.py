"""Work that SIGINT and SIGTERM end within seconds."""

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
    """Has something closed before an interrupt is answered: nothing unwinds this context then."""
    _closers.append(close)
    try:
        yield
    finally:
        _closers.remove(close)


def until_interrupted(work: Callable[[], None], stop: Callable[[], None]) -> None:
    """Runs `work` in a thread, so that SIGINT and SIGTERM are heard at once."""
    outcome: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            outcome.append(error)

    heard = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if heard.is_set():
            exit_process(Interrupted.exit_code)
        heard.set()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        worker = threading.Thread(target=guarded, name="pipeline", daemon=True)
        worker.start()
        while worker.is_alive() and not heard.is_set():
            worker.join(0.1)
        if heard.is_set() and worker.is_alive():
            close()
            stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if outcome:
        raise outcome[0]


def close() -> None:
    """Closes what is not to outlive this process, in whatever thread it is open."""
    for closer in [*_closers]:
        closer()


def exit_process(code: int) -> NoReturn:
    """Ends the process at once, worker threads and all."""
    close()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
