"""The progress of a job, read from its ledger repeatedly: each time only what is new."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pipeline.planning.planner import Purpose
from transforms import ranges
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Finished, Ledger, Status, file_name, range_id
from transforms.ledger.receipts import Receipt, Receipts
from transforms.ledger.worker_limits import Side
from transforms.milvus.retry_statistics import Reason, Retried, Slowdown
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

SPEED_S = 10.0
"""Time window of a speed: receipts come about every second, so a shorter window would jump."""

LEFT_S = 60.0
"""Time window of the time left: a longer one, so that it changes smoothly."""

Phase = Literal[
    "waiting",
    "planning",
    "queued",
    "copying",
    "copied",
    "reading",
    "read",
    "flushing",
    "indexing",
    "loading",
    "proving",
    "done",
    "failed",
]
UNDER_WAY: frozenset[Phase] = frozenset(
    {"planning", "copying", "reading", "flushing", "indexing", "loading", "proving"}
)
MOVING: frozenset[Phase] = frozenset({"copying", "reading"})
"""The phases that have a speed in rows and bytes."""

UNITS: dict[Phase, str] = {
    "copying": "rows",
    "reading": "rows",
    "indexing": "rows",
    "loading": "%",
    "proving": "ranges",
}
_REPORTED: dict[str, Phase] = {
    "flushing": "flushing",
    "indexing": "indexing",
    "loading": "loading",
    "failed": "failed",
}
"""The phases that workers report by a status; all others follow from the other records."""

_MOVES: dict[Purpose, tuple[Phase, Phase]] = {
    "copy": ("copying", "copied"),
    "sync": ("reading", "read"),
    "compare": ("reading", "read"),
}
"""The phases of a run that reads the rows of the source, during and after; others read none."""


@dataclass(frozen=True)
class PhaseProgress:
    """The progress of one collection, or of the whole job.

    `done` and `total` are in the unit of the phase (`UNITS`), both 0 if the phase counts nothing.
    `left_s` is the time left in seconds; None if it is unknown. `failure` is why a collection could
    not be completed.
    """

    name: str
    phase: Phase
    rows: int
    rows_total: int
    done: int
    total: int
    rows_per_second: float = 0.0
    bytes_per_second: float = 0.0
    left_s: float | None = None
    failure: str = ""

    @property
    def share(self) -> float:
        """The part of the phase that is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else float(self.phase == "done")


@dataclass(frozen=True)
class View:
    """The progress of a job at one time, `at` (seconds since 1970).

    `slowdowns` is why calls to a side run below full speed. `retries` are the calls that were
    retried since the job began.
    """

    at: float
    collections: tuple[PhaseProgress, ...]
    total: PhaseProgress
    slowdowns: Mapping[Side, Slowdown] = field(default_factory=dict)
    retries: Mapping[Side, Mapping[Reason, Retried]] = field(default_factory=dict)


class Meter:
    """The speed of a growing number over the last `window_s` seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float) -> None:
        """Records the number at a time."""
        self._samples.append((at, value))
        while len(self._samples) > 2 and at - self._samples[1][0] >= self._window_s:
            self._samples.popleft()

    @property
    def speed(self) -> float:
        """The growth per second; 0 with fewer than two samples."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (ended - began)) if ended > began else 0.0


