"""What one job may take from its servers, shared by all its processes and changed while it runs.

    control.json                 the ceilings of ``kitelift limit``, in place of the job file's
    workers/PROCESS.json         each process that copies: its last sign, and what slows its calls
    retries/PROCESS.json         how often it sent calls again, and why; for the report

All are replaced, and may be lost without harm. Each process looks every few seconds; it takes the
ceiling divided by the number of those that copy just now, whatever the parallelism.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args
from weakref import WeakValueDictionary

from pydantic import TypeAdapter

from transforms import malloc
from transforms.errors import LedgerError
from transforms.ledger.ledger import Ledger
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.flow_control import FlowControl
from transforms.milvus.rate_limit import RateLimit
from transforms.milvus.retries import Lately, Reason, Retried, Retries, Slowdown

Side = Literal["source", "target"]
SIDES: tuple[Side, ...] = get_args(Side)

LOOK_EVERY_S = 5.0
"""So soon a changed ceiling counts; a look costs an object store three requests."""

GONE_S = 20.0
"""A process whose last sign is older, by the clock of the ledger's place, copies no longer."""

RETRIES_EVERY_S = 1.0
"""So late the ledger knows of a call that was sent again."""

_CONTROL = "control.json"
_WORKERS = "workers"
_RETRIES = "retries"


@dataclass(frozen=True)
class Worker:
    """One process that copies, and what its calls to each side took lately.

    `silent_s` is how long it may give no other sign: so long a call of it waits.
    """

    host: str
    pid: int
    silent_s: float = 0.0
    lately: dict[Side, Lately] = field(default_factory=dict)


_CEILINGS = TypeAdapter(dict[Side, RateLimit])
_WORKER = TypeAdapter(Worker)
_RETRIED = TypeAdapter(dict[Side, dict[Reason, Retried]])


def connect(endpoint: Endpoint, ledger: Ledger, side: Side) -> Client:
    """Connects to one side of a job, at the pace that all connections of this process share."""
    malloc.tune()
    if not ledger.state:
        return Client(endpoint)  # A pipeline that is no job of ours: nothing is shared.
    return Client(endpoint, pace=_process(ledger).pace(side, endpoint.ceiling))


def connect_unlimited(endpoint: Endpoint, ledger: Ledger, side: Side) -> Client:
    """Connects to one side of a job for calls that move no rows, at a pace of their own."""
    if not ledger.state:
        return Client(endpoint)
    return Client(endpoint, pace=FlowControl(retries=_process(ledger).retries[side]))


def reset(ledger: Ledger) -> None:
    """Forgets what an earlier run of the job was told."""
    ledger.remove(_CONTROL)
    for name in ledger.names(_WORKERS):
        ledger.remove(f"{_WORKERS}/{name}")


def set_limits(ledger: Ledger, ceilings: Mapping[Side, RateLimit]) -> None:
    """Sets the ceilings of these sides for the run that is under way; it heeds them in seconds."""
    ledger.replace(_CONTROL, _CEILINGS.dump_json({**changed_limits(ledger), **ceilings}))


def changed_limits(ledger: Ledger) -> dict[Side, RateLimit]:
    """Returns the ceilings that were changed since the run began."""
    return ledger.value(_CEILINGS, _CONTROL) or {}


def workers(ledger: Ledger) -> list[Worker]:
    """Returns the processes that copy just now, or wait to, as far as the last signs tell."""
    now = time.time()
    signs = ledger.times(_WORKERS).items()
    found = [(ledger.value(_WORKER, f"{_WORKERS}/{name}"), at) for name, at in signs]
    return [each for each, at in found if each and now - at < GONE_S + each.silent_s]


def slowdowns(ledger: Ledger) -> dict[Side, Slowdown]:
    """Returns what slows the calls of all processes to a side down, where anything does."""
    told = [worker.lately for worker in workers(ledger)]
    sums = {side: sum((each.get(side, Lately()) for each in told), Lately()) for side in SIDES}
    return {side: found for side, lately in sums.items() if (found := lately.slowdown)}


