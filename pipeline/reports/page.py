"""The report as one self-contained HTML page: no network, no script."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from pipeline.console import formatting
from pipeline.reports import charts, next_steps
from pipeline.reports.charts import PhaseSpan, SpeedChart, StripCell
from pipeline.reports.ledger_facts import CollectionEvidence, Evidence, utc
from pipeline.reports.report_values import CollectionReport, Outcome, RangeSums, Report

OPEN_COLLECTIONS = 12
"""With more collections, only the failed ones are expanded."""

CAUSES = 3
"""Number of failure reasons next to the verdict; the page lists all of them further down."""

LISTED = 200
"""Number of differing keys and failed ranges on the page; report.json has more of them."""

MEANINGS: dict[Outcome, str] = {
    "proven": "the content of every key range was compared and is equal",
    "sampled": "the content of some key ranges was compared and is equal; all were counted",
    "counted": "the row counts of all key ranges are equal; not all content was compared",
    "copied": "the target acknowledged the rows; not all were verified",
    "created": "everything but rows is in the target; the job copies no rows",
    "failed": "rows are missing, differ, or could not be compared",
}
SIGNS = {"-": "missing", "+": "extra", "*": "differs", "#": "duplicate"}


@dataclass(frozen=True)
class _Section:
    """One collection with its charts."""

    report: CollectionReport
    strip: list[StripCell]
    spans: list[PhaseSpan]
    expanded: bool


def write(report: Report, evidence: Evidence) -> str:
    """Returns the HTML of the page."""
    began, ended = report.started.timestamp(), report.ended.timestamp()
    pairs = zip(report.collections, evidence.collections, strict=True)
    return _template().render(
        report=report,
        took=formatting.duration(ended - began),
        sections=[_section(*pair, began, ended, len(report.collections)) for pair in pairs],
        speed=charts.speed(evidence),
        curve=_curve,
        meanings=MEANINGS,
        signs=SIGNS,
        duplicate_words=next_steps.duplicate_words,
        unread_lines=next_steps.unread_lines,
        sync_words=next_steps.sync_words,
        states=_states,
        listed=LISTED,
        causes=CAUSES,
        utc=utc,
    )


def _section(
    report: CollectionReport,
    evidence: CollectionEvidence,
    began: float,
    ended: float,
    many: int,
) -> _Section:
    return _Section(
        report,
        charts.strip(evidence),
        charts.phases(evidence, began, ended),
        many <= OPEN_COLLECTIONS or report.outcome == "failed",
    )


def _states(sums: RangeSums) -> str:
    """Returns how many ranges are in each state: ``198 proven, 2 failed``."""
    counts = {
        "proven": sums.proven,
        "counted": sums.counted,
        "copied": sums.copied,
        "unequal": sums.unequal,
        "failed": sums.failed,
        "not acknowledged": sums.open,
    }
    return ", ".join(f"{formatting.number(n)} {state}" for state, n in counts.items() if n)


def _curve(chart: SpeedChart) -> str:
    """Returns the area under the speed as an SVG path in a box of 100 by 100."""
    line = " ".join(f"L{x:.2f} {100 - y:.2f}" for x, y in chart.points)
    return f"M0 100 {line} L100 100 Z"


def _code(text: str) -> Markup:
    """Returns a text with its parts in backticks as <code>."""
    parts = text.split("`")
    tags = (Markup("<code>{}</code>") if index % 2 else Markup("{}") for index in range(len(parts)))
    return Markup("").join(tag.format(part) for tag, part in zip(tags, parts, strict=True))


def _foldable(name: str) -> Markup:
    """Returns a name that may break into a new line after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": formatting.number,
        "size": formatting.size,
        "timestamp_ms": formatting.timestamp_ms,
        "duration": formatting.duration,
        "timestamp": formatting.timestamp,
        "plural": formatting.plural,
        "code": _code,
        "foldable": _foldable,
    }
    text = resources.files("pipeline.reports").joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(text)
