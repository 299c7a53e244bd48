"""What the ledger contains about one job, read for its report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Literal

from transforms.ledger import worker_limits
from transforms.ledger.ledger import Finished, Ledger, Verdict, range_id
from transforms.ledger.receipts import Acknowledged, Receipt
from transforms.milvus.retry_statistics import Reason, Retried
from transforms.plan import Plan, VerifyMethod
from transforms.ranges import KeyRange

RangeState = Literal["proven", "counted", "copied", "unequal", "failed", "open"]
"""What is known of one range, in this order: its content is equal in the target, its row count is
equal there, it is acknowledged and not verified, it is not equal, it failed with a reason, it is
not fully acknowledged."""


@dataclass(frozen=True)
class RangeEvidence:
    """One range: what the target acknowledged, and what verification saw in the target.

    Attributes:
        missing: the intervals that were not acknowledged.
        failure: why copying it failed; "" once it is fully acknowledged.
        failure_hidden: rows that caused the failure: the source counts them and no query returns
            them.
        verdict: the verdict that covers it; None if there is none.
    """

    planned: KeyRange
    receipts: tuple[Receipt, ...] = ()
    missing: tuple[KeyRange, ...] = ()
    failure: str = ""
    failure_hidden: int = 0
    verdict: Verdict | None = None

    @property
    def state(self) -> RangeState:
        """What is known of the range."""
        if self.failure or (self.verdict and self.verdict.failed):
            return "failed"
        if self.missing:
            return "open"
        if self.verdict is None:
            return "copied"
        if not self.verdict.equal:
            return "unequal"
        compared = self.verdict.method == "full" and not self.verdict.undecided
        return "proven" if compared else "counted"

    @cached_property
    def rows(self) -> int:
        """The number of rows that the target acknowledged; no two have the same key."""
        return sum(receipt.rows for receipt in self.receipts)

    @cached_property
    def rejected(self) -> int:
        """The number of rows that the target rejected; no two have the same key."""
        return sum(receipt.rejected for receipt in self.receipts)

    @cached_property
    def hidden(self) -> int:
        """The number of rows that the source counts in the range and no query returns."""
        return self.failure_hidden + (self._account.hidden if self._account else 0)

    @cached_property
    def duplicates(self) -> int:
        """The number of rows whose key another row of the source also has."""
        if self.counted is None or self.missing:
            return 0
        return max(0, self.counted - self.rows - self.rejected - self.hidden)

    @cached_property
    def counted(self) -> int | None:
        """The source's ``count(*)`` of the range, known after its end was read."""
        return self._account.counted if self._account else None

    @cached_property
    def _account(self) -> Receipt | None:
        """The newest receipt that has the source's count of the whole range.

        There may be several: a run that copies missing rows counts the range again.
        """
        counts = (receipt for receipt in self.receipts if receipt.counted is not None)
        return max(counts, key=lambda receipt: receipt.at, default=None)


@dataclass(frozen=True)
class CollectionEvidence:
    """One collection; `ranges` is None if it was not split into key ranges.

    `began` is when the copy of the first range began, in seconds since 1970.
    """

    name: str
    ranges: tuple[RangeEvidence, ...] | None = None
    finished: Finished | None = None
    began: float | None = None

    @property
    def rows_after(self) -> int | None:
        """The source's ``count(*)`` after the copy; None if it was not counted."""
        return self.finished.rows_source if self.finished else None

    @property
    def hidden(self) -> int:
        """The number of rows that the source counts and no query returns."""
        return sum(key_range.hidden for key_range in self.ranges or ())

    @property
    def duplicates(self) -> int:
        """The number of rows whose key another row of the source also has."""
        return sum(key_range.duplicates for key_range in self.ranges or ())

    @property
    def undecided(self) -> int:
        """The number of keys whose content could not be compared: see `Verdict.undecided`."""
        return sum(verdict.undecided for verdict in self.verdicts)

    @property
    def rows_synced(self) -> int:
        """The number of rows that a sync wrote to make the target equal."""
        return sum(verdict.written for verdict in self.verdicts)

    @property
    def doubled(self) -> int:
        """The number of rows that a target that generates the keys may store twice."""
        return sum(receipt.doubled for receipt in self.receipts)

    @property
    def states(self) -> Counter[RangeState]:
        """How many ranges are in each state."""
        return Counter(key_range.state for key_range in self.ranges or ())

    @property
    def receipts(self) -> Iterator[Receipt]:
        """All receipts; each interval is covered once."""
        return (receipt for key_range in self.ranges or () for receipt in key_range.receipts)

    @property
    def verdicts(self) -> list[Verdict]:
        """The verdicts in the order of the ranges, without duplicates."""
        verdicts = (key_range.verdict for key_range in self.ranges or () if key_range.verdict)
        return list({verdict.range_id: verdict for verdict in verdicts}.values())


