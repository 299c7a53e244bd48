"""`kitelift limit`: changes or shows the throughput limits of a running job."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from pipeline.commands.shared import job_ledger
from pipeline.commands.shared.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.engines import job_lock, submissions
from pipeline.jobfile.job import JobConfig
from pipeline.jobfile.value_types import ByteSize, WholeNumber
from pipeline.reports.job_status import limit_lines
from transforms.errors import ConfigError, EngineError, PreflightError
from transforms.ledger import worker_limits
from transforms.ledger.ledger import Ledger
from transforms.ledger.worker_limits import SIDES, Side
from transforms.milvus.rate_limit import RateLimit


def limit(config: JobConfig, arguments: Arguments) -> int:
    """Sets the given limits, for both sides or one, and prints the limits in force."""
    rows = _parse("--rows", arguments.rows)
    size_bytes = _parse("--bytes", arguments.size_bytes)
    sides = _sides(arguments.side)
    ledger = job_ledger.find(config, only_reads=True)
    running = _is_running(ledger)
    if not running and not ledger.has_plan:
        why = (
            "no run of this job has started. If one is starting, try again in a few seconds. For "
            "the next run, set `rate_limit_rows` or `rate_limit_bytes` in the job file."
        )
        raise PreflightError([f"{ledger.location}: {why}"])
    before = read_limits(config, ledger)
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
    if running:
        say("\n".join(limit_lines(read_limits(config, ledger)) or ("no limit",)))
    else:
        say("This job is not running. The next run starts with the limits of the job file.")
    return 0


def _is_running(ledger: Ledger) -> bool:
    """Whether a launcher or a cluster runs the job; True if the cluster does not answer."""
    holder = job_lock.holder_of(ledger)
    if holder is not None and holder.alive():
        return True
    try:
        return submissions.running(ledger) is not None
    except EngineError:
        return True


def read_limits(config: JobConfig, ledger: Ledger) -> dict[Side, RateLimit]:
    """Returns the throughput limits in force, by side."""
    configured: dict[Side, RateLimit] = {
        "source": config.source_endpoint.rate_limit,
        "target": config.target_endpoint.rate_limit,
    }
    return {**configured, **worker_limits.changed_limits(ledger)}


_KINDS: dict[str, TypeAdapter[int]] = {
    "--rows": TypeAdapter(WholeNumber),
    "--bytes": TypeAdapter(ByteSize),
}


def _parse(option: str, text: str) -> int | None:
    if not text:
        return None
    try:
        return _KINDS[option].validate_python(text)
    except ValidationError as error:
        why = error.errors()[0].get("ctx", {}).get("error", "")
        raise ConfigError([f"{option}: {why}"]) from None


def _sides(name: str) -> tuple[Side, ...]:
    sides = tuple(side for side in SIDES if name in ("", side))
    if not sides:
        raise ConfigError([f"--side={name}: must be source or target; leave it out for both"])
    return sides
