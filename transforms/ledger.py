"""The ledger: the durable record of the plan, receipts and verdicts of one job.

One folder of small objects, each written whole under its final name and, but for the lock and the
status, never changed; so any number of workers may write and any crash leaves it readable.

    plan.json                    the Plan
    ranges/COLLECTION.json       the frozen ranges of one collection
    intents/RANGE.json           this range is about to be written for the first time
    receipts/WORKER-N.jsonl      what the target acknowledged
    finished/COLLECTION.json     flushed, indexed, loaded, counted
    verdicts/RUN/RANGE.json      what verification found in one range
    report.json, report.html     written by the last step
    rejected.parquet/            rows that the target refused for good (`transforms.rejects`)
    lock.json, status/*.json     replaced; may be lost without harm

It never holds a token. The format is described in docs/ledger.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import ConfigDict, TypeAdapter

from transforms import fingerprint, ranges
from transforms.errors import JobChanged, LedgerError
from transforms.plan import Plan
from transforms.ranges import KeyRange

FORMAT = 1
RECEIPTS_EVERY_S = 1.0
"""Receipts of this age are written out; what a crash loses is at most written again by key."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Receipt:
    """What the target acknowledged for one interval; or, with `failed`, why it did not.

    `counted` is ``count(*)`` of the whole range in the source, in the receipt of its tail.
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
    doubled: int = 0
    rejected: int = 0
    failed: str = ""


@dataclass(frozen=True)
class Finished:
    """One collection after the copy: counted on both sides; or, with `failed`, why it is not ready.

    A count that could not be taken is None: that of a target which cannot be loaded, for one.
    """

    collection: str
    rows_source: int | None
    rows_target: int | None
    seconds: float
    at: float
    failed: str = ""


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
    format: int = FORMAT


@dataclass(frozen=True)
class _Envelope:
    plan: Plan
    format: int = FORMAT
    # A schema's bytes are no text.
    __pydantic_config__ = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


_PLAN = TypeAdapter(_Envelope)
_RANGES = TypeAdapter(_Ranges)
_RECEIPT = TypeAdapter(Receipt)
_FINISHED = TypeAdapter(Finished)
_VERDICT = TypeAdapter(Verdict)
_STATUS = TypeAdapter(Status)


def range_id(planned: KeyRange) -> str:
    """Names a range in the ledger: stable, short, and safe as a file name."""
    identity = json.dumps([planned.partition, planned.after, planned.upto])
    return f"{planned.collection}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


class Ledger:
    """The record of one job under one state URI.

    Pickles; opens its file system where it is used.
    """

    def __init__(self, state: str, job_id: str) -> None:
        self.state = state
        self.job_id = job_id
        self._opened: tuple[fs.FileSystem, str] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "job_id": self.job_id, "_opened": None}

    @property
    def location(self) -> str:
        """Where the job's folder is, as the user would write it; without a URI's options."""
        if "://" not in self.state:
            return f"{self.state.rstrip('/')}/{self.job_id}"
        parts = urlsplit(self.state)
        host = parts.netloc.rpartition("@")[2]  # Before it may stand a key and its secret.
        return f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{self.job_id}"

    @property
    def exclusive(self) -> bool:
        """Whether `write_once` is atomic: of many writers one wins. An object store has no such."""
        return isinstance(self._open()[0], fs.LocalFileSystem)

    # -- plan and ranges ------------------------------------------------------------------------

    def plan(self) -> Plan | None:
        """Returns the job's plan, or None where the job never started.

        Raises:
            JobChanged: the ledger was written by another version of its format.
        """
        data = self.read("plan.json")
        if data is None:
            return None
        found = json.loads(data).get("format")
        if found != FORMAT:
            raise JobChanged(
                [f"{self.location}: ledger format {found}; this version reads {FORMAT}"]
            )
        return _PLAN.validate_json(data).plan

    def write_plan(self, plan: Plan) -> None:
        """Records the plan, once."""
        self.write_once("plan.json", _PLAN.dump_json(_Envelope(plan), indent=1))

    def freeze(self, plan_id: str, collection: str, cut: Iterable[KeyRange]) -> list[KeyRange]:
        """Records the ranges of a collection and returns those that count: the first recorded."""
        entry = _Ranges(plan_id, tuple(cut))
        self.write_once(f"ranges/{collection}.json", _RANGES.dump_json(entry))
        return self.frozen(collection) or []

    def frozen(self, collection: str) -> list[KeyRange] | None:
        """Returns the frozen ranges of a collection, or None if it was not cut yet."""
        data = self.read(f"ranges/{collection}.json")
        return None if data is None else list(_RANGES.validate_json(data).ranges)

    # -- copying --------------------------------------------------------------------------------

    def begin(self, planned: KeyRange) -> bool:
        """Records that a range is about to be written; tells whether that is for the first time."""
        entry = json.dumps({"range": str(planned), "at": time.time()}).encode()
        return self.write_once(f"intents/{range_id(planned)}.json", entry)

    def receipts(self) -> Iterator[Receipt]:
        """Yields all receipts recorded so far, failed ones included."""
        return Receipts(self).news()

    def finish(self, finished: Finished) -> None:
        """Records that a collection is flushed, indexed, loaded and counted."""
        self.replace(f"finished/{finished.collection}.json", _FINISHED.dump_json(finished))

    def finished(self, collection: str) -> Finished | None:
        """Returns what `finish` recorded."""
        data = self.read(f"finished/{collection}.json")
        return None if data is None else _FINISHED.validate_json(data)

    # -- proof ----------------------------------------------------------------------------------

    def judge(self, run_id: str, verdict: Verdict) -> None:
        """Records a verdict of one run of the verification."""
        self.replace(f"verdicts/{run_id}/{verdict.range_id}.json", _VERDICT.dump_json(verdict))

    def verdicts(self, run_id: str) -> list[Verdict]:
        """Returns the verdicts of one run of the verification."""
        folder = f"verdicts/{run_id}"
        found = (self.read(f"{folder}/{name}") for name in self.names(folder))
        return [_VERDICT.validate_json(data) for data in found if data is not None]

    # -- status ---------------------------------------------------------------------------------

    def tell(self, collection: str, phase: str, done: int = 0, total: int = 0) -> None:
        """Says what goes on with a collection, for the progress display."""
        status = Status(collection, phase, done, total, time.time())
        self.replace(f"status/{collection}.json", _STATUS.dump_json(status))

    def told(self) -> dict[str, Status]:
        """Returns the last status of each collection."""
        found = (self.read(f"status/{name}") for name in self.names("status"))
        statuses = [_STATUS.validate_json(data) for data in found if data]
        return {status.collection: status for status in statuses}

    # -- objects --------------------------------------------------------------------------------

    def read(self, name: str) -> bytes | None:
        """Reads an object whole; None if it is not there."""
        system, root = self._open()
        with _Saying("read", f"{root}/{name}"):
            try:
                with system.open_input_stream(f"{root}/{name}") as stream:
                    return stream.read()  # type: ignore[no-any-return]
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """Lists the objects in a folder, sorted; half-written ones do not count."""
        system, root = self._open()
        selector = fs.FileSelector(f"{root}/{folder}", allow_not_found=True)
        with _Saying("read", f"{root}/{folder}"):
            names = [info.base_name for info in system.get_file_info(selector)]
        return sorted(name for name in names if not name.startswith("."))

    def write_once(self, name: str, data: bytes) -> bool:
        """Writes an object unless it is there already; tells whether it wrote."""
        system, root = self._open()
        path = f"{root}/{name}"
        with _Saying("read", path):
            there = system.get_file_info(path).type != fs.FileType.NotFound
        if there:
            return False
        if not self.exclusive:
            self._put(name, data)
            return True
        hidden = self._hidden(system, path, data)
        try:
            os.link(hidden, path)
        except FileExistsError:
            return False
        finally:
            Path(hidden).unlink()
        return True

    def replace(self, name: str, data: bytes) -> None:
        """Writes an object whole, over what is there."""
        self._put(name, data)

    def remove(self, name: str) -> None:
        """Removes an object if it is there."""
        system, root = self._open()
        with _Saying("remove", f"{root}/{name}"):
            if system.get_file_info(f"{root}/{name}").type != fs.FileType.NotFound:
                system.delete_file(f"{root}/{name}")

    def set_aside(self) -> str:
        """Moves the job's folder out of the way and returns its new name."""
        system, root = self._open()
        aside = f"{root}.{time.strftime('%Y%m%dT%H%M%S')}"
        with _Saying("set aside", root):
            if self.exclusive:
                system.move(root, aside)
            else:  # An object store moves single objects only.
                fs.copy_files(root, aside, source_filesystem=system, destination_filesystem=system)
                system.delete_dir(root)
        return aside

    def _put(self, name: str, data: bytes) -> None:
        system, root = self._open()
        path = f"{root}/{name}"
        if self.exclusive:
            Path(self._hidden(system, path, data)).replace(path)
            return
        with _Saying("write", path), system.open_output_stream(path) as stream:
            stream.write(data)

    def _hidden(self, system: fs.FileSystem, path: str, data: bytes) -> str:
        """Writes data durably under a name that `names` does not list, beside `path`."""
        folder, _, name = path.rpartition("/")
        hidden = f"{folder}/.{name}.{uuid.uuid4().hex}"
        with _Saying("write", path):
            system.create_dir(folder)
            try:
                with Path(hidden).open("wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError:
                Path(hidden).unlink(missing_ok=True)
                raise
        return hidden

    def _open(self) -> tuple[fs.FileSystem, str]:
        if self._opened is None:
            if "://" in self.state:
                with _Saying("open", self.location):
                    system, root = fs.FileSystem.from_uri(self.state)
            else:
                place = self.state.removeprefix("file:")
                system, root = fs.LocalFileSystem(), str(Path(place).absolute())
            self._opened = system, f"{root.rstrip('/')}/{self.job_id}"
        return self._opened


class Receipts:
    """Reads receipts as they come: each object once, so that following a long job stays cheap."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: set[str] = set()

    def news(self) -> Iterator[Receipt]:
        """Yields the receipts that were recorded since the last call."""
        for name in self._ledger.names("receipts"):
            if name not in self._seen:
                data = self._ledger.read(f"receipts/{name}") or b""
                self._seen.add(name)
                yield from (_RECEIPT.validate_json(line) for line in data.splitlines())


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
                self.failures[receipt.range_id] = receipt
            else:
                known = self._by_range[receipt.range_id].get(receipt.covered)
                if known is None or known.at <= receipt.at:
                    self._by_range[receipt.range_id][receipt.covered] = receipt

    def of(self, planned: KeyRange) -> list[Receipt]:
        """Returns the receipts that tile a range, as far as there are any, in order.

        Two attempts that did not know of each other may have cut it differently; of receipts that
        overlap one counts, and what it leaves open is missing.
        """
        chosen: list[Receipt] = []
        for receipt in sorted(self._by_range.get(range_id(planned), {}).values(), key=_start):
            if not chosen or _follows(receipt.covered, chosen[-1].covered):
                chosen.append(receipt)
        return chosen

    def missing(self, planned: KeyRange) -> list[KeyRange]:
        """Returns the intervals of a range that were not acknowledged."""
        return ranges.subtract(planned, (receipt.covered for receipt in self.of(planned)))

    def sum(self, planned: KeyRange) -> tuple[int, int]:
        """Returns the rows of a range and their fingerprint, by its receipts."""
        receipts = self.of(planned)
        texts = (fingerprint.from_text(receipt.fingerprint) for receipt in receipts)
        return sum(receipt.rows for receipt in receipts), fingerprint.add(*texts)


def _start(receipt: Receipt) -> tuple[bool, Any]:
    return (receipt.covered.after is not None, receipt.covered.after)


def _follows(covered: KeyRange, before: KeyRange) -> bool:
    """Whether an interval begins where another one ends, or later."""
    if covered.after is None or before.upto is None:
        return False
    return covered.after >= before.upto  # type: ignore[operator]


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


class _Saying:
    """Turns the system's words into an error that says what of the ledger could not be done."""

    def __init__(self, verb: str, path: str) -> None:
        self._verb, self._path = verb, path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, pa.ArrowException)):
            reason = getattr(error, "strerror", None) or str(error)
            raise LedgerError(self._path, reason, self._verb) from error