@dataclass(frozen=True)
class Evidence:
    """What the ledger contains about one job and one run of its verification.

    `retries` are those of all runs of the job. `again` is whether this run compares an earlier copy
    again without reading the source: then the receipts show what the source had when it was read.
    """

    run_id: str
    verify: VerifyMethod
    collections: tuple[CollectionEvidence, ...]
    retries: Mapping[worker_limits.Side, Mapping[Reason, Retried]] = field(default_factory=dict)
    again: bool = False

    @property
    def read_at(self) -> float:
        """When the last row was acknowledged, in seconds since 1970; 0.0 if none was."""
        ranges = (
            key_range for collection in self.collections for key_range in collection.ranges or ()
        )
        return max(
            (receipt.at for key_range in ranges for receipt in key_range.receipts), default=0.0
        )

    def __getitem__(self, name: str) -> CollectionEvidence:
        return next(collection for collection in self.collections if collection.name == name)


def gather(
    ledger: Ledger, plan: Plan, run_id: str, verify: VerifyMethod, *, again: bool = False
) -> Evidence:
    """Reads from the ledger everything about a job and about one run of its verification."""
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    verdicts = {verdict.range_id: verdict for verdict in ledger.verdicts(run_id)}
    return Evidence(
        run_id,
        verify,
        tuple(
            _collection(ledger, collection.name, acknowledged, verdicts)
            for collection in plan.collections
        ),
        worker_limits.count_retries(ledger),
        again,
    )


def _collection(
    ledger: Ledger, name: str, acknowledged: Acknowledged, verdicts: dict[str, Verdict]
) -> CollectionEvidence:
    frozen = ledger.frozen(name)
    if frozen is None:
        return CollectionEvidence(name, finished=ledger.finished(name))
    ranges = tuple(_range(planned, acknowledged, verdicts) for planned in frozen)
    receipts = (receipt for key_range in ranges for receipt in key_range.receipts)
    return CollectionEvidence(name, ranges, ledger.finished(name), _began(ledger, receipts))


def _range(
    planned: KeyRange, acknowledged: Acknowledged, verdicts: dict[str, Verdict]
) -> RangeEvidence:
    missing = tuple(acknowledged.missing(planned))
    failure = acknowledged.failures.get(range_id(planned))
    # With new ids, the target has no key ranges: the verdict is about the whole partition.
    partition = KeyRange(planned.collection, partition=planned.partition)
    return RangeEvidence(
        planned=planned,
        receipts=tuple(acknowledged.of(planned)),
        missing=missing,
        # A range that failed in one run and was completed in another is complete.
        failure=failure.failed if failure and missing else "",
        failure_hidden=failure.hidden if failure and missing else 0,
        verdict=verdicts.get(range_id(planned)) or verdicts.get(range_id(partition)),
    )


def _began(ledger: Ledger, receipts: Iterable[Receipt]) -> float | None:
    """Returns when the copy of the range with the first receipt began."""
    first = min(receipts, key=lambda receipt: receipt.at, default=None)
    if first is None:
        return None
    intent = ledger.read(f"intents/{first.range_id}.json")
    return min(first.at, float(json.loads(intent)["at"])) if intent else first.at


def utc(at: float) -> datetime:
    """Returns a time of the ledger (seconds since 1970) as a datetime."""
    return datetime.fromtimestamp(at, UTC)
