"""Beam counters, one naming scheme: what, then the unit."""

from __future__ import annotations

from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import Metrics as _Metrics

NAMESPACE = "kitelift"


def counter(name: str) -> _Metrics.DelegatingCounter:
    """Returns the counter of that name; count in process or finish_bundle, not in setup."""
    return Metrics.counter(NAMESPACE, name)
