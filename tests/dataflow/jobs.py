"""A job between two fake servers, run in this process as its user would run it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import cli
from tests import kitelift, logs
from tests.fakes import expressions
from tests.fakes.columns import values_of
from tests.fakes.memory import Row
from tests.fakes.milvus import FakeMilvus
from transforms import split
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Receipts, ReceiptWriter
from transforms.ranges import Key

When = Callable[[Any], bool]

# Small, so that few rows make many ranges, pages and requests.
RANGE_ROWS = 10
PAGE_ROWS = 4
REQUEST_ROWS = 3

DEFAULTS = {"job.name": "job", "retry.max_outage": "10 s"}


@dataclass
class Job:
    """One job; `env`, `from_source` and `to_sink` are keys of its file, `transform` is text."""

    folder: Path
    source: FakeMilvus
    target: FakeMilvus
    env: dict[str, Any] = field(default_factory=dict)
    from_source: dict[str, Any] = field(default_factory=lambda: {"batch_size": PAGE_ROWS})
    to_sink: dict[str, Any] = field(default_factory=lambda: {"batch_size": REQUEST_ROWS})
    transform: str = ""

    def run(self, command: str = "run", *arguments: str) -> int:
        """Runs a command and returns its exit code; what was asked before is forgotten."""
        self.source.requests.clear()
        self.target.requests.clear()
        conf = kitelift.write_job(
            self.folder,
            self.source.url,
            self.target.url,
            env={**DEFAULTS, "state": str(self.folder / "state"), **self.env},
            source=self.from_source,
            sink=self.to_sink,
            transform=self.transform,
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

    def collection(self, name: str = "docs") -> dict[str, Any]:
        """What the report says of a collection."""
        [found] = [each for each in self.report["collections"] if each["name"] == name]
        return dict(found)

    def differences(self) -> list[str]:
        """Signs, keys and fields that the report names."""
        found = self.report["differences"]
        return [" ".join([each["sign"], str(each["key"]), *each["fields"]]) for each in found]

    def crash(self, *, lost: int = 10**6, of: str = "docs") -> set[Key]:
        """Leaves the ledger as a run that was killed before the last receipts of a collection.

        Returns the keys that the lost receipts are about: they are in the target all the same.
        """
        receipts = sorted(Receipts(self.ledger).news(), key=lambda receipt: receipt.at)
        gone = [receipt for receipt in receipts if receipt.covered.collection == of][-lost:]
        for pattern in ("report.*", "finished/*", "verdicts/*/*", "receipts/*"):
            for path in (self.folder / "state" / "job").glob(pattern):
                path.unlink()
        writer = ReceiptWriter(self.ledger)
        for receipt in receipts:
            if receipt not in gone:
                writer.add(receipt)
        writer.flush()
        return {key for key in self.source.keys(of) if any(key in each.covered for each in gone)}


@contextmanager
def between_fakes(
    folder: Path, *, source_version: str = "v2.3.7", target_version: str = "v2.3.7"
) -> Iterator[Job]:
    """A job between two new servers: cut into small ranges, and impatient between two tries."""
    with (
        logs.kept(),
        pytest.MonkeyPatch.context() as patched,
        FakeMilvus(source_version) as source,
        FakeMilvus(target_version) as target,
    ):
        patched.setattr(split, "MIN_RANGE_ROWS", RANGE_ROWS)
        patched.setattr("tenacity.nap.time", SimpleNamespace(sleep=lambda seconds: None))
        yield Job(folder, source, target)


def row(key: Key) -> Row:
    """The row of a key; its fields follow from it."""
    number = key if isinstance(key, int) else len(key)
    return {"id": key, "title": f"title of {key}", "vector": [number % 97 / 4, 1.0]}


def rows(count: int) -> list[Row]:
    """Rows with the keys 0 to `count` - 1."""
    return [row(key) for key in range(count)]


def keys_of(request: Any, name: str = "id") -> list[Key]:
    """The keys of an insert or upsert; `name` is that of their field."""
    return [
        key for each in request.fields_data if each.field_name == name for key in values_of(each)
    ]


def of(name: str) -> When:
    """Whether a request is about a collection."""
    return lambda request: request.collection_name == name


def writes(key: Key, name: str = "docs") -> When:
    """Whether a request writes the row of a key."""
    return lambda request: of(name)(request) and key in keys_of(request)


def reads(key: Key, name: str = "docs") -> When:
    """Whether a query is a page of rows, and shows the row of a key.

    The very first page of a collection, which tells how wide its rows are, is none.
    """

    def matches(request: Any) -> bool:
        is_page = "title" in request.output_fields and rows_a_page(request) < split.SAMPLE_ROWS
        return of(name)(request) and is_page and expressions.parse(request.expr, "id")(key)

    return matches


def rows_a_page(query: Any) -> int:
    """The limit of a query; 0 if it has none."""
    return next((int(pair.value) for pair in query.query_params if pair.key == "limit"), 0)


def was_read(server: FakeMilvus, keys: Iterable[Key], name: str = "docs") -> set[Key]:
    """Those of the keys whose rows a server was asked for."""
    asked = server.asked("Query")
    return {key for key in keys if any(map(reads(key, name), asked))}


def written(server: FakeMilvus, method: str, name: str = "docs", key: str = "id") -> list[Key]:
    """The keys that were written to a collection by a method, in order."""
    requests = filter(of(name), server.asked(method))
    return sorted(each for request in requests for each in keys_of(request, key))  # type: ignore[type-var]


ASKS = {
    *("Connect", "GetVersion", "ListDatabases", "ShowCollections", "DescribeCollection"),
    *("ShowPartitions", "DescribeIndex", "GetLoadState", "GetCollectionStatistics", "Query"),
    *("ListAliases", "DescribeAlias", "GetReplicas", "DescribeDatabase", "AllocTimestamp"),
    *("ListCredUsers", "SelectRole", "SelectGrant", "ListPrivilegeGroups"),
}
"""The calls that change nothing."""


def changing(server: FakeMilvus) -> set[str]:
    """The calls that a server was asked for and that change something."""
    return {method for method, _ in server.requests} - ASKS


def keys_shown(server: FakeMilvus, name: str = "docs") -> set[Key]:
    """The keys whose rows a server was asked for, of those that it has."""
    return was_read(server, server.keys(name), name)
