"""`kitelift cancel`: stops a job that runs on a cluster."""

from __future__ import annotations

from pipeline.commands.shared import cluster_job, job_ledger
from pipeline.commands.shared.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.jobfile.job import JobConfig


def cancel(config: JobConfig, arguments: Arguments) -> int:
    """Stops a job that runs on a cluster; acknowledged rows stay copied."""
    say(cluster_job.cancel(job_ledger.find(config, only_reads=True), gone=arguments.yes))
    return 0