class JobProgress:
    """Follows one run of a job; `look` returns its progress.

    The ledger of a resumed job has old entries. Old receipts count as done, but not as speed. A
    status counts only if it has changed since this run began.
    """

    def __init__(
        self,
        ledger: Ledger,
        plan: Plan,
        run_id: str,
        *,
        proves: bool = True,
        purpose: Purpose = "copy",
    ) -> None:
        self._ledger, self._run_id = ledger, run_id
        self._receipts, self._moves = Receipts(ledger), _MOVES.get(purpose)
        self._collections = [
            _Collection(
                collection, proves, self._moves, in_turn=collection.name in plan.proven_in_turn
            )
            for collection in plan.collections
        ]
        if not self._moves:
            for collection in self._collections:
                collection.ranges = self._units_to_prove(collection.plan)
        self._by_name = {collection.plan.name: collection for collection in self._collections}
        self._by_file = {
            file_name(collection.plan.name): collection for collection in self._collections
        }
        self._total, self._began_at = _Speeds(), -1
        self._old: dict[str, Status | Finished] | None = None
        self._slowdowns: Mapping[Side, Slowdown] = {}
        self._retries: Mapping[Side, Mapping[Reason, Retried]] = {}
        self._next_calls_at = 0.0

    def look(self, at: float) -> View:
        """Reads what is new in the ledger and returns the progress at this time."""
        self._read_phases()
        self._read_receipts()
        self._read_verdicts()
        progresses = tuple(collection.progress(at) for collection in self._collections)
        if at >= self._next_calls_at:
            self._slowdowns = worker_limits.slowdowns(self._ledger)
            self._retries = worker_limits.count_retries(self._ledger)
            self._next_calls_at = at + worker_limits.LOOK_EVERY_S
        total = self._sum(at, progresses)
        return View(at, progresses, total, self._slowdowns, self._retries)

    def _read_receipts(self) -> None:
        for receipt in self._receipts.news():
            if collection := self._by_name.get(receipt.covered.collection):
                collection.take(receipt)

    def _read_phases(self) -> None:
        cut = set(self._ledger.names("ranges"))
        finished = set(self._ledger.names("finished"))
        statuses = self._ledger.statuses()
        newest: dict[str, Status | Finished] = dict(statuses)
        for file, collection in self._by_file.items():
            name = collection.plan.name
            collection.cut = f"{file}.json" in cut
            entry = self._ledger.finished(name) if f"{file}.json" in finished else None
            if entry and (name not in statuses or _is_newer(entry, statuses[name])):
                newest[name] = entry
        self._old = newest if self._old is None else self._old
        for name, last in newest.items():
            if name in self._by_name and last != self._old.get(name):
                self._by_name[name].last = last

    def _read_verdicts(self) -> None:
        names = self._ledger.names(f"verdicts/{self._run_id}")
        judged = Counter(name.rpartition("-")[0] for name in names)
        for file, count in judged.items():
            if collection := self._by_file.get(file):
                collection.judged = count
                if not collection.ranges:
                    collection.ranges = self._units_to_prove(collection.plan)

    def _units_to_prove(self, plan: CollectionPlan) -> int:
        # With new ids, verification compares whole partitions.
        return len(plan.partitions) if plan.new_ids else len(self._ledger.frozen(plan.name) or ())

    def _sum(self, at: float, progresses: tuple[PhaseProgress, ...]) -> PhaseProgress:
        rows = sum(progress.rows for progress in progresses)
        steps = [collection.steps for collection in self._collections]
        done, total = (sum(counts) for counts in zip(*steps, strict=True))
        if done == self._began_at or self._began_at < 0:
            # The time before the first copied row is not part of the speed.
            self._total, self._began_at = _Speeds(), done
        self._total.add(at, rows, sum(collection.bytes for collection in self._collections), done)
        phase = self._phase({progress.phase for progress in progresses})
        moving = phase in MOVING
        return PhaseProgress(
            name="total",
            phase=phase,
            rows=rows,
            rows_total=total,
            done=done,
            total=total,
            rows_per_second=self._total.rows.speed,
            bytes_per_second=self._total.bytes.speed,
            left_s=self._total.left(total - done, moving=moving) if phase in UNDER_WAY else None,
        )

    def _phase(self, phases: set[Phase]) -> Phase:
        """Returns the phase of the job as a whole."""
        if phases <= {"done", "failed"}:
            return "done"
        if not self._moves:
            return "proving"
        moving, moved = self._moves
        return moving if phases & {"waiting", "planning", "queued", moving} else moved


class _Speeds:
    def __init__(self) -> None:
        self.rows, self.bytes, self.steps = Meter(SPEED_S), Meter(SPEED_S), Meter(LEFT_S)

    def add(self, at: float, rows: int, size_bytes: int, done: int) -> None:
        self.rows.add(at, rows)
        self.bytes.add(at, size_bytes)
        self.steps.add(at, done)

    def left(self, steps: int, *, moving: bool) -> float | None:
        stalled = moving and not self.rows.speed
        return None if stalled or not self.steps.speed else steps / self.steps.speed


