"""The ledger: the durable record of the plan, receipts and verdicts of one job.

A folder of small objects. Each is written as a whole under its final name. Except for the lock and
the status, objects are never changed. So any number of workers can write, and the ledger stays
readable after any crash.

    plan.json                    the Plan
    ranges/COLLECTION.json       the frozen ranges of one collection
    intents/RANGE.json           this range is about to be written for the first time
    receipts/WORKER-N.jsonl      what the target acknowledged (`transforms.ledger.receipts`)
    finished/COLLECTION.json     flushed, indexed, loaded, counted
    loans/SIDE-…-COLLECTION.json temporary changes to be restored (`temporary_changes`)
    verdicts/RUN/RANGE.json      the result of the verification of one range
    report.json, report.html     written by the last step, with differences.parquet
    rejected.parquet/            rows that the target rejected (`rejected_rows`)
    lock.json, status/*.json     replaced; a loss does no harm (the same for `worker_limits`)

The ledger never contains a token. docs/ledger.md describes the format.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter

from transforms.errors import JobChanged
from transforms.ledger.store import OTHER_VERSION, Store
from transforms.plan import Plan
from transforms.ranges import KeyRange

FORMAT = 1


@dataclass(frozen=True)
class Finished:
    """One collection after the copy, with the counts of both sides.

    Attributes:
        rows_source: None if the source could not be counted, for example because it is not loaded.
        rows_target: None if the target could not be counted.
        failed: why the collection is not ready; "" if it is.
        found: the features that the target's collection has beside its rows, by `features.listed`.
        refused: why the target did not create an index or an alias, by feature.
        uncounted: why a later comparison could not count a collection that is ready.
    """

    collection: str
    rows_source: int | None
    rows_target: int | None
    seconds: float
    at: float
    failed: str = ""
    found: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    uncounted: str = ""


Sign = Literal["+", "-", "*", "#"]


@dataclass(frozen=True)
class Difference:
    """One key that is not the same on both sides.

    Signs: ``+`` extra in the target, ``-`` missing there, ``*`` differs, ``#`` duplicate key.
    """

    sign: Sign
    key: int | str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.sign} {self.key!r}" + (f" ({', '.join(self.fields)})" if self.fields else "")


@dataclass(frozen=True)
class Verdict:
    """The result of the verification of one range: equal if `differences` and `failed` are empty.

    `written` and `deleted` are the numbers of rows that a sync changed before the verification.
    `undecided` is the number of keys that the source has in several rows, of which it returns now
    one and now another: their content is not compared.
    """

    range_id: str
    planned: KeyRange
    rows_expected: int
    rows_found: int
    at: float
    method: Literal["full", "count"]
    differences: tuple[Difference, ...] = ()
    failed: str = ""
    written: int = 0
    deleted: int = 0
    undecided: int = 0

    @property
    def equal(self) -> bool:
        """Whether the target has exactly the rows that it acknowledged."""
        return not self.failed and not self.differences and self.rows_found == self.rows_expected


@dataclass(frozen=True)
class Status:
    """The current phase of one collection; for the progress display only."""

    collection: str
    phase: str
    done: int
    total: int
    at: float


@dataclass(frozen=True)
class _Ranges:
    plan_id: str
    ranges: tuple[KeyRange, ...]
    seconds: float = 0.0
    format: int = FORMAT


@dataclass(frozen=True)
class _Envelope:
    plan: Plan
    format: int = FORMAT
    # The bytes of a schema are not text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_ANY = TypeAdapter(dict[str, Any])
_PLAN = TypeAdapter(_Envelope)
_RANGES = TypeAdapter(_Ranges)
_FINISHED = TypeAdapter(Finished)
_VERDICT = TypeAdapter(Verdict)
_STATUS = TypeAdapter(Status)


def range_id(planned: KeyRange) -> str:
    """Returns the name of a range in the ledger: stable, short, and safe as a file name."""
    identity = json.dumps([planned.partition, planned.after, planned.upto])
    return f"{file_name(planned.collection)}-{_digest(identity)}"


_PLAIN = re.compile(r"[a-z0-9_]{1,100}")


def file_name(collection: str) -> str:
    """Returns the name of a collection in the ledger.

    Not every file system accepts every collection name, or tells all of them apart. Such a name is
    replaced by a similar one with a hash.

    >>> file_name("docs"), file_name("Docs of 2024")
    ('docs', 'Docs_of_2024-b489016607635836')
    """
    if _PLAIN.fullmatch(collection):
        return collection
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', collection)[:60]}-{_digest(collection)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Ledger(Store):
    """The record of one job under one state URI: the name and the content of each object."""

    # -- plan and ranges ------------------------------------------------------------------------

    def plan(self) -> Plan | None:
        """Returns the job's plan, or None if the job never started.

        Raises:
            JobChanged: the ledger has another version of the format.
            LedgerError: the plan cannot be read.
        """
        data = self.read("plan.json")
        if data is None:
            return None
        version = self.parse(_ANY, "plan.json", data).get("format")
        if version != FORMAT:
            reason = f"{self.location}: ledger format {version}; this version reads {FORMAT}."
            raise JobChanged([f"{reason} {OTHER_VERSION}."])
        return self.parse(_PLAN, "plan.json", data).plan

    @property
    def has_plan(self) -> bool:
        """Whether a plan exists, even if this version cannot read it."""
        return self.read("plan.json") is not None

    def write_plan(self, plan: Plan) -> None:
        """Records the plan, unless one exists."""
        self.write_once("plan.json", _PLAN.dump_json(_Envelope(plan), indent=1))

    def freeze(
        self, plan_id: str, collection: str, cut: Iterable[KeyRange], *, seconds: float = 0.0
    ) -> list[KeyRange]:
        """Records the ranges of a collection, unless it has some; returns the recorded ranges.

        `seconds` is how long cutting took.
        """
        entry = _Ranges(plan_id, tuple(cut), round(seconds, 3))
        self.write_once(f"ranges/{file_name(collection)}.json", _RANGES.dump_json(entry))
        return self.frozen(collection) or []

    def frozen(self, collection: str) -> list[KeyRange] | None:
        """Returns the frozen ranges of a collection, or None if it was not cut yet."""
        frozen = self.value(_RANGES, f"ranges/{file_name(collection)}.json")
        return None if frozen is None else list(frozen.ranges)

    # -- copying --------------------------------------------------------------------------------

    def begin_range(self, planned: KeyRange) -> bool:
        """Records that a range is about to be written; returns whether it is the first time."""
        entry = json.dumps({"range": str(planned), "at": time.time()}).encode()
        return self.write_once(f"intents/{range_id(planned)}.json", entry)

    def begun_collections(self, names: Iterable[str]) -> set[str]:
        """Returns those of the named collections of which a range was begun."""
        begun = {name.rpartition("-")[0] for name in self.names("intents")}
        return {name for name in names if file_name(name) in begun}

    def finish(self, finished: Finished) -> None:
        """Records that a collection is flushed, indexed, loaded and counted, or has failed."""
        self.replace(
            f"finished/{file_name(finished.collection)}.json", _FINISHED.dump_json(finished)
        )

    def finished(self, collection: str) -> Finished | None:
        """Returns what `finish` recorded."""
        return self.value(_FINISHED, f"finished/{file_name(collection)}.json")

    # -- proof ----------------------------------------------------------------------------------

    def record_verdict(self, run_id: str, verdict: Verdict) -> None:
        """Records one verdict of a verification run."""
        self.replace(f"verdicts/{run_id}/{verdict.range_id}.json", _VERDICT.dump_json(verdict))

    def verdicts(self, run_id: str) -> list[Verdict]:
        """Returns the verdicts of one verification run."""
        folder = f"verdicts/{run_id}"
        verdicts = (self.value(_VERDICT, f"{folder}/{name}") for name in self.names(folder))
        return [verdict for verdict in verdicts if verdict is not None]

    def changes(self, ranges: Iterable[KeyRange]) -> Iterator[Verdict]:
        """Yields the verdicts of all runs on those of `ranges` that a sync changed."""
        names = [f"{range_id(key_range)}.json" for key_range in ranges]
        for run_id in self.names("verdicts"):
            verdicts = (self.value(_VERDICT, f"verdicts/{run_id}/{name}") for name in names)
            yield from (
                verdict for verdict in verdicts if verdict and (verdict.written or verdict.deleted)
            )

    # -- status ---------------------------------------------------------------------------------

    def set_status(self, collection: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Records the current phase of a collection, for the progress display."""
        status = Status(collection, phase, done, total, time.time())
        self.replace(f"status/{file_name(collection)}.json", _STATUS.dump_json(status))

    def statuses(self) -> dict[str, Status]:
        """Returns the last status of each collection."""
        statuses = (self.value(_STATUS, f"status/{name}") for name in self.names("status"))
        return {status.collection: status for status in statuses if status is not None}
