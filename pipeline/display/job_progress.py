"""Where a job stands, told from its ledger again and again: only what is new is read."""

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
from transforms.milvus.retries import Reason, Retried, Slowdown
from transforms.plan import CollectionPlan, Plan
from transforms.ranges import KeyRange

SPEED_S = 10.0
"""Speeds are those of the last seconds: receipts come every second, so fewer would jump."""

LEFT_S = 60.0
"""The time left follows the speed of the last minute: it should be calm."""

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
_TOLD: dict[str, Phase] = {
    "flushing": "flushing",
    "indexing": "indexing",
    "loading": "loading",
    "failed": "failed",
}
"""The phases that only a worker can tell; all others follow from what is recorded."""

_MOVES: dict[Purpose, tuple[Phase, Phase]] = {
    "copy": ("copying", "copied"),
    "sync": ("reading", "read"),
    "compare": ("reading", "read"),
}
"""What a run does with the rows of the source, and has done; the others leave them alone."""


@dataclass(frozen=True)
class PhaseProgress:
    """Where one collection, or the whole job, stands.

    `done` of `total` is counted in the unit of the phase; 0 of 0 where a phase counts nothing.
    `left_s` is None as long as nothing can be said of it.
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

    @property
    def share(self) -> float:
        """How much of the phase is done, from 0 to 1."""
        return min(1.0, self.done / self.total) if self.total else float(self.phase == "done")


@dataclass(frozen=True)
class View:
    """Where a job stands at one moment.

    `slowdowns` are what keeps the calls to a side below full speed, `retries` those that were sent
    again since the job began.
    """

    at: float
    collections: tuple[PhaseProgress, ...]
    total: PhaseProgress
    slowdowns: Mapping[Side, Slowdown] = field(default_factory=dict)
    retries: Mapping[Side, Mapping[Reason, Retried]] = field(default_factory=dict)


class Meter:
    """The speed of a number that grows, over the last seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: deque[tuple[float, float]] = deque()

    def add(self, at: float, value: float) -> None:
        """Notes the number at a time."""
        self._samples.append((at, value))
        while len(self._samples) > 2 and at - self._samples[1][0] >= self._window_s:
            self._samples.popleft()

    @property
    def speed(self) -> float:
        """How much the number grows in a second; 0 as long as nothing can be said."""
        if len(self._samples) < 2:
            return 0.0
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return max(0.0, (last - first) / (ended - began)) if ended > began else 0.0


