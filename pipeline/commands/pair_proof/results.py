"""The results of a proof: a line per collection, and a row for docs/compatibility.md."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.text import Text

from pipeline.console import finding_lines
from pipeline.console.formatting import plural
from pipeline.console.wrapping import say
from transforms.milvus.versions import Version

SpecimenOutcome = Literal["equal", "differs", "failed", "not tried", "unknown"]

_STYLES = {"equal": "green", "differs": "bold red", "failed": "bold red", "not tried": "yellow"}

SHOWN = 5
"""Number of differences that are shown per collection."""


@dataclass(frozen=True)
class SpecimenResult:
    """The result of one specimen.

    `outcome` is `not tried` if the source refuses the specimen, and `unknown` if one of the servers
    does not support it. `said` is a sentence about it. `details` are the differences.
    """

    name: str
    outcome: SpecimenOutcome
    said: str
    details: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether the pair cannot be called proven."""
        return self.outcome in ("differs", "failed")


def show(specimen_results: Sequence[SpecimenResult]) -> None:
    """Prints a line per specimen that both servers support, and one line for all others."""
    console = Console(highlight=False)
    for result in specimen_results:
        if result.outcome == "unknown":
            continue
        head = Text(f"{result.outcome:<10}", style=_STYLES[result.outcome])
        head.append(f"{result.name:<16} ", style="default")
        finding_lines.print_wrapped(console, head, Text(result.said))
        for detail in result.details[:SHOWN]:
            finding_lines.print_wrapped(console, Text(" " * 12), Text(detail))
        if len(result.details) > SHOWN:
            say(f"{' ' * 12}and {plural(len(result.details) - SHOWN, 'more difference')}")
    if unknown := [result.name for result in specimen_results if result.outcome == "unknown"]:
        head = Text("not tried, a server does not support it: ")
        finding_lines.print_wrapped(console, head, Text(", ".join(unknown)))


def compatibility_row(
    specimen_results: Sequence[SpecimenResult], versions: Sequence[Version], seconds: float
) -> str:
    """Returns the row of docs/compatibility.md about this proof.

    >>> from transforms.milvus.versions import release
    >>> versions = [release("2.3.7"), release("2.6.1")]
    >>> row = compatibility_row([SpecimenResult("a", "equal", "")], versions, 9)
    >>> row.split(" | ")[:3]
    ['| 2.3.7', '2.6.1', 'run']
    """
    outcomes = [result.outcome for result in specimen_results]
    tried = [outcome for outcome in outcomes if outcome in ("equal", "differs", "failed")]
    equal = tried.count("equal")
    of = "" if equal == len(tried) else f" of {len(tried)}"
    how = f"`kitelift doctor --prove`, {equal}{of} collections equal, {seconds:.0f} s"
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return f"| {' | '.join([*map(str, versions), 'run', date, how])} |"
