"""Prints findings on stderr, one line each, with the remedy."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, replace

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from pipeline.console import logs
from pipeline.console.formatting import listed
from pipeline.console.wrapping import break_positions
from transforms.finding import Finding

_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}

GROUPED = 3
"""From this many findings about features of one collection with the same reason, one line shows
them all."""

NAMED = 5
"""The features that such a line names."""


def show(findings: tuple[Finding, ...]) -> None:
    """Prints findings with their remedies; the remedy of an accepted one is left out.

    Only JSON and `--verbose` show each finding about the features of a collection.
    """
    if logs.are_json():
        for finding in findings:
            level = "warning" if finding.accepted else finding.severity
            line = logs.line(time.time(), level, str(finding), finding=asdict(finding))
            print(line, file=sys.stderr)
        return
    console = Console(stderr=True, highlight=False)
    for finding in findings if logs.are_verbose() else grouped(findings):
        severity = "accepted" if finding.accepted else finding.severity
        head = Text(f"{severity}  ", style=_SEVERITY_STYLES.get(severity, "yellow"))
        body = Text(f"[{finding.code}] ", style="bold")
        text = f"{finding.where}: {finding.what}" if finding.accepted else str(finding)
        print_wrapped(console, head, body.append(text, style="default"))


def grouped(findings: tuple[Finding, ...]) -> list[Finding]:
    """Joins findings about features of one collection that have the same reason.

    >>> ends = "the target does not store it."
    >>> found = [Finding(f"lost:docs.{n}", "target", f"field {n}: {ends}") for n in "abc"]
    >>> [joined] = grouped(tuple(found))
    >>> joined.code, joined.what
    ('lost:docs.*', 'field a, field b, field c: the target does not store them.')
    """
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(_group(finding), []).append(finding)
    few = (group if len(group) < GROUPED else [_join(group)] for group in groups.values())
    return [finding for group in few for finding in group]


def _group(finding: Finding) -> object:
    """Returns what findings have in common that are shown together."""
    _, colon, reason = finding.what.partition(": ")
    if not colon or not finding.code.startswith(("lost:", "changed:")):
        return finding
    return _collection_code(finding), finding.where, finding.severity, finding.accepted, reason


def _collection_code(finding: Finding) -> str:
    """Returns the part of a code that names the collection, with its database if it has one."""
    parts = 2 if "." in finding.where else 1
    return ".".join(finding.code.split(".")[:parts])


def _join(group: list[Finding]) -> Finding:
    first = group[0]
    features = [finding.what.partition(": ")[0] for finding in group]
    reason = first.what.partition(": ")[2]
    if reason.endswith(" it."):
        reason = f"{reason.removesuffix(' it.')} them."
    code = f"{_collection_code(first)}.*"
    remedy = first.remedy.replace(first.code, code).replace("without it", "without them")
    return replace(
        first, code=code, what=f"{listed(features, most=NAMED)}: {reason}", remedy=remedy
    )


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
