"""One run of a job at a time: a lock in the ledger, kept alive by a heartbeat."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import NoReturn, Self

from pipeline.console import logs
from pipeline.console.interrupt import exit_process
from pipeline.engines import processes, submissions
from transforms.errors import JobLocked, LedgerError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger

HEARTBEAT_S = 5.0
STALE_S = 30.0
"""A holder elsewhere whose heartbeat is older is dead: six beats were missed."""

SETTLE_S = 2.0
"""On an object store two runs may both believe to be first; by then both see who was last."""

_NAME = "lock.json"


@dataclass(frozen=True)
class Holder:
    """Who holds a job.

    `at` is the last sign, by the clock of the ledger's place; `pid` is a process of `space`.
    """

    run_id: str
    host: str
    pid: int
    at: float
    space: str = ""

    def alive(self, now: float | None = None) -> bool:
        """Whether the holder is still there; where its process can be seen, that tells at once.

        Args:
            now: by the clock of the ledger's place; by default this host's, which is near enough
                to be shown.
        """
        near = (self.host, self.space) == (socket.gethostname(), processes.pid_namespace())
        if near and not processes.is_running(self.pid):
            return False
        return (time.time() if now is None else now) - self.at < STALE_S


class Lock:
    """Holds a job while its block runs.

    Raises:
        JobLocked: another run, which is alive, holds it; or a cluster works on it.
    """

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger, self._run_id = ledger, run_id
        self._over = threading.Event()

    def __enter__(self) -> Self:
        submissions.refuse_running(self._ledger)
        with self._ledger.hold_lock():
            if not self._ledger.write_once(_NAME, self._entry()):
                self._take_over()
        self._make_sure()
        worker_limits.reset(
            self._ledger
        )  # Whoever holds a job heeds `kitelift limit` from here on.
        threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def release(self) -> None:
        """Gives the job free."""
        self._over.set()
        if self._holds():  # Asked first: alone() would make a folder anew that was set aside.
            with self._ledger.hold_lock():
                if self._holds():
                    self._ledger.remove(_NAME)

    def _take_over(self) -> None:
        other = self._other()
        if other is not None and other.alive(self._ledger.now()):
            raise JobLocked([_held_by(other, self._ledger)])
        self._ledger.replace(_NAME, self._entry())

    def _make_sure(self) -> None:
        """Finds out who holds the job now: the last who wrote, of several at the same moment."""
        if self._ledger.exclusive:
            return
        time.sleep(SETTLE_S)
        if self._other() is not None:
            raise JobLocked(["another run of this job has started at the same moment."])

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._over.wait(HEARTBEAT_S):
            try:
                with self._ledger.hold_lock():
                    self._sign()
                last = time.monotonic()
            except LedgerError as error:
                # The next beat may succeed; six in a row may be missed.
                if time.monotonic() - last > STALE_S:
                    _give_up(error)

    def _sign(self) -> None:
        """Gives a sign of life."""
        other = self._other()
        if self._over.is_set():
            return
        if other is not None:
            _give_way(other, self._ledger)
        self._ledger.replace(_NAME, self._entry())

    def _other(self) -> Holder | None:
        """Returns who holds the job, if it is not this run."""
        holder = holder_of(self._ledger)
        return holder if holder is not None and holder.run_id != self._run_id else None

    def _holds(self) -> bool:
        holder = holder_of(self._ledger)
        return holder is not None and holder.run_id == self._run_id

    def _entry(self) -> bytes:
        space = processes.pid_namespace()
        holder = Holder(self._run_id, socket.gethostname(), os.getpid(), time.time(), space)
        return json.dumps(asdict(holder)).encode()


def holder_of(ledger: Ledger) -> Holder | None:
    """Returns who holds a job, dead or alive; None if nobody does."""
    data = ledger.read(_NAME)
    try:
        found = None if data is None else Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None
    return found and replace(found, at=ledger.time(_NAME) or found.at)


def _give_way(holder: Holder, ledger: Ledger) -> NoReturn:
    """Ends this process, which stood still for so long that another run took its job over."""
    logs.say(
        f"this run gave no sign for more than {STALE_S:.0f} s, and another one has taken the job "
        f"over: host {holder.host}, process {holder.pid} ({ledger.location}). This one ends; what "
        "it has copied is recorded.",
        "error",
    )
    exit_process(JobLocked.exit_code)


def _give_up(error: LedgerError) -> NoReturn:
    """Ends this process, which could give no sign for so long that another run may go on."""
    logs.say(
        f"this run could give no sign for {STALE_S:.0f} s, and another one may take the job over. "
        f"This one ends. {error}",
        "error",
    )
    exit_process(LedgerError.exit_code)


def _held_by(holder: Holder, ledger: Ledger) -> str:
    ago = max(0.0, time.time() - holder.at)
    return (
        f"another run of this job is alive: host {holder.host}, process {holder.pid}, last sign "
        f"{ago:.0f} s ago ({ledger.location}). Wait until it has ended, or stop it."
    )