def count_retries(ledger: Ledger) -> dict[Side, dict[Reason, Retried]]:
    """Returns how often each side was asked again since the job began, and for what reason."""
    sums: dict[Side, dict[Reason, Retried]] = {side: defaultdict(Retried) for side in SIDES}
    for name in ledger.names(_RETRIES):
        found = ledger.value(_RETRIED, f"{_RETRIES}/{name}") or {}
        for side, reasons in found.items():
            for reason, more in reasons.items():
                sums[side][reason] += more
    return {side: dict(reasons) for side, reasons in sums.items() if reasons}


def flush_retries(ledger: Ledger) -> None:
    """Writes out what this process has counted and not yet recorded."""
    if process := _known.get(ledger.location):
        process.flush_retries()


class _Process:
    """The paces of one job in this process."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, f"{name}.json"
        # The process may count anew later, and what was counted before stays.
        self._retries_name = f"{_RETRIES}/{name}-{uuid.uuid4().hex[:8]}.json"
        self._written: dict[Side, RateLimit] = {}
        self.retries = {side: Retries(self._later) for side in SIDES}
        self._paces = {
            side: FlowControl(look=self._look, retries=self.retries[side]) for side in SIDES
        }
        self._looking, self._signed = threading.Lock(), False
        self._next_look_s = 0.0
        self._settling, self._timing = threading.Lock(), threading.Lock()
        self._timer: threading.Timer | None = None

    def pace(self, side: Side, ceiling: RateLimit) -> FlowControl:
        """Returns the pace of one side; `ceiling` is what the job file says."""
        if self._written.get(side) != ceiling:
            self._written[side] = ceiling
            self._paces[side].ceiling = ceiling
            self._next_look_s = 0.0
        return self._paces[side]

    def flush_retries(self) -> None:
        """Records the retries, if there are any that are not yet."""
        with self._settling:
            with self._timing:
                timer, self._timer = self._timer, None
            if timer is None:
                return
            timer.cancel()
            sums: dict[Side, dict[Reason, Retried]]
            sums = {side: retries.sums for side, retries in self.retries.items()}
            # What cannot be written now is in what the next retry writes.
            with contextlib.suppress(LedgerError):
                self._ledger.replace(self._retries_name, _RETRIED.dump_json(sums))
                if self._signed:
                    self._sign()

    def _later(self) -> None:
        """Has the retries recorded in a moment, together with those that come until then."""
        with self._timing:
            if self._timer is None:
                self._timer = threading.Timer(RETRIES_EVERY_S, self.flush_retries)
                self._timer.daemon = True
                self._timer.start()

    def _look(self) -> None:
        """Looks at the ledger, if it is time to; one thread does it for all."""
        if time.monotonic() < self._next_look_s or not self._looking.acquire(blocking=False):
            return
        try:
            # What cannot be read changes nothing: the next look may succeed.
            with contextlib.suppress(LedgerError):
                told = changed_limits(self._ledger)
                among = self._count()
                for side, pace in self._paces.items():
                    ceiling = told.get(side, self._written.get(side, RateLimit()))
                    pace.ceiling = ceiling.shared(among)
            self._next_look_s = time.monotonic() + LOOK_EVERY_S
        finally:
            self._looking.release()

    def _sign(self) -> None:
        """Gives a sign of life."""
        lately = {side: retries.lately for side, retries in self.retries.items()}
        silent_s = max(retries.wait_left_s for retries in self.retries.values())
        mine = Worker(socket.gethostname(), os.getpid(), silent_s, lately)
        self._ledger.replace(f"{_WORKERS}/{self._name}", _WORKER.dump_json(mine))
        self._signed = True

    def _count(self) -> int:
        """Gives a sign of life, and counts the processes that did so lately."""
        self._sign()
        # Held against our own sign, so that nobody's clock matters.
        times = self._ledger.times(_WORKERS)
        now = times.get(self._name, 0.0)
        return sum(now - at < GONE_S for at in times.values()) or 1


_SELF = uuid.uuid4().hex[:12]
_known: WeakValueDictionary[str, _Process] = WeakValueDictionary()
_knowing = threading.Lock()


def _process(ledger: Ledger) -> _Process:
    """Returns the one of a job, which lives as long as anything uses its paces."""
    with _knowing:
        found = _known.get(ledger.location)
        if found is None:
            # The process may connect again later, and must not pass for another one then.
            found = _known[ledger.location] = _Process(ledger, f"{_SELF}-{os.getpid()}")
        return found
