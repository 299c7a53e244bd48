"""Prints findings on stderr, one line each, with the remedy."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipeline.console import logs
from pipeline.console.wrapping import break_positions
from transforms.finding import Finding

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


def show(findings: tuple[Finding, ...]) -> None:
    """Prints findings with their remedies; the remedy of an accepted one is left out."""
    if logs.are_json():
        for finding in findings:
            level = "warning" if finding.accepted else finding.severity
            line = logs.line(time.time(), level, str(finding), finding=asdict(finding))
            print(line, file=sys.stderr)
        return
    console = Console(stderr=True, highlight=False)
    for finding in findings:
        severity = "accepted" if finding.accepted else finding.severity
        head = Text(f"{severity}  ", style=_SEVERITY_STYLES.get(severity, "yellow"))
        body = Text(f"[{finding.code}] ", style="bold")
        text = f"{finding.where}: {finding.what}" if finding.accepted else str(finding)
        print_wrapped(console, head, body.append(text, style="default"))


def print_wrapped(console: Console, head: Text, body: Text) -> None:
    """Prints one line; on a terminal, the body is wrapped at words and indented after the head."""
    if not console.is_terminal:
        console.print(Text.assemble(head, body), soft_wrap=True)
        return
    columns = cell_len(head.plain)
    for part in body.divide(break_positions(body.plain, console.width - columns)):
        part.rstrip()
        console.print(head, part, sep="", soft_wrap=True)
        head = Text(" " * columns)
