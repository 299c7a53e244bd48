"""What the commands say: findings and progress notes to stderr, results to stdout."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.text import Text

from pipeline import archive, lock, words
from pipeline import report as reports
from pipeline.outcome import Report
from transforms.ledger import Acknowledged, Ledger
from transforms.plan import CollectionPlan, Finding, Plan

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def findings(found: tuple[Finding, ...]) -> None:
    """Prints what preflight noticed, the remedy beside it."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for finding in found:
        severity = "accepted" if finding.accepted else finding.severity
        line = Text(f"{severity}  ", style=_SEVERITY_STYLES.get(severity, "yellow"))
        line.append(f"[{finding.code}] ", style="bold")
        words_said = f"{finding.where}: {finding.what}" if finding.accepted else str(finding)
        line.append(words_said, style="default")
        console.print(line)


def plan(made: Plan, ledger: Ledger, *, verb: str) -> None:
    """Prints what is about to be done, to which collections."""
    console = Console(soft_wrap=True, highlight=False)
    noun = words.plural(len(made.collections), "collection")
    rows = words.plural(sum(each.rows for each in made.collections), "row")
    console.print(f"{made.source_url} (Milvus {made.source_version})")
    console.print(f"  -> {made.target_url} (Milvus {made.target_version})")
    console.print(f"Job {made.job_id} {verb} {noun}, {rows}; ledger: {ledger.location}")
    for each in made.collections:
        console.print(f"  {_summary(each)}")


def _summary(each: CollectionPlan) -> str:
    fields = words.plural(len(each.source.schema.fields), "field")
    indexes = words.plural(len(each.wanted.indexes), "index", "indexes")
    parts = [words.plural(each.rows, "row"), fields, indexes]
    if each.source.partition_key:
        count = each.source.partition_count
        parts.append(f"{count} partitions by {each.source.partition_key}")
    elif len(each.partitions) > 1:
        parts.append(words.plural(len(each.partitions), "partition"))
    name = each.name if each.name == each.target else f"{each.name} -> {each.target}"
    return f"{name}: {', '.join(parts)}"


def plan_json(made: Plan) -> str:
    """Writes a plan for scripts."""
    value = {
        "job": made.job_id,
        "source": {"url": made.source_url, "version": made.source_version},
        "target": {"url": made.target_url, "version": made.target_version},
        "starts": not any(finding.stops for finding in made.findings),
        "findings": [asdict(finding) for finding in made.findings],
        "collections": [
            {
                "name": each.name,
                "target": each.target,
                "rows": each.rows,
                "fields": list(each.source.schema.names),
                "partitions": list(each.source.partitions),
                "indexes": [asdict(index) for index in each.wanted.indexes],
                "load": each.load,
            }
            for each in made.collections
        ],
    }
    return json.dumps(value, indent=1)


def report(done: Report, ledger: Ledger) -> None:
    """Prints the closing table, and where the report is."""
    Console(highlight=False).print(reports.table(done))
    print(f"report: {ledger.location}/report.html")


def nothing_to_do(done: Report, ledger: Ledger) -> None:
    """Says that the job was done before."""
    print(f"Nothing to do: this job ended as {done.outcome} on {done.ended:%Y-%m-%d %H:%M} UTC.")
    print(done.verdict)
    for step in done.next:
        print(f"Next: {step}")
    print(f"report: {ledger.location}/report.html; to copy anew: --restart")


@dataclass(frozen=True)
class Standing:
    """Where a job stands. `state` is one of: new, running, stopped, done, failed."""

    job: str
    state: str
    ledger: str
    holder: str
    outcome: str
    collections: tuple[CollectionStanding, ...]

    def __str__(self) -> str:
        lines = [f"job {self.job}: {self.state}" + (f" ({self.holder})" if self.holder else "")]
        lines += [f"  {each}" for each in self.collections]
        if self.outcome:
            lines.append(f"outcome: {self.outcome}; report: {self.ledger}/report.html")
        return "\n".join(lines)


@dataclass(frozen=True)
class CollectionStanding:
    """How far one collection is."""

    name: str
    phase: str
    rows: int
    rows_acknowledged: int

    def __str__(self) -> str:
        share = f"{self.rows_acknowledged:,} of {self.rows:,} rows"
        return f"{self.name}: {self.phase}, {share}"


def standing(ledger: Ledger) -> Standing:
    """Reads from the ledger where a job stands."""
    made = ledger.plan()
    if made is None:
        return Standing(ledger.job_id, "new", ledger.location, "", "", ())
    holder = lock.holder_of(ledger)
    runs = holder is not None and holder.alive()
    done = archive.read(ledger)
    state = "running" if runs else "stopped"
    if done is not None and not runs:
        state = "done" if done.exit_code == 0 else "failed"
    phases = {name: told.phase for name, told in ledger.told().items()}
    if done is not None and not runs:
        phases = {each.name: each.outcome for each in done.collections}
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    return Standing(
        job=ledger.job_id,
        state=state,
        ledger=ledger.location,
        holder=_words(holder) if runs and holder else "",
        outcome=done.outcome if done and not runs else "",
        collections=tuple(
            CollectionStanding(
                each.name,
                phases.get(each.name, "waiting"),
                each.rows,
                sum(acknowledged.sum(r)[0] for r in ledger.frozen(each.name) or []),
            )
            for each in made.collections
        ),
    )


def _words(holder: lock.Holder) -> str:
    ago = words.duration(max(0.0, time.time() - holder.at))
    return f"host {holder.host}, process {holder.pid}, last sign {ago} ago"
