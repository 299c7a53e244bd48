"""Findings on stderr: what preflight noticed, with the remedy; a line each."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipeline.console import logs
from pipeline.console.wrapping import break_positions
from transforms.plan import Finding

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def show(found: tuple[Finding, ...]) -> None:
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
        print_wrapped(console, head, body.append(words_said, style="default"))


def print_wrapped(console: Console, head: Text, body: Text) -> None:
    """Prints one line; on a terminal the body is wrapped at words, and stays beside the head."""
    if not console.is_terminal:
        console.print(Text.assemble(head, body), soft_wrap=True)
        return
    columns = cell_len(head.plain)
    for part in body.divide(break_positions(body.plain, console.width - columns)):
        part.rstrip()
        console.print(head, part, sep="", soft_wrap=True)
        head = Text(" " * columns)
