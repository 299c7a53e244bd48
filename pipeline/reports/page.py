"""The report as one page of HTML that needs nothing else: no network, no script."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import jinja2
from markupsafe import Markup

from pipeline.console import formatting
from pipeline.reports import charts, next_steps
from pipeline.reports.charts import PhaseSpan, SpeedChart, StripCell
from pipeline.reports.ledger_facts import CollectionEvidence, Evidence, utc
from pipeline.reports.outcome import CollectionReport, Outcome, RangeSums, Report

OPEN_COLLECTIONS = 12
"""With more collections, only those that failed are laid open."""

CAUSES = 3
"""Reasons of failed ranges beside the verdict; all of them stand below it."""

LISTED = 200
"""Differing keys and failed ranges on the page; report.json names more of them."""

MEANINGS: dict[Outcome, str] = {
    "proven": "the content of every range in the target was compared and is equal",
    "sampled": "the content of some ranges was compared and is equal; all were counted",
    "counted": "the rows of every range were counted in the target; content was not compared",
    "copied": "the target acknowledged the rows; they were not looked at again",
    "failed": "rows are missing, differ, or could not be compared",
}
SIGNS = {"-": "missing", "+": "extra", "*": "differs", "#": "repeated"}


@dataclass(frozen=True)
class _Section:
    """One collection with its drawings."""

    report: CollectionReport
    strip: list[StripCell]
    spans: list[PhaseSpan]
    laid_open: bool


def write(report: Report, evidence: Evidence) -> str:
    """Returns the page."""
    began, ended = report.started.timestamp(), report.ended.timestamp()
    pairs = zip(report.collections, evidence.collections, strict=True)
    return _template().render(
        report=report,
        took=formatting.duration(ended - began),
        sections=[_section(*pair, began, ended, len(report.collections)) for pair in pairs],
        pace=charts.pace(evidence),
        curve=_curve,
        meanings=MEANINGS,
        signs=SIGNS,
        repeats=next_steps.repeats,
        left_behind=next_steps.left_behind,
        mended=next_steps.mended,
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
    """Says how many ranges are in which state: ``198 proven, 2 failed``."""
    counts = {
        "proven": sums.proven,
        "counted": sums.counted,
        "copied": sums.copied,
        "unequal": sums.unequal,
        "failed": sums.failed,
        "not acknowledged": sums.open,
    }
    return ", ".join(f"{formatting.number(n)} {state}" for state, n in counts.items() if n)


def _curve(pace: SpeedChart) -> str:
    """Returns the area under the speed as an SVG path in a box of 100 by 100."""
    line = " ".join(f"L{x:.2f} {100 - y:.2f}" for x, y in pace.points)
    return f"M0 100 {line} L100 100 Z"


def _code(words_with_ticks: str) -> Markup:
    """Sets what stands between backticks as code."""
    parts = words_with_ticks.split("`")
    tags = (Markup("<code>{}</code>") if index % 2 else Markup("{}") for index in range(len(parts)))
    return Markup("").join(tag.format(part) for tag, part in zip(tags, parts, strict=True))


def _foldable(name: str) -> Markup:
    """Lets a long name go on in a new line after each of its underscores."""
    return Markup("_<wbr>").join(name.split("_"))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": formatting.number,
        "size": formatting.size,
        "instant": formatting.instant,
        "duration": formatting.duration,
        "moment": formatting.moment,
        "plural": formatting.plural,
        "code": _code,
        "foldable": _foldable,
    }
    text = resources.files("pipeline.reports").joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(text)
