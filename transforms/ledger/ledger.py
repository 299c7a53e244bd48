"""The ledger: the durable record of the plan, receipts and verdicts of one job.

One folder of small objects, each written whole under its final name and, but for the lock and the
status, never changed; so any number of workers may write and any crash leaves it readable.

    plan.json                    the Plan
    ranges/COLLECTION.json       the frozen ranges of one collection
    intents/RANGE.json           this range is about to be written for the first time
    receipts/WORKER-N.jsonl      what the target acknowledged (`transforms.ledger.receipts`)
    finished/COLLECTION.json     flushed, indexed, loaded, counted
    loans/SIDE-…-COLLECTION.json what is restored at the end (`temporary_changes`)
    verdicts/RUN/RANGE.json      what verification found in one range
    report.json, report.html     written by the last step, and differences.parquet
    rejected.parquet/            rows that the target rejected (`rejected_rows`)
    lock.json, status/*.json     replaced; may be lost without harm (so is that of `worker_limits`)

It never holds a token. The format is described in docs/ledger.md.
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
    """One collection after the copy: counted on both sides; or, with `failed`, why it is not ready.

    A count that could not be taken is None: that of a collection which is not loaded, for one.
    `uncounted` is why a later comparison could not count what is ready.
    `found` is what the target's collection has beside its rows, by `features.listed`; `refused` is
    why it does not have an index or an alias, by feature, where the target has not made it.
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

    Signs: ``+`` extra in the target, ``-`` missing there, ``*`` differs, ``#`` more than once.
    """

    sign: Sign
    key: int | str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.sign} {self.key!r}" + (f" ({', '.join(self.fields)})" if self.fields else "")


@dataclass(frozen=True)
class Verdict:
    """What verification found in one range: equal when `differences` and `failed` are empty.

    `written` and `deleted` are the rows with which the range was mended before.
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

    @property
    def equal(self) -> bool:
        """Whether the target holds exactly what was acknowledged."""
        return not self.failed and not self.differences and self.rows_found == self.rows_expected


@dataclass(frozen=True)
class Status:
    """What goes on with one collection just now; for the progress display only."""

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
    # A schema's bytes are no text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_ANY = TypeAdapter(dict[str, Any])
_PLAN = TypeAdapter(_Envelope)
_RANGES = TypeAdapter(_Ranges)
_FINISHED = TypeAdapter(Finished)
_VERDICT = TypeAdapter(Verdict)
_STATUS = TypeAdapter(Status)


def range_id(planned: KeyRange) -> str:
    """Names a range in the ledger: stable, short, and safe as a file name."""
    identity = json.dumps([planned.partition, planned.after, planned.upto])
    return f"{file_name(planned.collection)}-{_digest(identity)}"


_PLAIN = re.compile(r"[a-z0-9_]{1,100}")


def file_name(collection: str) -> str:
    """Returns what a collection is called in the ledger.

    Where not every file system has its name, and apart from those of others, it is only like it.

    >>> file_name("docs"), file_name("Docs of 2024")
    ('docs', 'Docs_of_2024-b489016607635836')
    """
    if _PLAIN.fullmatch(collection):
        return collection
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', collection)[:60]}-{_digest(collection)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Ledger(Store):
    """The record of one job under one state URI: what each object is called and holds."""

    # -- plan and ranges ------------------------------------------------------------------------

    def plan(self) -> Plan | None:
        """Returns the job's plan, or None where the job never started.

        Raises:
            JobChanged: the ledger was written by another version of its format.
            LedgerError: the plan cannot be read.
        """
        data = self.read("plan.json")
        if data is None:
            return None
        found = self.parse(_ANY, "plan.json", data).get("format")
        if found != FORMAT:
            reason = f"{self.location}: ledger format {found}; this version reads {FORMAT}."
            raise JobChanged([f"{reason} {OTHER_VERSION[0].upper()}{OTHER_VERSION[1:]}."])
        return self.parse(_PLAN, "plan.json", data).plan

    @property
    def has_plan(self) -> bool:
        """Whether there is a plan, be it one that this version cannot read."""
        return self.read("plan.json") is not None

    def write_plan(self, plan: Plan) -> None:
        """Records the plan, once."""
        self.write_once("plan.json", _PLAN.dump_json(_Envelope(plan), indent=1))

    def freeze(
        self, plan_id: str, collection: str, cut: Iterable[KeyRange], *, seconds: float = 0.0
    ) -> list[KeyRange]:
        """Records the ranges of a collection and returns those that count: the first recorded.

        `seconds` is what cutting took.
        """
        entry = _Ranges(plan_id, tuple(cut), round(seconds, 3))
        self.write_once(f"ranges/{file_name(collection)}.json", _RANGES.dump_json(entry))
        return self.frozen(collection) or []

    def frozen(self, collection: str) -> list[KeyRange] | None:
        """Returns the frozen ranges of a collection, or None if it was not cut yet."""
        found = self.value(_RANGES, f"ranges/{file_name(collection)}.json")
        return None if found is None else list(found.ranges)

    # -- copying --------------------------------------------------------------------------------

    def begin_range(self, planned: KeyRange) -> bool:
        """Records that a range is about to be written; tells whether that is for the first time."""
        entry = json.dumps({"range": str(planned), "at": time.time()}).encode()
        return self.write_once(f"intents/{range_id(planned)}.json", entry)

    def begun_collections(self, names: Iterable[str]) -> set[str]:
        """Returns the collections, of those named, of which a range was begun."""
        begun = {name.rpartition("-")[0] for name in self.names("intents")}
        return {name for name in names if file_name(name) in begun}

    def finish(self, finished: Finished) -> None:
        """Records that a collection is flushed, indexed, loaded and counted."""
        self.replace(
            f"finished/{file_name(finished.collection)}.json", _FINISHED.dump_json(finished)
        )

    def finished(self, collection: str) -> Finished | None:
        """Returns what `finish` recorded."""
        return self.value(_FINISHED, f"finished/{file_name(collection)}.json")

    # -- proof ----------------------------------------------------------------------------------

    def record_verdict(self, run_id: str, verdict: Verdict) -> None:
        """Records a verdict of one run of the verification."""
        self.replace(f"verdicts/{run_id}/{verdict.range_id}.json", _VERDICT.dump_json(verdict))

    def verdicts(self, run_id: str) -> list[Verdict]:
        """Returns the verdicts of one run of the verification."""
        folder = f"verdicts/{run_id}"
        found = (self.value(_VERDICT, f"{folder}/{name}") for name in self.names(folder))
        return [verdict for verdict in found if verdict is not None]

    def changes(self, ranges: Iterable[KeyRange]) -> Iterator[Verdict]:
        """Yields the verdicts, of all runs, on those of the ranges that a sync has changed."""
        names = [f"{range_id(key_range)}.json" for key_range in ranges]
        for run_id in self.names("verdicts"):
            found = (self.value(_VERDICT, f"verdicts/{run_id}/{name}") for name in names)
            yield from (each for each in found if each and (each.written or each.deleted))

    # -- status ---------------------------------------------------------------------------------

    def set_status(self, collection: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Says what goes on with a collection, for the progress display."""
        status = Status(collection, phase, done, total, time.time())
        self.replace(f"status/{file_name(collection)}.json", _STATUS.dump_json(status))

    def statuses(self) -> dict[str, Status]:
        """Returns the last status of each collection."""
        found = (self.value(_STATUS, f"status/{name}") for name in self.names("status"))
        return {status.collection: status for status in found if status is not None}
