"""What a proof has found: a line for each collection, and a row for docs/compatibility.md."""

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
"""So many differences of a collection are shown."""


@dataclass(frozen=True)
class SpecimenResult:
    """What became of one specimen.

    `outcome` is `not tried` where the source refuses the specimen, `unknown` where one of the
    servers does not know it. `details` are the differences.
    """

    name: str
    outcome: SpecimenOutcome
    said: str
    details: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether the pair cannot be called proven."""
        return self.outcome in ("differs", "failed")


def show(found: Sequence[SpecimenResult]) -> None:
    """Prints a line for each specimen that both servers know, and one for the others."""
    console = Console(highlight=False)
    for result in found:
        if result.outcome == "unknown":
            continue
        head = Text(f"{result.outcome:<10}", style=_STYLES[result.outcome])
        head.append(f"{result.name:<16} ", style="default")
        finding_lines.print_wrapped(console, head, Text(result.said))
        for detail in result.details[:SHOWN]:
            finding_lines.print_wrapped(console, Text(" " * 12), Text(detail))
        if len(result.details) > SHOWN:
            say(f"{' ' * 12}and {plural(len(result.details) - SHOWN, 'more difference')}")
    if unknown := [result.name for result in found if result.outcome == "unknown"]:
        head = Text("not tried, unknown to a server: ")
        finding_lines.print_wrapped(console, head, Text(", ".join(unknown)))


def compatibility_row(
    found: Sequence[SpecimenResult], versions: Sequence[Version], seconds: float
) -> str:
    """Returns the row of docs/compatibility.md that says what was run, and with which result.

    >>> from transforms.milvus.versions import release
    >>> versions = [release("2.3.7"), release("2.6.1")]
    >>> row = compatibility_row([SpecimenResult("a", "equal", "")], versions, 9)
    >>> row.split(" | ")[:3]
    ['| 2.3.7', '2.6.1', 'run']
    """
    tried = [result for result in found if result.outcome in ("equal", "differs", "failed")]
    equal = sum(result.outcome == "equal" for result in tried)
    of = "" if equal == len(tried) else f" of {len(tried)}"
    how = f"`kitelift doctor --prove`, {equal}{of} collections equal, {seconds:.0f} s"
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return f"| {' | '.join([*map(str, versions), 'run', date, how])} |"
