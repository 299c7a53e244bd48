"""The status of a job, read from its ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.console import formatting
from pipeline.display.log_lines import fraction, slowdown_lines
from pipeline.engines import job_lock, submissions
from pipeline.reports import next_steps, report_files
from pipeline.reports import report as reports
from pipeline.reports.report_values import Retry, sides
from transforms.errors import EngineError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.ledger.worker_limits import Side
from transforms.milvus.rate_limit import RateLimit
from transforms.milvus.retry_statistics import Slowdown
from transforms.plan import CollectionPlan


@dataclass(frozen=True)
class JobStatus:
    """The status of a job. `state` is one of: new, running, stopped, done, failed.

    `source` and `target` are the url and database of each side. By side, `limits` are the
    throughput limits in force, and `slowdowns` is why calls run below full speed. `retries` are
    the calls that were retried since the job began.
    """

    job: str
    state: str
    ledger: str
    holder: str
    outcome: str
    collections: tuple[CollectionStatus, ...]
    source: str = ""
    target: str = ""
    limits: Mapping[Side, RateLimit] = field(default_factory=dict)
    slowdowns: Mapping[Side, Slowdown] = field(default_factory=dict)
    retries: tuple[Retry, ...] = ()

    def __str__(self) -> str:
        about = self.holder or (f"{self.ledger} is empty" if self.state == "new" else "")
        lines = [f"job {self.job}: {self.state}" + (f" ({about})" if about else "")]
        if self.source:
            lines += [f"  from {self.source}", f"  to {self.target}"]
        lines += [f"  {collection}" for collection in self.collections]
        lines += limit_lines(self.limits)
        lines += slowdown_lines(self.slowdowns)
        lines += next_steps.retry_lines(self.retries)
        if self.outcome:
            lines.append(f"outcome: {self.outcome}; report: {self.ledger}/report.html")
        return "\n".join(lines)


@dataclass(frozen=True)
class CollectionStatus:
    """The status of one collection.

    `rows` is the source's count. `rows_repeated` are rows with duplicate keys; they are known only
    after their key range is done. `target` is the collection's name in the target.
    """

    name: str
    phase: str
    rows: int
    rows_acknowledged: int
    rows_repeated: int = 0
    target: str = ""

    def __str__(self) -> str:
        done = fraction(self.rows_acknowledged, self.rows - self.rows_repeated, "rows")
        duplicates = formatting.plural(self.rows_repeated, "duplicate")
        name = self.name if self.target in ("", self.name) else f"{self.name} -> {self.target}"
        return f"{name}: {self.phase} {done}" + (
            f", the source counts {self.rows:,} with {duplicates}" if self.rows_repeated else ""
        )


def read(ledger: Ledger, limits: Mapping[Side, RateLimit] | None = None) -> JobStatus:
    """Reads the status of a job from its ledger; `limits` are the throughput limits in force."""
    plan = ledger.plan()
    if plan is None:
        return JobStatus(ledger.job_id, "new", ledger.location, "", "", ())
    holder = job_lock.holder_of(ledger)
    worker = _describe(holder) if holder is not None and holder.alive() else _on_cluster(ledger)
    runs = bool(worker)
    done = report_files.read(ledger)
    state = "running" if runs else "stopped"
    if done is not None and not runs:
        state = "done" if done.exit_code == 0 else "failed"
    phases = {name: status.phase for name, status in ledger.statuses().items()}
    if done is not None and not runs:
        phases = {collection.name: collection.outcome for collection in done.collections}
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    source, target = sides(plan)
    return JobStatus(
        job=ledger.job_id,
        source=source.address,
        target=target.address,
        state=state,
        ledger=ledger.location,
        holder=worker,
        outcome=done.outcome if done and not runs else "",
        limits=limits or {},
        slowdowns=worker_limits.slowdowns(ledger) if runs else {},
        retries=tuple(reports.retries(worker_limits.count_retries(ledger))),
        collections=tuple(
            _collection(collection, phases.get(collection.name, "waiting"), ledger, acknowledged)
            for collection in plan.collections
        ),
    )


def _on_cluster(ledger: Ledger) -> str:
    """Returns which submission works on a job without a launcher; "" if none does."""
    try:
        submission = submissions.running(ledger)
    except EngineError as error:
        return f"possibly {submissions.recorded(ledger)}; its state is unknown: {error}"
    return "" if submission is None else f"{submission}, {submission.page or submission.address}"


def _collection(
    plan: CollectionPlan, phase: str, ledger: Ledger, acknowledged: Acknowledged
) -> CollectionStatus:
    rows = repeated = 0
    begun = False
    for planned in ledger.frozen(plan.name) or []:
        receipts = acknowledged.of(planned)
        begun = begun or bool(receipts)
        taken = sum(receipt.rows + receipt.rejected for receipt in receipts)
        rows += sum(receipt.rows for receipt in receipts)
        # The receipt of a range's last interval has the count(*) of the range.
        counted = next(
            (receipt.counted for receipt in receipts if receipt.counted is not None), taken
        )
        if not acknowledged.missing(planned):
            repeated += max(0, counted - taken - sum(receipt.hidden for receipt in receipts))
    # No status is recorded when the copy begins; the first receipt shows it.
    shown = "copying" if begun and phase in ("waiting", "planning") else phase
    repeated = min(repeated, plan.rows)
    return CollectionStatus(plan.name, shown, plan.rows, rows, repeated, plan.target)


def _describe(holder: job_lock.Holder) -> str:
    age = formatting.duration(max(0.0, time.time() - holder.at))
    return f"host {holder.host}, process {holder.pid}, last heartbeat {age} ago"


def limit_lines(limits: Mapping[Side, RateLimit]) -> tuple[str, ...]:
    """Returns one line per side that has a throughput limit."""
    return tuple(f"{side}: at most {_limit(limit)}" for side, limit in limits.items() if limit)


def _limit(limit: RateLimit) -> str:
    rows = f"{limit.rows:,.0f} rows/s" if limit.rows else ""
    size_bytes = f"{formatting.size(limit.bytes)}/s" if limit.bytes else ""
    return " and ".join(filter(None, (rows, size_bytes)))
