"""A lock in the ledger, renewed by a heartbeat, so that only one run of a job is active."""

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
"""A holder on another host counts as dead if its heartbeat is older: it missed six beats."""

SETTLE_S = 2.0
"""Wait on an object store, where two runs may both create the lock. After it, both see the lock
of the last writer."""

_NAME = "lock.json"


@dataclass(frozen=True)
class Holder:
    """The run that has the lock of a job.

    `at` is its last heartbeat, by the clock of the ledger's storage; `pid` is a process of the
    PID namespace `space`.
    """

    run_id: str
    host: str
    pid: int
    at: float
    space: str = ""

    def alive(self, now: float | None = None) -> bool:
        """Whether the holder is active: its process, if visible from here, else its heartbeat.

        Args:
            now: by the clock of the ledger's storage; by default that of this host, which is good
                enough for a display.
        """
        near = (self.host, self.space) == (socket.gethostname(), processes.pid_namespace())
        if near and not processes.is_running(self.pid):
            return False
        return (time.time() if now is None else now) - self.at < STALE_S


class Lock:
    """Locks a job while its block runs.

    Raises:
        JobLocked: another active run has the lock, or a cluster works on the job.
    """

    def __init__(self, ledger: Ledger, run_id: str) -> None:
        self._ledger, self._run_id = ledger, run_id
        self._over = threading.Event()

    def __enter__(self) -> Self:
        submissions.refuse_running(self._ledger)
        with self._ledger.hold_lock():
            if not self._ledger.write_once(_NAME, self._entry()):
                self._take_over()
        self._check_last_writer()
        worker_limits.reset(self._ledger)  # From here on, the run obeys `kitelift limit`.
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
        """Releases the lock."""
        self._over.set()
        # Checked first: hold_lock() would create the folder of an archived ledger again.
        if self._holds():
            with self._ledger.hold_lock():
                if self._holds():
                    self._ledger.remove(_NAME)

    def _take_over(self) -> None:
        other = self._other()
        if other is not None and other.alive(self._ledger.now()):
            raise JobLocked([_describe(other, self._ledger)])
        self._ledger.replace(_NAME, self._entry())

    def _check_last_writer(self) -> None:
        """Checks that this run was the last writer, if several created the lock together.

        Raises:
            JobLocked: another run was.
        """
        if self._ledger.exclusive:
            return
        time.sleep(SETTLE_S)
        if self._other() is not None:
            raise JobLocked(
                ["another run of this job started at the same time. Only one run can be active."]
            )

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._over.wait(HEARTBEAT_S):
            try:
                with self._ledger.hold_lock():
                    self._renew()
                last = time.monotonic()
            except LedgerError as error:
                # The next heartbeat may succeed; six in a row may be missed.
                if time.monotonic() - last > STALE_S:
                    _exit_without_heartbeat(error)

    def _renew(self) -> None:
        """Renews the heartbeat; exits if another run has taken over."""
        other = self._other()
        if self._over.is_set():
            return
        if other is not None:
            _exit_after_takeover(other, self._ledger)
        self._ledger.replace(_NAME, self._entry())

    def _other(self) -> Holder | None:
        """Returns the holder of the lock; None if it is this run or nobody."""
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
    """Returns the holder of a job's lock, active or not; None if there is none."""
    data = ledger.read(_NAME)
    try:
        holder = None if data is None else Holder(**json.loads(data))
    except (ValueError, TypeError):
        return None
    return holder and replace(holder, at=ledger.time(_NAME) or holder.at)


def _exit_after_takeover(holder: Holder, ledger: Ledger) -> NoReturn:
    """Ends this process: it was paused for so long that another run took over its job."""
    logs.say(
        f"Did not renew the job lock for more than {STALE_S:.0f} s. Another run has taken over: "
        f"host {holder.host}, process {holder.pid} ({ledger.location}). This run stops; the rows "
        "that it copied are recorded.",
        "error",
    )
    exit_process(JobLocked.exit_code)


def _exit_without_heartbeat(error: LedgerError) -> NoReturn:
    """Ends this process: it could not renew its lock for so long that another run may take over."""
    logs.say(
        f"Could not renew the job lock for {STALE_S:.0f} s. Another run may take over, so this "
        f"run stops. {error}",
        "error",
    )
    exit_process(LedgerError.exit_code)


def _describe(holder: Holder, ledger: Ledger) -> str:
    age_s = max(0.0, time.time() - holder.at)
    return (
        f"another run of this job is active: host {holder.host}, process {holder.pid}, last "
        f"heartbeat {age_s:.0f} s ago ({ledger.location}). Wait until it ends, or stop it."
    )
