"""Beam counters. A name is the action, then the unit."""

from __future__ import annotations

from typing import Literal

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import Metrics as _Metrics

NAMESPACE = "kitelift"

Name = Literal[
    "read_rows",
    "read_bytes",
    "written_rows",
    "written_bytes",
    "rejected_rows",
    "failed_writes",
    "compared_ranges",
    "unequal_ranges",
]
"""Bytes are those of the columns in memory. docs/operations.md describes each counter."""


def counter(name: Name) -> _Metrics.DelegatingCounter:
    """Returns the counter of this name; use it in `process` or `finish_bundle`, not in `setup`."""
    return Metrics.counter(NAMESPACE, name)
