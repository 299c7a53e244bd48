"""How far a job is, read from its ledger."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.console import formatting
from pipeline.display.log_lines import slowed
from pipeline.engines import job_lock, submissions
from pipeline.reports import archive, next_steps
from pipeline.reports import report as reports
from pipeline.reports.outcome import Retry, sides
from transforms.errors import EngineError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.ledger.worker_limits import Side
from transforms.milvus.rate_limit import RateLimit
from transforms.milvus.retries import Slowdown
from transforms.plan import CollectionPlan


@dataclass(frozen=True)
class JobStatus:
    """Where a job stands. `state` is one of: new, running, stopped, done, failed.

    `source` and `target` are url and database of each side. `limits` are the ceilings in force,
    `slowdowns` what keeps the calls below full speed; both by side. `retries` are the calls that
    were sent again since it began.
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
        about = self.holder or (f"nothing in {self.ledger}" if self.state == "new" else "")
        lines = [f"job {self.job}: {self.state}" + (f" ({about})" if about else "")]
        if self.source:
            lines += [f"  from {self.source}", f"  to {self.target}"]
        lines += [f"  {collection}" for collection in self.collections]
        lines += limit_lines(self.limits)
        lines += slowed(self.slowdowns)
        lines += next_steps.asked_again(self.retries)
        if self.outcome:
            lines.append(f"outcome: {self.outcome}; report: {self.ledger}/report.html")
        return "\n".join(lines)


@dataclass(frozen=True)
class CollectionStatus:
    """How far one collection is: of its `rows`, some were acknowledged and some only repeat keys.

    Rows are counted as repeats once their key range is done: before, nobody knows. `target` is the
    collection's name in the target.
    """

    name: str
    phase: str
    rows: int
    rows_acknowledged: int
    rows_repeated: int = 0
    target: str = ""

    def __str__(self) -> str:
        share = f"{self.rows_acknowledged:,} of {self.rows - self.rows_repeated:,} rows"
        repeats = formatting.plural(self.rows_repeated, "repeat")
        name = self.name if self.target in ("", self.name) else f"{self.name} -> {self.target}"
        return f"{name}: {self.phase}, {share}" + (
            f" (the source counts {self.rows:,} with {repeats})" if self.rows_repeated else ""
        )


def read(ledger: Ledger, limits: Mapping[Side, RateLimit] | None = None) -> JobStatus:
    """Reads from the ledger where a job stands; `limits` are the ceilings in force."""
    made = ledger.plan()
    if made is None:
        return JobStatus(ledger.job_id, "new", ledger.location, "", "", ())
    holder = job_lock.holder_of(ledger)
    who = _words(holder) if holder is not None and holder.alive() else _on_cluster(ledger)
    runs = bool(who)
    done = archive.read(ledger)
    state = "running" if runs else "stopped"
    if done is not None and not runs:
        state = "done" if done.exit_code == 0 else "failed"
    phases = {name: told.phase for name, told in ledger.statuses().items()}
    if done is not None and not runs:
        phases = {collection.name: collection.outcome for collection in done.collections}
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    source, target = sides(made)
    return JobStatus(
        job=ledger.job_id,
        source=source.address,
        target=target.address,
        state=state,
        ledger=ledger.location,
        holder=who,
        outcome=done.outcome if done and not runs else "",
        limits=limits or {},
        slowdowns=worker_limits.slowdowns(ledger) if runs else {},
        retries=tuple(reports.retries(worker_limits.count_retries(ledger))),
        collections=tuple(
            _collection(collection, phases.get(collection.name, "waiting"), ledger, acknowledged)
            for collection in made.collections
        ),
    )


def _on_cluster(ledger: Ledger) -> str:
    """Says which submission works on a job without a launcher; "" if none does."""
    try:
        found = submissions.running(ledger)
    except EngineError as error:
        return f"{submissions.recorded(ledger)}, perhaps: {error}"
    return "" if found is None else f"{found}, {found.page or found.address}"


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
        # The receipt of a range's tail has its count(*).
        counted = next(
            (receipt.counted for receipt in receipts if receipt.counted is not None), taken
        )
        if not acknowledged.missing(planned):
            repeated += max(0, counted - taken - sum(receipt.hidden for receipt in receipts))
    # Nobody tells when the copy begins: its first receipt does.
    told = "copying" if begun and phase in ("waiting", "planning") else phase
    repeated = min(repeated, plan.rows)
    return CollectionStatus(plan.name, told, plan.rows, rows, repeated, plan.target)


def _words(holder: job_lock.Holder) -> str:
    ago = formatting.duration(max(0.0, time.time() - holder.at))
    return f"host {holder.host}, process {holder.pid}, last sign {ago} ago"


def limit_lines(ceilings: Mapping[Side, RateLimit]) -> tuple[str, ...]:
    """Says what the ceilings are, a line each; nothing of a side that has none."""
    return tuple(f"{side}: at most {_limit(each)}" for side, each in ceilings.items() if each)


def _limit(ceiling: RateLimit) -> str:
    rows = f"{ceiling.rows:,.0f} rows/s" if ceiling.rows else ""
    size_bytes = f"{formatting.size(ceiling.bytes)}/s" if ceiling.bytes else ""
    return " and ".join(filter(None, (rows, size_bytes)))
