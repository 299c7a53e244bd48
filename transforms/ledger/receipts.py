"""Receipts: the record of what the target acknowledged, interval by interval.

receipts/WORKER-N.jsonl      one line per receipt, written one second after the acknowledgement
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
"""Receipts of this age are written to the ledger. After a crash, rows whose receipts are lost are
only rewritten by key."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the target acknowledged for one interval.

    Attributes:
        counted: ``count(*)`` of the whole range in the source; in the receipt of the last interval
            that was read, like `hidden` and `late`.
        hidden: the number of counted rows that no page contained.
        late: the number of keys that appeared while the range was read.
        doubled: the number of rows that an ambiguous retry may have written twice (new auto IDs
            only).
        rejected: the number of rows that the target rejected; they are not in `rows`.
        failed: why the interval was not written; "" if it was.
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
    """Reads new receipts, each object once, so that it stays cheap to follow a long job."""

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
    """The receipts of each range; `refresh` reads the new ones from the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self._receipts = Receipts(ledger)
        self._by_range: dict[str, dict[KeyRange, Receipt]] = defaultdict(dict)
        self.failures: dict[str, Receipt] = {}

    def refresh(self) -> None:
        """Reads the receipts that are new in the ledger."""
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
        """Returns receipts of a range in key order, of which no two overlap.

        Two concurrent attempts may have cut the range differently. Of receipts that overlap, one
        counts; the intervals that it does not cover are missing. If some of the receipts tile the
        whole range, those are returned.
        """
        return _disjoint(planned, self._by_range.get(range_id(planned), {}).values())

    def latest(self, planned: Iterable[KeyRange]) -> float:
        """Returns the time of the last receipt of these ranges; 0.0 if there is none."""
        return max(
            (receipt.at for key_range in planned for receipt in self.of(key_range)), default=0.0
        )

    def missing(self, planned: KeyRange) -> list[KeyRange]:
        """Returns the intervals of a range that were not acknowledged."""
        return ranges.subtract(planned, (receipt.covered for receipt in self.of(planned)))

    def rejected(self) -> Iterator[Receipt]:
        """Yields the last receipt of each interval that has rejected rows."""
        for known in self._by_range.values():
            yield from (receipt for receipt in known.values() if receipt.rejected)

    def sum(self, planned: KeyRange) -> tuple[int, int]:
        """Returns the number of rows of a range and their fingerprint, by its receipts."""
        receipts = self.of(planned)
        texts = (fingerprint.from_text(receipt.fingerprint) for receipt in receipts)
        return sum(receipt.rows for receipt in receipts), fingerprint.add(*texts)


@dataclass(frozen=True)
class _Choice:
    """Receipts of which no two overlap, up to one bound; a linked list.

    Attributes:
        open: the number of steps between bounds that they do not cover.
        rows: the number of rows that they cover.
        last: the last of them; the choice `before` has the others.
    """

    open: int = 0
    rows: int = 0
    last: Receipt | None = None
    before: _Choice | None = None

    @property
    def worth(self) -> tuple[bool, int, int]:
        """Sort key: first a complete cover, then more rows, then fewer open steps."""
        return (not self.open, self.rows, -self.open)


def _disjoint(planned: KeyRange, receipts: Iterable[Receipt]) -> list[Receipt]:
    """Returns the best receipts of which no two overlap, in key order."""
    ending: dict[_Bound, list[Receipt]] = defaultdict(list)
    for receipt in receipts:
        if _after(receipt.covered) < _upto(receipt.covered):
            ending[_upto(receipt.covered)].append(receipt)
    begins = {_after(receipt.covered) for group in ending.values() for receipt in group}
    best, choice = {_after(planned): _Choice()}, _Choice()
    for bound in sorted({*begins, *ending} - best.keys()):
        choice = _Choice(choice.open + 1, choice.rows, choice.last, choice.before)
        for receipt in ending.get(bound, ()):
            before = best[_after(receipt.covered)]
            rows = before.rows + receipt.rows + receipt.rejected
            longer = _Choice(before.open, rows, receipt, before)
            choice = max(choice, longer, key=lambda each: each.worth)
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
    """Collects the receipts of one worker and writes them every second; thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.worker = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._pending: list[Receipt] = []
        self._count = 0
        self._timer: threading.Timer | None = None

    def add(self, receipt: Receipt) -> None:
        """Adds a receipt; it is in the ledger `RECEIPTS_EVERY_S` later."""
        with self._lock:
            self._pending.append(receipt)
            if self._timer is None:
                self._timer = threading.Timer(RECEIPTS_EVERY_S, self._flush_in_time)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Writes the collected receipts.

        Raises:
            LedgerError: the write failed; the receipts are kept for the next flush.
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
        # The next flush retries; the one at the end of the bundle raises the error.
        with contextlib.suppress(LedgerError):
            self.flush()
