"""Throughput limits of one job, shared by all its processes and changed while it runs.

    control.json                 the limits of ``kitelift limit``, which override the job file's
    workers/PROCESS.json         the last heartbeat of each worker process, and what slows its calls
    retries/PROCESS.json         how often the process retried calls, and why; for the report

These objects are replaced; a loss does no harm. Each process reads them every `LOOK_EVERY_S`. It
uses the limit divided by the number of processes that are copying, whatever the parallelism.
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
from transforms.milvus.calls import FlowControl
from transforms.milvus.client import Client
from transforms.milvus.endpoint import Endpoint
from transforms.milvus.rate_limit import UNLIMITED, RateLimit, RateLimiter
from transforms.milvus.retry_statistics import Lately, Reason, Retried, Retries, Slowdown

Side = Literal["source", "target"]
SIDES: tuple[Side, ...] = get_args(Side)

LOOK_EVERY_S = 5.0
"""A changed limit takes effect within this time; each read costs three object-store requests."""

GONE_S = 20.0
"""A process with an older heartbeat, by the clock of the ledger's storage, is gone."""

RETRIES_EVERY_S = 1.0
"""A retry is in the ledger after this time at the latest."""

_CONTROL = "control.json"
_WORKERS = "workers"
_RETRIES = "retries"


@dataclass(frozen=True)
class Worker:
    """One worker process, and how its latest calls to each side went.

    `silent_s` is the longest wait of a call; for that long the process may give no heartbeat.
    """

    host: str
    pid: int
    silent_s: float = 0.0
    lately: dict[Side, Lately] = field(default_factory=dict)


_LIMITS = TypeAdapter(dict[Side, RateLimit])
_WORKER = TypeAdapter(Worker)
_RETRIED = TypeAdapter(dict[Side, dict[Reason, Retried]])


def connect(endpoint: Endpoint, ledger: Ledger, side: Side) -> Client:
    """Connects to one side of a job; all connections of this process share one throughput limit."""
    malloc.tune()
    if not ledger.state:
        return Client(endpoint)  # A pipeline other than a Kitelift job: nothing is shared.
    return Client(endpoint, flow=_process(ledger).flow_control(side, endpoint.rate_limit))


def connect_unlimited(endpoint: Endpoint, ledger: Ledger, side: Side) -> Client:
    """Connects to one side of a job for calls that move no rows, without the throughput limit."""
    if not ledger.state:
        return Client(endpoint)
    return Client(endpoint, flow=FlowControl(retries=_process(ledger).retries[side]))


def reset(ledger: Ledger) -> None:
    """Removes the changed limits and the heartbeats of an earlier run."""
    ledger.remove(_CONTROL)
    for name in ledger.names(_WORKERS):
        ledger.remove(f"{_WORKERS}/{name}")


def set_limits(ledger: Ledger, limits: Mapping[Side, RateLimit]) -> None:
    """Changes the limits of the running job; they take effect within `LOOK_EVERY_S`."""
    ledger.replace(_CONTROL, _LIMITS.dump_json({**changed_limits(ledger), **limits}))


def changed_limits(ledger: Ledger) -> dict[Side, RateLimit]:
    """Returns the limits that were changed since the run began."""
    return ledger.value(_LIMITS, _CONTROL) or {}


def workers(ledger: Ledger) -> list[Worker]:
    """Returns the processes that copy or wait, according to their last heartbeats."""
    now = time.time()
    times = ledger.times(_WORKERS).items()
    known = [(ledger.value(_WORKER, f"{_WORKERS}/{name}"), at) for name, at in times]
    return [worker for worker, at in known if worker and now - at < GONE_S + worker.silent_s]


def slowdowns(ledger: Ledger) -> dict[Side, Slowdown]:
    """Returns what slows down the calls to a side, over all processes; only for slow sides."""
    active = workers(ledger)
    sums = {
        side: sum((worker.lately.get(side, Lately()) for worker in active), Lately())
        for side in SIDES
    }
    return {side: slowdown for side, lately in sums.items() if (slowdown := lately.slowdown)}


def count_retries(ledger: Ledger) -> dict[Side, dict[Reason, Retried]]:
    """Returns the number of retries on each side since the job began, by reason."""
    sums: dict[Side, dict[Reason, Retried]] = {side: defaultdict(Retried) for side in SIDES}
    for name in ledger.names(_RETRIES):
        recorded = ledger.value(_RETRIED, f"{_RETRIES}/{name}") or {}
        for side, reasons in recorded.items():
            for reason, more in reasons.items():
                sums[side][reason] += more
    return {side: dict(reasons) for side, reasons in sums.items() if reasons}