class _Collection:
    """What is known of one collection; `ranges` is how many units verification compares.

    `moves` are the phases of a run that reads its rows; None for other runs. With `in_turn`, it is
    loaded and proven when the collections before it are.
    """

    def __init__(
        self,
        plan: CollectionPlan,
        proves: bool,
        moves: tuple[Phase, Phase] | None,
        *,
        in_turn: bool = False,
    ) -> None:
        self.plan, self._proves, self._moves = plan, proves, moves
        self._in_turn = in_turn and not plan.wanted.unindexed
        self.rows, self.bytes, self.accounted = 0, 0, 0
        self.cut = False
        self.judged, self.ranges = 0, 0
        self.last: Status | Finished | None = None
        self._taken: set[tuple[str, KeyRange]] = set()
        self._rows: dict[str, int] = defaultdict(int)
        self._counted: dict[str, int] = {}
        self._pieces: dict[str, list[KeyRange]] = defaultdict(list)
        self._phase: Phase = "waiting"
        self._speeds = _Speeds()

    def take(self, receipt: Receipt) -> None:
        """Counts a receipt, unless its interval was counted already."""
        key = (receipt.range_id, receipt.covered)
        if receipt.failed or key in self._taken:
            return
        self._taken.add(key)
        self.rows += receipt.rows
        self.bytes += receipt.bytes
        # The source counts rows with duplicate keys, but they are never copied: they count as done
        # when their range is. The receipt with the range's count may arrive before others.
        self.accounted -= self._accounted(receipt.range_id)
        self._rows[receipt.range_id] += receipt.rows + receipt.rejected
        self._pieces[receipt.range_id].append(receipt.covered)
        if receipt.counted is not None:
            self._counted[receipt.range_id] = receipt.counted
        self.accounted += self._accounted(receipt.range_id)

    @property
    def steps(self) -> tuple[int, int]:
        """How many steps of the job are done, and their total: rows, or else ranges."""
        return (self.accounted, self.plan.rows) if self._moves else (self.judged, self.ranges)

    def _accounted(self, name: str) -> int:
        rows, counted = self._rows[name], self._counted.get(name, 0)
        return counted if counted > rows and self._is_whole(name) else rows

    def _is_whole(self, name: str) -> bool:
        """Whether the receipts of a range cover all of it; a receipt has only the range's id."""
        pieces = self._pieces[name]
        planned = replace(ranges.first(pieces), upto=ranges.last(pieces).upto)
        return range_id(planned) == name and not ranges.subtract(planned, pieces)

    def progress(self, at: float) -> PhaseProgress:
        """Returns the progress at this time."""
        phase, done, total = self._where()
        if phase != self._phase:
            self._phase, self._speeds = phase, _Speeds()
        self._speeds.add(at, self.rows, self.bytes, done)
        return PhaseProgress(
            name=self.plan.name,
            phase=phase,
            rows=self.rows,
            rows_total=self.plan.rows,
            done=done,
            total=total,
            rows_per_second=self._speeds.rows.speed,
            bytes_per_second=self._speeds.bytes.speed,
            left_s=self._speeds.left(total - done, moving=phase in MOVING)
            if phase in UNDER_WAY
            else None,
            failure=self.last.failed if isinstance(self.last, Finished) else "",
        )

    def _where(self) -> tuple[Phase, int, int]:
        if self.judged:
            done = self.ranges and self.judged >= self.ranges
            return "done" if done else "proving", self.judged, self.ranges
        if isinstance(self.last, Finished):
            # A collection that cannot be loaded (no index) is not counted and not verified.
            readable = self.last.rows_target is not None or self.plan.append
            proves = self._proves and (readable or self._in_turn)
            return "failed" if self.last.failed else "proving" if proves else "done", 0, 0
        if self.last and (phase := _REPORTED.get(self.last.phase)):
            return phase, self.last.done, self.last.total
        return self._moved(*self._moves) if self._moves else ("waiting", 0, 0)

    def _moved(self, moving: Phase, moved: Phase) -> tuple[Phase, int, int]:
        if self.cut and self.accounted >= self.plan.rows:
            return moved, self.accounted, self.plan.rows
        if self._taken:
            return moving, self.accounted, self.plan.rows
        if self.cut:
            return "queued", 0, 0
        planning = isinstance(self.last, Status) and self.last.phase == "planning"
        return "planning" if planning else "waiting", 0, 0


def _is_newer(finished: Finished, status: Status) -> bool:
    """Whether the end of a collection says more than its status: also why it failed."""
    return finished.at >= status.at or bool(finished.failed and status.phase == "failed")
