"""A job between two fake servers, run in this process as its user would run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipeline import cli
from tests import kitelift
from tests.fakes import expressions
from tests.fakes.memory import Row, values_of
from tests.fakes.milvus import FakeMilvus
from transforms import split
from transforms.ledger import Ledger, ReceiptWriter
from transforms.ranges import Key

# Small, so that few rows make many ranges, pages and requests.
RANGE_ROWS = 10
PAGE_ROWS = 4
REQUEST_ROWS = 3


@dataclass
class Job:
    """One job; `env`, `from_source` and `to_sink` are keys of its file."""

    folder: Path
    source: FakeMilvus
    target: FakeMilvus
    env: dict[str, Any] = field(default_factory=dict)
    from_source: dict[str, Any] = field(default_factory=lambda: {"batch_size": PAGE_ROWS})
    to_sink: dict[str, Any] = field(default_factory=lambda: {"batch_size": REQUEST_ROWS})

    def run(self, command: str = "run", *arguments: str) -> int:
        """Runs a command and returns its exit code; what was asked before is forgotten."""
        self.source.requests.clear()
        self.target.requests.clear()
        conf = kitelift.write_job(
            self.folder,
            self.source.url,
            self.target.url,
            env={"state": str(self.folder / "state"), "job.name": "job", **self.env},
            source=self.from_source,
            sink=self.to_sink,
        )
        return cli.main([command, f"--config={conf}", "--quiet", *arguments])

    @property
    def ledger(self) -> Ledger:
        return Ledger(str(self.folder / "state"), "job")

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        found: dict[str, Any] = json.loads(self.ledger.read("report.json") or b"{}")
        return found

    @property
    def collection(self) -> dict[str, Any]:
        """What the report says of the only collection."""
        [found] = self.report["collections"]
        return dict(found)

    def differences(self) -> list[str]:
        """Signs, keys and fields that the report names."""
        found = self.report["differences"]
        return [" ".join([each["sign"], str(each["key"]), *each["fields"]]) for each in found]

    def crash(self, *, lost: int) -> set[Key]:
        """Leaves the ledger as a run that was killed before its last receipts were recorded.

        Returns the keys that the lost receipts are about: they are in the target all the same.
        """
        receipts = sorted(self.ledger.receipts(), key=lambda each: each.at)
        kept, gone = receipts[:-lost], receipts[-lost:]
        for pattern in ("report.*", "finished/*", "verdicts/*/*", "receipts/*"):
            for path in (self.folder / "state" / "job").glob(pattern):
                path.unlink()
        writer = ReceiptWriter(self.ledger)
        for each in kept:
            writer.add(each)
        writer.flush()
        keys = self.source.keys("docs")
        return {key for key in keys if any(key in each.covered for each in gone)}


@contextmanager
def between_fakes(folder: Path) -> Iterator[Job]:
    """A job between two new servers, cut into small ranges."""
    with pytest.MonkeyPatch.context() as patched, FakeMilvus() as source, FakeMilvus() as target:
        patched.setattr(split, "MIN_RANGE_ROWS", RANGE_ROWS)
        yield Job(folder, source, target)


def row(key: Key) -> Row:
    """The row of a key; its fields follow from it."""
    number = key if isinstance(key, int) else len(key)
    return {"id": key, "title": f"title of {key}", "vector": [number % 97 / 4, 1.0]}


def rows(count: int) -> list[Row]:
    """Rows with the keys 0 to `count` - 1."""
    return [row(key) for key in range(count)]


def keys_of(request: Any) -> list[Key]:
    """The keys of an insert or upsert."""
    return [
        key for each in request.fields_data if each.field_name == "id" for key in values_of(each)
    ]


def writes(key: Key) -> Callable[[Any], bool]:
    """Whether a request writes the row of a key."""
    return lambda request: key in keys_of(request)


def reads(key: Key) -> Callable[[Any], bool]:
    """Whether a query, one of rows and not a count, would show the row of a key."""

    def matches(request: Any) -> bool:
        is_page = "title" in request.output_fields
        return is_page and expressions.parse(request.expr, "id")(key)

    return matches


def was_read(server: FakeMilvus, keys: Iterable[Key]) -> set[Key]:
    """Those of the keys that a server was asked for."""
    asked = server.asked("Query")
    return {key for key in keys if any(map(reads(key), asked))}


def written(server: FakeMilvus, method: str) -> list[Key]:
    """The keys that were written by a method, in order."""
    return sorted(key for request in server.asked(method) for key in keys_of(request))  # type: ignore[type-var]


ASKS = {
    *("Connect", "GetVersion", "ListDatabases", "ShowCollections", "DescribeCollection"),
    *("ShowPartitions", "DescribeIndex", "GetLoadState", "GetCollectionStatistics", "Query"),
}
"""The calls that change nothing."""


def changing(server: FakeMilvus) -> set[str]:
    """The calls that a server was asked for and that change something."""
    return {method for method, _ in server.requests} - ASKS