def flush_retries(ledger: Ledger) -> None:
    """Writes the retries that this process has counted and not yet recorded."""
    if process := _known.get(ledger.location):
        process.flush_retries()


class _Process:
    """The flow control of one job in this process."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        self._ledger, self._name = ledger, f"{name}.json"
        # A later counter of the same process must not overwrite this one.
        self._retries_name = f"{_RETRIES}/{name}-{uuid.uuid4().hex[:8]}.json"
        self._written: dict[Side, RateLimit] = {}
        self.retries = {side: Retries(self._schedule_flush) for side in SIDES}
        self._flows = {
            side: FlowControl(RateLimiter(look=self._look), retries=self.retries[side])
            for side in SIDES
        }
        self._looking, self._signed = threading.Lock(), False
        self._next_look_s = 0.0
        self._settling, self._timing = threading.Lock(), threading.Lock()
        self._timer: threading.Timer | None = None

    def flow_control(self, side: Side, rate_limit: RateLimit) -> FlowControl:
        """Returns the flow control of one side; `rate_limit` is the limit of the job file."""
        if self._written.get(side) != rate_limit:
            self._written[side] = rate_limit
            self._flows[side].limiter.limit = rate_limit
            self._next_look_s = 0.0
        return self._flows[side]

    def flush_retries(self) -> None:
        """Records the retries that are not recorded yet."""
        with self._settling:
            with self._timing:
                timer, self._timer = self._timer, None
            if timer is None:
                return
            timer.cancel()
            sums: dict[Side, dict[Reason, Retried]]
            sums = {side: retries.sums for side, retries in self.retries.items()}
            # If the write fails, the next one contains the same sums.
            with contextlib.suppress(LedgerError):
                self._ledger.replace(self._retries_name, _RETRIED.dump_json(sums))
                if self._signed:
                    self._write_heartbeat()

    def _schedule_flush(self) -> None:
        """Schedules the recording of the retries in `RETRIES_EVERY_S`."""
        with self._timing:
            if self._timer is None:
                self._timer = threading.Timer(RETRIES_EVERY_S, self.flush_retries)
                self._timer.daemon = True
                self._timer.start()

    def _look(self) -> None:
        """Reads the ledger every `LOOK_EVERY_S`; one thread does it for all."""
        if time.monotonic() < self._next_look_s or not self._looking.acquire(blocking=False):
            return
        try:
            # A failed read changes nothing; the next one may succeed.
            with contextlib.suppress(LedgerError):
                changed = changed_limits(self._ledger)
                processes = self._count_processes()
                for side, flow_control in self._flows.items():
                    rate_limit = changed.get(side, self._written.get(side, UNLIMITED))
                    flow_control.limiter.limit = rate_limit.shared(processes)
            self._next_look_s = time.monotonic() + LOOK_EVERY_S
        finally:
            self._looking.release()

    def _write_heartbeat(self) -> None:
        """Writes the heartbeat of this process."""
        lately = {side: retries.lately for side, retries in self.retries.items()}
        silent_s = max(retries.wait_left_s for retries in self.retries.values())
        worker = Worker(socket.gethostname(), os.getpid(), silent_s, lately)
        self._ledger.replace(f"{_WORKERS}/{self._name}", _WORKER.dump_json(worker))
        self._signed = True

    def _count_processes(self) -> int:
        """Writes the heartbeat and returns the number of processes with a recent one."""
        self._write_heartbeat()
        # Compared with our own heartbeat, so that the clocks of the hosts do not matter.
        times = self._ledger.times(_WORKERS)
        now = times.get(self._name, 0.0)
        return sum(now - at < GONE_S for at in times.values()) or 1


_SELF = uuid.uuid4().hex[:12]
_known: WeakValueDictionary[str, _Process] = WeakValueDictionary()
_knowing = threading.Lock()


def _process(ledger: Ledger) -> _Process:
    """Returns the `_Process` of a job, which lives as long as its flow control is in use."""
    with _knowing:
        process = _known.get(ledger.location)
        if process is None:
            # The name is stable: a process that connects again must not count as another one.
            process = _known[ledger.location] = _Process(ledger, f"{_SELF}-{os.getpid()}")
        return process
