"""What a report says, as values; their names are those of report.json."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pipeline.jobfile.job import SOURCE_DATABASE, TARGET_DATABASE
from pipeline.planning.fidelity import FeatureFate
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Difference, Sign
from transforms.milvus.endpoint import FILES
from transforms.milvus.retries import Reason
from transforms.plan import Finding, Plan, VerifyMethod
from transforms.ranges import Key

FORMAT = 1

Outcome = Literal["proven", "sampled", "counted", "copied", "failed"]
WORST_FIRST: tuple[Outcome, ...] = ("failed", "copied", "counted", "sampled", "proven")

EXIT_DONE = 0
EXIT_DATA = 4


@dataclass(frozen=True)
class EndpointReport:
    """One of the two clusters.

    Attributes:
        url: as the job file has it.
        version: as the server tells it.
        database: in the server; empty for files, and in reports of earlier versions.
    """

    url: str
    version: str
    database: str = ""

    @property
    def address(self) -> str:
        """The url with the database.

        >>> EndpointReport("http://host:19530", "2.3.7", "docs").address
        'http://host:19530, database docs'
        """
        return f"{self.url}, database {self.database}" if self.database else self.url

    def __str__(self) -> str:
        return f"{self.address} (Milvus {self.version})" if self.database else self.url


def sides(plan: Plan) -> tuple[EndpointReport, EndpointReport]:
    """Returns the source and the target of a plan."""
    return (
        _side(plan.source_url, plan.source_version, plan.settings.get(SOURCE_DATABASE)),
        _side(plan.target_url, plan.target_version, plan.settings.get(TARGET_DATABASE)),
    )


def _side(url: str, version: str, database: str | None) -> EndpointReport:
    return EndpointReport(url, version, "" if url.startswith(FILES) else database or "default")


@dataclass(frozen=True)
class RangeSums:
    """How many ranges are in each state (`ledger_facts.State`); each range is in one.

    Attributes:
        total: all of them.
        proven: their content was compared, and is equal.
        counted: their rows were counted, and are as many.
        copied: the target acknowledged them, and nothing was compared.
        unequal: source and target differ.
        failed: they could not be copied, or not be compared.
        open: nothing is known of them yet.
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
    """A range that is not in the target as a whole, or could not be compared.

    Attributes:
        collection: its name in the source.
        range: its keys, as `docs(10..20]`: after 10, up to and with 20.
        reason: why, in the server's words where they are a server's.
    """

    collection: str
    range: str
    reason: str


@dataclass(frozen=True)
class KeyDifference:
    """One key that is not the same on both sides.

    Attributes:
        collection: its name in the source.
        sign: extra in the target (+), missing there (-), different (*), there more than once (#).
        key: the primary key.
        fields: those that differ, with `*`.
    """

    collection: str
    sign: Sign
    key: Key
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return str(Difference(self.sign, self.key, self.fields))


@dataclass(frozen=True)
class Retry:
    """Calls to one side that were sent again for one reason, since the job began.

    Attributes:
        side: the server that was called.
        reason: rate limit: the server's; quota: it, its memory or its disk is used up; overloaded:
            it has too much to do, or met its own timeout; not ready: the server, or a part of it;
            not answered: no connection, or no answer in time; broken off: while the call was under
            way; no reason given: code 65535, or another one that does not say whether it passes.
        calls: how many.
        seconds: what they waited, and with `rate limit`, `quota`, `overloaded` and `not answered`
            those after them too; of all calls together, so that it may be more than the time that
            passed.
    """

    side: worker_limits.Side
    reason: Reason
    calls: int
    seconds: float


@dataclass(frozen=True)
class CollectionReport:
    """One collection.

    Attributes:
        name: in the source.
        target: its name in the target.
        outcome: see below.
        rows_source: ``count(*)`` of the source when the plan was made, at the snapshot.
        snapshot: the time at which the source was read; null where the server cannot pin a read
            (before 2.5): then the rows are those of the time at which each range was read.
        keys: different primary keys that were read.
        repeats: rows of the source that stand under a key which was read already.
        hidden: rows that the source counts and shows to no query; they are not in the target.
        vanished: rows that the snapshot had and that were gone before they were read.
        rows_read: rows that came from the source, of which there is one for each key.
        rows_written: rows that the target acknowledged, all but the rejected ones.
        rows_target: ``count(*)`` of the target after the copy; None where it could not be counted.
        bytes: of the acknowledged rows, as they are in memory.
        seconds: from the first write to the last acknowledgement, pauses between runs left out.
        rows_per_second: acknowledged rows in these seconds.
        finishing_seconds: for flush, indexes and load; None where it did not come to that.
        rejected: rows that the target refused for good; they are kept in rejected.parquet.
        mended: rows that a sync wrote to make the target equal.
        deleted: rows that a sync removed from the target.
        doubled: rows that may stand twice in the target; only where it makes new keys.
        ranges: the key ranges of the collection, by their state.
        source_changed: a sentence where the source's count did not stay the same; else "".
        problems: why the outcome is `failed`.
        carried: what the collection has beside its rows, in the source and in the target.
        reshaped: what the job file has changed about rows and fields, a line each. All counts are
            of the rows that its filter finds.
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
    """One job. Lists are cut at `pipeline.reports.report.LISTED`; the totals beside them are not.

    Attributes:
        format: the version of this form.
        job: the job's name, or its id.
        plan: the id of the plan.
        run: the id of the run that verified.
        verify: what was asked for.
        outcome: the worst of the collections.
        verdict: the outcome in a sentence.
        next: what to do, a sentence each.
        source: the cluster that was read.
        target: the cluster that was written.
        started: when the plan was made.
        ended: the last thing that the ledger knows of.
        ranges: the key ranges of all collections, by their state.
        settings: what decides what the target holds, and what is otherwise than the default;
            by path, tokens are masked.
        findings: those of preflight, and what the copy itself showed.
        collections: one each.
        failures: the first of the ranges that failed.
        failures_total: how many failed.
        differences: the first of the keys that differ.
        differences_total: how many differ.
        retries: the calls that were sent again, by side and reason.
        again: whether what was copied before was compared once more, as `verify` does: then this
            run copied nothing, and counts, bytes and seconds are those of the copy.
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
        """0 where the job was done as asked, whatever that proves; 4 where data is not right.

        So it is, too, where the target has not made an index or an alias, and nobody accepts that.
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
