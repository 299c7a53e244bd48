"""What the commands say: findings and progress notes to stderr, results to stdout."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipeline.commands import limit
from pipeline.console import formatting, logs
from pipeline.console.wrapping import breaks, say
from pipeline.display.log_lines import slowed
from pipeline.engines import job_lock, submissions
from pipeline.planning import fidelity, reshaping
from pipeline.planning.estimate import Estimate
from pipeline.reports import archive, next_steps
from pipeline.reports import report as reports
from pipeline.reports.outcome import Report, Retry, sides
from transforms.errors import EngineError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.receipts import Acknowledged
from transforms.ledger.worker_limits import Side
from transforms.milvus.rate_limit import Ceiling
from transforms.milvus.retries import Slowdown
from transforms.plan import CollectionPlan, Finding, Plan
from transforms.ranges import KeyRange

FILE_COLUMNS = 120

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def findings(found: tuple[Finding, ...]) -> None:
    """Prints what preflight noticed, the remedy beside it."""
    if logs.are_json():
        for finding in found:
            level = "warning" if finding.accepted else finding.severity
            said = logs.line(time.time(), level, str(finding), finding=asdict(finding))
            print(said, file=sys.stderr)
        return
    console = Console(stderr=True, highlight=False)
    for finding in found:
        severity = "accepted" if finding.accepted else finding.severity
        head = Text(f"{severity}  ", style=_SEVERITY_STYLES.get(severity, "yellow"))
        body = Text(f"[{finding.code}] ", style="bold")
        words_said = f"{finding.where}: {finding.what}" if finding.accepted else str(finding)
        put(console, head, body.append(words_said, style="default"))


def put(console: Console, head: Text, body: Text) -> None:
    """Prints one line; on a terminal the body is wrapped at words, and stays beside the head."""
    if not console.is_terminal:
        console.print(Text.assemble(head, body), soft_wrap=True)
        return
    columns = cell_len(head.plain)
    for part in body.divide(breaks(body.plain, console.width - columns)):
        part.rstrip()
        console.print(head, part, sep="", soft_wrap=True)
        head = Text(" " * columns)


def plan(made: Plan, ledger: Ledger, *, verb: str) -> None:
    """Prints what is about to be done, to which collections."""
    noun = formatting.plural(len(made.collections), "collection")
    rows = formatting.plural(sum(each.rows for each in made.collections), "row")
    source, target = sides(made)
    say(f"{source}")
    say(f"  -> {target}")
    say(f"Job {made.job_id} {verb} {noun}, {rows}; ledger: {ledger.location}")
    for each in made.collections:
        say(f"  {_summary(each)}")
        for line in (*reshaping.words(each), *_settings(each)):
            say(f"    {line}")


def _settings(each: CollectionPlan) -> Iterator[str]:
    """Yields the settings that the target is to have otherwise than the source."""
    features = fidelity.carried(each, {})
    new = {feature.what for feature in features if feature.fate == "new"}
    for feature in features:
        field = feature.what.rpartition(".")[0]
        added = feature.fate == "new" and field.startswith("fields.") and field not in new
        if added or feature.fate == "changed":
            yield f"{feature.what}: {feature.target}, in the source {feature.source or 'none'}"


def _summary(each: CollectionPlan) -> str:
    fields = formatting.plural(len(each.written.fields), "field")
    indexes = formatting.plural(len(each.wanted.indexes), "index", "indexes")
    parts = [formatting.plural(each.rows, "row"), fields, indexes]
    if each.source.partition_key:
        count = each.source.partition_count
        parts.append(f"{count} partitions by {each.source.partition_key}")
    elif len(each.partitions) > 1:
        parts.append(formatting.plural(len(each.partitions), "partition"))
    name = each.name if each.name == each.target else f"{each.name} -> {each.target}"
    return f"{name}: {', '.join(parts)}"


def estimate(guess: Estimate, cut: Iterable[KeyRange] | None) -> None:
    """Prints what a job will take, and its key ranges if they were cut."""
    say("Estimate, from a trial of seconds with one stream:")
    for line in (*guess.lines(), *(cut or ())):
        say(f"  {line}")


def plan_json(
    made: Plan,
    guess: Estimate | None = None,
    cut: Iterable[KeyRange] | None = None,
    *,
    finished: bool = False,
) -> str:
    """Writes a plan for scripts; without an estimate where nothing would be copied."""
    source, target = sides(made)
    value = {
        "job": made.job_id,
        "source": asdict(source),
        "target": asdict(target),
        "finished": finished,
        "starts": not any(finding.stops for finding in made.findings),
        "findings": [asdict(finding) for finding in made.findings],
        "collections": [
            {
                "name": each.name,
                "target": each.target,
                "rows": each.rows,
                "fields": list(each.written.names),
                "reshaped": list(reshaping.words(each)),
                "partitions": list(each.source.partitions),
                "indexes": [asdict(index) for index in each.wanted.indexes],
                "load": each.load,
            }
            for each in made.collections
        ],
        "estimate": guess and guess.facts(),
    }
    if cut is not None:
        value["ranges"] = [asdict(each) for each in cut]
    return json.dumps(value, indent=1)


def outcome(ledger: Ledger) -> int:
    """Prints the report of a job that has ended and returns its exit code."""
    done = archive.read(ledger)
    if done is None:
        raise AssertionError("the pipeline ended without a report")
    _report(done, ledger)
    return done.exit_code


def _report(done: Report, ledger: Ledger) -> None:
    """Prints the closing table, and where the report is."""
    # What is written into a file has no width of its own; only COLUMNS can say one.
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else FILE_COLUMNS
    # What is too long for a line, a path for one, is not cut.
    Console(highlight=False, width=wide).print(reports.table(done), crop=False)
    say(f"report: {ledger.location}/report.html")


def finished(
    made: Plan, done: Report, ledger: Ledger, since: Sequence[str], *, as_json: bool
) -> None:
    """Prints the plan of a job that was done before."""
    if as_json:
        print(plan_json(made, finished=True))
        return
    plan(made, ledger, verb="has copied")
    nothing_to_do(done, ledger, since)


def nothing_to_do(done: Report, ledger: Ledger, since: Sequence[str]) -> None:
    """Says that the job was done before, and what has come up since."""
    say(f"Nothing to do: this job ended as {done.outcome} on {done.ended:%Y-%m-%d %H:%M} UTC.")
    say(done.verdict)
    for each in since:
        say(f"Since then: {each}.")
    # What was to do then leaves nothing to do only if nothing has come up.
    for step in () if since else done.next:
        say(f"Next: {step}")
    anew = "to copy anew: drop what it made in the target, then `kitelift run --restart`"
    say(f"report: {ledger.location}/report.html; {anew}")


@dataclass(frozen=True)
class Standing:
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
    collections: tuple[CollectionStanding, ...]
    source: str = ""
    target: str = ""
    limits: Mapping[Side, Ceiling] = field(default_factory=dict)
    slowdowns: Mapping[Side, Slowdown] = field(default_factory=dict)
    retries: tuple[Retry, ...] = ()

    def __str__(self) -> str:
        about = self.holder or (f"nothing in {self.ledger}" if self.state == "new" else "")
        lines = [f"job {self.job}: {self.state}" + (f" ({about})" if about else "")]
        if self.source:
            lines += [f"  from {self.source}", f"  to {self.target}"]
        lines += [f"  {each}" for each in self.collections]
        lines += limit.told(self.limits)
        lines += slowed(self.slowdowns)
        lines += next_steps.asked_again(self.retries)
        if self.outcome:
            lines.append(f"outcome: {self.outcome}; report: {self.ledger}/report.html")
        return "\n".join(lines)


@dataclass(frozen=True)
class CollectionStanding:
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


def standing(ledger: Ledger, limits: Mapping[Side, Ceiling] | None = None) -> Standing:
    """Reads from the ledger where a job stands; `limits` are the ceilings in force."""
    made = ledger.plan()
    if made is None:
        return Standing(ledger.job_id, "new", ledger.location, "", "", ())
    holder = job_lock.holder_of(ledger)
    who = _words(holder) if holder is not None and holder.alive() else _on_cluster(ledger)
    runs = bool(who)
    done = archive.read(ledger)
    state = "running" if runs else "stopped"
    if done is not None and not runs:
        state = "done" if done.exit_code == 0 else "failed"
    phases = {name: told.phase for name, told in ledger.told().items()}
    if done is not None and not runs:
        phases = {each.name: each.outcome for each in done.collections}
    acknowledged = Acknowledged(ledger)
    acknowledged.refresh()
    source, target = sides(made)
    return Standing(
        job=ledger.job_id,
        source=source.address,
        target=target.address,
        state=state,
        ledger=ledger.location,
        holder=who,
        outcome=done.outcome if done and not runs else "",
        limits=limits or {},
        slowdowns=worker_limits.slowdowns(ledger) if runs else {},
        retries=tuple(reports.retries(worker_limits.retried(ledger))),
        collections=tuple(
            _collection(each, phases.get(each.name, "waiting"), ledger, acknowledged)
            for each in made.collections
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
) -> CollectionStanding:
    rows = repeated = 0
    begun = False
    for planned in ledger.frozen(plan.name) or []:
        receipts = acknowledged.of(planned)
        begun = begun or bool(receipts)
        taken = sum(each.rows + each.rejected for each in receipts)
        rows += sum(each.rows for each in receipts)
        # The receipt of a range's tail has its count(*).
        counted = next((each.counted for each in receipts if each.counted is not None), taken)
        if not acknowledged.missing(planned):
            repeated += max(0, counted - taken - sum(each.hidden for each in receipts))
    # Nobody tells when the copy begins: its first receipt does.
    told = "copying" if begun and phase in ("waiting", "planning") else phase
    repeated = min(repeated, plan.rows)
    return CollectionStanding(plan.name, told, plan.rows, rows, repeated, plan.target)


def _words(holder: job_lock.Holder) -> str:
    ago = formatting.duration(max(0.0, time.time() - holder.at))
    return f"host {holder.host}, process {holder.pid}, last sign {ago} ago"
