"""Figures of a running job for Prometheus, from the same tally as the progress display."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.display.job_progress import PhaseProgress, View
from transforms.errors import ConfigError
from transforms.ledger.worker_limits import SIDES

LOOPBACK = "127.0.0.1"


class Exporter:
    """Answers ``GET /metrics`` with where the job stood when it was last looked at."""

    def __init__(self, address: str) -> None:
        """Listens on ``PORT`` of the loopback interface, or on ``HOST:PORT``.

        Raises:
            ConfigError: nothing can listen there.
        """
        host, _, port = address.rpartition(":")
        registry = CollectorRegistry()
        self._figures = _Figures()
        registry.register(self._figures)
        try:
            self._server, self._thread = start_http_server(int(port), host or LOOPBACK, registry)
        except (OSError, OverflowError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError([f"--metrics_port={address}: {reason}"]) from error

    @property
    def url(self) -> str:
        """Where the figures are."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/metrics"

    def show(self, view: View) -> None:
        """Takes the figures that are told from now on."""
        self._figures.view = view

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def check(address: str) -> None:
    """Makes sure that something can listen there."""
    if address:
        Exporter(address).close()


class _Figures(Collector):
    def __init__(self) -> None:
        self.view: View | None = None

    def collect(self) -> Iterator[Metric]:
        collections = self.view.collections if self.view else ()
        for name, meaning, value in _OF_A_COLLECTION:
            family = GaugeMetricFamily(f"kitelift_{name}", meaning, labels=["collection"])
            for collection in collections:
                if (found := value(collection)) is not None:
                    family.add_metric([collection.name], found)
            yield family
        phases = GaugeMetricFamily(
            "kitelift_phase", "1 for the phase a collection is in.", labels=["collection", "phase"]
        )
        for collection in collections:
            phases.add_metric([collection.name, collection.phase], 1)
        yield phases
        yield from _calls(self.view)


def _calls(view: View | None) -> Iterator[Metric]:
    shares = GaugeMetricFamily(
        "kitelift_full_speed_ratio",
        "At which share of full speed a side is called; 1 where nothing slows it down.",
        labels=["side"],
    )
    again = CounterMetricFamily(
        "kitelift_calls_sent_again",
        "Calls that were sent again since the job began.",
        labels=["side", "reason"],
    )
    if view:
        for side in SIDES:
            slowdown = view.slowdowns.get(side)
            shares.add_metric([side], slowdown.share if slowdown else 1.0)
            for reason, each in view.retries.get(side, {}).items():
                again.add_metric([side, reason], each.calls)
    yield from (shares, again)


_OF_A_COLLECTION: list[tuple[str, str, Callable[[PhaseProgress], float | None]]] = [
    ("planned_rows", "Rows that the source counted at the start.", lambda each: each.rows_total),
    ("acknowledged_rows", "Rows that the target has acknowledged.", lambda each: each.rows),
    ("phase_ratio", "How much of its phase a collection has done.", lambda each: each.share),
    (
        "acknowledged_rows_per_second",
        "Rows acknowledged in each of the last seconds.",
        lambda each: each.rows_per_second,
    ),
    (
        "acknowledged_bytes_per_second",
        "Bytes acknowledged in each of the last seconds.",
        lambda each: each.bytes_per_second,
    ),
    ("phase_left_seconds", "What a phase will last yet, where known.", lambda each: each.left_s),
]