class JobProgress:
    """Follows one run of a job; `look` says where it stands now.

    A job that goes on where it stopped finds old entries in its ledger: receipts count as done, but
    not as speed, and a status counts only once it is told anew.
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
            _Collection(collection, proves, self._moves) for collection in plan.collections
        ]
        if not self._moves:
            for collection in self._collections:
                collection.ranges = self._units_of_proof(collection.plan)
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
        """Reads what is new in the ledger and says where the job stands at this time."""
        self._read_phases()
        self._read_receipts()
        self._read_verdicts()
        standings = tuple(collection.standing(at) for collection in self._collections)
        if at >= self._next_calls_at:
            self._slowdowns = worker_limits.slowdowns(self._ledger)
            self._retries = worker_limits.count_retries(self._ledger)
            self._next_calls_at = at + worker_limits.LOOK_EVERY_S
        total = self._sum(at, standings)
        return View(at, standings, total, self._slowdowns, self._retries)

    def _read_receipts(self) -> None:
        for receipt in self._receipts.news():
            if collection := self._by_name.get(receipt.covered.collection):
                collection.take(receipt)

    def _read_phases(self) -> None:
        cut = set(self._ledger.names("ranges"))
        finished = set(self._ledger.names("finished"))
        told = self._ledger.statuses()
        found: dict[str, Status | Finished] = dict(told)
        for file, collection in self._by_file.items():
            name = collection.plan.name
            collection.cut = f"{file}.json" in cut
            entry = self._ledger.finished(name) if f"{file}.json" in finished else None
            if entry and (name not in told or entry.at >= told[name].at):
                found[name] = entry
        self._old = found if self._old is None else self._old
        for name, last in found.items():
            if name in self._by_name and last != self._old.get(name):
                self._by_name[name].last = last

    def _read_verdicts(self) -> None:
        names = self._ledger.names(f"verdicts/{self._run_id}")
        judged = Counter(name.rpartition("-")[0] for name in names)
        for file, count in judged.items():
            if collection := self._by_file.get(file):
                collection.judged = count
                if not collection.ranges:
                    collection.ranges = self._units_of_proof(collection.plan)

    def _units_of_proof(self, plan: CollectionPlan) -> int:
        # With new ids, the unit of proof is a partition.
        return len(plan.partitions) if plan.new_ids else len(self._ledger.frozen(plan.name) or ())

    def _sum(self, at: float, standings: tuple[PhaseProgress, ...]) -> PhaseProgress:
        rows = sum(standing.rows for standing in standings)
        steps = [collection.steps for collection in self._collections]
        done, total = sum(each for each, _ in steps), sum(each for _, each in steps)
        if done == self._began_at or self._began_at < 0:
            # Time in which nothing was copied yet says nothing of the speed.
            self._total, self._began_at = _Speeds(), done
        self._total.add(at, rows, sum(collection.bytes for collection in self._collections), done)
        phase = self._phase({standing.phase for standing in standings})
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
    """One collection as far as it is known; `ranges` are the units of its proof.

    `moves` are the phases of its rows, or None where they are left alone.
    """

    def __init__(
        self, plan: CollectionPlan, proves: bool, moves: tuple[Phase, Phase] | None
    ) -> None:
        self.plan, self._proves, self._moves = plan, proves, moves
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
        """Counts a receipt, each interval once."""
        key = (receipt.range_id, receipt.covered)
        if receipt.failed or key in self._taken:
            return
        self._taken.add(key)
        self.rows += receipt.rows
        self.bytes += receipt.bytes
        # Rows under repeated keys are counted by the source and never come: they are done when the
        # range is. The last receipt of a range, which has the count, may come before others.
        self.accounted -= self._accounted(receipt.range_id)
        self._rows[receipt.range_id] += receipt.rows + receipt.rejected
        self._pieces[receipt.range_id].append(receipt.covered)
        if receipt.counted is not None:
            self._counted[receipt.range_id] = receipt.counted
        self.accounted += self._accounted(receipt.range_id)

    @property
    def steps(self) -> tuple[int, int]:
        """How many of the job's steps are done, of how many: rows, or else ranges."""
        return (self.accounted, self.plan.rows) if self._moves else (self.judged, self.ranges)

    def _accounted(self, name: str) -> int:
        rows, counted = self._rows[name], self._counted.get(name, 0)
        return counted if counted > rows and self._is_whole(name) else rows

    def _is_whole(self, name: str) -> bool:
        """Whether the receipts of a range cover all of it; a range is known by its id only."""
        pieces = self._pieces[name]
        planned = replace(ranges.first(pieces), upto=ranges.last(pieces).upto)
        return range_id(planned) == name and not ranges.subtract(planned, pieces)

    def standing(self, at: float) -> PhaseProgress:
        """Says where the collection stands at this time."""
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
        )

    def _where(self) -> tuple[Phase, int, int]:
        if self.judged:
            done = self.ranges and self.judged >= self.ranges
            return "done" if done else "proving", self.judged, self.ranges
        if isinstance(self.last, Finished):
            # What cannot be loaded, as an index is missing, was not counted and is not proven.
            readable = self.last.rows_target is not None or self.plan.append
            proves = self._proves and readable
            return "failed" if self.last.failed else "proving" if proves else "done", 0, 0
        if self.last and (phase := _TOLD.get(self.last.phase)):
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
