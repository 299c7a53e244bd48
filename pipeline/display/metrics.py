"""Prometheus metrics of a running job, from the same `View` as the progress display."""

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
    """Serves ``GET /metrics`` with the last view of the job."""

    def __init__(self, address: str) -> None:
        """Listens on ``PORT`` of the loopback interface, or on ``HOST:PORT``.

        Raises:
            ConfigError: the address cannot be listened on.
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
        """The URL of the metrics."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}/metrics"

    def show(self, view: View) -> None:
        """Sets the view that is served from now on."""
        self._figures.view = view

    def close(self) -> None:
        """Stops listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def check(address: str) -> None:
    """Checks that the address can be listened on.

    Raises:
        ConfigError: it cannot.
    """
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
                if (figure := value(collection)) is not None:
                    family.add_metric([collection.name], figure)
            yield family
        phases = GaugeMetricFamily(
            "kitelift_phase",
            "1 for the current phase of a collection.",
            labels=["collection", "phase"],
        )
        for collection in collections:
            phases.add_metric([collection.name, collection.phase], 1)
        yield phases
        yield from _calls(self.view)


def _calls(view: View | None) -> Iterator[Metric]:
    shares = GaugeMetricFamily(
        "kitelift_full_speed_ratio",
        "Share of full speed at which calls to a side run; 1 if nothing slows them down.",
        labels=["side"],
    )
    retries = CounterMetricFamily(
        "kitelift_calls_sent_again",
        "Calls that were retried since the job began.",
        labels=["side", "reason"],
    )
    if view:
        for side in SIDES:
            slowdown = view.slowdowns.get(side)
            shares.add_metric([side], slowdown.share if slowdown else 1.0)
            for reason, retried in view.retries.get(side, {}).items():
                retries.add_metric([side, reason], retried.calls)
    yield from (shares, retries)


_OF_A_COLLECTION: list[tuple[str, str, Callable[[PhaseProgress], float | None]]] = [
    (
        "planned_rows",
        "Rows that the source counted at the start.",
        lambda progress: progress.rows_total,
    ),
    ("acknowledged_rows", "Rows that the target has acknowledged.", lambda progress: progress.rows),
    (
        "phase_ratio",
        "Share of its phase that a collection has done.",
        lambda progress: progress.share,
    ),
    (
        "acknowledged_rows_per_second",
        "Rows acknowledged per second, over the last seconds.",
        lambda progress: progress.rows_per_second,
    ),
    (
        "acknowledged_bytes_per_second",
        "Bytes acknowledged per second, over the last seconds.",
        lambda progress: progress.bytes_per_second,
    ),
    ("phase_left_seconds", "Time left in a phase, if known.", lambda progress: progress.left_s),
]
