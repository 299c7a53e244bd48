"""The report as one page of HTML that needs nothing else: no network, no script."""

from __future__ import annotations

from importlib import resources

import jinja2

from pipeline import words
from pipeline.evidence import Evidence
from pipeline.outcome import Report


def write(report: Report, evidence: Evidence) -> str:
    """Returns the page."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": words.number, "size": words.size, "moment": words.moment}
    template = resources.files("pipeline").joinpath("report.html.j2").read_text("utf-8")
    return environment.from_string(template).render(report=report)
