"""The ledger that belongs to a job file."""

from __future__ import annotations

from pipeline.jobfile.job import TARGET_DATABASE, JobConfig
from transforms.errors import JobChanged
from transforms.ledger.ledger import Ledger


def find(config: JobConfig, *, restart: bool = False, only_reads: bool = False) -> Ledger:
    """Returns the ledger of a job; empty if the job has not run yet.

    Args:
        config: the job.
        restart: whether the job starts over and ignores earlier runs.
        only_reads: whether the command only reads the ledger and calls no server.

    Raises:
        JobChanged: the job file leaves out the target's database, and an earlier run wrote to a
            different database than the default is now.
    """
    own = Ledger(config.env.state, config.job_id)
    if restart or not config.inherits_database:
        return own
    renamed = config.former_job_id != config.job_id and not own.has_plan
    former = Ledger(config.env.state, config.former_job_id) if renamed else own
    existing = former.plan()
    if existing is None or (only_reads and not renamed):
        return own
    before = existing.settings.get(TARGET_DATABASE, "default")
    if before != config.sink.database:
        raise JobChanged([_wrote_elsewhere(config, former, before)])
    return own


def _wrote_elsewhere(config: JobConfig, former: Ledger, database: str) -> str:
    return (
        f"{former.location}: an earlier run of this job wrote to database `{database}` of "
        f"{config.sink.url}. The job file leaves out {TARGET_DATABASE}, which now means the "
        f"source's database, `{config.sink.database}`. To resume the earlier run, set "
        f'{TARGET_DATABASE} = "{database}". To copy to `{config.sink.database}` instead, run '
        "`kitelift run --restart`."
    )
