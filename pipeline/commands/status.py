"""`kitelift status`: shows the progress of a job, on whatever host it runs."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.commands import limit
from pipeline.commands.shared import job_ledger
from pipeline.commands.shared.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.jobfile.job import JobConfig
from pipeline.reports import job_status


def status(config: JobConfig, arguments: Arguments) -> int:
    """Shows the progress of a job, on whatever host it runs."""
    ledger = job_ledger.find(config, only_reads=True)
    if arguments.follow:
        from pipeline.commands.shared import follow

        return follow.follow(ledger, quiet=arguments.quiet)
    progress = job_status.read(ledger, limit.read_limits(config, ledger))
    if arguments.as_json:
        print(json.dumps(asdict(progress), indent=1))
    else:
        say(str(progress))
    return 0
