"""Receipts: what the target acknowledged, interval by interval, as the ledger keeps it.

receipts/WORKER-N.jsonl      a line each, in the ledger a second after the acknowledgement
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from transforms import fingerprint, ranges
from transforms.errors import LedgerError
from transforms.ledger.ledger import Ledger, range_id
from transforms.ranges import KeyRange

RECEIPTS_EVERY_S = 1.0
"""Receipts of this age are written out; what a crash loses is at most written again by key."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the target acknowledged for one interval; or, with `failed`, why it did not.

    `counted` is ``count(*)`` of the whole range in the source, `hidden` those of the counted rows
    that no page showed, and `late` the keys that came while the range was read; they are in the
    receipt of what was read last of it.
    `doubled` counts rows that an ambiguous retry may have written twice (new auto ids only),
    `rejected` those that the target refused for good; they are not in `rows`.
    """

    range_id: str
    covered: KeyRange
    rows: int
    bytes: int
    fingerprint: str
    at: float
    worker: str = ""
    counted: int | None = None
    hidden: int = 0
    late: int = 0
    doubled: int = 0
    rejected: int = 0
    failed: str = ""


_RECEIPT = TypeAdapter(Receipt)


class Receipts:
    """Reads receipts as they come: each object once, so that following a long job stays cheap."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: set[str] = set()

    def news(self) -> Iterator[Receipt]:
        """Yields the receipts that were recorded since the last call."""
        for name in self._ledger.names("receipts"):
            if name not in self._seen:
                path = f"receipts/{name}"
                lines = (self._ledger.read(path) or b"").splitlines()
                self._seen.add(name)
                yield from (self._ledger.parse(_RECEIPT, path, line) for line in lines)


class Acknowledged:
    """What the receipts say of each range. Follows the ledger: `refresh` reads what is new."""

    def __init__(self, ledger: Ledger) -> None:
        self._receipts = Receipts(ledger)
        self._by_range: dict[str, dict[KeyRange, Receipt]] = defaultdict(dict)
        self.failures: dict[str, Receipt] = {}

    def refresh(self) -> None:
        """Reads the receipts that are new."""
        for receipt in self._receipts.news():
            if receipt.failed:
                last = self.failures.get(receipt.range_id)
                if last is None or last.at <= receipt.at:
                    self.failures[receipt.range_id] = receipt
            else:
                known = self._by_range[receipt.range_id].get(receipt.covered)
                if known is None or known.at <= receipt.at:
                    self._by_range[receipt.range_id][receipt.covered] = receipt

    def of(self, planned: KeyRange) -> list[Receipt]:
        """Returns the receipts that tile a range, as far as there are any, in order.

        Two attempts that did not know of each other may have cut it differently; of receipts that
        overlap one counts, and what it leaves open is missing. If any choice of them tiles the
        whole range, such a one is returned.
        """
        return _disjoint(planned, self._by_range.get(range_id(planned), {}).values())

    def latest(self, planned: Iterable[KeyRange]) -> float:
        """Returns when the last receipt of some ranges was given; 0.0 if there is none."""
        return max((receipt.at for each in planned for receipt in self.of(each)), default=0.0)

    def missing(self, planned: KeyRange) -> list[KeyRange]:
        """Returns the intervals of a range that were not acknowledged."""
        return ranges.subtract(planned, (receipt.covered for receipt in self.of(planned)))

    def rejected(self) -> Iterator[Receipt]:
        """Yields what is known last of each interval of which rows were refused."""
        for known in self._by_range.values():
            yield from (receipt for receipt in known.values() if receipt.rejected)

    def sum(self, planned: KeyRange) -> tuple[int, int]:
        """Returns the rows of a range and their fingerprint, by its receipts."""
        receipts = self.of(planned)
        texts = (fingerprint.from_text(receipt.fingerprint) for receipt in receipts)
        return sum(receipt.rows for receipt in receipts), fingerprint.add(*texts)


@dataclass(frozen=True)
class _Choice:
    """Receipts of which no two overlap, up to one bound.

    Attributes:
        open: how many steps from bound to bound they leave open.
        rows: the rows that they cover.
        last: the last of them; it goes on from the choice `before`.
    """

    open: int = 0
    rows: int = 0
    last: Receipt | None = None
    before: _Choice | None = None

    @property
    def worth(self) -> tuple[bool, int, int]:
        """Nothing left open is best, then many rows, then little left open."""
        return (not self.open, self.rows, -self.open)


def _disjoint(planned: KeyRange, receipts: Iterable[Receipt]) -> list[Receipt]:
    """Chooses the best receipts of which no two overlap, from bound to bound."""
    ending: dict[_Bound, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        if _after(receipt.covered) < _upto(receipt.covered):
            ending[_upto(receipt.covered)].append(receipt)
    begins = {_after(each.covered) for found in ending.values() for each in found}
    best, choice = {_after(planned): _Choice()}, _Choice()
    for bound in sorted({*begins, *ending} - best.keys()):
        choice = _Choice(choice.open + 1, choice.rows, choice.last, choice.before)
        for receipt in ending.get(bound, ()):
            left = best[_after(receipt.covered)]
            rows = left.rows + receipt.rows + receipt.rejected
            choice = max(choice, _Choice(left.open, rows, receipt, left), key=lambda c: c.worth)
        best[bound] = choice
    return list(_chosen(choice))[::-1]


def _chosen(choice: _Choice) -> Iterator[Receipt]:
    """Yields the receipts of a choice, the last one first."""
    while choice.last is not None and choice.before is not None:
        yield choice.last
        choice = choice.before


_Bound = tuple[int, Any]


def _after(covered: KeyRange) -> _Bound:
    return (0, 0) if covered.after is None else (1, covered.after)


def _upto(covered: KeyRange) -> _Bound:
    return (2, 0) if covered.upto is None else (1, covered.upto)


class ReceiptWriter:
    """Gathers the receipts of one worker and writes them out every second. Threads may share it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.worker = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[Receipt] = []
        self._count = 0
        self._timer: threading.Timer | None = None

    def add(self, receipt: Receipt) -> None:
        """Takes a receipt; it is in the ledger `RECEIPTS_EVERY_S` later."""
        with self._lock:
            self._pending.append(receipt)
            if self._timer is None:
                self._timer = threading.Timer(RECEIPTS_EVERY_S, self._flush_in_time)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Writes out what was gathered.

        Raises:
            LedgerError: what could not be written is kept, for the next time.
        """
        with self._writing:
            with self._lock:
                pending, self._pending = self._pending, []
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
            if pending:
                lines = b"\n".join(_RECEIPT.dump_json(receipt) for receipt in pending)
                try:
                    self._ledger.replace(f"receipts/{self.worker}-{self._count:06d}.jsonl", lines)
                except LedgerError:
                    with self._lock:
                        self._pending = [*pending, *self._pending]
                    raise
                self._count += 1

    def _flush_in_time(self) -> None:
        # The next flush tries again, and that at the end of the bundle tells.
        with contextlib.suppress(LedgerError):
            self.flush()
