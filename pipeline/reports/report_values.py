"""The values of a report; their names are those of report.json."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline.console.formatting import listed
from pipeline.jobfile.job import SOURCE_DATABASE, TARGET_DATABASE
from pipeline.planning.fidelity import FeatureFate
from transforms.finding import Finding
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Difference, Sign
from transforms.milvus.endpoint import FILES
from transforms.milvus.retry_statistics import Reason
from transforms.plan import Plan, VerifyMethod
from transforms.ranges import Key

FORMAT = 1

Outcome = Literal["proven", "sampled", "counted", "copied", "created", "failed"]
WORST_FIRST: tuple[Outcome, ...] = (
    "failed",
    "created",
    "copied",
    "counted",
    "sampled",
    "proven",
)

EXIT_DONE = 0
EXIT_DATA = 4


@dataclass(frozen=True)
class EndpointReport:
    """One of the two clusters.

    Attributes:
        url: the URL, as the job file has it.
        version: the version of Milvus, as the server reports it.
        database: name of the database, or the first names if the job copies several; empty for
            files, and in reports of earlier versions.
    """

    url: str
    version: str
    database: str = ""

    @property
    def address(self) -> str:
        """The url and the database.

        >>> EndpointReport("http://host:19530", "2.3.7", "docs").address
        'http://host:19530, database docs'
        """
        return f"{self.url}, {self.noun} {self.database}" if self.database else self.url

    @property
    def several(self) -> bool:
        """Whether `database` names several databases."""
        return "," in self.database

    @property
    def noun(self) -> str:
        """What `database` is: the name of one database, or names of several."""
        return "databases" if self.several else "database"

    def __str__(self) -> str:
        return f"{self.address} (Milvus {self.version})" if self.database else self.url


def sides(plan: Plan) -> tuple[EndpointReport, EndpointReport]:
    """Returns the source and the target of a plan."""
    settings, databases = plan.settings, plan.databases
    if databases:
        source, target = (listed([*names], most=NAMED) for names in zip(*databases, strict=True))
        return (
            EndpointReport(plan.source_url, plan.source_version, source),
            EndpointReport(plan.target_url, plan.target_version, target),
        )
    return (
        _side(plan.source_url, plan.source_version, settings.get(SOURCE_DATABASE)),
        _side(plan.target_url, plan.target_version, settings.get(TARGET_DATABASE)),
    )


NAMED = 10
"""The number of databases that a report names."""


def _side(url: str, version: str, database: str | None) -> EndpointReport:
    return EndpointReport(url, version, "" if url.startswith(FILES) else database or "default")


@dataclass(frozen=True)
class RangeSums:
    """How many ranges are in each state (`ledger_facts.RangeState`); each range is in one.

    Attributes:
        total: all ranges.
        proven: their content was compared, and is equal.
        counted: their rows were counted, and the counts are equal.
        copied: the target acknowledged them, and nothing was compared.
        unequal: source and target differ.
        failed: they could not be copied or compared.
        open: the target has not acknowledged all of their rows.
    """

    total: int = 0
    proven: int = 0
    counted: int = 0
    copied: int = 0
    unequal: int = 0
    failed: int = 0
    open: int = 0


@dataclass(frozen=True)
class Failure:
    """A range that was not fully copied, or could not be compared.

    Attributes:
        collection: its name in the source.
        range: its keys, for example `docs(10..20]`: above 10, up to and including 20.
        reason: why it failed; a server's error message is quoted.
    """

    collection: str
    range: str
    reason: str


@dataclass(frozen=True)
class KeyDifference:
    """One key whose rows differ between source and target.

    Attributes:
        collection: its name in the source.
        sign: only in the target (+), missing there (-), different (*), more than once there (#).
        key: the primary key.
        fields: with `*`, the fields that differ.
    """

    collection: str
    sign: Sign
    key: Key
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(Difference(self.sign, self.key, self.fields))


@dataclass(frozen=True)
class Retry:
    """Calls to one side that were retried for one reason since the job began.

    Attributes:
        side: the server that was called.
        reason: rate limit: the server limits the rate; quota: a quota, memory or disk is used up;
            overloaded: the server has too much to do, or reached its own timeout; not ready: the
            server or a part of it; not answered: no connection, or no answer in time; broken off:
            the connection broke during the call; no reason given: code 65535, or another code that
            does not say whether a retry helps.
        calls: number of retried calls.
        seconds: the sum of the waits of all calls, so it may exceed the elapsed time. With `rate
            limit`, `quota`, `overloaded` and `not answered` it includes the calls after them.
    """

    side: worker_limits.Side
    reason: Reason
    calls: int
    seconds: float


@dataclass(frozen=True)
class CollectionReport:
    """One collection.

    Attributes:
        name: its name in the source.
        target: its name in the target.
        outcome: the outcome of this collection.
        rows_source: ``count(*)`` of the source at the snapshot, when the plan was created; 0 if
            the job copies no rows.
        snapshot: the timestamp of all reads from the source; null if the server cannot read at a
            timestamp (before 2.5). Then each range has the rows of the time when it was read.
        keys: distinct primary keys that were read.
        repeats: duplicate rows: rows of the source whose key another row also has.
        hidden: rows that the source counts and no query returns; they are not in the target.
        vanished: rows of the snapshot that no longer existed when they were read.
        rows_read: rows that were read from the source, one per key.
        rows_written: rows that the target acknowledged, without the rejected ones.
        rows_target: ``count(*)`` of the target after the copy; null if it could not be counted.
        bytes: size of the acknowledged rows in memory.
        seconds: from the first write to the last acknowledgement, without pauses between runs.
        rows_per_second: acknowledged rows per second of these.
        finishing_seconds: time of flush, indexes and load; null if the job did not reach them.
        rejected: rows that the target rejected; they are stored in rejected.parquet.
        mended: rows that a sync wrote to make the target equal.
        deleted: rows that a sync removed from the target.
        doubled: rows that the target may store twice; only if it generates new keys.
        undecided: keys with several rows in the source, of which it returns now one and now
            another. The target keeps the row that it has; its content is not compared.
        ranges: the key ranges of the collection, by their state.
        source_changed: how the source's row count changed; "" if it did not.
        problems: why the outcome is `failed`.
        carried: everything but the rows: the features in the source and in the target.
        reshaped: what the job file changes about rows and fields, one line each. All counts are
            counts of the rows that its filter selects.
    """

    name: str
    target: str
    outcome: Outcome
    rows_source: int
    keys: int
    repeats: int
    rows_read: int
    rows_written: int
    rows_target: int | None
    bytes: int
    seconds: float
    rows_per_second: int
    finishing_seconds: float | None = None
    rejected: int = 0
    mended: int = 0
    deleted: int = 0
    doubled: int = 0
    undecided: int = 0
    snapshot: datetime | None = None
    hidden: int = 0
    vanished: int = 0
    ranges: RangeSums = RangeSums()
    source_changed: str = ""
    problems: tuple[str, ...] = ()
    carried: tuple[FeatureFate, ...] = ()
    reshaped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """One job. Lists have at most `pipeline.reports.report.LISTED` entries; totals count all.

    Attributes:
        format: the version of this format.
        job: the job's name, or its id.
        plan: the id of the plan.
        run: the id of the run that verified.
        verify: the verification that was requested.
        outcome: the worst outcome of the collections.
        verdict: the outcome in a sentence.
        next: what to do next, one step each.
        source: the cluster that was read.
        target: the cluster that was written.
        started: when the plan was created.
        ended: time of the last entry in the ledger.
        ranges: the key ranges of all collections, by their state.
        settings: settings that decide what the target contains, and those that differ from the
            default; by path, tokens are masked.
        findings: the findings of preflight and of the copy itself.
        collections: one entry per collection.
        failures: the first ranges that failed.
        failures_total: how many ranges failed.
        differences: the first keys that differ.
        differences_total: how many keys differ.
        retries: the retried calls, by side and reason.
        again: whether this run compared an earlier copy again, as `verify` does. Such a run copies
            nothing; counts, bytes and seconds are those of the copy.
    """

    format: int
    job: str
    plan: str
    run: str
    verify: VerifyMethod
    outcome: Outcome
    verdict: str
    next: tuple[str, ...]
    source: EndpointReport
    target: EndpointReport
    started: datetime
    ended: datetime
    ranges: RangeSums
    settings: dict[str, Any]
    findings: tuple[Finding, ...]
    collections: tuple[CollectionReport, ...]
    failures: tuple[Failure, ...]
    failures_total: int
    differences: tuple[KeyDifference, ...]
    differences_total: int
    retries: tuple[Retry, ...] = ()
    again: bool = False

    @property
    def exit_code(self) -> int:
        """0 if the job did what was requested; 4 if data is missing or wrong.

        It is also 4 if the target lacks an index or an alias and that is not accepted.
        """
        rejected = any(collection.rejected for collection in self.collections)
        missing = any(finding.stops for finding in self.findings)
        return EXIT_DATA if rejected or missing or self.outcome == "failed" else EXIT_DONE


def worst(outcomes: list[Outcome]) -> Outcome:
    """Returns the worst outcome; `copied` of nothing.

    >>> worst(["proven", "counted"])
    'counted'
    """
    return min(outcomes, key=WORST_FIRST.index, default="copied")
