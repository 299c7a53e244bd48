"""`kitelift status`: shows how far a job is, also while it runs elsewhere."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.commands import job_ledger, limit
from pipeline.commands.arguments import Arguments
from pipeline.console.wrapping import say
from pipeline.jobfile.job import JobConfig
from pipeline.reports import job_status


def status(config: JobConfig, arguments: Arguments) -> int:
    """Tells where a job stands, also while it runs elsewhere."""
    ledger = job_ledger.find(config, only_reads=True)
    if arguments.follow:
        from pipeline.commands import follow

        return follow.follow(ledger, quiet=arguments.quiet)
    standing = job_status.read(ledger, limit.in_force(config, ledger))
    if arguments.as_json:
        print(json.dumps(asdict(standing), indent=1))
    else:
        say(str(standing))
    return 0
