"""Changes the ceilings of a job while it runs."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from pipeline.commands import job_ledger
from pipeline.commands.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.engines import job_lock, submissions
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.values import ByteSize, WholeNumber
from pipeline.reports.job_status import limit_lines
from transforms.errors import ConfigError, EngineError, PreflightError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.worker_limits import SIDES, Side
from transforms.milvus.rate_limit import RateLimit


def limit(config: JobConfig, arguments: Arguments) -> int:
    """Sets the ceilings that were named, of both sides or of one, and says what is in force."""
    rows, size_bytes = _given("--rows", arguments.rows), _given("--bytes", arguments.size_bytes)
    sides = _sides(arguments.side)
    ledger = job_ledger.find(config, only_reads=True)
    runs = _runs(ledger)
    if not runs and not ledger.has_plan:
        why = (
            "no run of this job has begun. If one is starting, try again in a moment; for the next "
            "one, write rate_limit_rows in the job file."
        )
        raise PreflightError([f"{ledger.location}: {why}"])
    before = in_force(config, ledger)
    if rows is not None or size_bytes is not None:
        worker_limits.set_limits(
            ledger,
            {
                side: replace(
                    before[side],
                    rows=before[side].rows if rows is None else rows,
                    bytes=before[side].bytes if size_bytes is None else size_bytes,
                )
                for side in sides
            },
        )
    asleep = "No run of this job is alive; the next one begins with the job file's limits."
    said = limit_lines(in_force(config, ledger)) or ("no limit",)
    say("\n".join(said if runs else (asleep,)))
    return 0


def _runs(ledger: Ledger) -> bool:
    """Whether a launcher, or a cluster without one, works on a job; one that is silent may."""
    holder = job_lock.holder_of(ledger)
    if holder is not None and holder.alive():
        return True
    try:
        return submissions.running(ledger) is not None
    except EngineError:
        return True


def in_force(config: JobConfig, ledger: Ledger) -> dict[Side, RateLimit]:
    """Returns the ceilings of a job as they are now."""
    written: dict[Side, RateLimit] = {
        "source": config.source_endpoint.ceiling,
        "target": config.target_endpoint.ceiling,
    }
    return {**written, **worker_limits.changed_limits(ledger)}


_KINDS: dict[str, TypeAdapter[int]] = {
    "--rows": TypeAdapter(WholeNumber),
    "--bytes": TypeAdapter(ByteSize),
}


def _given(option: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return _KINDS[option].validate_python(text)
    except ValidationError as error:
        why = error.errors()[0].get("ctx", {}).get("error", "")
        raise ConfigError([f"{option}: {why}"]) from None


def _sides(wanted: str) -> tuple[Side, ...]:
    found = tuple(side for side in SIDES if wanted in ("", side))
    if not found:
        raise ConfigError([f"--side={wanted}: must be source or target, or be left out for both"])
    return found
