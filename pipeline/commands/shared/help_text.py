"""What `--help` prints: the overview, the text of each command, and the layout of options."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

_OVERVIEW = """\
Copy Milvus collections from one Milvus to another, and prove that every row
arrived.

commands:
{commands}

Without a command, Kitelift runs `run`. `kitelift COMMAND --help` shows the
options of a command. Below are those of `run`.
"""

_DETAILS = {
    "init": """\
Read versions and collections of both servers, and write a job file with
comments. With --from, convert a job file of SeaTunnel or VTS, or a
migration.yaml of milvus-migration; no server is called. Kitelift never
overwrites an existing file.
""",
    "doctor": """\
Check servers, latency, privileges, ledger, disk and host, one line per check.
Without --prove, this command changes nothing. Exit code 3 means that a check
would stop the job.
""",
    "run": """\
Check both clusters, create the collections, copy the rows, and compare source
and target. If a run stops, run the same command again: it resumes.
""",
    "plan": """\
Show findings, plan and estimated time of `run`. Without --probe_write, this
command writes nothing.
""",
    "verify": """\
Compare the target again with what was read from the source. If this job has
not run yet, fingerprint both sides: this also proves a copy by another tool.
""",
    "sync": """\
Compare source and target by key ranges, and copy the rows that differ. Rows
that exist only in the target remain, unless you add --delete.
""",
    "replay": """\
Resend the rows that the target rejected (env.max_rejected), and compare again.
""",
    "status": """\
Show the progress of a job, on any host that can read the ledger.
""",
    "limit": """\
Change how many rows or bytes per second a running job reads and writes.
Without --rows and --bytes, show the current limits. The next run starts with
the limits of the job file.
""",
    "cancel": """\
Stop a job that runs on a cluster. Acknowledged rows stay copied, and
`kitelift run` resumes the job.
""",
    "worker-pool": """\
Start workers on this host for the jobs of a cluster. Anyone who can reach the
address can start programs here, so do not listen on a public network.
""",
    "completion": """\
Print a script that completes commands and options in bash, or in zsh after
`autoload -U bashcompinit && bashcompinit`.
""",
}
"""What a command does, wrapped for 80 columns."""

_EXAMPLES = {
    "init": "init --config=migration.conf \\\n"
    "    --source=http://source:19530 --source_token=env:SOURCE_TOKEN \\\n"
    "    --target=http://target:19530 --target_token=env:TARGET_TOKEN\n"
    "  kitelift init --config=migration.conf --from=vts.conf",
    "limit": "limit --config=migration.conf --rows=5000 --side=source",
    "worker-pool": "worker-pool --listen=localhost:50000",
    "completion": "completion > kitelift.bash && source kitelift.bash",
}
"""Examples that are more than the command and its job file."""


def describe(command: str, commands: Mapping[str, str], *, overview: bool) -> str:
    """Returns the text above the options: of one command, or of all with their help lines."""
    if not overview:
        return _DETAILS[command]
    width = max(map(len, commands)) + 2
    lines = (f"  {name:{width}}{line}" for name, line in commands.items())
    return _OVERVIEW.format(commands="\n".join(lines))


def example(command: str) -> str:
    """Returns an example of a command."""
    words = _EXAMPLES.get(command, f"{command} --config=migration.conf")
    return f"example:\n  kitelift {words}\n"


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Writes options as ``-c, --config=FILE``, and their help in a column of its own."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        metavar = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)}={metavar}"
